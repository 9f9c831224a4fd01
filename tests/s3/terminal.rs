//! The bytes of downloads and uploads on a terminal.

use super::*;
use crate::support::eventually;
use crate::support::host::PATIENCE;
use crate::terminal::{has_script, on_terminal};

const MIB: usize = 1 << 20;

/// Starts a command on a terminal.
fn start(host: &S3Host, arguments: &[&str]) -> Running {
    host.host.start_command(on_terminal(&host.command(arguments), 90))
}

/// Waits until the terminal has shown a line with all of these.
fn shows(running: &Running, texts: &[&str]) {
    eventually(&format!("the terminal shows {texts:?}"), PATIENCE, || {
        let out = running.out();
        let lines = out.split(['\r', '\n']);
        let found = lines.into_iter().any(|line| texts.iter().all(|text| line.contains(text)));
        if found { Ok(()) } else { Err(out) }
    });
}

#[test]
fn a_terminal_shows_the_bytes_of_a_download_in_this_process_and_in_the_daemon() {
    if !has_script() {
        return;
    }
    let front = Front::start();
    let host = S3Host::of(&front);
    host.host.configure("downloads:\n  max_bytes_per_second: 1M\n");
    for (version, daemon) in [("v1", false), ("v2", true)] {
        let seed = version.len() as u64 + u64::from(daemon);
        let bundle = host.bundle(version).content("app/noise", noise(4 * MIB, seed));
        let pushed = host.ok(&["push", bundle.write().to_str().unwrap(), &store(), "--json"]).json();
        let object = pushed["location"].as_str().unwrap().to_owned();
        let running_daemon = daemon.then(|| host.host.start_command(host.command(&["run"])));
        if let Some(running) = &running_daemon {
            running.says("hostler runs");
        }
        let deploying = start(&host, &["deploy", &object]);
        shows(&deploying, &["  DownloadBundle       ", " MiB of 4.0", " MiB, ", "iB/s … ", " s"]);
        deploying.end().with_code(0);
        assert_eq!(host.version(), version);
        if let Some(running) = running_daemon {
            host.ok(&["stop"]);
            running.end().with_code(0);
        }
    }
}

#[test]
fn push_shows_its_upload_on_standard_error_and_the_revision_alone_on_standard_output() {
    if !has_script() {
        return;
    }
    let front = Front::start();
    let host = S3Host::of(&front);
    let bundle = host.bundle("v1").content("app/noise", noise(3 * MIB, 7)).write();
    let gate = front.hold(|request| request.method == "PUT");
    let pushing = start(&host, &["push", bundle.to_str().unwrap(), &store()]);
    shows(&pushing, &["upload: 0 B of 3.0", " MiB … ", " s"]);
    gate.open();
    let ended = pushing.end().with_code(0);
    assert!(ended.out.trim_end().rsplit(['\r', '\n', '\u{1b}']).next().unwrap().contains("sha256:"), "{:?}", ended.out);
    // Without a terminal on standard error there is no line.
    let again = host.ok(&["push", bundle.to_str().unwrap(), &store()]);
    assert_eq!((again.err.as_str(), again.out.lines().count()), ("", 1));
}
