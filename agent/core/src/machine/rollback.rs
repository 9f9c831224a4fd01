//! Which revision a group returns to, how much of a deployment a rollback undoes (docs/development/design.md#rollback),
//! and how a group is removed.

mod target;

use crate::event_order::LifecycleEvent;
use crate::ids::DeploymentId;
use crate::machine::event::{FailureKind, Refusal};
use crate::machine::progress::NoRollback;
use crate::machine::refusal::KeptRevision;
use crate::machine::retention::{Kept, kept};
use crate::machine::state::{
    Content, Deployment, Group, Installed, Outcome, Policy, Purpose, Request, RollbackExtent, RollsBack, Source,
    StepStatus, add_new, content_of, installed_content, is_same,
};

pub use target::{is_left, last_installed_ms};

/// The automatic rollback after a failed deployment.
///
/// # Errors
/// Why none follows.
pub fn after_failure(group: &Group, failed: &Deployment, event: LifecycleEvent) -> Result<Request, NoRollback> {
    if !failed.request.purpose.brings_new_revision() {
        return Err(NoRollback::NoNewRevision);
    }
    if !failed.installed && !failed.has_touched_the_host() {
        return Err(NoRollback::NothingTouched);
    }
    if !failed.request.policy.rollback.covers(event) {
        return Err(NoRollback::TurnedOff);
    }
    let good = group.last_good.as_ref().ok_or(NoRollback::NoGoodRevision)?;
    let extent = extent(group, failed, good).ok_or(NoRollback::FailedBefore)?;
    let policy = Policy { ignore_application_stop_failures: true, ..failed.request.policy.clone() };
    let purpose = Purpose::RollBack(RollsBack { deployment: failed.id.clone(), extent });
    Ok(request(group, good, purpose, format!("failure of {}", failed.id), policy))
}

fn extent(group: &Group, failed: &Deployment, good: &Installed) -> Option<RollbackExtent> {
    if failed.installed {
        let started = failed.began(LifecycleEvent::ApplicationStart);
        return Some(if started { RollbackExtent::StopAndReinstall } else { RollbackExtent::Reinstall });
    }
    let good_is_in_place = group.installed.as_ref().is_some_and(|i| i.archive == good.archive);
    (failed.has_touched_the_host() && good_is_in_place).then_some(RollbackExtent::Restart)
}

/// Least and most milliseconds between two tries of a rollback that has no space. In between, the wait is as long as
/// the agent has been trying.
const AGAIN_MS: std::ops::RangeInclusive<u64> = 15_000..=600_000;

/// The index, among the ended deployments, of the group's rollback that waits for space: the last one that touched the
/// host, whatever was refused since. It was automatic and failed for want of space. A rollback that failed for another
/// reason holds still, and the caller of a rollback by hand has its answer.
pub(super) fn waiting(group: &Group) -> Option<usize> {
    let touches = |d: &Deployment| d.request.purpose.rolls_back().is_some() || d.has_touched_the_host();
    let at = group.finished.iter().rposition(touches).filter(|_| group.active.is_none())?;
    let last = group.finished.get(at)?;
    let waits = last.request.purpose.rolls_back().is_some();
    (waits && last.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::NoSpace)).then_some(at)
}

/// When that rollback is tried again, milliseconds since 1970; `None` when none waits.
pub fn again_at_ms(group: &Group) -> Option<u64> {
    let last = group.finished.get(waiting(group)?)?;
    let rolls_back = last.request.purpose.rolls_back()?;
    let ended = last.finished_ms?;
    let failed = group.finished.iter().find(|d| d.id == rolls_back.deployment).and_then(|d| d.finished_ms);
    let tried_for = ended.saturating_sub(failed.unwrap_or(last.started_ms));
    Some(ended.saturating_add(tried_for.clamp(*AGAIN_MS.start(), *AGAIN_MS.end())))
}

/// The same rollback once more, for the part that is not done.
pub(super) fn again(group: &Group) -> Option<Request> {
    let last = group.finished.get(waiting(group)?)?;
    let rolls_back = last.request.purpose.rolls_back()?.clone();
    let is_in_place = group.installed.as_ref().is_some_and(|i| i.archive == *last.archive());
    let stopped = last.step(LifecycleEvent::ApplicationStop).is_some_and(|s| s.status != StepStatus::Failed)
        && last.failure.as_ref().is_some_and(|failure| failure.event > LifecycleEvent::ApplicationStop);
    let extent = match rolls_back.extent {
        _ if is_in_place => RollbackExtent::Restart,
        RollbackExtent::StopAndReinstall if stopped => RollbackExtent::Reinstall,
        extent => extent,
    };
    Some(Request { purpose: Purpose::RollBack(RollsBack { extent, ..rolls_back }), ..last.request.clone() })
}

/// A rollback that a user asks for: to the revision that the named deployment installed, or to the newest good one before
/// what runs. The flag beside the name says that the deployment may be one that failed.
pub fn by_hand(
    group: &Group,
    to: Option<(DeploymentId, bool)>,
    asked_by: &str,
    policy: Policy,
) -> Result<Request, Refusal> {
    let key = || group.key.clone();
    let kept = || earlier(group).map(KeptRevision::from).collect();
    let target = match to {
        Some((id, force)) => {
            let is_it =
                |d: &&Deployment| d.id == id && d.request.revision.bundle_type.is_some() && may_be_kept(group, d);
            let known = group.finished.iter().find(is_it);
            match known {
                None => return Err(Refusal::NotKept { key: key(), deployment: id, kept: kept() }),
                // A rollback that failed says nothing against the revision.
                Some(failed) if !force && failed.outcome == Some(Outcome::Failed) && failed.archive() == &failed.id => {
                    return Err(Refusal::FailedBefore { key: key(), deployment: id, kept: kept() });
                }
                Some(known) => known,
            }
        }
        None => target::newest_good(group).ok_or_else(|| {
            let good = group.last_good.as_ref().filter(|_| group.installed.is_some());
            Refusal::NoGoodRevision { key: key(), installed: good.map(|good| good.deployment.clone()), kept: kept() }
        })?,
    };
    let target = target.to_installed(target.started_ms);
    Ok(request(group, &target, Purpose::RollBackByHand, asked_by.to_owned(), policy))
}

/// Whether the deployment's directory may be on the host: retention deletes all others.
fn may_be_kept(group: &Group, deployment: &Deployment) -> bool {
    let Some(kept) = group.finished.last().map(|last| kept(group, last)) else { return false };
    let archive = deployment.archive();
    group.key.codedeploy_group_id.is_some() || kept.always.contains(archive) || kept.while_room.contains(archive)
}

/// The deployments to whose revisions the group can return, one for each revision: those that succeeded, whose revision
/// is not the installed one, and whose directories retention keeps for sure: where bytes or another agent's rule decide,
/// those that are in use. The order is that of [`last_installed_ms`], the newest first. For all that the host did not go
/// back past ([`is_left`]), this is also the order of rollbacks.
pub fn earlier(group: &Group) -> impl Iterator<Item = &Deployment> {
    let kept = group.finished.last().map(|last| kept(group, last));
    let is_plain = group.key.codedeploy_group_id.is_none();
    let is_kept = move |id: &DeploymentId| {
        let stays = |kept: &Kept| is_plain && kept.most_bytes.is_none() && kept.while_room.contains(id);
        kept.as_ref().is_some_and(|kept| kept.always.contains(id) || stays(kept))
    };
    let mut listed: Vec<Content<'_>> = group.installed.as_ref().map(installed_content).into_iter().collect();
    let brought = move |content: &Content<'_>| {
        let good = |d: &&Deployment| d.brought_good_revision() && d.installed && d.request.purpose != Purpose::Remove;
        group.finished.iter().rev().filter(good).find(|d| is_same(&content_of(d), content) && is_kept(&d.id))
    };
    target::newest_installed(group).filter_map(move |d| {
        let content = content_of(d);
        let found = brought(&content)?;
        add_new(&mut listed, content).then_some(found)
    })
}

/// The deployment that takes a group's files off the host.
pub fn removal(group: &Group, asked_by: String, policy: Policy) -> Result<Request, Refusal> {
    let installed = group.installed.as_ref().ok_or_else(|| Refusal::NotInstalled { key: group.key.clone() })?;
    Ok(request(group, installed, Purpose::Remove, asked_by, policy))
}

fn request(group: &Group, target: &Installed, purpose: Purpose, asked_by: String, policy: Policy) -> Request {
    Request {
        key: group.key.clone(),
        purpose,
        asked_by,
        source: Source::Kept { deployment: target.archive.clone() },
        revision: target.revision.clone(),
        trust: target.trust.clone(),
        policy: Policy {
            appspec_name: group.appspec_name_of(&target.archive).map(str::to_owned),
            appspec_only: false,
            ..policy
        },
    }
}
