//! The result of an Install: the new files are in place, or the old ones are, or it cannot be undone yet.

use crate::codedeploy::diagnostics::Report;
use crate::history::Kind;
use crate::ids::DeploymentId;
use crate::machine::command::CommandStage;
use crate::machine::event::{Effect, InstallReport, Progress, StillOpen, Work, WorkFailure};
use crate::machine::room::MESSAGE_BYTES;
use crate::machine::sequence::next_work;
use crate::machine::state::{Deployment, Group, NotUndone, Purpose, StepStatus};
use crate::text::bounded;

use super::Turn;

impl Turn<'_> {
    pub(super) fn installed(
        &mut self,
        group: &Group,
        deployment: &mut Deployment,
        result: Result<InstallReport, WorkFailure>,
    ) {
        deployment.not_undone = None;
        match result {
            Ok(report) => {
                deployment.installed = true;
                let installed = (deployment.request.purpose != Purpose::Remove)
                    .then(|| deployment.to_installed(self.context.now_ms));
                if let Some(group) = self.state.groups.get_mut(&group.key.id()) {
                    group.installed_before = std::mem::replace(&mut group.installed, installed);
                }
                self.record(Kind::InstallFinished {
                    deployment: deployment.id.clone(),
                    entries: report.entries,
                    entries_digest: report.entries_digest,
                });
                let message = (!report.warnings.is_empty()).then(|| report.warnings.join("\n"));
                self.warn(deployment, report.warnings);
                self.end_step(deployment, StepStatus::Succeeded, message);
            }
            Err(failure) => self.fail(deployment, None, failure, Vec::new()),
        }
    }

    /// Keeps the effect in flight. The CodeDeploy service would wait for long, so the agent reports the event as
    /// failed.
    pub(super) fn not_undone(&mut self, deployment: &mut Deployment, effect: Effect, open: StillOpen) {
        let now = self.context.now_ms;
        let before = deployment.not_undone.take();
        let StillOpen { journal, why, cause } = open;
        let short = |text: String| bounded(&text, MESSAGE_BYTES / 2, "");
        let (why, cause) = (short(why), cause.map(|cause| WorkFailure { message: short(cause.message), ..cause }));
        let mut not_undone = NotUndone {
            journal,
            why,
            cause: cause.or_else(|| before.as_ref().and_then(|before| before.cause.clone())),
            since_ms: before.as_ref().map_or(now, |before| before.since_ms),
            at_ms: now,
            tries: before.as_ref().map_or(1, |before| before.tries.saturating_add(1)),
            waits: true,
            tried_for: before.and_then(|before| before.tried_for),
        };
        let cause = not_undone.cause.as_ref().map_or_else(String::new, |cause| format!("{}; ", cause.message));
        let message = format!("{cause}{not_undone}; {}", not_undone.remedy());
        if self.report_to_service(deployment, &message) && not_undone.cause.is_none() {
            // The service counts the event as failed: the agent does not complete it later.
            not_undone.cause = Some(WorkFailure::other(&not_undone.why));
        }
        self.progress.push(Progress::NotUndone { deployment: deployment.id.clone(), message });
        deployment.in_flight = Some(effect);
        deployment.not_undone = Some(not_undone);
    }

    /// Ends the command that the deployment carries out, if any.
    fn report_to_service(&mut self, deployment: &mut Deployment, message: &str) -> bool {
        let Some(identifier) = deployment.commanded.as_mut().and_then(|c| c.command.take()) else { return false };
        let command = self.state.service.commands.iter_mut().find(|command| command.identifier == identifier);
        if let Some(command) = command {
            command.stage = CommandStage::Ended(Report::failed(message));
        }
        true
    }

    /// Tries due undos again, one after another. Right before an Install of another group it also tries those that are
    /// not due: they might put files where that Install does.
    pub(super) fn undo_again_if_due(&mut self) {
        if self.is_exclusive_going_on() {
            return;
        }
        let before = self.next_install();
        let now = self.context.now_ms;
        let waiting = self.state.groups.values_mut().filter_map(|group| group.active.as_mut());
        for deployment in waiting {
            let due = deployment.waits_to_be_undone().is_some_and(|not_undone| {
                let another = before.as_ref().is_some_and(|id| not_undone.tried_for.as_ref() != Some(id));
                // A clock that was set back does not delay it.
                another || not_undone.next_try_ms() <= now || not_undone.at_ms > now
            });
            if let (true, Some(not_undone), Some(effect)) = (due, &mut deployment.not_undone, &deployment.in_flight) {
                not_undone.waits = false;
                not_undone.tried_for = before.or_else(|| not_undone.tried_for.take());
                self.effects.push(effect.clone());
                return;
            }
        }
    }

    /// The deployment whose Install would begin now.
    fn next_install(&self) -> Option<DeploymentId> {
        let mut ready = self.state.all_active().filter(|(_, deployment)| deployment.in_flight.is_none());
        let next = ready.find(|(group, deployment)| {
            next_work(group, deployment, self.is_withdrawn(deployment)) == Some(Work::Install)
        });
        next.map(|(_, deployment)| deployment.id.clone())
    }
}
