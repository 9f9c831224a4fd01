//! The deployment group that a verb acts on where the command does not name one.

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::status::{Condition, status};
use hostler_host::{clock, ledger};

use crate::cli::Shared;
use crate::control::client::Client;
use crate::failure::Failure;
use crate::setup::Setup;
use crate::state_file::{ledger_failure, read_state};

/// The group that the flags or the configuration name, or the only one of this host that fits the flags.
///
/// # Errors
/// As [`Setup::group`]; a usage failure that lists the groups when the host has several.
pub async fn acting_group(setup: &Setup, shared: &Shared) -> Result<GroupKey, Failure> {
    let refused = match setup.group(shared) {
        Ok(key) => return Ok(key),
        Err(refused) => refused,
    };
    let fits = |key: &GroupKey| {
        shared.application.as_ref().is_none_or(|a| a == &key.application)
            && shared.group.as_ref().is_none_or(|g| g == &key.group)
    };
    if setup.settings.groups.iter().any(|group| fits(&group.key)) {
        return Err(refused);
    }
    // Without the configuration and the state it stays unknown which group is meant.
    let mut known = match of_host(setup).await {
        Ok(known) => known,
        Err(unreadable) if setup.unread.is_none() => return Err(unreadable),
        Err(_) => return Err(refused),
    };
    // Another service commands these groups, and no flag names one of them.
    known.retain(|key| key.codedeploy_group_id.is_none());
    let fitting: Vec<&GroupKey> = known.iter().filter(|key| fits(key)).collect();
    let names =
        |keys: &mut dyn Iterator<Item = &GroupKey>| keys.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match fitting.as_slice() {
        [one] => Ok((*one).clone()),
        [] if known.is_empty() => Err(refused),
        [] => Err(which(&names(&mut known.iter()))),
        several => Err(which(&names(&mut several.iter().copied()))),
    }
}

fn which(names: &str) -> Failure {
    Failure::say(ExitCode::Usage, format!("which deployment group? this host has {names}"))
        .hint("name one with --application and --group")
}

/// The groups that were deployed on this host: by the daemon, or by the ledger where no daemon answers. Groups of which
/// nothing is on the host count only where there is no other.
async fn of_host(setup: &Setup) -> Result<Vec<GroupKey>, Failure> {
    let status = if let Some(mut client) = Client::connect(setup).await
        && let Ok(status) = client.status().await
    {
        status
    } else {
        let snapshot = ledger::peek(setup.layout.state(), &setup.limits).map_err(ledger_failure)?;
        status(&read_state(&snapshot.map(|s| s.state).unwrap_or_default())?, None, clock::now_ms())
    };
    let (empty, there): (Vec<_>, Vec<_>) =
        status.groups.into_iter().partition(|group| group.condition == Condition::Empty);
    let counted = if there.is_empty() { empty } else { there };
    Ok(counted.into_iter().map(|group| group.key).collect())
}
