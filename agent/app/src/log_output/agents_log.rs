//! The CodeDeploy agent's own log, at its path and in its format, for users and tools that read or ship it
//! (docs/protocols/codedeploy.md#processes): a file a day, seven older ones.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hostler_host::codedeploy_agent::files;
use jiff::Zoned;
use jiff::civil::Date;
use log::Level;

/// The number of older files that are kept.
const KEPT: usize = 7;

/// A program's log below `log_dir`.
pub struct AgentsLog {
    directory: PathBuf,
    program: String,
    file: File,
    day: Date,
}

impl AgentsLog {
    /// Opens the log of a program. The CodeDeploy agent's earlier lines stay in it, or in a file beside it if they are
    /// of another day.
    pub fn open(directory: &Path, program: &str, now: &Zoned) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(format!("{program}.log"));
        let day = day_of(&path, now).unwrap_or(now.date());
        let mut log = Self { directory: directory.to_owned(), program: program.to_owned(), file: append(&path)?, day };
        log.begin_another_day(now)?;
        Ok(log)
    }

    /// Writes a record. A failed write is dropped: logging must not fail the work.
    pub fn write(&mut self, level: Level, text: &str, now: &Zoned) {
        // If the new file cannot be made, the old one is continued.
        let _ = self.begin_another_day(now);
        let line = line(&self.program, level, text, now);
        let _ = self.file.write_all(line.as_bytes());
    }

    fn begin_another_day(&mut self, now: &Zoned) -> io::Result<()> {
        if now.date() == self.day {
            return Ok(());
        }
        let path = self.directory.join(format!("{}.log", self.program));
        let older = self.directory.join(format!("{}.{}.log", self.program, self.day.strftime("%Y%m%d")));
        // Another process of this program may have changed the day already.
        if older.symlink_metadata().is_err() {
            fs::rename(&path, older)?;
        }
        self.file = append(&path)?;
        self.day = now.date();
        self.delete_the_oldest()
    }

    fn delete_the_oldest(&self) -> io::Result<()> {
        let of_a_day = |name: &str| {
            let day = name.strip_prefix(&self.program)?.strip_prefix('.')?.strip_suffix(".log")?;
            (day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit())).then(|| name.to_owned())
        };
        let entries = fs::read_dir(&self.directory)?.filter_map(Result::ok);
        let mut older: Vec<String> = entries.filter_map(|entry| of_a_day(entry.file_name().to_str()?)).collect();
        older.sort();
        let surplus = older.len().saturating_sub(KEPT);
        older.iter().take(surplus).try_for_each(|name| fs::remove_file(self.directory.join(name)))
    }
}

/// The day on which a file was last written, in the zone of `now`.
fn day_of(path: &Path, now: &Zoned) -> Option<Date> {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    let timestamp = jiff::Timestamp::try_from(modified).ok()?;
    Some(timestamp.to_zoned(now.time_zone().clone()).date())
}

fn append(path: &Path) -> io::Result<File> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    files::append(path, 0o644).map_err(named)
}

/// A line as the CodeDeploy agent writes it.
fn line(program: &str, level: Level, text: &str, now: &Zoned) -> String {
    let time = now.strftime("%Y-%m-%dT%H:%M:%S");
    format!("{time} {:<5} [{program}({})]: {}\n", level.as_str(), std::process::id(), text.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn a_line_is_the_codedeploy_agents() {
        let now = at("2026-01-02T03:04:05+01:00[+01:00]");
        let line = line("codedeploy-agent", Level::Info, "one\ntwo", &now);
        assert_eq!(line, format!("2026-01-02T03:04:05 INFO  [codedeploy-agent({})]: one two\n", std::process::id()));
    }

    #[test]
    fn each_day_has_its_file_and_seven_older_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let write = |log: &mut AgentsLog, now: &Zoned| log.write(Level::Warn, "said", now);
        let old = directory.path().join("codedeploy-agent.log");
        fs::write(&old, "by the CodeDeploy agent\n").unwrap();
        let first = at("2026-01-01T12:00:00+00:00[UTC]");
        File::open(&old).unwrap().set_modified(first.timestamp().into()).unwrap();
        let mut log = AgentsLog::open(directory.path(), "codedeploy-agent", &first).unwrap();
        write(&mut log, &first);
        assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 2, "it goes on in the same file");
        fs::write(directory.path().join("codedeploy-agent.own.log"), "").unwrap();
        for day in 2..=12 {
            write(&mut log, &at(&format!("2026-01-{day:02}T00:00:01+00:00[UTC]")));
        }
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let older = (5..=11).map(|day| format!("codedeploy-agent.202601{day:02}.log"));
        let mut expected: Vec<String> = older.collect();
        expected.extend(["codedeploy-agent.log".to_owned(), "codedeploy-agent.own.log".to_owned()]);
        assert_eq!(names, expected);
        drop(log);
        // The start puts aside the log of an earlier day.
        let later = at("2030-01-01T00:00:00+00:00[UTC]");
        AgentsLog::open(directory.path(), "codedeploy-agent", &later).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "");
    }
}
