//! The CodeDeploy agent's own configuration: codedeployagent.yml and the on-premises file
//! (docs/protocols/codedeploy.md#identity, docs/protocols/codedeploy.md#configuration).

use std::path::PathBuf;

use crate::appspec::diagnose::quoted;
use crate::appspec::scalar::{Resolved, resolve};
use crate::flat_yaml::{self, FlatEntry, FlatYamlError};
use crate::limits::Limits;
use crate::values::{Unfit, absolute, must_be};
use crate::yaml::{Scalar, Style};

use super::specification::Secret;

/// The content of codedeployagent.yml, with the defaults of the file that the CodeDeploy agent's package ships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Name of the pid file and the log.
    pub program_name: String,
    /// The directory in which deployments are unpacked.
    pub root_dir: PathBuf,
    /// The directory of the agent's own log.
    pub log_dir: PathBuf,
    /// The directory of the pid file.
    pub pid_dir: PathBuf,
    /// Seconds between polls that the service does not hold.
    pub wait_between_runs: u64,
    /// Seconds after which an unanswered poll is given up.
    pub http_read_timeout: u64,
    /// Revisions kept for each group.
    pub max_revisions: u32,
    /// Directory below `root_dir` with a file for each command in progress.
    pub ongoing_deployment_tracking: String,
    /// The on-premises file.
    pub on_premises_config_file: PathBuf,
    /// Proxy for the command service and S3.
    pub proxy_uri: Option<String>,
    /// Whether to write the log of all deployments.
    pub enable_deployments_log: bool,
    /// FIPS endpoints.
    pub use_fips_mode: bool,
    /// The secure variant of the command service.
    pub enable_auth_policy: bool,
    /// The command service's address instead of the usual one.
    pub deploy_control_endpoint: Option<String>,
    /// S3's address instead of the usual one.
    pub s3_endpoint_override: Option<String>,
    /// Whether a bundle that another deployment left on the host may be reused.
    pub enable_archive_reuse: bool,
    /// The user that the CodeDeploy agent runs as, and so the user of scripts whose appspec names none.
    pub user: Option<String>,
    /// Keys that would change something under the CodeDeploy agent and change nothing here, to report them.
    pub without_effect: Vec<String>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            program_name: "codedeploy-agent".to_owned(),
            root_dir: "/opt/codedeploy-agent/deployment-root".into(),
            log_dir: "/var/log/aws/codedeploy-agent".into(),
            pid_dir: "/opt/codedeploy-agent/state/.pid".into(),
            wait_between_runs: 1,
            http_read_timeout: 80,
            max_revisions: 5,
            ongoing_deployment_tracking: "ongoing-deployment".to_owned(),
            on_premises_config_file: "/etc/codedeploy-agent/conf/codedeploy.onpremises.yml".into(),
            proxy_uri: None,
            enable_deployments_log: true,
            use_fips_mode: false,
            enable_auth_policy: false,
            deploy_control_endpoint: None,
            s3_endpoint_override: None,
            enable_archive_reuse: true,
            user: None,
            without_effect: Vec::new(),
        }
    }
}

/// Why a file of the CodeDeploy agent cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAgentConfig(String);

impl From<FlatYamlError> for InvalidAgentConfig {
    fn from(error: FlatYamlError) -> Self {
        Self(error.to_string())
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidAgentConfig> {
    Err(InvalidAgentConfig(message.into()))
}

impl AgentConfig {
    /// Reads codedeployagent.yml as its reader, Ruby's Psych, does: symbol keys (`:root_dir:`) or plain ones, where the
    /// plain one wins if both are there; of two equal keys the last; truth values and numbers of YAML 1.1. Unknown keys
    /// are left out.
    ///
    /// # Errors
    /// The text is not YAML, or a value cannot be used; the error names the key and its line.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, InvalidAgentConfig> {
        let mut config = Self::default();
        let entries = flat_yaml::read(text, limits)?.unwrap_or_default();
        let (symbols, plain): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| symbol(&entry.key).is_some());
        for entry in symbols.into_iter().chain(plain) {
            let Some(scalar) = &entry.value else { continue };
            config.take(&Value { key: key(entry), scalar, line: entry.line })?;
        }
        Ok(config)
    }

    fn take(&mut self, value: &Value<'_>) -> Result<(), InvalidAgentConfig> {
        // It replaces the default, and an empty value is not true.
        if value.scalar.is_null() && value.key == "enable_deployments_log" {
            self.enable_deployments_log = false;
        }
        if value.scalar.is_null() {
            return Ok(());
        }
        match value.key {
            "program_name" => self.program_name = value.file_name()?,
            "root_dir" => self.root_dir = value.path()?,
            "log_dir" => self.log_dir = value.path()?,
            "pid_dir" => self.pid_dir = value.path()?,
            "wait_between_runs" => self.wait_between_runs = value.seconds()?,
            "http_read_timeout" => self.http_read_timeout = value.seconds()?,
            "max_revisions" => self.max_revisions = value.revisions()?,
            "ongoing_deployment_tracking" => self.ongoing_deployment_tracking = value.file_name()?,
            "on_premises_config_file" => self.on_premises_config_file = value.path()?,
            "proxy_uri" => self.proxy_uri = value.text(),
            "enable_deployments_log" => self.enable_deployments_log = value.flag()?,
            "use_fips_mode" => self.use_fips_mode = value.flag()?,
            "enable_auth_policy" => self.enable_auth_policy = value.flag()?,
            "deploy_control_endpoint" => self.deploy_control_endpoint = value.text(),
            "s3_endpoint_override" => self.s3_endpoint_override = value.text(),
            "enable_archive_reuse" => self.enable_archive_reuse = value.flag()?,
            "user" => self.user = value.text(),
            _ if value.is_what_hostler_does() => {}
            key if self.without_effect.iter().any(|known| known == key) => {}
            key => self.without_effect.push(key.to_owned()),
        }
        Ok(())
    }
}

/// The name of a scalar that Psych reads as a symbol: `:region`, bare.
fn symbol(scalar: &Scalar) -> Option<&str> {
    scalar.text.strip_prefix(':').filter(|name| scalar.style == Style::Plain && !name.is_empty())
}

/// A key, with or without the colon of a symbol.
fn key(entry: &FlatEntry) -> &str {
    symbol(&entry.key).unwrap_or(&entry.key.text)
}

/// A non-empty value and its place.
struct Value<'a> {
    key: &'a str,
    scalar: &'a Scalar,
    line: u32,
}

impl Value<'_> {
    fn wrong<T>(&self, wanted: &str) -> Result<T, InvalidAgentConfig> {
        self.refuse(&Unfit::bare(wanted))
    }

    fn refuse<T>(&self, unfit: &Unfit) -> Result<T, InvalidAgentConfig> {
        let help = unfit.help.iter().map(|help| format!("; {help}")).collect::<String>();
        let message = must_be(self.key, &unfit.expected, &quoted(&self.scalar.text));
        invalid(format!("line {}: {message}{help}", self.line))
    }

    /// Whether a key asks only for what hostler does anyway: the CodeDeploy agent's defaults, or to leave out things
    /// that hostler never does.
    fn is_what_hostler_does(&self) -> bool {
        match self.key {
            "log_aws_wire" | "verbose" | "use_mock_command_service" => resolve(self.scalar) == Resolved::Bool(false),
            // The agent only ever asks version 2 of the metadata service.
            "disable_imds_v1" => true,
            "children" => resolve(self.scalar) == Resolved::Integer(1),
            "codedeploy_test_profile" => self.plain() == "prod",
            _ => false,
        }
    }

    /// Its text; for a symbol, the symbol's name.
    fn plain(&self) -> &str {
        symbol(self.scalar).unwrap_or(&self.scalar.text).trim()
    }

    fn text(&self) -> Option<String> {
        Some(self.plain().to_owned()).filter(|text| !text.is_empty())
    }

    /// A relative path is relative to the CodeDeploy agent's working directory, which is unknown once that agent is
    /// gone.
    fn path(&self) -> Result<PathBuf, InvalidAgentConfig> {
        absolute(self.plain()).or_else(|unfit| {
            let help = "the CodeDeploy agent took it from its working directory, which is / under its systemd unit and \
                        /opt/codedeploy-agent under its init script: write the path that holds its files";
            self.refuse(&Unfit::new(unfit.expected, help))
        })
    }

    /// A name that becomes part of a path.
    fn file_name(&self) -> Result<String, InvalidAgentConfig> {
        let text = self.plain();
        if text.is_empty() || text.starts_with('.') || text.contains('/') {
            return self.wrong("a name without slashes");
        }
        Ok(text.to_owned())
    }

    /// A number in any notation of YAML 1.1 (`1_0`, `010`, `0x10`, `1:20`), or a decimal one in quotes.
    fn number(&self) -> Option<f64> {
        match resolve(self.scalar) {
            #[allow(clippy::cast_precision_loss, reason = "what is too large to be exact is refused")]
            Resolved::Integer(number) => Some(number as f64),
            Resolved::Float(number) => Some(number),
            Resolved::Text => decimal(&self.scalar.text),
            Resolved::Null | Resolved::Bool(_) => None,
        }
    }

    fn seconds(&self) -> Result<u64, InvalidAgentConfig> {
        match self.number() {
            Some(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds.ceil() as u64),
            _ => self.wrong("a number of seconds, at most 86400"),
        }
    }

    /// The CodeDeploy agent accepts 1. hostler always keeps the installed revision and the one before it.
    fn revisions(&self) -> Result<u32, InvalidAgentConfig> {
        match self.number() {
            Some(count) if count.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&count) => Ok(count as u32),
            _ => self.wrong("a number from 1"),
        }
    }

    /// The CodeDeploy agent reads any other text as true, even `n` and `0`, which its author did not mean.
    fn flag(&self) -> Result<bool, InvalidAgentConfig> {
        match (resolve(self.scalar), self.scalar.text.trim()) {
            (Resolved::Bool(value), _) => Ok(value),
            (Resolved::Text, "true") => Ok(true),
            (Resolved::Text, "false") => Ok(false),
            _ => self.wrong("true or false (or yes, no, on, off without quotes)"),
        }
    }
}

/// A decimal number in text. Ruby would read a leading zero as octal, or as an error.
fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let octal = text.strip_prefix('0').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain && !octal { text.parse().ok() } else { None }
}

/// The identity and the credentials of a host outside EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnPremises {
    /// The ARN, which is the host identifier.
    pub host_identifier: String,
    /// The region.
    pub region: String,
    /// The credentials.
    pub credentials: OnPremisesCredentials,
}

impl OnPremises {
    /// Whether the file itself has keys.
    pub fn has_keys(&self) -> bool {
        matches!(self.credentials, OnPremisesCredentials::User { .. })
    }
}

/// The credentials of a host outside EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnPremisesCredentials {
    /// The keys of an IAM user.
    User {
        /// The access key id.
        access_key_id: String,
        /// The secret key.
        secret_access_key: Secret,
    },
    /// A file with the credentials of a session, which another program renews.
    Session {
        /// The file.
        file: PathBuf,
    },
}

impl OnPremises {
    /// Reads the on-premises file.
    ///
    /// # Errors
    /// The text is not YAML, names both a user and a session or neither, or lacks a key. The error names the key and
    /// shows no secret.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, InvalidAgentConfig> {
        let top = flat_yaml::read(text, limits)?.ok_or(FlatYamlError::NoKeys)?;
        let get = |key: &str| find(&top, key).and_then(|found| found.text());
        let need = |key: &str| get(key).map_or_else(|| invalid(format!("{key} is missing")), Ok);
        let (host_identifier, credentials) = match (get("iam_user_arn"), get("iam_session_arn")) {
            (Some(_), Some(_)) => return invalid("both iam_user_arn and iam_session_arn are there; leave one out"),
            (None, None) => return invalid("neither iam_user_arn nor iam_session_arn is there"),
            (Some(arn), None) => {
                let access_key_id = need("aws_access_key_id")?;
                let secret_access_key = Secret::new(need("aws_secret_access_key")?);
                (arn, OnPremisesCredentials::User { access_key_id, secret_access_key })
            }
            (None, Some(arn)) => {
                let Some(file) = find(&top, "aws_credentials_file") else {
                    return invalid("aws_credentials_file is missing");
                };
                (arn, OnPremisesCredentials::Session { file: file.path()? })
            }
        };
        Ok(Self { host_identifier, region: need("region")?, credentials })
    }
}

/// The non-empty value of a key: of the plain key, else of the symbol.
fn find<'n>(top: &'n [FlatEntry], name: &'n str) -> Option<Value<'n>> {
    let mut found = top.iter().filter(|entry| key(entry) == name);
    let entry = found.clone().find(|entry| symbol(&entry.key).is_none()).or_else(|| found.next())?;
    let scalar = entry.value.as_ref().filter(|scalar| !scalar.is_null())?;
    Some(Value { key: name, scalar, line: entry.line })
}

#[cfg(test)]
mod tests;
