//! The environment of the agent: credentials, regions and proxies that only its unit has.

use std::collections::BTreeMap;

use hostler_core::doctor::environment::{Variable, files_of_unit, missing, of_file, of_process, of_unit};
use hostler_host::inspect;

use super::in_time;
use crate::control::client::Client;
use crate::setup::Setup;

/// Says in a process that was started with the agent's variables whose they are.
pub const WHOSE: &str = "HOSTLER_DOCTOR_ENVIRONMENT";

/// The variables that decide how the agent reaches AWS and that this process lacks, and whose they are: the running
/// daemon's, or those of its unit where none answers. `None` where there are none, or where this process has them already.
pub async fn of_agent(setup: &Setup) -> Option<(String, Vec<Variable>)> {
    if std::env::var_os(WHOSE).is_some() {
        return None;
    }
    let (whose, agents) = match of_daemon(setup).await {
        Some(found) => found,
        None => ("hostler.service".to_owned(), of_properties(&inspect::unit_properties("hostler.service")?)),
    };
    let own: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let missing = missing(own.iter().map(String::as_str), agents);
    (!missing.is_empty()).then_some((whose, missing))
}

async fn of_daemon(setup: &Setup) -> Option<(String, Vec<Variable>)> {
    let mut client = Client::connect(setup).await?;
    let pid = in_time(client.status()).await.ok()?.daemon?.pid;
    // Another user's process does not show it.
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    Some((format!("the daemon (pid {pid})"), of_process(&environ)))
}

fn of_properties(properties: &BTreeMap<String, String>) -> Vec<Variable> {
    let of = |name: &str| properties.get(name).map(String::as_str).unwrap_or_default();
    let mut found: BTreeMap<String, String> = of_unit(of("Environment")).into_iter().collect();
    for path in files_of_unit(of("EnvironmentFiles")) {
        // A file that cannot be read is a fault of the unit, which systemd reports.
        found.extend(of_file(&std::fs::read_to_string(path).unwrap_or_default()));
    }
    found.into_iter().collect()
}
