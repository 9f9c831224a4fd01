//! One check over time: its answers counted against the thresholds.

use std::collections::VecDeque;

use crate::health::Check;
use crate::health::{CheckReport, Colour};

/// Answers that a cause counts.
const WINDOW: usize = 5;

/// The verdict of the answers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Too few answers.
    Pending,
    /// Enough successes in a row, and not enough failures in a row since.
    Healthy,
    /// Enough failures in a row, and not enough successes in a row since.
    Unhealthy,
}

/// One check and its results. Times are milliseconds of one clock that does not go back.
#[derive(Debug, Clone)]
pub struct Tracker {
    check: Check,
    began_ms: u64,
    verdict: Verdict,
    /// The last answers, newest last; for a failure, the reason.
    recent: VecDeque<Option<String>>,
    in_row: u64,
    colour: Colour,
    since_ms: u64,
}

impl Tracker {
    /// A check without answers. The grace and the deadline begin now.
    pub fn new(check: Check, now_ms: u64) -> Self {
        let recent = VecDeque::with_capacity(WINDOW);
        let (verdict, colour) = (Verdict::Pending, Colour::Grey);
        Self { check, began_ms: now_ms, verdict, recent, in_row: 0, colour, since_ms: now_ms }
    }

    /// A check that was healthy a moment ago, so that no grace covers its failures.
    pub fn healthy(check: Check, now_ms: u64) -> Self {
        Self { verdict: Verdict::Healthy, colour: Colour::Green, ..Self::new(check, now_ms) }
    }

    /// The check.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// The verdict of the answers so far.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Counts one answer; an error is a short description of the failure.
    pub fn observe(&mut self, answer: Result<(), String>, now_ms: u64) {
        let failed = answer.err();
        let same = self.recent.back().is_some_and(|last| last.is_some() == failed.is_some());
        self.in_row = if same { self.in_row.saturating_add(1) } else { 1 };
        let failing = failed.is_some();
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(failed);
        if failing {
            if self.in_row >= self.check.failures && !(self.verdict == Verdict::Pending && self.in_grace(now_ms)) {
                self.verdict = Verdict::Unhealthy;
            }
        } else if self.in_row >= self.check.successes {
            self.verdict = Verdict::Healthy;
        }
        let colour = self.colour_now();
        if colour != self.colour {
            (self.colour, self.since_ms) = (colour, now_ms);
        }
    }

    fn in_grace(&self, now_ms: u64) -> bool {
        now_ms < self.began_ms.saturating_add(self.check.grace_seconds.saturating_mul(1000))
    }

    /// Whether it should have become healthy by now.
    pub fn is_late(&self, now_ms: u64) -> bool {
        now_ms >= self.began_ms.saturating_add(self.check.deadline_seconds.saturating_mul(1000))
    }

    fn colour_now(&self) -> Colour {
        match self.verdict {
            Verdict::Pending => Colour::Grey,
            Verdict::Unhealthy => Colour::Red,
            Verdict::Healthy if self.recent.iter().any(Option::is_some) => Colour::Yellow,
            Verdict::Healthy => Colour::Green,
        }
    }

    /// The failures in words, as Elastic Beanstalk's enhanced health reporting writes them; `None` when none of the
    /// last answers was a failure.
    pub fn cause(&self) -> Option<String> {
        let failed = self.recent.iter().flatten().count();
        let last = self.recent.iter().rev().flatten().next()?;
        Some(format!("{failed} of {} checks of {} failed: {last}", self.recent.len(), self.check.probe.target()))
    }

    /// The failure that the last answer was; `None` without an answer, `Some(None)` if it succeeded.
    pub fn last_failure(&self) -> Option<Option<&str>> {
        self.recent.back().map(Option::as_deref)
    }

    /// The report of this check.
    pub fn report(&self) -> CheckReport {
        let name = self.check.name.clone();
        CheckReport { name, colour: self.colour, since_ms: self.since_ms, cause: self.cause() }
    }
}
