//! In the CodeDeploy agent's place: that agent's configuration, and which of its settings fill the gaps in hostler's
//! own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hostler_core::codedeploy::agent_config::{AgentConfig, InvalidAgentConfig, OnPremises};
use hostler_core::codedeploy::specification::Secret;
use hostler_core::codes::ExitCode;
use hostler_core::config::settings::{Proxy, Settings};
use hostler_core::hook::{DEFAULT_PATH, may_inherit};
use hostler_core::ids::DeploymentId;
use hostler_core::limits::Limits;
use hostler_host::layout::Layout;
use hostler_host::login_environment::login_environment;
use hostler_host::regular;
use tokio::sync::{Notify, OnceCell};

use crate::failure::Failure;

/// The CodeDeploy agent's files on this host, and the state that only its place needs.
#[derive(Debug)]
pub struct CodeDeployCompat {
    /// codedeployagent.yml, or the defaults where the file does not exist.
    pub agent: AgentConfig,
    /// The on-premises file.
    pub on_premises: Option<OnPremises>,
    /// Tokens for private repositories, in memory only.
    pub tokens: Tokens,
    environment: OnceCell<Vec<(String, String)>>,
}

impl CodeDeployCompat {
    /// Reads the CodeDeploy agent's files below the root prefix.
    ///
    /// # Errors
    /// A usage failure that names the file and the problem in it.
    pub fn load(settings: &Settings, layout: &Layout, limits: &Limits) -> Result<Self, Failure> {
        let path = layout.beneath_root(&settings.codedeploy.agent_config);
        let agent = match read(&path, limits)? {
            Some(text) => AgentConfig::parse(&text, limits).map_err(|e| wrong(&path, &e))?,
            None => AgentConfig::default(),
        };
        let path = layout.beneath_root(&agent.on_premises_config_file);
        let denied = regular::open(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
        // The file holds keys: a user who only inspects this host need not see them.
        let on_premises = match if denied { None } else { read(&path, limits)? } {
            Some(text) => Some(OnPremises::parse(&text, limits).map_err(|e| wrong(&path, &e))?),
            None => None,
        };
        Ok(Self { agent, on_premises, tokens: Tokens::default(), environment: OnceCell::new() })
    }

    /// Fills the settings that are still open from the CodeDeploy agent's configuration.
    pub fn complete(&self, settings: &mut Settings) {
        let aws = &mut settings.aws;
        if aws.proxy.is_none() {
            aws.proxy = self.agent.proxy_uri.clone().map(Proxy::Url);
        }
        if aws.s3.endpoint_url.is_none() {
            aws.s3.endpoint_url.clone_from(&self.agent.s3_endpoint_override);
        }
        if aws.use_fips_endpoint.is_none() && self.agent.use_fips_mode {
            aws.use_fips_endpoint = Some(true);
        }
        if let (None, None, Some(host)) = (&aws.region, std::env::var_os("AWS_REGION"), &self.on_premises) {
            aws.region = Some(host.region.clone());
        }
    }

    /// Warns of the keys in codedeployagent.yml that mean something else here.
    pub fn warn_of_differences(&self) {
        if !self.agent.without_effect.is_empty() {
            let keys = self.agent.without_effect.join(", ");
            log::warn!("codedeployagent.yml: {keys}: without effect (docs/usage/codedeploy-service.md)");
        }
        if let Some(user) = &self.agent.user {
            log::warn!(
                "codedeployagent.yml: user: scripts without runas run as {user}; files are installed as root, and are \
                 root's where the appspec's permissions say nothing else"
            );
        }
    }

    /// The CodeDeploy agent's pid file.
    pub fn pid_file(&self, layout: &Layout) -> PathBuf {
        layout.beneath_root(&self.agent.pid_dir).join(format!("{}.pid", self.agent.program_name))
    }

    /// The variables of /etc/profile and /etc/environment, which the CodeDeploy agent's unit hands to hooks, without
    /// credentials and without variables that change how programs are loaded. Read once.
    pub async fn environment(&self, layout: &Layout) -> &[(String, String)] {
        let files = ["etc/profile", "etc/environment"].map(|file| layout.root().join(file));
        let read = async || {
            let found = tokio::task::spawn_blocking(move || login_environment(&[&files[0], &files[1]], DEFAULT_PATH));
            let found = found.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let found = found.unwrap_or_else(|error| {
                log::warn!("hooks start without what /etc/profile and /etc/environment set: {error}");
                Vec::new()
            });
            found.into_iter().filter(|(name, _)| may_inherit(name)).collect()
        };
        self.environment.get_or_init(read).await
    }
}

fn read(path: &Path, limits: &Limits) -> Result<Option<String>, Failure> {
    let failed = |problem: &dyn std::fmt::Display| {
        Failure::say(ExitCode::Usage, format!("cannot read {}: {problem}", path.display()))
    };
    match regular::read_text(path, limits.config_bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

fn wrong(path: &Path, error: &InvalidAgentConfig) -> Failure {
    Failure::say(ExitCode::Usage, format!("{} cannot be used: {error}", path.display()))
}

/// Tokens by deployment. They are never written down; after a restart they are requested again.
#[derive(Debug, Default)]
pub struct Tokens {
    known: Mutex<HashMap<DeploymentId, Secret>>,
    more: Notify,
}

impl Tokens {
    /// Keeps a deployment's token. Tokens of earlier deployments are forgotten when the process ends.
    pub fn put(&self, deployment: DeploymentId, token: Secret) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(deployment, token);
        self.more.notify_waiters();
    }

    /// The token of a deployment; waits until it is known.
    pub async fn get(&self, deployment: &DeploymentId) -> Secret {
        loop {
            let more = self.more.notified();
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(deployment).cloned();
            if let Some(token) = known {
                return token;
            }
            more.await;
        }
    }

    /// Forgets the token of a deployment.
    pub fn forget(&self, deployment: &DeploymentId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(deployment);
    }
}
