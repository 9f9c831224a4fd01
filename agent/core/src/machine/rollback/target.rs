//! The revision to which a rollback by hand returns where the command names none.
//!
//! A second rollback in a row goes further back and never forward again: the operator left a revision because it is
//! bad, and asks once more because the one before is bad too. So the target is older than what runs, and no revision
//! that a rollback left, unless a later deployment brought it back and succeeded.

use super::may_be_kept;
use crate::ids::{DeploymentId, Sha256Digest};
use crate::machine::state::{Deployment, Group, Outcome, Purpose};

/// A revision by the deployment that brought it, and by its content where that is known.
type Revision<'g> = (&'g DeploymentId, Option<Sha256Digest>);

/// The newest good deployment whose revision is older than the one that runs and was left by no rollback, and whose
/// directory may be on the host. After a failure that touched the host, no revision counts as running, even where its
/// files are in place.
pub(super) fn newest_good(group: &Group) -> Option<&Deployment> {
    let last = group.finished.iter().rev().find(|d| d.has_touched_the_host());
    let runs = last.is_some_and(|d| d.outcome == Some(Outcome::Succeeded));
    let current = group.installed.as_ref().filter(|_| runs);
    let is_older = |d: &Deployment| current.is_none_or(|i| age(group, d.archive()) < age(group, &i.archive));
    let left = left_by_rollbacks(group);
    let is_good = |d: &&Deployment| d.outcome == Some(Outcome::Succeeded) && d.installed && puts_a_revision(d);
    let candidates = group.finished.iter().filter(is_good).filter(|d| is_older(d) && may_be_kept(group, d));
    let candidates = candidates.filter(|d| !left.iter().any(|left| is_same(left, &revision(d))));
    // The same content under another id is what runs: it is returned to only where there is nothing else.
    let digest = current.and_then(|i| i.revision.digest);
    let differs = |d: &Deployment| digest.is_none() || d.request.revision.digest != digest;
    candidates.max_by_key(|d| (differs(d), age(group, d.archive())))
}

/// Where the deployment that brought a bundle stands among the remembered ones; `None`, which is less, for one that is
/// forgotten.
fn age(group: &Group, archive: &DeploymentId) -> Option<usize> {
    group.finished.iter().position(|d| &d.id == archive)
}

fn puts_a_revision(deployment: &Deployment) -> bool {
    deployment.request.purpose.is_rollback() || deployment.request.purpose.brings_new_revision()
}

fn revision(deployment: &Deployment) -> Revision<'_> {
    (deployment.archive(), deployment.request.revision.digest)
}

fn is_same(one: &Revision<'_>, other: &Revision<'_>) -> bool {
    one.0 == other.0 || (one.1.is_some() && one.1 == other.1)
}

fn left_by_rollbacks(group: &Group) -> Vec<Revision<'_>> {
    let (mut left, mut current): (Vec<Revision<'_>>, Option<Revision<'_>>) = (Vec::new(), None);
    for deployment in group.finished.iter().filter(|d| puts_a_revision(d)) {
        let own = revision(deployment);
        match &deployment.request.purpose {
            // What `--to` leads forward leaves nothing that is bad.
            Purpose::RollBackByHand => {
                left.extend(current.filter(|current| age(group, current.0) > age(group, own.0)));
            }
            Purpose::RollBack(rolls_back) => {
                left.extend(group.finished.iter().find(|d| d.id == rolls_back.deployment).map(revision));
            }
            Purpose::Release(_) | Purpose::ByHand | Purpose::Commanded | Purpose::Remove | Purpose::Stop(_) => {}
        }
        if deployment.installed {
            if deployment.outcome == Some(Outcome::Succeeded) {
                left.retain(|left| !is_same(left, &own));
            }
            current = Some(own);
        }
    }
    left
}
