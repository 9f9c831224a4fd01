//! What a deployment's revision is, so that deployments of one revision are known as such.

use super::{Deployment, Installed};
use crate::ids::{DeploymentId, Sha256Digest};

/// The content of a revision: the deployment that unpacked it, and its digest where that is known.
pub(crate) type Content<'s> = (&'s DeploymentId, Option<Sha256Digest>);

/// The content of a deployment's revision.
pub(crate) fn content_of(deployment: &Deployment) -> Content<'_> {
    (deployment.archive(), deployment.request.revision.digest)
}

/// The content of an installed revision.
pub(crate) fn installed_content(installed: &Installed) -> Content<'_> {
    (&installed.archive, installed.revision.digest)
}

/// Whether both are one revision.
pub(crate) fn is_same(one: &Content<'_>, other: &Content<'_>) -> bool {
    one.0 == other.0 || (one.1.is_some() && one.1 == other.1)
}

/// Adds a revision that is not listed yet; returns whether it was added.
pub(crate) fn add_new<'s>(listed: &mut Vec<Content<'s>>, content: Content<'s>) -> bool {
    let is_new = !listed.iter().any(|other| is_same(other, &content));
    if is_new {
        listed.push(content);
    }
    is_new
}
