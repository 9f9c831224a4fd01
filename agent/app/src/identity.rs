//! Which host this is: from the command line, the configuration or the environment; on EC2 from the instance metadata
//! service; elsewhere from the host name.

use std::sync::Arc;

use hostler_aws::imds::{Imds, ImdsFault, ImdsSettings};
use hostler_core::codes::ExitCode;
use hostler_core::ids::InstanceId;
use hostler_core::retry::Backoff;
use hostler_host::{clock, firmware};

use crate::controller::{LogOnce, Retries};
use crate::failure::Failure;
use crate::setup::Setup;

/// Names this host where the configuration does not.
const VARIABLE: &str = "HOSTLER_INSTANCE_ID";
/// Sets the address of the metadata service; if it is set, the agent asks the service.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// The agent notices a service that comes up late within a minute.
const BETWEEN_QUESTIONS: Backoff = Backoff { first_ms: 500, most_ms: 60_000 };

/// The source of this host's name.
#[derive(Debug)]
pub enum IdentitySource {
    /// The name is known.
    Known(InstanceId),
    /// The instance metadata service knows it.
    Ask(Arc<Imds>),
}

/// Finds the source without a network request: hosts off EC2 never wait for a service that does not exist. The host
/// name only serves the first time, because it may change: afterwards the name in the ledger (`known`) counts.
///
/// # Errors
/// A usage failure for an invalid name or address.
pub fn find(setup: &Setup, known: Option<&InstanceId>) -> Result<IdentitySource, Failure> {
    if let Some(id) = &setup.settings.instance_id {
        return Ok(IdentitySource::Known(id.clone()));
    }
    if let Some(name) = variable(VARIABLE) {
        return named(&name, &format!("{VARIABLE} cannot name this host")).map(IdentitySource::Known);
    }
    if let Some(imds) = metadata(setup)? {
        return Ok(IdentitySource::Ask(Arc::new(imds)));
    }
    if let Some(known) = known {
        return Ok(IdentitySource::Known(known.clone()));
    }
    named(&clock::host_name(), "the host name cannot name this host").map(IdentitySource::Known)
}

/// The instance metadata service of a host on EC2, however the host is named; `None` elsewhere, and if it is switched
/// off.
///
/// # Errors
/// A usage failure for an invalid address.
pub fn metadata(setup: &Setup) -> Result<Option<Imds>, Failure> {
    if variable(ENDPOINT).is_none() && !firmware::facts(setup.layout.root()).is_ec2() {
        return Ok(None);
    }
    match ImdsSettings::from_environment(variable).and_then(Imds::new) {
        Ok(imds) => Ok(Some(imds)),
        Err(ImdsFault::Disabled) => Ok(None),
        Err(fault) => Err(Failure::new(ExitCode::Usage, fault.clone()).hint(fault.remedy())),
    }
}

/// Asks once, with three attempts.
///
/// # Errors
/// The fault of the service.
pub async fn ask(imds: &Imds) -> Result<InstanceId, ImdsFault> {
    let id = imds.instance_id().await?;
    id.parse().map_err(|error: hostler_core::ids::InvalidId| ImdsFault::Garbage {
        path: "meta-data/instance-id".to_owned(),
        problem: error.to_string(),
    })
}

/// Asks until the name is known. `tell` receives the reason for the wait.
pub async fn wait(imds: &Imds, mut tell: impl FnMut(&str)) -> InstanceId {
    let (mut retries, mut log) = (Retries::new(BETWEEN_QUESTIONS), LogOnce::default());
    loop {
        let fault = match ask(imds).await {
            Ok(id) => return id,
            Err(fault) => fault,
        };
        if log.differs(&fault.to_string()) {
            log::warn!("waiting for the instance metadata service: {fault}; {}", fault.remedy());
            tell(&format!("waiting for the instance metadata service: {fault}"));
        }
        tokio::time::sleep_until(retries.failed()).await;
    }
}

/// The failure of a verb that cannot wait.
pub fn failure(fault: ImdsFault) -> Failure {
    let hint = format!("{}; or name this host with {VARIABLE} or instance_id in the configuration", fault.remedy());
    let error = anyhow::Error::new(fault).context("it is not known which host this is");
    Failure::new(ExitCode::Failed, error).hint(hint)
}

fn named(name: &str, context: &str) -> Result<InstanceId, Failure> {
    name.parse().map_err(|error: hostler_core::ids::InvalidId| {
        Failure::new(ExitCode::Usage, anyhow::Error::new(error).context(context.to_owned()))
            .hint("give it a name with --instance-id or instance_id in the configuration")
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
