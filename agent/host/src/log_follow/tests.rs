//! Files that are written, rotated and truncated, an agent that dies at any moment, and a service that takes
//! everything.

mod packed;
mod property;
mod refused;
mod rotations;
mod world;

use std::fs::{self, OpenOptions};

use hostler_core::logs::lag::Totals;
use hostler_core::logs::settings::{InitialPosition, Target};

use super::*;
use world::{SECOND, World};

#[test]
fn lines_arrive_once_and_in_order() {
    let mut world = World::new("app.log");
    world.start();
    world.deliver();
    world.write(10);
    world.deliver();
    world.write(30_000);
    world.deliver();
    assert!(world.taken.len() >= 4, "10,000 events a batch");
    world.check(0);
}

#[test]
fn a_last_line_without_its_end_waits_and_then_is_sent() {
    let mut world = World::new("app.log");
    world.start();
    world.write_text("app.log", "whole\nhal");
    world.gather();
    assert!(world.deliver_one());
    world.pass(SECOND);
    assert!(!world.deliver_one(), "{:?}", world.messages());
    world.write_text("app.log", "f\n");
    world.deliver();
    world.write_text("app.log", "for ever");
    world.deliver();
    assert_eq!(world.messages(), ["whole", "half", "for ever"]);
}

#[test]
fn deleted_truncated_and_recreated_files() {
    let mut world = World::new("app.log");
    world.start();
    world.write(10);
    world.deliver();
    world.write(10);
    world.pass(1);
    fs::remove_file(world.log("app.log")).unwrap();
    world.write(10);
    world.deliver();
    world.check(0);
    assert_eq!(world.tail().losses(), Losses::default(), "deleted while open, and created again");

    world.write(10);
    world.pass(1);
    fs::write(world.log("app.log"), "").unwrap();
    world.deliver();
    assert_eq!(world.tail().losses().lost_bytes, 120, "destroyed before it was read, and counted");
    world.write_text("app.log", "after\n");
    world.deliver();
    assert_eq!(world.messages().last().unwrap(), "after");
}

#[test]
fn what_was_deleted_while_nobody_looked_is_counted() {
    let mut world = World::new("app.log");
    world.start();
    world.write(10);
    world.pass(1);
    let tail = world.tail.take().unwrap();
    tail.close(world.now);
    fs::remove_file(world.log("app.log")).unwrap();
    world.start();
    world.deliver();
    assert_eq!(world.tail().losses().lost_bytes, 120);
    assert!(world.tail().report(0).is_empty());
}

#[test]
fn a_truncated_file_that_has_grown_past_its_position_is_read_from_its_beginning() {
    let mut world = World::new("app.log");
    world.start();
    world.write_text("app.log", &"same banner\n".repeat(3));
    world.write_text("app.log", "old\n");
    world.deliver();
    fs::write(world.log("app.log"), format!("{}new one\nnew two\n", "same banner\n".repeat(3))).unwrap();
    world.deliver();
    let messages = world.messages();
    assert_eq!(&messages[messages.len() - 5..][3..], ["new one", "new two"], "{messages:?}");
    assert_eq!(messages.len(), 4 + 5);
}

#[test]
fn a_hole_left_by_a_truncation_is_passed() {
    let mut world = World::new("app.log");
    world.start();
    world.write_text("app.log", "old\n");
    world.deliver();
    // A writer without O_APPEND goes on where it was.
    let file = OpenOptions::new().write(true).open(world.log("app.log")).unwrap();
    file.set_len(0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"new\n", 5 << 30).unwrap();
    world.deliver();
    assert_eq!(world.messages(), ["old", "new"]);
}

#[test]
fn a_link_that_is_swapped_leads_to_the_next_file() {
    let mut world = World::new("current.log");
    world.start();
    let link = world.log("current.log");
    world.write_text("a.log", "a1\n");
    std::os::unix::fs::symlink("a.log", &link).unwrap();
    world.deliver();
    world.write_text("a.log", "a2\n");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("b.log", &link).unwrap();
    world.write_text("b.log", "b1\n");
    world.deliver();
    assert_eq!(world.messages(), ["a1", "a2", "b1"]);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut world = World::new("app.log");
    world.start();
    world.write_text("app.log", "one\ntwo\n");
    world.deliver();
    world.crash();
    // The same inode with other content, as after deleting and creating: the agent notices it even without a time of
    // birth.
    fs::write(world.log("app.log"), "three, longer than before\n").unwrap();
    world.start();
    world.deliver();
    assert_eq!(world.messages(), ["one", "two", "three, longer than before"]);
}

#[test]
fn globs_find_files_that_come_later_and_leave_out_what_is_excluded() {
    let mut world = World::new("*.log");
    world.settings.exclude = vec!["debug*".to_owned()];
    world.start();
    world.deliver();
    for name in ["a.log", "debug.log", "b.log", "c.txt", "d.log.gz", ".hidden.log"] {
        world.write_text(name, &format!("from {name}\n"));
    }
    fs::create_dir(world.log("directory.log")).unwrap();
    world.deliver();
    assert_eq!(world.messages(), ["from a.log", "from b.log"]);
    let report = world.tail().report(0);
    assert_eq!((report.len(), report[0].position.as_str(), report[0].lag_bytes), (2, "11", 0));
}

#[test]
fn a_file_whose_name_is_no_utf8_is_followed_like_any_other() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut world = World::new("*.log");
    world.start();
    let odd = world.log("").join(std::ffi::OsStr::from_bytes(b"\xff\xfe\n.log"));
    let append = |text: &str| {
        let mut file = OpenOptions::new().append(true).create(true).open(&odd).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    append("one\n");
    world.write_text("plain.log", "p1\n");
    world.deliver();
    world.crash();
    append("two\n");
    world.write_text("plain.log", "p2\n");
    world.start();
    world.deliver();
    let mut messages = world.messages();
    messages.sort();
    assert_eq!(messages, ["one", "p1", "p2", "two"], "each once: where it was acknowledged is known after the crash");
}

#[test]
fn end_of_file_is_for_files_that_were_there_at_the_first_start() {
    let mut world = World::new("*.log");
    world.settings.initial_position = InitialPosition::EndOfFile;
    world.write_text("a.log", "old\n");
    world.start();
    world.deliver();
    world.write_text("a.log", "new\n");
    world.write_text("b.log", "all of it\n");
    world.deliver();
    world.crash();
    world.write_text("c.log", "also\n");
    world.start();
    world.deliver();
    assert_eq!(world.messages(), ["new", "all of it", "also"]);
}

#[test]
fn a_refused_event_is_found_and_left_out() {
    let mut world = World::new("app.log");
    world.start();
    world.write(100);
    let mut refusals = 0;
    for _ in 0..400 {
        world.pass(SECOND);
        let Some(out) = world.next() else { continue };
        world.take(&out);
        let now = world.now;
        if world.taken.last().unwrap().contains("line 000037") {
            world.taken.pop();
            refusals += 1;
            world.tail().refuse(&out.ticket, "InvalidParameterException".to_owned(), now);
        } else {
            world.tail().acknowledge(&out.ticket, now);
        }
    }
    let messages = world.messages();
    assert_eq!((messages.len(), world.tail().losses().refused_events), (99, 1), "{refusals} refusals");
    assert!(refusals < 30 && !messages.contains(&"line 000037".to_owned()));
}

#[test]
fn a_batch_that_is_sent_again_is_the_same() {
    let mut world = World::new("app.log");
    world.start();
    world.write(10);
    world.gather();
    let first = world.next().unwrap();
    world.write(10);
    world.tail().release(&first.ticket, "no answer".to_owned());
    world.pass(SECOND);
    let again = world.next().unwrap();
    assert!(again.is_again && again.body == first.body);
    world.crash();
    world.write(10);
    world.start();
    world.pass(60 * SECOND);
    let after_crash = world.next().unwrap();
    assert!(after_crash.is_again && after_crash.body == first.body, "the same time, the same events");
}

#[test]
fn a_noisy_file_does_not_starve_the_others() {
    let mut world = World::new("*.log");
    world.settings.target = Target::new("group", "{file_name}");
    world.start();
    for _ in 0..30 {
        world.write_text("noisy.log", &format!("{}\n", "x".repeat(199)).repeat(5000));
    }
    world.write_text("quiet.log", "quiet\n");
    world.gather();
    let order: Vec<String> = std::iter::from_fn(|| {
        let out = world.next()?;
        let now = world.now;
        world.tail().acknowledge(&out.ticket, now);
        Some(out.name.stream)
    })
    .collect();
    assert!(order.len() > 10 && order[..2].contains(&"quiet.log".to_owned()), "{order:?}");
}

#[test]
fn deleted_files_are_kept_within_a_bound() {
    let mut world = World::new("app.log");
    world.start();
    for _ in 0..3 {
        world.write_text("app.log", &"x".repeat(400 << 10));
        world.pass(1);
        fs::remove_file(world.log("app.log")).unwrap();
        world.pass(1);
    }
    assert_eq!(world.tail().losses().lost_bytes, 400 << 10, "of 1 MiB the oldest is too much");
}

#[test]
fn somebody_who_waits_for_what_is_there_does_not_wait_for_what_comes_later() {
    let mut world = World::new("app.log");
    world.start();
    world.write(2);
    let now = world.now;
    let mark = world.tail().mark(now);
    assert!(!world.tail().is_shipped(&mark));
    // Nothing is gathered: a caller waits.
    let outgoing = world.next().expect("a batch at once");
    world.write(3);
    world.pass(1);
    assert!(!world.tail().is_shipped(&mark), "it is on its way");
    world.take(&outgoing);
    world.tail().acknowledge(&outgoing.ticket, now);
    assert!(world.tail().is_shipped(&mark) && !world.tail().is_empty());
    // Without a waiting caller, lines are gathered as before.
    world.tail().gather_again();
    world.pass(1);
    assert!(world.next().is_none());
    world.deliver();
    world.check(0);
}

#[test]
fn what_was_deleted_holds_nobody_who_waits() {
    let mut world = World::new("app.log");
    world.start();
    world.write(2);
    let now = world.now;
    let mark = world.tail().mark(now);
    fs::remove_file(world.log("app.log")).unwrap();
    // Held open until it is read, or gone: either ends the waiting.
    world.deliver();
    assert!(world.tail().is_shipped(&mark));
}
