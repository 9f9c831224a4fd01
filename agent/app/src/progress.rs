//! Live progress: one line for each lifecycle event, the last lines of a failing hook, and the outcome. On a terminal, the
//! line of the event that runs is rewritten: its script, or the bytes of the download, and how long it has run.

use std::fmt::Write as _;

use hostler_core::codes::ExitCode;
use hostler_core::event_order::LifecycleEvent;
use hostler_core::history::DeploymentPurpose;
use hostler_core::hook::output::shown_entry;
use hostler_core::ids::DeploymentId;
use hostler_core::machine::event::FailureKind;
use hostler_core::machine::state::{Failure as DeploymentFailure, Outcome, StepStatus};
use hostler_core::machine::{Moment, Progress};

use crate::failure::Failure;
use crate::log_output::deployments_are_not_shown;
use crate::output;
use crate::terminal::{BAD, CAUTION, GOOD, LiveLine, Paint, REFRESH, is_quiet, stdout_waits};

/// Shows a deployment, and the rollback that follows it, to the caller who waits for its end.
#[derive(Debug)]
pub struct Printer {
    json: bool,
    /// The line of the event that runs, on a terminal, and what goes on in it.
    live: Option<LiveLine>,
    moment: Moment,
    /// The deployment takes the group's files away.
    removes: bool,
    /// Lines that standard output did not take yet, such as a terminal that its user stopped (^S): the deployment goes
    /// on in this thread, and must not wait for it. They are few: some for each event.
    held: Vec<Held>,
    /// The deployment to wait for; its rollback replaces it.
    waiting: DeploymentId,
    code: Option<ExitCode>,
}

/// A line, and how it is painted.
type Held = (String, &'static [Paint<'static>]);

impl Printer {
    /// A printer for one deployment.
    pub fn new(json: bool, deployment: DeploymentId) -> Self {
        let moment = Moment::default();
        Self { json, live: None, moment, removes: false, held: Vec::new(), waiting: deployment, code: None }
    }

    /// The deployment that is shown.
    pub fn waiting(&self) -> &DeploymentId {
        &self.waiting
    }

    /// Takes what goes on in the event that runs, for the next [`Self::refresh`].
    pub fn goes_on(&mut self, moment: Moment) {
        self.moment = moment;
    }

    /// Waits until the line of the event that runs is to be written again; forever without such a line.
    pub async fn refresh_due(&self) {
        match self.live {
            Some(_) => tokio::time::sleep(REFRESH).await,
            None => std::future::pending().await,
        }
    }

    /// Writes the line of the event that runs again.
    pub fn refresh(&mut self) {
        if let Some(live) = &mut self.live {
            live.show(&self.moment);
        }
    }

    /// Shows one progress message; returns the exit code once everything has ended.
    ///
    /// # Errors
    /// When standard output is full. A reader that went away only ends the display: the exit code is still the
    /// deployment's.
    pub fn show(&mut self, progress: &Progress) -> Result<Option<ExitCode>, Failure> {
        if progress.deployment() != &self.waiting {
            return Ok(None);
        }
        match self.print(progress) {
            Err(closed) if closed.is_output_closed() => deployments_are_not_shown(),
            printed => printed?,
        }
        if matches!(progress, Progress::NotUndone { .. }) {
            return Ok(Some(*self.code.get_or_insert(ExitCode::Failed)));
        }
        let Progress::Finished { outcome, failure, rollback, .. } = progress else { return Ok(None) };
        // The first deployment's outcome counts: a successful rollback does not change it.
        let code = *self.code.get_or_insert(exit_code(*outcome, failure.as_ref()));
        match rollback {
            Some(next) => self.waiting = next.clone(),
            None => return Ok(Some(code)),
        }
        Ok(None)
    }

    fn print(&mut self, progress: &Progress) -> Result<(), Failure> {
        if let Progress::Started { purpose, .. } = progress {
            self.removes = *purpose == DeploymentPurpose::Removal;
        }
        match progress {
            _ if self.json => output::json(progress),
            _ if is_quiet() => {
                print_failure(progress);
                Ok(())
            }
            Progress::EventStarted { event, .. } => {
                self.moment = Moment::default();
                if self.held.is_empty() && !stdout_waits() {
                    self.live = LiveLine::on_stdout(&format!("  {:<20} ", event_text(event, self.removes)));
                }
                Ok(())
            }
            _ => {
                self.held.push((line(progress, self.removes), paints(progress)));
                if stdout_waits() { Ok(()) } else { print_held(self.live.take(), std::mem::take(&mut self.held)) }
            }
        }
    }

    /// Prints what standard output has not taken yet, and waits for it; whatever else goes on in this thread goes on.
    ///
    /// # Errors
    /// When standard output is full.
    pub async fn finish(&mut self) -> Result<(), Failure> {
        let (live, held) = (self.live.take(), std::mem::take(&mut self.held));
        if held.is_empty() {
            return Ok(());
        }
        match tokio::task::spawn_blocking(move || print_held(live, held)).await {
            Ok(Err(closed)) if closed.is_output_closed() => Ok(()),
            Ok(printed) => printed,
            Err(panicked) => Err(anyhow::Error::new(panicked).into()),
        }
    }
}

/// Takes the line of the event off the terminal and prints what comes in its place.
fn print_held(live: Option<LiveLine>, held: Vec<Held>) -> Result<(), Failure> {
    drop(live);
    held.into_iter().try_for_each(|(line, paints)| output::painted(&line, paints))
}

/// What is printed of a deployment for a user who wants only errors.
fn print_failure(progress: &Progress) {
    let failure = match progress {
        Progress::Finished { deployment, failure: Some(failure), .. } => {
            format!("{deployment} failed in {}: {}", failure.event, failure.message)
        }
        Progress::NotUndone { deployment, message } => format!("{deployment} has not ended: {message}"),
        _ => return,
    };
    Failure::say(ExitCode::Failed, failure).print();
}

/// The words of a line that stand out on a terminal.
fn paints(progress: &Progress) -> &'static [Paint<'static>] {
    match progress {
        Progress::EventFinished { status: StepStatus::Failed, .. } => &[(" failed ", BAD)],
        Progress::EventFinished { status: StepStatus::Ignored, .. } => &[(" ignored ", CAUTION)],
        Progress::EventFinished { status: StepStatus::Succeeded, .. } => &[(" succeeded ", GOOD)],
        Progress::Finished { .. } | Progress::NotUndone { .. } => {
            &[(" succeeded ", GOOD), (" failed ", BAD), (" failed:", BAD), ("no rollback follows", BAD)]
        }
        Progress::Warning { .. } => &[("warning:", CAUTION)],
        Progress::EventFinished { .. } | Progress::EventStarted { .. } | Progress::Started { .. } => &[],
    }
}

/// What happens in an event, for people: a removal downloads and installs nothing.
pub fn event_text(event: &LifecycleEvent, removes: bool) -> &str {
    match event {
        LifecycleEvent::DownloadBundle if removes => "check",
        LifecycleEvent::Install if removes => "removal of files",
        event => event.name(),
    }
}

fn line(progress: &Progress, removes: bool) -> String {
    match progress {
        Progress::Started { deployment, group, revision, asked_by, purpose, returns_to, .. } => {
            let what = purpose.noun();
            let to = returns_to.as_ref().map_or_else(String::new, |to| format!(" to the revision of {to}"));
            format!("{what} {deployment} of {group}{to}: {} ({asked_by})\n", revision.name_and_place())
        }
        Progress::EventStarted { .. } => String::new(),
        Progress::EventFinished { event, status, milliseconds, .. } => {
            let event = event_text(event, removes);
            format!("  {event:<20} {:<9} {:>8}\n", status.word(), seconds(*milliseconds))
        }
        Progress::NotUndone { deployment, message } => {
            format!("  Install failed: {}\n{deployment} has not ended\n", indent(message))
        }
        Progress::Warning { message, .. } => format!("  warning: {}\n", indent(message)),
        Progress::Finished { deployment, outcome, failure, milliseconds, rollback } => {
            let word = if *outcome == Outcome::Succeeded { "succeeded" } else { "failed" };
            let mut text = failure.as_ref().map_or_else(String::new, failure_text);
            let _ = writeln!(text, "{deployment} {word} after {}", seconds(*milliseconds));
            match (rollback, failure) {
                (Some(next), _) => _ = writeln!(text, "returning to the last good revision ({next})"),
                (None, Some(failure)) if is_final(failure) => {
                    text.push_str("no rollback follows: the host stays as it is\n");
                }
                (None, _) => {}
            }
            text
        }
    }
}

/// Whether the failure left something behind that nothing mends by itself.
fn is_final(failure: &DeploymentFailure) -> bool {
    // A failed check touched nothing, and a rollback without space is tried again.
    failure.event != LifecycleEvent::DownloadBundle && failure.kind != FailureKind::NoSpace
}

fn exit_code(outcome: Outcome, failure: Option<&DeploymentFailure>) -> ExitCode {
    match (outcome, failure) {
        (Outcome::Succeeded, _) => ExitCode::Ok,
        (Outcome::Failed, failure) => match failure.map(|failure| failure.kind) {
            Some(FailureKind::Verification) => ExitCode::VerificationFailed,
            Some(FailureKind::Absent) => ExitCode::NotFound,
            Some(FailureKind::NoSpace | FailureKind::Other) | None => ExitCode::Failed,
        },
    }
}

/// What failed and the last lines of output, indented.
pub fn failure_text(failure: &DeploymentFailure) -> String {
    let mut text = format!("  {} failed: {}\n", failure.event, indent(&failure.message));
    for line in &failure.tail {
        let _ = writeln!(text, "    | {}", shown_entry(line));
    }
    text
}

/// Milliseconds as seconds, with a readable number of digits.
pub fn seconds(milliseconds: u64) -> String {
    format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
}

fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_says_what_it_does_in_the_events_of_a_deployment() {
        let shown = |event, removes| {
            let (deployment, status) = ("d-1".parse().unwrap(), StepStatus::Succeeded);
            line(&Progress::EventFinished { deployment, event, status, milliseconds: 20 }, removes)
        };
        assert_eq!(shown(LifecycleEvent::Install, true), "  removal of files     succeeded   0.02 s\n");
        assert_eq!(shown(LifecycleEvent::DownloadBundle, true), "  check                succeeded   0.02 s\n");
        assert_eq!(shown(LifecycleEvent::ApplicationStop, true), "  ApplicationStop      succeeded   0.02 s\n");
        assert_eq!(shown(LifecycleEvent::Install, false), "  Install              succeeded   0.02 s\n");
    }
}
