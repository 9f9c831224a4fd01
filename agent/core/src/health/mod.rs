//! Whether the installed application is healthy. Input: answers of probes. Output: a verdict, a colour and causes in
//! words.

mod answers;
pub mod replacement;
mod tracker;

use serde::{Deserialize, Serialize};

pub use answers::SaidAnswers;
pub use hostler_documents::health_check::{Check, HttpProbe, Probe, ProcessProbe};
pub use tracker::{Tracker, Verdict};

/// Health in one word, as Elastic Beanstalk's colours have it
/// (<https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/health-enhanced-status.html>), from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// Every check is healthy and none failed lately.
    Green,
    /// Too little is known yet.
    Grey,
    /// Healthy, but a check failed lately.
    Yellow,
    /// A check is unhealthy.
    Red,
}

impl Colour {
    /// The word for users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Grey => "grey",
            Self::Yellow => "yellow",
            Self::Red => "RED",
        }
    }
}

/// The report of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub colour: Colour,
    /// Since when it has this colour, milliseconds since 1970.
    pub since_ms: u64,
    /// The recent failure.
    pub cause: Option<String>,
}

/// A group's health report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The worst of the checks' colours.
    pub colour: Colour,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
    /// The failures, one sentence each.
    pub causes: Vec<String>,
    /// The checks.
    pub checks: Vec<CheckReport>,
}

impl HealthReport {
    /// The report of a group's checks; `None` for a group without any.
    pub fn new(trackers: &[Tracker]) -> Option<Self> {
        let checks: Vec<CheckReport> = trackers.iter().map(Tracker::report).collect();
        let colour = checks.iter().map(|check| check.colour).max()?;
        // The group's colour is as old as that of the first check that has it.
        let since_ms = checks.iter().filter(|check| check.colour == colour).map(|check| check.since_ms).min()?;
        let causes = checks.iter().filter_map(|check| check.cause.clone()).collect();
        Some(Self { colour, since_ms, causes, checks })
    }

    /// Whether traffic may be sent to this host: every check is healthy.
    pub fn is_healthy(&self) -> bool {
        matches!(self.colour, Colour::Green | Colour::Yellow)
    }
}

/// Whether a deployment may continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Ask again after the next answer.
    Waiting,
    /// It may continue.
    Passed,
    /// It must not, for this reason.
    Failed(String),
}

/// ValidateService: every check has to become healthy before its deadline.
pub fn validate(trackers: &[Tracker], now_ms: u64) -> Gate {
    let late = |t: &&Tracker| t.verdict() == Verdict::Pending && t.is_late(now_ms);
    if let Some(unhealthy) = unhealthy(trackers) {
        return Gate::Failed(unhealthy);
    }
    if let Some(tracker) = trackers.iter().find(late) {
        return Gate::Failed(format!(
            "not healthy within {} s: {}",
            tracker.check().deadline_seconds,
            late_words(tracker)
        ));
    }
    let healthy = trackers.iter().all(|t| t.verdict() == Verdict::Healthy);
    if healthy { Gate::Passed } else { Gate::Waiting }
}

/// Why a check is not healthy at its deadline: its last answer, where that was a failure.
fn late_words(tracker: &Tracker) -> String {
    let target = tracker.check().probe.target();
    match (tracker.last_failure().flatten(), tracker.cause()) {
        (Some(failure), _) => format!("last answer of {target}: {failure}"),
        (None, Some(cause)) => format!("{cause}, and not enough answers in a row succeeded since"),
        (None, None) => format!("{} has not answered enough", tracker.check().name),
    }
}

/// The bake time: no check may become unhealthy until it is over.
pub fn bake(trackers: &[Tracker], over_ms: u64, now_ms: u64) -> Gate {
    match unhealthy(trackers) {
        Some(cause) => Gate::Failed(format!("unhealthy in the bake time: {cause}")),
        None if now_ms >= over_ms => Gate::Passed,
        None => Gate::Waiting,
    }
}

fn unhealthy(trackers: &[Tracker]) -> Option<String> {
    let unhealthy = trackers.iter().filter(|t| t.verdict() == Verdict::Unhealthy);
    let causes: Vec<String> = unhealthy.filter_map(Tracker::cause).collect();
    (!causes.is_empty()).then(|| causes.join("; "))
}

#[cfg(test)]
mod tests;
