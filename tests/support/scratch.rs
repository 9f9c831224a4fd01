//! A host in a directory: a root prefix, a store, bundles, and the built program with a cleared environment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::machine::SYSTEM_PATH;
use super::skip;

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_hostler");

/// The group that tests deploy to.
pub const GROUP: [&str; 4] = ["--application", "shop", "--group", "web"];

/// The result of a run of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The same, if it has this exit code.
    ///
    /// # Panics
    /// If the code differs, with all of the output.
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON document.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr))
    }
}

/// A scratch host. Everything is below one temporary directory that every user can enter, and is deleted with it.
pub struct Host {
    directory: TempDir,
    /// Whether the program runs in its own mount namespace, with the files `passwd` and `group` of the directory.
    own_users: bool,
}

impl Host {
    /// A host with an empty root prefix and an empty store.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["root", "store", "tmp"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::set_permissions(directory.path().join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        Self { directory, own_users: false }
    }

    /// A host with these users, each with a group of its name, on which everything outside of the scratch directory is
    /// read-only: the program runs in its own mount namespace. Needs root and the requirements of `unshare`; `None`,
    /// with the reason printed, without them.
    pub fn with_users(users: &[&str]) -> Option<Self> {
        let mut host = Self::new();
        let (mut passwd, mut group) =
            (fs::read_to_string("/etc/passwd").unwrap(), fs::read_to_string("/etc/group").unwrap());
        let known = |text: &str, name: &str| text.lines().any(|line| line.starts_with(&format!("{name}:")));
        for (name, id) in users.iter().zip(64001..) {
            if !known(&passwd, name) {
                passwd.push_str(&format!("{name}:x:{id}:{id}::/home/{name}:/bin/sh\n"));
            }
            if !known(&group, name) {
                group.push_str(&format!("{name}:x:{id}:\n"));
            }
        }
        host.write("passwd", &passwd);
        host.write("group", &group);
        host.own_users = true;
        let probe = host.command(OsStr::new("true"), &[]).output();
        match probe {
            Ok(output) if output.status.success() => Some(host),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr).into_owned();
                skip(format_args!("no mount namespace with users of its own: {}", reason.trim()));
                None
            }
            Err(error) => {
                skip(format_args!("no mount namespace with users of its own: {error}"));
                None
            }
        }
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path on the host, as in an appspec.
    pub fn on_host(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.path("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs the program in the scratch directory with `--root root` and a cleared environment.
    pub fn hostler(&self, arguments: &[&str]) -> Output {
        finished(self.command(OsStr::new(PROGRAM), &with_root(arguments)))
    }

    /// As [`Self::hostler`], with these environment variables.
    pub fn hostler_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = self.command(OsStr::new(PROGRAM), &with_root(arguments));
        command.envs(environment.iter().copied());
        finished(command)
    }

    /// As [`Self::hostler`], as a user without rights; only root can do that.
    pub fn hostler_as_nobody(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(OsStr::new(PROGRAM), &with_root(arguments));
        command.uid(65534).gid(65534);
        finished(command)
    }

    /// As [`Self::hostler`], for the group of the tests.
    pub fn hostler_for_group(&self, arguments: &[&str]) -> Output {
        self.hostler(&[arguments, &GROUP].concat())
    }

    fn command(&self, program: &OsStr, arguments: &[&str]) -> Command {
        let mut command = Command::new(if self.own_users { OsStr::new("unshare") } else { program });
        if self.own_users {
            command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]);
            command.arg(self.directory.path()).arg(program);
        }
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", SYSTEM_PATH).env("TZ", "UTC").env("TMPDIR", self.path("tmp"));
        command
    }

    /// Writes a file in the scratch directory and the directories above it; a script is executable.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content.as_ref()).unwrap();
        let mode = if content.as_ref().starts_with(b"#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Writes the files of a bundle into a directory of the scratch directory.
    pub fn bundle(&self, name: &str, files: &[(&str, &str)]) {
        for (file, content) in files {
            self.write(Path::new(name).join(file), content);
        }
    }

    /// Pushes a directory and returns the revision.
    pub fn push(&self, bundle: &str) -> String {
        self.hostler(&["push", bundle, "store"]).ends(0).stdout.trim().to_owned()
    }

    /// Publishes a revision for the group.
    pub fn release(&self, revision: &str) {
        self.hostler_for_group(&["release", "store", revision]).ends(0);
    }

    /// Follows the channel once.
    pub fn run_once(&self) -> Output {
        self.hostler_for_group(&["run", "--once", "--channel", "store", "--instance-id", "i-test"])
    }

    /// Output of the program with everything replaced that differs between runs: scratch paths, ids, times, durations.
    pub fn plain(&self, text: &str) -> String {
        let text = text.replace(&self.directory.path().display().to_string(), "HOST");
        let mut plain = String::new();
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').map(plain_word).collect();
            plain.push_str(words.join(" ").trim_end());
            plain.push('\n');
        }
        plain
    }

    /// Everything below a directory of the scratch directory: kind, mode, owner, time and content of each path.
    pub fn tree(&self, below: &str) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let top = self.path(below);
        collect(&top, &top, &mut found);
        found
    }
}

/// Run by `sh` in a mount namespace. Arguments: the scratch directory, then the command. Without systemd's directory,
/// hooks stay in the namespace.
const ENTER: &str = r#"
set -e
mount --bind "$1" "$1"
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
if [ -d /run/systemd/system ]; then mount -t tmpfs tmpfs /run/systemd; fi
mount -o remount,bind,ro /
cd "$1"
shift
exec "$@"
"#;

fn with_root<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--root", "root"]].concat()
}

fn finished(mut command: Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn plain_word(word: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if let Some(at) = word.find("d-") {
        let id: String = word[at + 2..].chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).collect();
        if id.len() == 9 {
            return word.replace(&format!("d-{id}"), "d-ID");
        }
    }
    match word.split_once('.') {
        Some((seconds, hundredths)) if digits(seconds) && digits(hundredths) && hundredths.len() == 2 => "N.NN".into(),
        _ => word.to_owned(),
    }
}

fn collect(top: &Path, path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let content = if metadata.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if metadata.is_file() {
        hostler_core::ids::Sha256Digest::of(&fs::read(path).unwrap()).to_string()
    } else {
        String::new()
    };
    let (mode, user, group) = (metadata.mode(), metadata.uid(), metadata.gid());
    let time = format!("{}.{}", metadata.mtime(), metadata.mtime_nsec());
    let name = path.strip_prefix(top).unwrap().to_owned();
    found.insert(name, format!("{mode:o} {user}:{group} {time} {content}"));
    if metadata.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| collect(top, entry, found));
    }
}

/// Compares a text with the file `tests/golden/NAME`, or writes that file if `HOSTLER_GOLDEN=write` is set.
///
/// # Panics
/// When they differ, with the first difference.
pub fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    if std::env::var_os("HOSTLER_GOLDEN").is_some_and(|word| word == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let line = expected.lines().zip(actual.lines()).take_while(|(a, b)| a == b).count() + 1;
        panic!("tests/golden/{name} differs from line {line} on; HOSTLER_GOLDEN=write makes it what follows\n{actual}");
    }
}
