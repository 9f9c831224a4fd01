//! What is said of the checks while a deployment waits for them: the first failure, and each change of an answer. The
//! same answer again is not said again.

use crate::health::Tracker;

/// The most answers that are said in one wait. Prevents: a check that changes with each answer filling the output.
const MOST_SAID: usize = 20;

/// The answers that were said.
#[derive(Debug, Clone, Default)]
pub struct SaidAnswers {
    /// The failure that was said last, for each check.
    failures: Vec<Option<String>>,
    said: usize,
}

impl SaidAnswers {
    /// What is to be said now, a line for each check whose last answer is not the one that was said. A check that
    /// succeeds is said only after a failure.
    pub fn news(&mut self, trackers: &[Tracker]) -> Vec<String> {
        self.failures.resize(trackers.len(), None);
        let mut lines = Vec::new();
        for (tracker, said) in trackers.iter().zip(&mut self.failures) {
            let Some(failure) = tracker.last_failure() else { continue };
            if failure != said.as_deref() && self.said < MOST_SAID {
                self.said += 1;
                let more = if self.said == MOST_SAID { "; further answers are not shown" } else { "" };
                let answer = failure.unwrap_or("succeeded");
                lines.push(format!("health check of {}: {answer}{more}", tracker.check().probe.target()));
                *said = failure.map(str::to_owned);
            }
        }
        lines
    }
}
