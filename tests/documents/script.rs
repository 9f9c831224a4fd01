//! The blocks of a page as one script, as a reader types them into one shell, and its run in a scratch directory.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::examples::{Example, Kind};
use crate::support::host::HOSTLER;
use crate::support::machine::SYSTEM_PATH;

/// How long the blocks of one page may take.
const SECONDS: &str = "90";

/// Begins the line of the log that names the block which runs now.
const MARK: &str = "@@ block at line ";

/// Ends a file within the script.
const END: &str = "END_OF_A_FILE_OF_THE_PAGE";

/// In place of the program. A page that forgets the root prefix would change the machine that runs the tests.
const WRAPPER: &str = r#"#!/bin/sh
for argument; do
	case $argument in
	--root | --root=* | --help | -h | --version | -V) exec "$HOSTLER_PROGRAM" "$@" ;;
	esac
done
for argument; do
	case $argument in -*) ;; *) verb=$argument; break ;; esac
done
case ${verb-} in
init | validate | push | release | releases | revisions | sign | keygen | rotate-keys | completions | version | help) exec "$HOSTLER_PROGRAM" "$@" ;;
esac
echo "hostler $*: without --root it would act on the machine that runs the tests" >&2
exit 2
"#;

/// The commands of a page for one kind of machine ([`Kind::Shell`] or [`Kind::Host`]), with the files that the page
/// shows before them; `None` without such commands.
pub fn script(page: &[Example], kind: Kind) -> Option<String> {
    if !page.iter().any(|example| example.kind == kind) {
        return None;
    }
    let mut script = String::from("page=$PWD\n");
    for example in page {
        let runs = example.kind == kind;
        let file = example.file.as_ref().filter(|file| kind == Kind::Host || !file.starts_with('/'));
        if runs || file.is_some() {
            script.push_str(&format!("echo '{MARK}{}' >&2\n", example.line));
        }
        if runs {
            example.set_up.iter().for_each(|commands| script.push_str(&format!("{commands}\n")));
            script.push_str(&example.text);
        }
        if let Some(file) = file {
            let place = if file.starts_with('/') { file.clone() } else { format!("$page/{file}") };
            let mode = if example.kind == Kind::Program { "755" } else { "644" };
            let text = &example.text;
            script.push_str(&format!("install -D -m {mode} /dev/stdin \"{place}\" <<'{END}'\n{text}{END}\n"));
        }
    }
    Some(script)
}

/// Runs the script as the user of the tests, in a new directory of its own.
///
/// # Errors
/// The line of the block that failed, and what it and its commands printed.
pub fn run(script: &str) -> Result<(), (usize, String)> {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    // Hooks run as other users, too.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for directory in ["bin", "home", "page"] {
        fs::create_dir(path(directory)).unwrap();
    }
    fs::write(path("bin/hostler"), WRAPPER).unwrap();
    fs::set_permissions(path("bin/hostler"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path("script"), script).unwrap();
    let log = File::create(path("log")).unwrap();
    let status = in_a_group_of_its_own(
        Command::new("timeout")
            .args(["--kill-after=5", SECONDS, "sh", "-eu"])
            .arg(path("script"))
            .current_dir(path("page"))
            .env_clear()
            .env("PATH", format!("{}:{SYSTEM_PATH}", path("bin").display()))
            .env("HOME", path("home"))
            .envs([("LANG", "C.UTF-8"), ("HOSTLER_PROGRAM", HOSTLER), ("AWS_EC2_METADATA_DISABLED", "true")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log),
    );
    let log = read(&path("log"));
    if status == Some(0) { Ok(()) } else { Err(failed_block(&log, status)) }
}

/// Runs a command to its end, and ends what it left in the background.
fn in_a_group_of_its_own(command: &mut Command) -> Option<i32> {
    let mut child = command.process_group(0).spawn().unwrap();
    let status = child.wait().unwrap();
    // Often there is no process left.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    status.code()
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()
}

/// The line of the last block that began, and the output since.
pub fn failed_block(log: &str, status: Option<i32>) -> (usize, String) {
    let (line, said) = log.rsplit_once(MARK).and_then(|(_, rest)| rest.split_once('\n')).unwrap_or(("0", log));
    let status = match status {
        Some(124 | 137) => format!("the page takes more than {SECONDS} seconds"),
        Some(code) => format!("exit code {code}"),
        None => "ended by a signal".to_owned(),
    };
    (line.parse().unwrap_or(0), format!("{status}\n{}", said.trim_end()))
}
