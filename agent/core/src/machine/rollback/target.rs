//! The revision to which a rollback by hand returns where the command names none.
//!
//! The good revisions of a group stand in a line. A revision is its content, where its digest is known, and its place
//! is that of the first deployment that brought the content and succeeded. Whatever deploys a revision in the line again
//! and succeeds, a rollback or a release, leaves all newer ones: the operator went back past them. A rollback by hand
//! that fails leaves its target, too. What was left returns to the line with the next deployment of it that succeeds.
//! Other failures change nothing: what was good before stays good.
//!
//! The target is the newest revision in the line that is older than what runs. So rollbacks in a row go further back and
//! never forward again. Only where nothing else is there, the last rollback by hand that failed is tried again.

use super::may_be_kept;
use crate::ids::DeploymentId;
use crate::machine::state::{Content, Deployment, Group, Outcome, Purpose, content_of, installed_content, is_same};

/// A revision with its place: the index, among the remembered deployments, of the one that first brought it; `None`,
/// which is less, where that one is forgotten.
type Placed<'g> = (Option<usize>, Content<'g>);

/// The newest good deployment of the revision to return to, whose directory may be on the host. After a failure that
/// touched the host, no revision counts as running, even where its files are in place.
pub(super) fn newest_good(group: &Group) -> Option<&Deployment> {
    let last = group.finished.iter().rev().find(|d| d.has_touched_the_host());
    let runs = last.is_some_and(|d| d.outcome == Some(Outcome::Succeeded));
    let line = Line::of(group);
    let installed = group.installed.as_ref().filter(|_| runs);
    let current = installed.map(|i| line.place(group, &installed_content(i)));
    let all = line.good.iter().rev().chain(&line.failed);
    let mut older = all.filter(|(place, _)| current.is_none_or(|current| *place < current));
    older.find_map(|(_, revision)| newest_kept(group, revision))
}

/// Whether the host went back past the deployment's revision: to an older one, by a rollback or a release of that. A
/// rollback without a name passes over it.
pub fn is_left(group: &Group, deployment: &Deployment) -> bool {
    let content = content_of(deployment);
    !Line::of(group).good.iter().any(|(_, other)| is_same(other, &content))
}

/// The deployments that put a revision on the host and succeeded, rollbacks too, the newest first.
pub(super) fn newest_installed(group: &Group) -> impl Iterator<Item = &Deployment> {
    group.finished.iter().rev().filter(|d| is_good(d))
}

/// When the deployment's revision was last put on the host and succeeded, milliseconds since 1970.
pub fn last_installed_ms(group: &Group, deployment: &Deployment) -> Option<u64> {
    let content = content_of(deployment);
    newest_installed(group).find(|d| is_same(&content_of(d), &content))?.finished_ms
}

fn newest_kept<'g>(group: &'g Group, of: &Content<'_>) -> Option<&'g Deployment> {
    let good = group.finished.iter().filter(|d| is_good(d) && is_same(&content_of(d), of));
    good.filter(|d| may_be_kept(group, d)).max_by_key(|d| index(group, d.archive()))
}

#[derive(Default)]
struct Line<'g> {
    /// The oldest first.
    good: Vec<Placed<'g>>,
    /// The target of the last rollback by hand, if that failed and nothing has succeeded since.
    failed: Option<Placed<'g>>,
}

impl<'g> Line<'g> {
    fn of(group: &'g Group) -> Self {
        let mut line = Self::default();
        for deployment in &group.finished {
            let is_good = is_good(deployment);
            if !is_good && !is_failed_return(deployment) {
                continue;
            }
            let revision = content_of(deployment);
            let place = line.place(group, &revision);
            line.good.retain(|(other, _)| *other < place);
            if is_good {
                line.good.push((place, revision));
                line.failed = None;
            } else {
                line.failed = Some((place, revision));
            }
        }
        line
    }

    /// The place of a revision: in the line, or else that of the deployment that brought it.
    fn place(&self, group: &Group, revision: &Content<'_>) -> Option<usize> {
        let known = self.good.iter().find(|(_, other)| is_same(other, revision));
        known.map_or_else(|| index(group, revision.0), |(place, _)| *place)
    }
}

fn index(group: &Group, archive: &DeploymentId) -> Option<usize> {
    group.finished.iter().position(|d| &d.id == archive)
}

fn is_good(deployment: &Deployment) -> bool {
    let purpose = &deployment.request.purpose;
    let puts_a_revision = purpose.is_rollback() || purpose.brings_new_revision();
    puts_a_revision && deployment.installed && deployment.outcome == Some(Outcome::Succeeded)
}

fn is_failed_return(deployment: &Deployment) -> bool {
    deployment.request.purpose == Purpose::RollBackByHand && deployment.outcome == Some(Outcome::Failed)
}
