//! A directory of logs, a rotation tool, an agent that dies at any moment, and a service that takes everything.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hostler_core::logs::placeholders::Names;
use hostler_core::logs::settings::{FileSettings, Target};

use crate::log_follow::*;

pub const SECOND: u64 = 1000;

pub struct World {
    directory: tempfile::TempDir,
    pub tail: Option<Tail>,
    pub settings: FileSettings,
    pub limits: Limits,
    pub unsafe_paths: UnsafePaths,
    pub now: u64,
    /// The time of the last change of a file. Two changes have two times, however fast the test is and however coarse
    /// the file system's clock.
    changed: Cell<SystemTime>,
    /// Bodies that the service took.
    pub taken: Vec<String>,
    pub written: usize,
}

impl World {
    pub fn new(pattern: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("logs").join(pattern);
        fs::create_dir_all(directory.path().join("logs")).unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        let settings = FileSettings::new(file.to_str().unwrap(), Target::new("group", "stream"));
        let changed = Cell::new(crate::clock::system_time() - Duration::from_secs(3600));
        Self {
            directory,
            tail: None,
            settings,
            limits: Limits::default(),
            unsafe_paths: UnsafePaths::Refuse,
            now: 1_800_000_000_000,
            changed,
            taken: Vec::new(),
            written: 0,
        }
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    pub fn start(&mut self) {
        let mut tail =
            Tail::open(&self.directory.path().join("state"), Redaction::default(), 1 << 20, &self.limits).unwrap();
        tail.set_unsafe_paths(self.unsafe_paths);
        let source = FileSource::new(&self.settings, Names::default(), &jiff::tz::TimeZone::UTC).unwrap();
        tail.follow(source, self.now);
        self.tail = Some(tail);
    }

    /// The last look's error for a log.
    pub fn error_of(&mut self, name: &str) -> Option<String> {
        let path = self.log(name).display().to_string();
        let report = self.tail().report(0).into_iter().find(|report| report.source == path)?;
        report.last_error
    }

    /// As `kill -9`: the agent writes nothing any more.
    pub fn crash(&mut self) {
        self.tail = None;
    }

    pub fn tail(&mut self) -> &mut Tail {
        self.tail.as_mut().unwrap()
    }

    /// Appends numbered lines.
    pub fn write(&mut self, lines: usize) {
        let mut text = String::new();
        for _ in 0..lines {
            self.written += 1;
            text.push_str(&format!("line {:06}\n", self.written));
        }
        self.write_text("app.log", &text);
    }

    pub fn write_text(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.log(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        self.stamp(&file);
    }

    pub fn stamp(&self, file: &File) {
        self.changed.set(self.changed.get() + Duration::from_millis(1));
        file.set_modified(self.changed.get()).unwrap();
    }

    /// Looks, lets the time for gathering pass, and looks again.
    pub fn gather(&mut self) {
        self.pass(1);
        self.pass(SECOND);
    }

    /// Lets time pass and looks.
    pub fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        let now = self.now;
        self.tail().sweep(now);
    }

    pub fn next(&mut self) -> Option<Outgoing> {
        let now = self.now;
        self.tail().next(now, |_| false)
    }

    pub fn take(&mut self, outgoing: &Outgoing) {
        let mut body = String::new();
        flate2::read::GzDecoder::new(&outgoing.body[..]).read_to_string(&mut body).unwrap();
        self.taken.push(body);
    }

    /// Sends one batch and acknowledges it.
    pub fn deliver_one(&mut self) -> bool {
        let Some(outgoing) = self.next() else { return false };
        self.take(&outgoing);
        let now = self.now;
        self.tail().acknowledge(&outgoing.ticket, now);
        true
    }

    /// Sends everything, until nothing comes for longer than any wait.
    pub fn deliver(&mut self) {
        for _ in 0..8 {
            self.pass(SECOND);
            while self.deliver_one() {}
        }
    }

    pub fn messages(&self) -> Vec<String> {
        self.taken.iter().flat_map(|body| messages(body)).collect()
    }

    /// Checks that every line is there once and in order, except for whole batches that came again unchanged.
    pub fn check(&self, most_repeats: usize) {
        self.checked(most_repeats).unwrap();
    }

    pub fn checked(&self, most_repeats: usize) -> Result<(), String> {
        let mut repeats = 0;
        let mut lines = Vec::new();
        for (at, body) in self.taken.iter().enumerate() {
            if at > 0 && self.taken[at - 1] == *body {
                repeats += 1;
            } else {
                lines.extend(messages(body));
            }
        }
        let wanted: Vec<String> = (1..=self.written).map(|number| format!("line {number:06}")).collect();
        if let Some(at) = (0..wanted.len().max(lines.len())).find(|at| lines.get(*at) != wanted.get(*at)) {
            let around = &lines[at.saturating_sub(2).min(lines.len())..lines.len().min(at + 5)];
            return Err(format!("line {at} of {}: wanted {:?}, got {around:?}", wanted.len(), wanted.get(at)));
        }
        if repeats > most_repeats {
            return Err(format!("{repeats} repeats"));
        }
        Ok(())
    }
}

pub fn messages(body: &str) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let events = body["logEvents"].as_array().unwrap();
    events.iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// A rotation tool's ways to treat `app.log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    Rename,
    RenameOnly,
    RenameAndPack,
    Copytruncate,
    CopytruncateAndPack,
    Dated,
}

pub const ROTATIONS: [Rotation; 6] = [
    Rotation::Rename,
    Rotation::RenameOnly,
    Rotation::RenameAndPack,
    Rotation::Copytruncate,
    Rotation::CopytruncateAndPack,
    Rotation::Dated,
];

impl World {
    pub fn rotate(&self, how: Rotation) {
        let log = self.log("app.log");
        if !log.exists() {
            return;
        }
        for number in (1..9).rev() {
            for ending in ["", ".gz"] {
                let _ = fs::rename(
                    self.log(&format!("app.log.{number}{ending}")),
                    self.log(&format!("app.log.{}{ending}", number + 1)),
                );
            }
        }
        let first = self.log("app.log.1");
        match how {
            Rotation::Rename => {
                fs::rename(&log, &first).unwrap();
                self.create(&log);
            }
            Rotation::RenameOnly => fs::rename(&log, &first).unwrap(),
            Rotation::Dated => {
                let count = fs::read_dir(self.log("")).unwrap().count();
                fs::rename(&log, self.log(&format!("app.log-2026112{count}"))).unwrap();
                self.create(&log);
            }
            Rotation::RenameAndPack => {
                fs::rename(&log, &first).unwrap();
                self.create(&log);
                pack(&first);
            }
            Rotation::Copytruncate | Rotation::CopytruncateAndPack => {
                fs::copy(&log, &first).unwrap();
                self.stamp(&File::open(&first).unwrap());
                let emptied = OpenOptions::new().write(true).open(&log).unwrap();
                emptied.set_len(0).unwrap();
                self.stamp(&emptied);
                if how == Rotation::CopytruncateAndPack {
                    pack(&first);
                }
            }
        }
    }

    pub fn create(&self, path: &Path) {
        self.stamp(&File::create(path).unwrap());
    }
}

/// Packs as gzip does: the time of the last change stays.
pub fn pack(path: &Path) {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let changed = fs::metadata(path).unwrap().modified().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(File::create(&name).unwrap(), flate2::Compression::fast());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap().set_modified(changed).unwrap();
    fs::remove_file(path).unwrap();
}
