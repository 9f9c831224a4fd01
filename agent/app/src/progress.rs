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
use hostler_core::machine::{Moment, NoRollback, Progress};

use tokio::time::{Duration, Instant};

use crate::failure::Failure;
use crate::log_output::deployments_are_not_shown;
use crate::output;
use crate::terminal::{self, BAD, CAUTION, GOOD, LiveLine, Paint, REFRESH, is_quiet, stdout_waits};

/// Shows a deployment, and the rollback that follows it, to the caller who waits for its end.
#[derive(Debug)]
pub struct Printer {
    json: bool,
    /// The line of the event that runs, on a terminal, and what goes on in it.
    live: Option<LiveLine>,
    moment: Moment,
    /// The event that runs, where no line is rewritten.
    running: Option<Running>,
    /// The deployment takes the group's files away.
    removes: bool,
    /// Lines that standard output did not take yet, such as a terminal that its user stopped (^S): the deployment goes
    /// on in this thread, and must not wait for it. They are few: some for each event.
    held: Vec<Held>,
    /// The deployment to wait for; its rollback replaces it.
    waiting: DeploymentId,
    code: Option<ExitCode>,
}

/// After how long without a line an event is said to go on; then each time after as long as it has run.
const FIRST_LINE: Duration = Duration::from_secs(15);

/// An event that runs, for output that is no terminal: a log of a build job should not stand still for minutes.
#[derive(Debug)]
struct Running {
    event: LifecycleEvent,
    began: Instant,
    /// When the next line is due.
    due: Instant,
}

impl Running {
    fn new(event: LifecycleEvent) -> Self {
        let began = Instant::now();
        Self { event, began, due: began + FIRST_LINE }
    }

    /// The line that is due, if one is. The next one is due when the event has run twice as long.
    fn line(&mut self, moment: &Moment) -> Option<String> {
        let (now, lasts) = (Instant::now(), self.began.elapsed());
        if now < self.due {
            return None;
        }
        self.due = now + lasts;
        let what = match (&moment.script, self.event) {
            (Some(script), _) => format!("  {script}"),
            (None, LifecycleEvent::ValidateService) => "  waits for its scripts and health checks".to_owned(),
            (None, _) => String::new(),
        };
        Some(format!("  {:<20} {:<9} {:>6} s{what}\n", self.event.name(), "goes on", lasts.as_secs()))
    }
}

/// A line, and how it is painted.
type Held = (String, &'static [Paint<'static>]);

impl Printer {
    /// A printer for one deployment.
    pub fn new(json: bool, deployment: DeploymentId) -> Self {
        Self {
            json,
            live: None,
            moment: Moment::default(),
            running: None,
            removes: false,
            held: Vec::new(),
            waiting: deployment,
            code: None,
        }
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
        match (&self.live, &self.running) {
            (Some(_), _) => tokio::time::sleep(REFRESH).await,
            (None, Some(running)) => tokio::time::sleep_until(running.due).await,
            (None, None) => std::future::pending().await,
        }
    }

    /// Writes the line of the event that runs again, or one more where lines are not rewritten.
    pub fn refresh(&mut self) {
        if let Some(live) = &mut self.live {
            return live.show(&self.moment);
        }
        let line = self.running.as_mut().and_then(|running| running.line(&self.moment));
        if let Some(line) = line.filter(|_| self.held.is_empty() && !stdout_waits()) {
            // The line of the event's end meets the same error, and reports it.
            let _ = output::painted(&line, &[]);
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
                print_failure(progress, self.code.is_some());
                Ok(())
            }
            Progress::EventStarted { event, .. } => {
                self.moment = Moment::default();
                self.running = Some(Running::new(*event));
                if self.held.is_empty() && !stdout_waits() {
                    self.live = LiveLine::on_stdout(&format!("  {:<20} ", event_text(event, self.removes)));
                }
                Ok(())
            }
            _ => {
                self.running = self.running.take().filter(|_| goes_on(progress));
                self.held.push((line(progress, self.code.is_some(), self.removes), paints(progress)));
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

/// What is printed of a deployment for a user who wants only errors. `follows` says that it is the rollback after a failure.
fn print_failure(progress: &Progress, follows: bool) {
    let (failure, end) = match progress {
        Progress::Finished { deployment, failure: Some(failure), .. } => {
            (format!("{deployment} failed in {}: {}", failure.event, failure.message), end_text(progress, follows))
        }
        Progress::Finished { deployment, failure: None, .. } if follows => {
            // It belongs to the error, whose remedy it is.
            terminal::painted_to_stderr(&format!("{deployment} succeeded\n{}", end_text(progress, follows)), &[]);
            return;
        }
        Progress::NotUndone { deployment, message } => {
            (format!("{deployment} has not ended: {message}"), String::new())
        }
        _ => return,
    };
    Failure::say(ExitCode::Failed, failure).print();
    terminal::painted_to_stderr(&end, &[]);
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
        Progress::EventFinished { .. }
        | Progress::EventStarted { .. }
        | Progress::HealthCheck { .. }
        | Progress::Started { .. } => &[],
    }
}

/// Whether the event that runs goes on after this progress.
fn goes_on(progress: &Progress) -> bool {
    matches!(progress, Progress::Warning { .. } | Progress::HealthCheck { .. })
}

/// What happens in an event, for people: a removal downloads and installs nothing.
pub fn event_text(event: &LifecycleEvent, removes: bool) -> &str {
    match event {
        LifecycleEvent::DownloadBundle if removes => "check",
        LifecycleEvent::Install if removes => "removal of files",
        event => event.name(),
    }
}

/// The lines of a progress. `follows` says that it is of the rollback after a failure, `removes` that the files are taken away.
fn line(progress: &Progress, follows: bool, removes: bool) -> String {
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
        Progress::HealthCheck { message, .. } => format!("  {}\n", indent(message)),
        Progress::Finished { deployment, outcome, failure, milliseconds, .. } => {
            let word = if *outcome == Outcome::Succeeded { "succeeded" } else { "failed" };
            let mut text = failure.as_ref().map_or_else(String::new, failure_text);
            let _ = writeln!(text, "{deployment} {word} after {}", seconds(*milliseconds));
            text.push_str(&end_text(progress, follows));
            text
        }
    }
}

/// What follows the end of a deployment, and which revision is on the host, where that is not the one that was deployed.
fn end_text(progress: &Progress, follows: bool) -> String {
    let Progress::Finished { failure, rollback, no_rollback, installed, .. } = progress else { return String::new() };
    let installed = installed.as_deref();
    let there =
        installed.map_or_else(|| "nothing of the group is installed".to_owned(), |name| format!("{name} is installed"));
    match (failure, rollback, no_rollback) {
        (None, ..) if follows => format!("{there} again\n"),
        (None, ..) => String::new(),
        (Some(_), Some(next), _) => format!("returning to the last good revision ({next})\n"),
        // Daemons of earlier versions say neither.
        (Some(failure), None, None) if is_final(failure) => "no rollback follows: the host stays as it is\n".to_owned(),
        (Some(_), None, None) => String::new(),
        (Some(_), None, Some(NoRollback::NothingTouched)) => match installed {
            Some(_) => format!("nothing was touched: {there} as before\n"),
            None => format!("nothing was touched: {there}\n"),
        },
        (Some(failure), None, Some(_)) if !is_final(failure) => format!("{there}\n"),
        (Some(_), None, Some(why)) => {
            format!("no rollback follows: {}. The host stays as it is: {there}\n", why.because())
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
mod tests;
