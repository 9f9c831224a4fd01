//! Programs that have ended, and programs that run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::eventually;
use super::PATIENCE;

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn of(mut command: Command) -> Self {
        let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Itself, if it ended with this code.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Itself, if its output contains all of these texts.
    #[track_caller]
    pub fn saying(self, texts: &[&str]) -> Self {
        let said = format!("{}{}", self.out, self.err);
        for text in texts {
            assert!(said.contains(text), "{text:?} is not in\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }

    /// Its output as one document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Runs a command to its end with this standard input.
pub fn ended_with_input(mut command: Command, input: &str) -> Ended {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    command.stdin(Stdio::from(file));
    Ended::of(command)
}

/// A running program. It is killed at the latest when this is dropped.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Starts the command; its output goes to files in the directory.
    pub(super) fn start(mut command: Command, directory: &Path) -> Self {
        let new = |name: &str| tempfile::Builder::new().prefix(name).tempfile_in(directory).unwrap().keep().unwrap();
        let ((out_file, out), (err_file, err)) = (new("out-"), new("err-"));
        command.stdout(Stdio::from(out_file)).stderr(Stdio::from(err_file));
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// All of its output, for a message.
    pub fn said(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.out(), self.err())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("sending a signal");
    }

    /// Its exit status if it has ended.
    pub fn try_end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for a child")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let status = eventually("the program ends", PATIENCE, || {
            self.child.try_wait().expect("waiting for a child").ok_or_else(|| self.said())
        });
        Ended { code: status.code(), out: self.out(), err: self.err() }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("killing");
        self.child.wait().expect("waiting for a child");
    }

    /// Waits until its output contains this text.
    pub fn says(&self, text: &str) {
        eventually(&format!("it says {text:?}"), PATIENCE, || {
            let said = self.said();
            if said.contains(text) { Ok(()) } else { Err(said) }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Usually it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
