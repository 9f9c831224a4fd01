//! How far everything is.

use std::collections::BTreeMap;

use hostler_core::logs::lag::{LogsSummary, SourceReport, Totals};

use super::Tail;
use super::tracked_file::{FileState, TrackedFile};

impl Tail {
    /// Every followed file and journal, without finished ones.
    pub fn report(&self, now_ms: u64) -> Vec<SourceReport> {
        let files = self.files.values().filter(|file| file.place != FileState::Finished);
        let mut reports: Vec<SourceReport> = files.map(|file| self.of_file(file, now_ms)).collect();
        let mut refused: BTreeMap<&str, &SourceReport> =
            self.errors.refused().map(|report| (report.source.as_str(), report)).collect();
        // A file that was followed before has its own entry, with the present error.
        for report in reports.iter_mut().filter(|report| !report.rotated) {
            if let Some(refused) = refused.remove(report.source.as_str()) {
                report.last_error.clone_from(&refused.last_error);
            }
        }
        reports.extend(refused.into_values().cloned());
        reports.extend(self.journals.values().map(|journal| {
            let mut report = self.of_stream(&journal.stream);
            report.source = journal.describe();
            report.position = journal.cursor().to_owned();
            report.lag_seconds = journal.oldest_ms().map_or(0, |oldest| now_ms.saturating_sub(oldest) / 1000);
            report
        }));
        reports
    }

    /// A short summary of all files and journals.
    pub fn summary(&self, totals: Totals) -> LogsSummary {
        let not_shipped = self.errors.refused().count() as u64;
        let mut summary = LogsSummary { totals, not_shipped, ..LogsSummary::default() };
        for file in self.files.values().filter(|file| file.place != FileState::Finished) {
            summary.sources += 1;
            summary.lag_bytes += file.unread();
            summary.waiting_since_ms = [summary.waiting_since_ms, file.waiting_since].into_iter().flatten().min();
        }
        for journal in self.journals.values() {
            summary.sources += 1;
            summary.waiting_since_ms = [summary.waiting_since_ms, journal.oldest_ms()].into_iter().flatten().min();
        }
        summary
    }

    fn of_file(&self, file: &TrackedFile, now_ms: u64) -> SourceReport {
        let mut report = self.of_stream(&file.stream);
        report.source = file.path.display().to_string();
        report.position = file.position.offset.to_string();
        report.lag_bytes = file.unread();
        report.lag_seconds = file.waiting_since.map_or(0, |since| now_ms.saturating_sub(since) / 1000);
        report.rotated = file.place != FileState::Current;
        report
    }

    fn of_stream(&self, key: &str) -> SourceReport {
        let name = self.streams.get(key).map(|stream| &stream.name);
        SourceReport {
            log_group: name.map(|name| name.group.clone()).unwrap_or_default(),
            log_stream: name.map(|name| name.stream.clone()).unwrap_or_default(),
            last_error: self.errors.of_streams.get(key).cloned(),
            ..SourceReport::default()
        }
    }
}
