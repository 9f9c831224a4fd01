//! The lines of a deployment's log: read as it grows, chosen by event and number, and printed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::hook::output::Stream;
use hostler_core::hook::{ScriptsLog, ScriptsLogLine};
use hostler_core::ids::DeploymentId;
use hostler_host::clock;

use crate::cli::LogsArgs;
use crate::failure::Failure;
use crate::output;

/// The log of one deployment, as far as it was shown.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    deployment: DeploymentId,
    json: bool,
    /// Only what this event's scripts print.
    event: Option<String>,
    has_event: bool,
    /// How many lines of what is there already; later ones are all shown.
    newest: Option<usize>,
    position: u64,
    log: ScriptsLog,
}

impl Lines {
    /// A log of which nothing was shown yet.
    pub fn new(path: PathBuf, deployment: &DeploymentId, arguments: &LogsArgs, json: bool) -> Self {
        let (event, newest) = (arguments.event.as_ref().map(ToString::to_string), arguments.newest);
        let deployment = deployment.clone();
        Self { path, deployment, json, event, has_event: false, newest, position: 0, log: ScriptsLog::default() }
    }

    /// The event that was asked for, if the log has no line of it.
    pub fn missed_event(&self) -> Option<&str> {
        self.event.as_deref().filter(|_| !self.has_event)
    }

    /// Prints the whole lines that were written since the last call.
    pub fn show(&mut self) -> Result<(), Failure> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(&self.path, error)),
        };
        file.seek(SeekFrom::Start(self.position))?;
        let mut buffer = vec![0; 64 << 10];
        let mut rest: Vec<u8> = Vec::new();
        let mut held: VecDeque<String> = VecDeque::new();
        loop {
            let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", self.path.display()))?;
            rest.extend_from_slice(buffer.get(..count).unwrap_or_default());
            let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let text = String::from_utf8_lossy(rest.get(..whole).unwrap_or_default()).into_owned();
            let lines = text.lines().filter_map(|line| self.shown(line)).collect::<Result<Vec<String>, Failure>>()?;
            match self.newest {
                None => output::printed(&lines.concat(), self.json)?,
                Some(newest) => {
                    held.extend(lines);
                    held.drain(..held.len().saturating_sub(newest));
                }
            }
            rest.drain(..whole);
            self.position += whole as u64;
            if count == 0 {
                break;
            }
        }
        self.newest = None;
        output::printed(&held.into_iter().collect::<String>(), self.json)
    }

    /// The line as it is printed; `None` for one that was not asked for.
    fn shown(&mut self, line: &str) -> Option<Result<String, Failure>> {
        let read = self.log.line(line);
        if self.event.is_some() && self.event != read.event {
            return None;
        }
        self.has_event = true;
        Some(if self.json { json(&self.deployment, line, &read) } else { Ok(text(&read)) })
    }
}

fn text(line: &ScriptsLogLine<'_>) -> String {
    let at = clock::with_zone(line.at);
    let mark = line.stream.map_or_else(String::new, |stream| format!("{} ", stream.mark()));
    format!("{at}{}{mark}{}\n", if at.is_empty() { "" } else { " " }, line.text)
}

fn json(deployment: &DeploymentId, line: &str, read: &ScriptsLogLine<'_>) -> Result<String, Failure> {
    let stream = read.stream.map(|stream| match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    });
    let document = serde_json::json!({
        "version": 1, "line": line, "deployment": deployment, "event": read.event, "script": read.script,
        "stream": stream, "text": read.text,
    });
    Ok(format!("{}\n", serde_json::to_string(&document)?))
}

/// The failure where a log cannot be read.
pub fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let is_closed = error.kind() == ErrorKind::PermissionDenied;
    let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
    let failure = Failure::new(ExitCode::Failed, error);
    if !is_closed {
        return failure;
    }
    failure.hint("root and members of the group hostler read the output of hooks: use sudo")
}
