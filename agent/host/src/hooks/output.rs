//! The output of a script on its way to the logs and into the result.

use std::io;
use std::time::Duration;

use hostler_core::hook::output::{LineSplitter, OutputBudget, Stream, Tail, note_entry};
use hostler_core::hook::{HOOK_DOCUMENT_VERSION, HookOutcome, HookResult, HookRun};
use hostler_core::ids::Sha256Digest;
use hostler_core::logs::redact::Redactor;
use sha2::Digest as _;

use super::directory::RunDirectory;
use super::log::LogWriter;
use crate::clock::since_boot_ms;
use crate::safe_path::Opener;
use crate::secret_files;

/// How long the result waits for the log to be written.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// The script's output, on its way to the logs.
pub(super) struct Output {
    log: LogWriter,
    redactor: Redactor,
    budget: OutputBudget,
    splitters: [LineSplitter; 2],
    tail: Tail,
    digest: sha2::Sha256,
    bytes: u64,
}

impl Output {
    pub fn start(run: &HookRun, directory: &RunDirectory) -> io::Result<Self> {
        let values = secret_files::read(&run.redact_values_from, run.secret_file_bytes, &Opener::new(run.unsafe_paths))
            .map_err(io::Error::other)?;
        // An invalid pattern was refused with the configuration; without the pattern nothing may be written.
        let redactor = Redactor::new(&run.redact_patterns, &values).map_err(io::Error::other)?;
        Ok(Self {
            redactor,
            log: LogWriter::start(&run.scripts_log, run.deployments_log.as_deref(), &run.deployment, directory.path())?,
            budget: OutputBudget::new(run.log_bytes, run.log_bytes_per_second, since_boot_ms()),
            splitters: [LineSplitter::new(run.line_bytes), LineSplitter::new(run.line_bytes)],
            tail: Tail::new(run.tail_lines),
            digest: sha2::Sha256::new(),
            bytes: 0,
        })
    }

    /// Writes an entry of the agent's own, outside of the script's budget.
    pub fn log(&mut self, entry: String) {
        self.log.write(entry);
    }

    pub fn take(&mut self, stream: Stream, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let now = since_boot_ms();
        let Self { log, redactor, budget, splitters, tail, digest, .. } = self;
        splitters[stream as usize].push(bytes, |line| {
            let line = redactor.redact(line.into());
            take_line(log, budget, tail, digest, stream, &line, now);
        });
    }

    /// Logs the text that has no newline yet.
    pub fn finish_lines(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(line) = self.splitters[stream as usize].finish() {
                let Self { log, redactor, budget, tail, digest, .. } = self;
                take_line(log, budget, tail, digest, stream, &redactor.redact(line.into()), since_boot_ms());
            }
        }
    }

    /// Logs how many lines are missing, and waits a moment until that is written.
    pub fn settle(&mut self) {
        self.budget.lost(self.log.lost());
        let new = self.budget.newly_dropped();
        if new > 0 {
            self.log(note_entry(&format!("{new} lines were dropped: more output than is logged")));
        }
        self.log.flush(LOG_PATIENCE);
        self.budget.lost(self.log.lost());
    }

    /// The script's result, with its output until now; the times are its start and its end.
    pub fn result(&mut self, outcome: HookOutcome, (started_ms, finished_ms): (u64, u64)) -> HookResult {
        HookResult {
            version: HOOK_DOCUMENT_VERSION,
            outcome,
            started_ms,
            finished_ms,
            tail: self.tail.take(),
            output_bytes: self.bytes,
            dropped_lines: self.budget.dropped(),
            output_digest: Some(Sha256Digest::from_bytes(self.digest.finalize_reset().into())),
        }
    }

    /// Keeps no last lines from now on: no reader will ask for them.
    pub fn forget_tail(&mut self) {
        self.tail = Tail::new(0);
    }
}

fn take_line(
    log: &mut LogWriter,
    budget: &mut OutputBudget,
    tail: &mut Tail,
    digest: &mut sha2::Sha256,
    stream: Stream,
    line: &str,
    now: u64,
) {
    let entry = stream.entry(line);
    tail.push(&entry);
    if !budget.admit(entry.len() + 1, now) {
        return;
    }
    digest.update(entry.as_bytes());
    digest.update(b"\n");
    if !log.write(entry) {
        budget.lost(1);
    }
}
