//! The program in the host's directory, as a person uses it there: with relative paths, whose messages tests keep.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::users::ENTER;
use super::{Ended, GROUP, HOSTLER, Host};

impl Host {
    /// Runs the program in the host's directory with `--root root` and a cleared environment.
    pub fn hostler(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.relative_command(OsStr::new(HOSTLER), &with_root(arguments)))
    }

    /// As [`Host::hostler`], with these environment variables.
    pub fn hostler_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let mut command = self.relative_command(OsStr::new(HOSTLER), &with_root(arguments));
        command.envs(environment.iter().copied());
        Ended::of(command)
    }

    /// As [`Host::hostler`], as a user without rights; only root can do that.
    pub fn hostler_as_nobody(&self, arguments: &[&str]) -> Ended {
        let mut command = self.relative_command(OsStr::new(HOSTLER), &with_root(arguments));
        command.uid(65534).gid(65534);
        Ended::of(command)
    }

    /// As [`Host::hostler`], for the group of the tests.
    pub fn hostler_for_group(&self, arguments: &[&str]) -> Ended {
        self.hostler(&[arguments, &GROUP].concat())
    }

    pub(super) fn relative_command(&self, program: &OsStr, arguments: &[&str]) -> Command {
        let mut command = Command::new(if self.own_users { OsStr::new("unshare") } else { program });
        if self.own_users {
            command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]);
            command.arg(self.directory.path()).arg(program);
        }
        command.args(arguments);
        self.surround(&mut command);
        command.env("TZ", "UTC").env("TMPDIR", self.path("tmp")).current_dir(self.directory.path());
        command
    }

    /// Writes a file in the host's directory and the directories above it; a script is executable.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content.as_ref()).unwrap();
        let mode = if content.as_ref().starts_with(b"#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Writes the files of a bundle into a directory of the host's directory.
    pub fn bundle(&self, name: &str, files: &[(&str, &str)]) {
        for (file, content) in files {
            self.write(Path::new(name).join(file), content);
        }
    }

    /// Pushes a directory and returns the revision.
    pub fn push(&self, bundle: &str) -> String {
        self.hostler(&["push", bundle, "store"]).with_code(0).out.trim().to_owned()
    }

    /// Publishes a revision for the group.
    pub fn release_revision(&self, revision: &str) {
        self.hostler_for_group(&["release", "store", revision]).with_code(0);
    }

    /// Follows the channel once.
    pub fn run_once(&self) -> Ended {
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
}

fn with_root<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--root", "root"]].concat()
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
