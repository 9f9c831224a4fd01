//! No file name in a logged directory can end the daemon: names are bytes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Agent, LogsService, PATIENCE};
use crate::support::eventually;

const PATTERNS: &str = "  agent: false
  files:
    - {file: LOGS/*.log, log_group_name: /a, log_stream_name: one}
    - {file: LOGS/app*.log, log_group_name: /a, log_stream_name: two}
    - {file: LOGS/*/app.log, log_group_name: /a, log_stream_name: three}
    - {file: 'LOGS/**/*.log', log_group_name: /a, log_stream_name: four}
";

/// Names with every allowed byte, alone, before and after text, and the beginnings of multi-byte characters.
fn names() -> Vec<Vec<u8>> {
    let odd = (1..=255_u8).filter(|byte| *byte != b'/' && *byte != b'.');
    let mut names: Vec<Vec<u8>> = odd.flat_map(|byte| [vec![byte], vec![b'a', byte], vec![byte, b'a']]).collect();
    names.extend(
        [&b"\xc3"[..], b"\xf0\x9f", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"a\nb", b"[", b"**"].map(<[u8]>::to_vec),
    );
    names.sort();
    names.dedup();
    names
}

fn write(path: &Path, line: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{line}\n")).unwrap();
}

#[test]
fn files_and_directories_of_any_names_are_followed_and_end_nothing() {
    let service = LogsService::start();
    let agent = Agent::new(&service, PATTERNS);
    let path = |parts: &[&[u8]]| -> PathBuf { agent.log("").join(OsStr::from_bytes(&parts.concat())) };
    let names = names();
    for (number, name) in names.iter().enumerate() {
        write(&path(&[b"app", name, b".log"]), &format!("app {number}"));
        write(&path(&[b"dir", name, b"/app.log"]), &format!("dir {number}"));
    }
    let daemon = agent.start();
    let wanted: [(&str, &[&str]); 4] =
        [("one", &["app"]), ("two", &["app"]), ("three", &["dir"]), ("four", &["app", "dir"])];
    for (stream, kinds) in wanted {
        let mut lines: Vec<String> =
            kinds.iter().flat_map(|kind| (0..names.len()).map(move |number| format!("{kind} {number}"))).collect();
        lines.sort();
        eventually(&format!("every file of {stream}"), PATIENCE, || {
            let mut messages = service.messages(stream);
            messages.sort();
            if messages == lines { Ok(()) } else { Err(format!("{} of {} lines", messages.len(), lines.len())) }
        });
    }
    // A file that appears while the daemon runs, and its acknowledged position after a start.
    write(&path(&[b"later\xff\xfe.log"]), "later");
    eventually("the later one", PATIENCE, || {
        let messages = service.messages("one");
        if messages.last().is_some_and(|last| last == "later") { Ok(()) } else { Err(format!("{:?}", messages.last())) }
    });
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
    let before = service.messages("one").len();
    let daemon = agent.start();
    write(&path(&[b"last\xff.log"]), "last");
    eventually("the last one", PATIENCE, || {
        let messages = service.messages("one");
        if messages.last().is_some_and(|last| last == "last") { Ok(()) } else { Err(format!("{:?}", messages.last())) }
    });
    assert_eq!(service.messages("one").len(), before + 1, "nothing is sent again");
    agent.host.ok(&["stop"]);
    daemon.end().with_code(0);
}
