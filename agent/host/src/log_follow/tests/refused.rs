//! Users who lead the agent to files of others.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use hostler_core::path_rule::UnsafePaths;

use super::world::{Rotation, World};
use crate::log_follow::Losses;
use crate::test_support::skip;

const USER: u32 = 65_534;

/// A world in which a user owns the directory of logs, and root a file that no other user may read; `None` where only
/// root may give files away.
fn world(pattern: &str) -> Option<World> {
    if !nix::unistd::Uid::effective().is_root() {
        skip("only root may give files away");
        return None;
    }
    let world = World::new(pattern);
    give(&world.log(""));
    let secret = world.log("../secret.log");
    fs::write(&secret, "canary\n").unwrap();
    mode(&secret, 0o600);
    Some(world)
}

fn give(path: &Path) {
    lchown(path, Some(USER), Some(USER)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_users_link_ships_nothing_of_others_and_the_log_is_followed_when_it_is_right_again() {
    let Some(mut world) = world("app.log") else { return };
    symlink("../secret.log", world.log("app.log")).unwrap();
    give(&world.log("app.log"));
    world.start();
    world.deliver();
    let error = world.error_of("app.log").unwrap();
    assert!(error.contains("it is not shipped: user 65534 owns") && error.contains("secret.log"), "{error}");
    assert!(world.tail().is_empty(), "the end does not wait for it");
    assert_eq!(world.tail().summary(super::Totals::default()).not_shipped, 1);
    fs::remove_file(world.log("app.log")).unwrap();
    world.write(3);
    give(&world.log("app.log"));
    world.deliver();
    world.check(0);
    assert_eq!(world.error_of("app.log"), None);
}

#[test]
fn a_users_links_to_what_is_the_users_are_followed() {
    let Some(mut world) = world("*.log") else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("x"), "of the user\n").unwrap();
    give(elsewhere.path());
    give(&elsewhere.path().join("x"));
    symlink(elsewhere.path().join("x"), world.log("absolute.log")).unwrap();
    give(&world.log("absolute.log"));
    world.start();
    world.deliver();
    assert_eq!(world.messages(), ["of the user"]);
}

#[test]
fn a_log_that_was_followed_is_kept_where_it_was_while_its_directory_is_swapped() {
    let Some(mut world) = world("*.log") else { return };
    world.write(3);
    give(&world.log("app.log"));
    world.start();
    world.deliver();
    world.crash();
    let top = world.log("").parent().unwrap().to_owned();
    let (link, aside, canary) = (top.join("logs"), top.join("aside"), top.join("canary"));
    fs::rename(&link, &aside).unwrap();
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("app.log"), "canary\n").unwrap();
    symlink("canary", &link).unwrap();
    give(&link);
    world.start();
    world.deliver();
    let reports = world.tail().report(0);
    assert!(
        reports.iter().any(|report| report.last_error.as_ref().is_some_and(|e| e.contains("canary"))),
        "{reports:?}"
    );
    fs::remove_file(&link).unwrap();
    fs::rename(&aside, &link).unwrap();
    world.write(3);
    world.deliver();
    world.check(0);
}

/// As after the upgrade of an agent that did not check the way to a log: lines written while the log is refused are
/// shipped once the way is right, through rotations too.
#[test]
fn a_log_that_is_refused_from_now_on_is_taken_up_where_it_was_through_rotations() {
    let Some(mut world) = world("app.log") else { return };
    world.unsafe_paths = UnsafePaths::Warn;
    world.write(3);
    mode(&world.log("app.log"), 0o600);
    world.start();
    world.deliver();
    world.crash();
    world.unsafe_paths = UnsafePaths::Refuse;
    world.write(3);
    world.start();
    world.deliver();
    for _ in 0..2 {
        world.rotate(Rotation::Rename);
        mode(&world.log("app.log"), 0o600);
        world.write(2);
        world.deliver();
    }
    assert_eq!(world.messages().len(), 3, "nothing is shipped that the user could not read");
    assert_eq!(world.tail().losses(), Losses::default());
    lchown(world.log(""), Some(0), Some(0)).unwrap();
    world.deliver();
    world.check(0);
}

#[test]
fn rotated_and_packed_neighbours_that_lead_to_others_are_not_read() {
    let Some(mut world) = world("app.log") else { return };
    world.write(5);
    give(&world.log("app.log"));
    world.start();
    world.deliver();
    for name in ["app.log.1", "app.log.2.gz"] {
        symlink("../secret.log", world.log(name)).unwrap();
        give(&world.log(name));
    }
    let link = world.log("app.log.3.zst");
    symlink(tempfile::tempdir().unwrap().path(), &link).unwrap();
    fs::remove_file(world.log("app.log")).unwrap();
    world.write(5);
    give(&world.log("app.log"));
    world.deliver();
    world.check(0);
}

/// Applications that start as root write into directories of their users.
#[test]
fn what_root_writes_into_a_users_directory_is_shipped_where_others_may_read_it() {
    let Some(mut world) = world("*.log") else { return };
    for (name, bits, group) in
        [("all.log", 0o644, 0), ("adm.log", 0o640, 4), ("own.log", 0o600, 0), ("root.log", 0o640, 0)]
    {
        world.write_text(name, &format!("{name}\n"));
        chown(world.log(name), Some(0), Some(group)).unwrap();
        mode(&world.log(name), bits);
    }
    world.start();
    world.deliver();
    let protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "1");
    let expected: &[&str] = if protected { &["adm.log", "all.log"] } else { &["all.log"] };
    let mut messages = world.messages();
    messages.sort();
    assert_eq!(messages, expected);
    for name in ["own.log", "root.log"] {
        assert!(world.error_of(name).unwrap().contains(&format!("user 0 owns {}", world.log(name).display())));
    }
}

#[test]
fn what_the_kernel_says_and_what_is_no_file_is_no_log() {
    let mut world = World::new("*.log");
    for (name, target) in
        [("status.log", "/proc/self/status"), ("sys.log", "/sys/kernel/mm/transparent_hugepage/enabled")]
    {
        if Path::new(target).exists() {
            symlink(target, world.log(name)).unwrap();
        }
    }
    symlink("/dev/zero", world.log("zero.log")).unwrap();
    nix::unistd::mkfifo(&world.log("fifo.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    world.start();
    world.deliver();
    assert_eq!(world.messages(), [""; 0]);
    assert!(world.error_of("status.log").unwrap().contains("it is in procfs"));
}

#[test]
fn unsafe_ways_are_taken_where_the_configuration_says_so() {
    let Some(mut world) = world("app.log") else { return };
    symlink("../secret.log", world.log("app.log")).unwrap();
    give(&world.log("app.log"));
    world.unsafe_paths = UnsafePaths::Warn;
    world.start();
    world.deliver();
    assert_eq!(world.messages(), ["canary"]);
}
