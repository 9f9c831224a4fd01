//! Each way of rotating a log, before, during and after a crash of the daemon.

use std::fs::{self, File, OpenOptions};
use std::process::Command;
use std::time::Duration;

use super::{APP, Agent};
use crate::support::eventually;
use crate::support::logs_service::{Fault, LogsService};

const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Rename,
    Copytruncate,
    Gzip,
    /// Deleted and created again.
    Recreate,
    /// Rewritten in place, longer than before: this also looks like a new file with the inode of a deleted one.
    SameInode,
}

impl Way {
    /// Whether this way deletes the file's content, so that it loses undelivered lines, and not the agent.
    fn destroys(self) -> bool {
        matches!(self, Self::Recreate | Self::SameInode)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    During,
    After,
}

/// A log with numbered lines.
struct Log<'a> {
    agent: &'a Agent,
    written: usize,
}

impl Log<'_> {
    fn write(&mut self, lines: usize) {
        let text: String = (self.written + 1..=self.written + lines).map(line).collect();
        self.written += lines;
        self.agent.append("app.log", &text);
    }

    fn rotate(&mut self, way: Way) {
        let (log, old) = (self.agent.log("app.log"), self.agent.log("app.log.1"));
        match way {
            Way::Rename | Way::Gzip => {
                fs::rename(&log, &old).unwrap();
                File::create(&log).unwrap();
            }
            Way::Copytruncate => {
                fs::copy(&log, &old).unwrap();
                OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
            }
            Way::Recreate => {
                fs::remove_file(&log).unwrap();
                File::create(&log).unwrap();
            }
            Way::SameInode => {
                let lines = self.written + 50;
                let text: String = (self.written + 1..=self.written + lines).map(line).collect();
                self.written += lines;
                fs::write(&log, text).unwrap();
            }
        }
        if way == Way::Gzip {
            assert!(Command::new("gzip").arg(&old).status().unwrap().success());
        }
    }

    /// Waits until all lines are acknowledged.
    fn delivered(&self, service: &LogsService) {
        eventually("every line", PATIENCE, || {
            let (arrived, lag) = (service.messages("app").len(), self.agent.lag());
            let waits = lag["sources"].as_array().unwrap().iter().any(|source| source["lag_bytes"] != 0);
            if arrived >= self.written && !waits {
                Ok(())
            } else {
                Err(format!("{arrived} of {}: {lag}", self.written))
            }
        });
    }
}

fn line(number: usize) -> String {
    format!("line {number:08} {}\n", "x".repeat(60))
}

/// Checks that every line came once and in order, and that nothing was counted as lost.
fn check(service: &LogsService, agent: &Agent, lines: usize, repeats: usize) {
    let messages = service.messages("app");
    for (at, message) in messages.iter().enumerate() {
        assert!(message.starts_with(&format!("line {:08} ", at + 1)), "line {} is {message:?}", at + 1);
    }
    assert_eq!(messages.len(), lines);
    assert!(service.repeats("app") <= repeats, "{} repeats", service.repeats("app"));
    assert_eq!(agent.lag()["totals"]["lost_bytes"], 0, "{}", agent.lag());
    service.assert_nothing_wrong();
}

fn around_a_crash(way: Way) {
    for moment in [Moment::Before, Moment::During, Moment::After] {
        let service = LogsService::start();
        let agent = Agent::new(&service, APP);
        let mut log = Log { agent: &agent, written: 0 };
        let daemon = agent.start();
        log.write(100);
        log.delivered(&service);
        let rotate = |log: &mut Log| {
            log.write(50);
            if way.destroys() {
                log.delivered(&service);
            }
            log.rotate(way);
            log.write(20);
        };
        let daemon = match moment {
            Moment::Before => {
                rotate(&mut log);
                daemon.kill();
                agent.start()
            }
            Moment::During if way.destroys() => {
                daemon.kill();
                log.rotate(way);
                log.write(20);
                agent.start()
            }
            Moment::During => {
                daemon.kill();
                rotate(&mut log);
                agent.start()
            }
            Moment::After => {
                daemon.kill();
                let daemon = agent.start();
                rotate(&mut log);
                daemon
            }
        };
        log.delivered(&service);
        log.write(5);
        log.delivered(&service);
        check(&service, &agent, log.written, 1);
        agent.host.ok(&["stop"]);
        daemon.end().with_code(0);
    }
}

#[test]
fn renamed_around_a_crash() {
    around_a_crash(Way::Rename);
}

#[test]
fn copied_and_truncated_around_a_crash() {
    around_a_crash(Way::Copytruncate);
}

#[test]
fn packed_around_a_crash() {
    around_a_crash(Way::Gzip);
}

#[test]
fn recreated_around_a_crash() {
    around_a_crash(Way::Recreate);
}

#[test]
fn written_anew_in_its_inode_around_a_crash() {
    around_a_crash(Way::SameInode);
}

/// A third of the lines is unread in the old file, as in the comparison table.
fn while_it_is_down(way: Way) {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    let mut log = Log { agent: &agent, written: 0 };
    let daemon = agent.start();
    log.write(1);
    log.delivered(&service);
    service.fails(|_, _| Fault::Gone);
    log.write(20_000);
    eventually("a request", PATIENCE, || if service.puts() > 1 { Ok(()) } else { Err("none".to_owned()) });
    daemon.kill();
    log.rotate(way);
    log.write(40_000);
    service.fails(|_, _| Fault::None);
    let daemon = agent.start();
    log.delivered(&service);
    check(&service, &agent, log.written, 1);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn renamed_while_it_is_down() {
    while_it_is_down(Way::Rename);
}

#[test]
fn copied_and_truncated_while_it_is_down() {
    while_it_is_down(Way::Copytruncate);
}

#[test]
fn packed_while_it_is_down() {
    while_it_is_down(Way::Gzip);
}
