//! The client of the command service: this host's name, its credentials, and the service's address.

use std::time::Duration;

use anyhow::Context as _;
use hostler_aws::codedeploy::{CommandService, identity};
use hostler_aws::signed_call::SignedCalls;
use hostler_core::codedeploy::backoff::after_failures;
use hostler_core::codedeploy::endpoint::{EndpointChoice, endpoint};
use hostler_host::{clock, regular};

use crate::codedeploy::compat::CodeDeployCompat;
use crate::controller::LogOnce;
use crate::failure::Failure;
use crate::setup::Setup;

/// Makes the client, however long it takes: at boot the network may come after the agent.
pub async fn connect(setup: &Setup, compat: &CodeDeployCompat) -> CommandService {
    let mut failures = 0;
    let mut problem = LogOnce::default();
    loop {
        match try_connect(setup, compat).await {
            Ok(service) => return service,
            Err(failure) => {
                if problem.differs(&failure.without_request_ids()) {
                    log::warn!("the CodeDeploy service cannot be followed yet: {}", failure.one_line());
                }
                failures += 1;
                // The first tries come soon: an instance profile takes seconds to appear.
                tokio::time::sleep(after_failures(failures, random()).min(Duration::from_secs(30))).await;
            }
        }
    }
}

async fn try_connect(setup: &Setup, compat: &CodeDeployCompat) -> Result<CommandService, Failure> {
    let region = setup.settings.aws.region.as_deref();
    let environment = std::env::var("AWS_REGION").ok();
    let host = identity(compat.on_premises.as_ref(), region.or(environment.as_deref())).await?;
    let endpoint = endpoint(&EndpointChoice {
        region: &host.region,
        metadata_domain: host.domain.as_deref(),
        address: compat.agent.deploy_control_endpoint.as_deref(),
        secure: compat.agent.enable_auth_policy,
        fips: compat.agent.use_fips_mode,
    })?;
    let clients = setup.stores.clients()?;
    let calls = SignedCalls::of_clients(&clients).await?;
    let version = agent_version(setup, compat);
    let timeout = Duration::from_secs(compat.agent.http_read_timeout.max(1));
    let service = CommandService::new(&calls, endpoint, host, &version, timeout);
    Ok(service.context("the command service cannot be addressed")?)
}

/// The version that the CodeDeploy agent's package left, as the service expects it
/// (docs/protocols/codedeploy.md#calls).
fn agent_version(setup: &Setup, compat: &CodeDeployCompat) -> String {
    let root_dir = setup.layout.beneath_root(&compat.agent.root_dir);
    let beside = root_dir.parent().map(|parent| parent.join(".version"));
    let usual = setup.layout.root().join("opt/codedeploy-agent/.version");
    let texts =
        beside.into_iter().chain([usual]).filter_map(|path| regular::read_text(&path, setup.limits.config_bytes).ok());
    let mut versions = texts.filter_map(|text| Some(text.lines().next()?.split_once(": ")?.1.trim().to_owned()));
    versions.next().unwrap_or_else(|| "UNKNOWN_VERSION".to_owned())
}

/// A random byte, to spread waits with.
pub fn random() -> u8 {
    clock::random_bytes::<1>().map_or(128, |[byte]| byte)
}
