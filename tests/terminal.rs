//! What a terminal shows, and what everything else gets. The terminal is a real one: `script` of util-linux makes it.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::support::host::{Bundle, Ended, Gate, Host, PATIENCE};
use crate::support::{eventually, skip};

/// The beginning of every escape sequence.
const ESCAPE: char = '\u{1b}';

/// A command on a terminal of so many columns: `script` and `stty` make it. All output is its standard output.
pub fn on_terminal(command: &Command, columns: u16) -> Command {
    on_terminal_of(command, columns, 24)
}

/// The same, of so many rows; with 0 the terminal does not know them.
fn on_terminal_of(command: &Command, columns: u16, rows: u16) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let line = format!("stty cols {columns} rows {rows}; exec {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-f", "-c", &line, "/dev/null"]);
    script
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            script.env(name, value);
        }
    }
    script.stdin(Stdio::null()).current_dir("/");
    script
}

/// Whether `script` is here.
pub fn has_script() -> bool {
    let found = Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        skip("script of util-linux makes the terminal");
    }
    found
}

/// The text without escape sequences.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        if letter == ESCAPE {
            // A control sequence ends with a letter.
            while rest.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// The colours of a text, without the sequences that move the cursor.
fn colours(text: &str) -> usize {
    let sequences = text.split(ESCAPE).skip(1);
    sequences
        .filter(|rest| rest.find(|c: char| c.is_ascii_alphabetic()).is_some_and(|at| rest[at..].starts_with('m')))
        .count()
}

/// Deploys on a terminal a bundle whose ApplicationStart waits until its line shows a second or more.
fn deploy_slowly(host: &Host, columns: u16, more: &[&str], environment: &[(&str, &str)]) -> Ended {
    deploy_until(host, (columns, 24), more, environment, &[" … 1 s", " … 2 s"])
}

/// The same, until the line has one of these texts.
fn deploy_until(
    host: &Host,
    (columns, rows): (u16, u16),
    more: &[&str],
    environment: &[(&str, &str)],
    texts: &[&str],
) -> Ended {
    let gate = Gate::new(host, "start");
    let bundle = Bundle::new(host, "v1").app().hook("ApplicationStart", &gate.wait()).write();
    let mut arguments = vec!["deploy", bundle.to_str().unwrap()];
    arguments.extend(more);
    let mut command = on_terminal_of(&host.command(&arguments), columns, rows);
    command.envs(environment.iter().copied());
    let running = host.start_command(command);
    eventually("the line of the event is as it should be", PATIENCE, || {
        let shown = plain(&running.out());
        if texts.iter().any(|text| shown.contains(text)) { Ok(()) } else { Err(shown) }
    });
    gate.open();
    running.end()
}

#[test]
fn a_terminal_shows_colours_and_how_long_an_event_has_run() {
    if !has_script() {
        return;
    }
    let ended = deploy_slowly(&Host::new(), 80, &[], &[]).with_code(0);
    let shown = plain(&ended.out);
    assert!(shown.contains("  ApplicationStart     hooks/ApplicationStart-1.sh … 1 s"), "{shown}");
    assert!(shown.contains("  ApplicationStart     succeeded "), "{shown}");
    assert!(ended.out.contains("\u{1b}[32m succeeded \u{1b}[0m"), "{:?}", ended.out);
    assert!(colours(&ended.out) > 0);
}

#[test]
fn a_narrow_terminal_keeps_the_time_in_one_line() {
    if !has_script() {
        return;
    }
    // A serial line whose user set the columns alone knows no rows.
    for (columns, rows) in [(40, 24), (20, 24), (30, 0)] {
        let texts = [" … 1 s", " … 2 s"];
        let ended = deploy_until(&Host::new(), (columns, rows), &["--color", "never"], &[], &texts).with_code(0);
        let shown = plain(&ended.out);
        let padded = shown.split(['\r', '\n']).filter(|line| line.contains(" … "));
        assert!(padded.clone().all(|line| line.chars().count() <= usize::from(columns)), "{shown:?}");
        let lines = shown.split(['\r', '\n']).map(str::trim_end);
        let live: Vec<&str> = lines.filter(|line| line.contains(" … ")).collect();
        assert!(!live.is_empty(), "{shown:?}");
        for line in live {
            assert!(line.chars().count() < usize::from(columns), "{line:?} in {columns} columns");
        }
    }
}

#[test]
fn no_color_and_color_never_leave_the_line_and_take_the_colours_away() {
    if !has_script() {
        return;
    }
    for (more, environment) in [(&["--color", "never"][..], &[][..]), (&[], &[("NO_COLOR", "1")])] {
        let ended = deploy_slowly(&Host::new(), 80, more, environment).with_code(0);
        assert_eq!(colours(&ended.out), 0, "{:?}", ended.out);
    }
}

#[test]
fn a_terminal_that_is_dumb_gets_plain_lines() {
    if !has_script() {
        return;
    }
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().write();
    let mut command = on_terminal(&host.command(&["deploy", bundle.to_str().unwrap()]), 80);
    command.env("TERM", "dumb");
    let ended = Ended::of(command).with_code(0);
    assert!(!ended.out.contains(ESCAPE), "{:?}", ended.out);
    assert!(ended.out.contains("  Install              succeeded "), "{}", ended.out);
    assert!(!ended.out.contains('…'), "{}", ended.out);
}

#[test]
fn a_daemon_tells_the_terminal_of_a_user_what_goes_on() {
    if !has_script() {
        return;
    }
    let host = Host::new();
    let daemon = host.daemon(&[]);
    let line = "  ApplicationStart     hooks/ApplicationStart-1.sh … ";
    deploy_until(&host, (80, 24), &[], &[], &[line]).with_code(0);
    host.ok(&["stop"]);
    daemon.end().with_code(0);
}

#[test]
fn without_a_terminal_no_verb_prints_an_escape() {
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().write();
    let bad = Bundle::new(&host, "v2").app().hook("ValidateService", "exit 3").write();
    let (bundle, bad) = (bundle.to_str().unwrap(), bad.to_str().unwrap());
    let store = host.store();
    let store = store.to_str().unwrap();
    let revision = host.ok(&["push", bundle, store]).out.trim().to_owned();
    let lines: &[&[&str]] = &[
        &["--help"],
        &["--no-such-flag"],
        &["deploy", "--help"],
        &["validate", bundle],
        &["validate", "/no/such/file"],
        &["plan", bundle],
        &["deploy", bundle],
        &["deploy", bad],
        &["rollback"],
        &["release", store, &revision],
        &["run", "--once", "--channel", store],
        &["resume"],
        &["status"],
        &["status", "--json"],
        &["history"],
        &["logs"],
        &["doctor"],
        &["-v", "deploy", bundle],
        &["-vv", "push", bundle, store],
        &["remove"],
        &["seal"],
        &["completions", "bash"],
        &["version"],
    ];
    for arguments in lines {
        let mut command = host.command(arguments);
        // They say nothing where there is no terminal.
        command.env("TERM", "xterm-256color").env("CLICOLOR", "1").env("COLORTERM", "truecolor");
        let ended = Ended::of(command);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(!said.contains(ESCAPE), "{arguments:?}: {said:?}");
        assert!(!said.contains('\r'), "{arguments:?}: {said:?}");
    }
    // A user who asks for them gets them.
    let ended = host.run(&["deploy", bad, "--color", "always"]).with_code(1);
    assert!(colours(&ended.out) > 0, "{:?}", ended.out);
    let ended = host.run(&["status", "--json", "--color", "always"]);
    assert!(!ended.out.contains(ESCAPE), "{:?}", ended.out);
}

#[test]
fn quiet_prints_errors_and_results_alone() {
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().write();
    let bad = Bundle::new(&host, "v2").app().hook("ValidateService", "echo wrong; exit 3").write();
    let (bundle, bad) = (bundle.to_str().unwrap(), bad.to_str().unwrap());
    let ended = host.ok(&["deploy", "-q", bundle]);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    let ended = host.run(&["deploy", "--quiet", bad]).with_code(1);
    assert_eq!(ended.out, "");
    let lines: Vec<&str> = ended.err.lines().collect();
    // With what became of it: the rollback too is an outcome.
    assert!(lines.len() == 4 && lines[0].starts_with("error: d-"), "{}", ended.err);
    assert!(lines[1].starts_with("returning to the last good revision (d-"), "{}", ended.err);
    assert!(lines[2].ends_with(" succeeded") && lines[3].ends_with(" is installed again"), "{}", ended.err);
    assert!(
        lines[0].ends_with(" failed in ValidateService: hooks/ValidateService-1.sh: exit status 3"),
        "{}",
        ended.err
    );
    // What was asked for is printed.
    let store = host.store();
    let pushed = host.ok(&["push", "-q", bundle, store.to_str().unwrap()]);
    assert!(pushed.out.starts_with("sha256:") && pushed.err.is_empty(), "{pushed:?}");
    assert!(host.ok(&["status", "-q"]).out.contains("shop/web: "));
    host.run(&["deploy", "-q", "-v", bundle]).with_code(2);
}

#[test]
fn verbose_and_the_variable_print_records_with_their_times() {
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().write();
    let bundle = bundle.to_str().unwrap();
    let usual = host.ok(&["deploy", bundle]);
    assert_eq!(usual.err, "", "records of the deployment are not printed twice");
    let verbose = host.ok(&["deploy", bundle, "-v"]);
    assert!(verbose.err.contains(" info  d-") && verbose.err.contains(": deployment succeeded after "), "{verbose:?}");
    let store = host.store();
    let verbose = host.ok(&["-vv", "push", bundle, store.to_str().unwrap()]);
    let line = verbose.err.lines().next().unwrap_or_default();
    assert!(line.contains(" debug "), "{}", verbose.err);
    let (time, _) = line.split_at(25);
    assert!(time.as_bytes()[10] == b' ' && (time.contains('+') || time.contains('-')), "a time with its zone: {line}");
    let mut command = host.command(&["push", bundle, store.to_str().unwrap()]);
    command.env("HOSTLER_LOG", "debug");
    assert!(Ended::of(command).with_code(0).err.contains(" debug "));
    let mut command = host.command(&["status"]);
    command.env("HOSTLER_LOG", "loud");
    Ended::of(command).with_code(2).saying(&["HOSTLER_LOG must be error, warn, info or debug, not `loud`"]);
}

#[test]
fn an_output_that_takes_nothing_holds_up_no_deployment() {
    let host = Host::new();
    let bundle = Bundle::new(&host, "v1").app().hook("ValidateService", "true").write();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // As many bytes as a pipe holds: from now on it takes none, as a terminal that its user stopped.
    writer.write_all(&[b'\n'; 65_536]).unwrap();
    let mut command = host.command(&["deploy", bundle.to_str().unwrap()]);
    let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    // Its copy of the pipe's end would keep the reader waiting.
    drop(command);
    eventually("the deployment has succeeded", PATIENCE, || {
        let status = host.status();
        let last = &status["last"]["outcome"];
        if last == "succeeded" { Ok(()) } else { Err(status.to_string()) }
    });
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(said.contains("ValidateService      succeeded") && said.contains(" succeeded after "), "{said}");
}
