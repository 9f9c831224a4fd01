//! The environment of the scripts of machine events.

use super::Run;
use crate::hook::DEFAULT_PATH;
use crate::ids::InstanceId;

/// The environment of a run's scripts, except HOME, USER, LOGNAME and SHELL, which come from the host's user database.
/// `members` is the path of the document with the members, if they are known; `root` the root prefix, if there is one.
pub fn environment(
    run: &Run,
    instance: &InstanceId,
    members: Option<&str>,
    timeout_seconds: u64,
    root: Option<&str>,
) -> Vec<(String, String)> {
    let mut variables = vec![
        ("PATH", DEFAULT_PATH.to_owned()),
        ("HOSTLER_EVENT", run.event.name().to_owned()),
        ("HOSTLER_INSTANCE_ID", instance.to_string()),
        ("HOSTLER_DEADLINE", timeout_seconds.to_string()),
    ];
    variables.extend(members.map(|path| ("HOSTLER_MEMBERS", path.to_owned())));
    variables.extend(root.map(|root| ("HOSTLER_ROOT", root.to_owned())));
    if let Some(about) = &run.about {
        variables.push(("DEPLOYMENT_ID", about.deployment.to_string()));
        variables.push(("APPLICATION_NAME", about.key.application.to_string()));
        variables.push(("DEPLOYMENT_GROUP_NAME", about.key.group.to_string()));
        variables.push(("HOSTLER_REVISION", about.revision.clone()));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
