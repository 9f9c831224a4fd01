//! Users who swap logs and their directories, and packed files that are not logs.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::{Agent, LogsService, PATIENCE, arrive};
use crate::support::eventually;
use crate::support::host::root_or_skip;

const USER: u32 = 65_534;

/// Three patterns of one directory: a name, a star, and directories.
const PATTERNS: &str = "  agent: false
  files:
    - {file: LOGS/app/app.log, log_group_name: /a, log_stream_name: one}
    - {file: 'LOGS/app/*.log', log_group_name: /a, log_stream_name: two}
    - {file: 'LOGS/**/*.log', log_group_name: /a, log_stream_name: three}
    - {file: LOGS/marker, log_group_name: /a, log_stream_name: marker}
";

fn rounds() -> u64 {
    std::env::var("HOSTLER_ATTACK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

fn exchange(one: &Path, other: &Path) {
    // The other side of the swap may be a remainder of the last round.
    let _ = renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE);
}

/// The user's attack, in a thread with only this user's rights: each round swaps a file, a rotated neighbour, a packed
/// one and the directory for links to root's files.
fn attack(logs: &Path, canary: &Path, rounds: u64) {
    setfsgid(Gid::from_raw(USER));
    setfsuid(Uid::from_raw(USER));
    assert!(fs::read(canary.join("app.log")).is_err(), "the user cannot read it");
    let app = logs.join("app");
    let aside = logs.join("home/aside");
    symlink(canary, &aside).unwrap();
    symlink(canary.join("app.log"), app.join("link")).unwrap();
    symlink(".", app.join("circle")).unwrap();
    for (name, target) in [("app.log.1", "app.log"), ("app.log.2.gz", "app.log.gz"), ("x.log", "app.log")] {
        symlink(canary.join(target), app.join(name)).unwrap();
    }
    symlink(canary, app.join("below")).unwrap();
    for round in 0..rounds {
        let name = app.join("app.log");
        if let Ok(mut log) = OpenOptions::new().append(true).create(true).open(&name) {
            let _ = writeln!(log, "line {round}");
        }
        for swap in 0..2 {
            exchange(&name, &app.join("link"));
            if (round + swap) % 3 == 0 {
                let _ = fs::rename(app.join("app.log"), app.join("old.log"));
                let _ = fs::rename(app.join("old.log"), app.join("app.log"));
            }
            std::thread::sleep(Duration::from_millis((round * 7 + swap * 3) % 17));
            // The directory too: its path is a link now.
            exchange(&logs.join("home/current"), &aside);
            std::thread::sleep(Duration::from_millis((round * 5 + swap) % 13));
        }
    }
}

#[test]
fn whoever_swaps_logs_and_directories_ships_nothing_of_others() {
    if !root_or_skip("files of several users") {
        return;
    }
    let service = LogsService::start();
    let agent = Agent::new(&service, PATTERNS);
    let top = agent.host.path("");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
    let logs = top.join("logs");
    // app -> home/current, which the user can swap.
    for directory in ["home", "home/current"] {
        fs::create_dir(logs.join(directory)).unwrap();
        chown(logs.join(directory), Some(USER), Some(USER)).unwrap();
    }
    symlink("home/current", logs.join("app")).unwrap();
    let canary = agent.host.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::set_permissions(&canary, fs::Permissions::from_mode(0o700)).unwrap();
    let lines: String = (0..100).map(|number| format!("canary {number}\n")).collect();
    fs::write(canary.join("app.log"), &lines).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(lines.as_bytes()).unwrap();
    fs::write(canary.join("app.log.gz"), packed.finish().unwrap()).unwrap();
    let daemon = agent.start();
    std::thread::scope(|scope| {
        scope.spawn(|| attack(&logs, &canary, rounds()));
    });
    agent.append("marker", "after it\n");
    arrive(&service, "marker", &["after it"]);
    agent.host.ok(&["stop"]);
    let ended = daemon.end().with_code(0);
    for stream in ["one", "two", "three"] {
        let messages = service.messages(stream);
        assert!(messages.iter().all(|message| message.starts_with("line ")), "{stream}: {messages:?}");
    }
    assert!(!service.messages("one").is_empty(), "the user's own lines arrive");
    ended.saying(&[" is not shipped: ", "user 65534 owns"]);
}

/// The log beside it continues, the stop does not wait, and the omitted file is shown.
#[test]
fn a_packed_file_that_unpacks_to_much_holds_no_other_log_and_no_stop() {
    let service = LogsService::start();
    let files = "  agent: false\n  files:\n    - {file: LOGS/app.log, log_group_name: /a, log_stream_name: app}\n    \
                 - {file: LOGS/other.log, log_group_name: /a, log_stream_name: other}\n";
    let agent = Agent::new(&service, files);
    let daemon = agent.start();
    agent.append("app.log", "one\n");
    arrive(&service, "app", &["one"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);

    let bomb = agent.log("app.log.2.gz");
    // As gzip does: the time of the content, which is earlier than the packed file itself.
    let changed = std::time::SystemTime::now() - Duration::from_millis(50);
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&bomb).unwrap(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 512 << 20), &mut encoder).unwrap();
    encoder.finish().unwrap().set_modified(changed).unwrap();
    fs::rename(agent.log("app.log"), agent.log("app.log.1")).unwrap();
    agent.append("app.log", "two\n");
    let daemon = agent.start();
    agent.append("other.log", "beside it\n");
    arrive(&service, "other", &["beside it"]);
    arrive(&service, "app", &["one", "two"]);
    let error = eventually("it is shown", PATIENCE, || {
        let lag = agent.lag();
        let sources = lag["sources"].as_array().unwrap();
        let found = sources.iter().find(|source| source["source"] == bomb.to_str().unwrap());
        found.map(|source| source["last_error"].to_string()).ok_or_else(|| lag.to_string())
    });
    assert!(error.contains("unpack to 268") && error.contains("268435456 are the most"), "{error}");
    agent.host.ok(&["status"]).saying(&["1 logs or directories are not shipped"]);
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0).saying(&["the packed log", "is left out"]);
}
