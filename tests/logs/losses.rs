//! Losses and repeats when the agent dies, files are rotated and the service fails: no losses, and at most one repeated
//! batch for each death or lost answer. Every row of the comparison table in the project's figures has a test with the
//! plain path:
//!
//! | row | test |
//! |---|---|
//! | kill -9 x8 | [`killed_eight_times`] |
//! | rename + create | [`renamed`] |
//! | rename, gzip, unlink | [`renamed_and_packed`] |
//! | rename, unlink | [`renamed_and_unlinked`] |
//! | copytruncate | [`copied_and_truncated`] |
//! | kill -9 x8 and rename | [`killed_eight_times_and_renamed`]; with other rotations [`killed_and_copied_and_truncated`], [`killed_and_renamed_and_packed`] |
//! | down while rotated once | `rotations::renamed_while_it_is_down`, `copied_and_truncated_while_it_is_down`, `packed_while_it_is_down` |
//! | endpoint gone | [`the_service_is_away`] |
//! | gone, rename | [`the_service_is_away_and_files_are_renamed`] |
//! | gone, kill -9 x4 | [`the_service_is_away_and_the_agent_is_killed`] |
//! | 50% ThrottlingException | [`half_of_the_requests_are_throttled`] |
//! | 30% 503 | [`a_third_of_the_requests_find_the_service_unavailable`] |
//! | 5% answers lost after acceptance | [`answers_are_lost`] |
//!
//! The matrix of rename, copytruncate, gzip, recreate and same inode before, during and after a crash is in
//! `rotations`. Outside of the table: `a_thousand_files_with_few_descriptors`,
//! `a_full_disk_under_the_positions_costs_nothing`,
//! `what_is_destroyed_before_it_is_delivered_is_counted_logged_and_shown`, and in `agent/host/src/tail` sparse files
//! (`a_hole_left_by_a_truncation_is_passed`), torn positions (`a_torn_or_damaged_tail_costs_that_record_alone`), lost
//! positions (`damaged_files_are_an_empty_book_and_no_refusal`) and random events in random order
//! (`tests/property.rs`).

use std::fs::{self, File, OpenOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{APP, Agent};
use crate::support::eventually;
use crate::support::kept_by::kept_rows;
use crate::support::logs_service::{Fault, LogsService};

/// The lines of each row, and their pace: this many at a time, at this interval.
const LINES: usize = 20_000;
const AT_ONCE: usize = 50;
const EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotation {
    No,
    Rename,
    RenameAndPack,
    RenameAndUnlink,
    Copytruncate,
}

struct Row {
    rotation: Rotation,
    /// Lines between two rotations.
    rotate_every: usize,
    /// The number of kills, spread evenly over the lines.
    kills: usize,
    faults: fn(usize, bool) -> Fault,
    /// The service is away for the middle third of the lines.
    outage: bool,
    /// Allowed repeats besides those for kills and lost answers.
    more_repeats: usize,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            rotation: Rotation::No,
            rotate_every: 4000,
            kills: 0,
            faults: |_, _| Fault::None,
            outage: false,
            more_repeats: 0,
        }
    }
}

fn rotate(agent: &Agent, how: Rotation, number: usize) {
    let (log, old) = (agent.log("app.log"), agent.log(&format!("app.log.{number}")));
    match how {
        Rotation::No => {}
        Rotation::Copytruncate => {
            fs::copy(&log, &old).unwrap();
            OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
        }
        _ => {
            fs::rename(&log, &old).unwrap();
            File::create(&log).unwrap();
        }
    }
    if how == Rotation::RenameAndPack {
        let ended = std::process::Command::new("gzip").arg(&old).status().unwrap();
        assert!(ended.success());
    } else if how == Rotation::RenameAndUnlink {
        // The agent has seen the rename.
        std::thread::sleep(Duration::from_millis(300));
        fs::remove_file(&old).unwrap();
    }
}

fn run(row: Row) {
    let service = LogsService::start();
    let agent = Agent::new(&service, APP);
    let is_away = Arc::new(AtomicBool::new(false));
    let (away, faults) = (Arc::clone(&is_away), row.faults);
    service.fails(move |_, number| faults(number, away.load(Ordering::SeqCst)));
    File::create(agent.log("app.log")).unwrap();
    let mut daemon = Some(agent.start());
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            let mut number = 0;
            while number < LINES {
                let mut text = String::new();
                for _ in 0..AT_ONCE {
                    number += 1;
                    text.push_str(&format!("line {number:08} {}\n", "x".repeat(180)));
                }
                agent.append("app.log", &text);
                written.store(number, Ordering::SeqCst);
                if number % row.rotate_every == 0 && number < LINES {
                    rotate(&agent, row.rotation, number / row.rotate_every);
                }
                // A writer's pace, however long the rotation took.
                let next = EVERY * u32::try_from(number / AT_ONCE).unwrap();
                std::thread::sleep(next.saturating_sub(began.elapsed()));
            }
        });
        let reached = |lines: usize| {
            eventually("lines are written", PATIENCE, || {
                let now = written.load(Ordering::SeqCst);
                if now >= lines { Ok(()) } else { Err(now.to_string()) }
            });
        };
        let mut moments: Vec<(usize, char)> =
            (1..=row.kills).map(|kill| (kill * LINES / (row.kills + 1), 'k')).collect();
        if row.outage {
            moments.extend([(LINES / 3, 'a'), (2 * LINES / 3, 'b')]);
        }
        moments.sort_unstable();
        for (lines, moment) in moments {
            reached(lines);
            match moment {
                'a' => is_away.store(true, Ordering::SeqCst),
                'b' => is_away.store(false, Ordering::SeqCst),
                _ => {
                    daemon.take().unwrap().kill();
                    daemon = Some(agent.start());
                }
            }
        }
        reached(LINES);
    });
    eventually("every line", PATIENCE, || {
        let messages = service.messages("app");
        if messages.len() >= LINES { Ok(()) } else { Err(format!("{} of {LINES}\n{}", messages.len(), agent.lag())) }
    });
    agent.host.ok(&["stop"]);
    daemon.take().unwrap().end().with_code(0);
    let messages = service.messages("app");
    for (at, message) in messages.iter().enumerate() {
        assert!(message.starts_with(&format!("line {:08} ", at + 1)), "line {} is {message:?}", at + 1);
    }
    assert_eq!(messages.len(), LINES);
    let allowed = row.kills + service.answers_lost() + row.more_repeats;
    assert!(service.repeats("app") <= allowed, "{} repeats, {allowed} are allowed", service.repeats("app"));
    service.assert_nothing_wrong();
}

fn away(_: usize, is_away: bool) -> Fault {
    if is_away { Fault::Gone } else { Fault::None }
}

#[test]
fn killed_eight_times() {
    run(Row { kills: 8, ..Row::default() });
}

#[test]
fn renamed() {
    run(Row { rotation: Rotation::Rename, ..Row::default() });
}

#[test]
fn renamed_and_packed() {
    run(Row { rotation: Rotation::RenameAndPack, ..Row::default() });
}

#[test]
fn renamed_and_unlinked() {
    run(Row { rotation: Rotation::RenameAndUnlink, ..Row::default() });
}

#[test]
fn copied_and_truncated() {
    run(Row { rotation: Rotation::Copytruncate, ..Row::default() });
}

#[test]
fn killed_eight_times_and_renamed() {
    run(Row { rotation: Rotation::Rename, rotate_every: 1500, kills: 8, ..Row::default() });
}

#[test]
fn killed_and_copied_and_truncated() {
    run(Row { rotation: Rotation::Copytruncate, rotate_every: 1500, kills: 4, ..Row::default() });
}

#[test]
fn killed_and_renamed_and_packed() {
    run(Row { rotation: Rotation::RenameAndPack, rotate_every: 1500, kills: 4, ..Row::default() });
}

#[test]
fn the_service_is_away() {
    run(Row { outage: true, faults: away, ..Row::default() });
}

#[test]
fn the_service_is_away_and_files_are_renamed() {
    run(Row { outage: true, faults: away, rotation: Rotation::Rename, rotate_every: 1500, ..Row::default() });
}

#[test]
fn the_service_is_away_and_the_agent_is_killed() {
    run(Row { outage: true, faults: away, kills: 4, ..Row::default() });
}

#[test]
fn half_of_the_requests_are_throttled() {
    run(Row { faults: |number, _| if number % 2 == 0 { Fault::Throttled } else { Fault::None }, ..Row::default() });
}

#[test]
fn a_third_of_the_requests_find_the_service_unavailable() {
    run(Row { faults: |number, _| if number % 3 == 0 { Fault::Unavailable } else { Fault::None }, ..Row::default() });
}

#[test]
fn answers_are_lost() {
    run(Row { faults: |number, _| if number % 4 == 1 { Fault::AnswerLost } else { Fault::None }, ..Row::default() });
}

/// The table on this module's page names existing tests.
#[test]
fn every_row_has_its_test() {
    let page: String =
        include_str!("losses.rs").lines().filter(|line| line.starts_with("//!")).map(|l| format!("{l}\n")).collect();
    assert!(kept_rows(&page, 1).len() >= 13);
}
