//! The CodeDeploy agent's own configuration: codedeployagent.yml and the on-premises file
//! (docs/protocols/codedeploy.md#identity, docs/protocols/codedeploy.md#configuration).

use std::path::PathBuf;

use crate::appspec::scalar::{Resolved, resolve};
use crate::flat_yaml::{self, FlatEntry, FlatYamlError};
use crate::limits::Limits;
use crate::yaml::{Scalar, Style};

use super::specification::Secret;

/// What codedeployagent.yml says, with the defaults of the file that the CodeDeploy agent's package ships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Name of the pid file and the log.
    pub program_name: String,
    /// Where deployments are unpacked.
    pub root_dir: PathBuf,
    /// Where the agent's own log was.
    pub log_dir: PathBuf,
    /// Where the pid file is.
    pub pid_dir: PathBuf,
    /// Seconds between polls that the service does not hold back.
    pub wait_between_runs: u64,
    /// Seconds until a poll that gets no answer is given up.
    pub http_read_timeout: u64,
    /// Revisions that are kept for each group.
    pub max_revisions: u32,
    /// Directory below `root_dir` with a file for each command that is carried out.
    pub ongoing_deployment_tracking: String,
    /// The on-premises file.
    pub on_premises_config_file: PathBuf,
    /// Proxy for the command service and S3.
    pub proxy_uri: Option<String>,
    /// Whether the log of all deployments is written.
    pub enable_deployments_log: bool,
    /// FIPS endpoints.
    pub use_fips_mode: bool,
    /// The secure variant of the command service.
    pub enable_auth_policy: bool,
    /// The command service's address instead of the usual one.
    pub deploy_control_endpoint: Option<String>,
    /// S3's address instead of the usual one.
    pub s3_endpoint_override: Option<String>,
    /// Whether a bundle that another deployment left on the host may be used again.
    pub enable_archive_reuse: bool,
    /// The user that the CodeDeploy agent runs as, and so the one of scripts whose appspec names none.
    pub user: Option<String>,
    /// Keys whose values would change something under the CodeDeploy agent and change nothing here, for people to know.
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
    /// Reads codedeployagent.yml with the eyes of its reader, Ruby's Psych: symbol keys (`:root_dir:`) or plain ones, of
    /// which the plain one counts where both are there; of two equal keys the last; truth values and numbers of YAML 1.1.
    /// Unknown keys are left out.
    ///
    /// # Errors
    /// It is not YAML, or a value cannot be used; the key and its line are named.
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
        // It replaces the default, and nothing is not true.
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

/// What a scalar names, if Psych takes it for a symbol: `:region`, bare.
fn symbol(scalar: &Scalar) -> Option<&str> {
    scalar.text.strip_prefix(':').filter(|name| scalar.style == Style::Plain && !name.is_empty())
}

/// A key, with or without the colon of a symbol.
fn key(entry: &FlatEntry) -> &str {
    symbol(&entry.key).unwrap_or(&entry.key.text)
}

/// A value that is not nothing, and its place.
struct Value<'a> {
    key: &'a str,
    scalar: &'a Scalar,
    line: u32,
}

impl Value<'_> {
    fn wrong<T>(&self, wanted: &str) -> Result<T, InvalidAgentConfig> {
        invalid(format!("line {}: {} is {:?} and must be {wanted}", self.line, self.key, self.scalar.text))
    }

    /// Whether a key asks for nothing but what is so here anyway: the CodeDeploy agent's defaults, and what hostler
    /// never does.
    fn is_what_hostler_does(&self) -> bool {
        match self.key {
            "log_aws_wire" | "verbose" | "use_mock_command_service" => resolve(self.scalar) == Resolved::Bool(false),
            // Only version 2 of the metadata service is ever asked.
            "disable_imds_v1" => true,
            "children" => resolve(self.scalar) == Resolved::Integer(1),
            "codedeploy_test_profile" => self.plain() == "prod",
            _ => false,
        }
    }

    /// Its text, of a symbol its name.
    fn plain(&self) -> &str {
        symbol(self.scalar).unwrap_or(&self.scalar.text).trim()
    }

    fn text(&self) -> Option<String> {
        Some(self.plain().to_owned()).filter(|text| !text.is_empty())
    }

    /// A relative path began at the CodeDeploy agent's working directory, which nothing tells once that agent is gone.
    fn path(&self) -> Result<PathBuf, InvalidAgentConfig> {
        let path = PathBuf::from(self.plain());
        if path.is_absolute() {
            return Ok(path);
        }
        self.wrong(
            "an absolute path; the CodeDeploy agent took it from its working directory, which is / under its systemd \
             unit and /opt/codedeploy-agent under its init script: write the path that holds its files",
        )
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

    /// The CodeDeploy agent takes 1; what is on the host and the one before it are kept all the same.
    fn revisions(&self) -> Result<u32, InvalidAgentConfig> {
        match self.number() {
            Some(count) if count.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&count) => Ok(count as u32),
            _ => self.wrong("a number from 1"),
        }
    }

    /// Every other text is true for the CodeDeploy agent, `n` and `0` too, which its writer did not mean.
    fn flag(&self) -> Result<bool, InvalidAgentConfig> {
        match (resolve(self.scalar), self.scalar.text.trim()) {
            (Resolved::Bool(value), _) => Ok(value),
            (Resolved::Text, "true") => Ok(true),
            (Resolved::Text, "false") => Ok(false),
            _ => self.wrong("true or false (or yes, no, on, off without quotes)"),
        }
    }
}

/// A decimal number in text. A zero before it would be octal for Ruby, or an error.
fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let octal = text.strip_prefix('0').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain && !octal { text.parse().ok() } else { None }
}

/// How a host outside EC2 names itself and signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnPremises {
    /// The ARN, which is the host identifier.
    pub host_identifier: String,
    /// The region.
    pub region: String,
    /// How it signs.
    pub credentials: OnPremisesCredentials,
}

impl OnPremises {
    /// Whether it holds a key itself.
    pub fn has_keys(&self) -> bool {
        matches!(self.credentials, OnPremisesCredentials::User { .. })
    }
}

/// How a host outside EC2 signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnPremisesCredentials {
    /// The keys of an IAM user.
    User {
        /// The access key id.
        access_key_id: String,
        /// The secret key.
        secret_access_key: Secret,
    },
    /// A file with the credentials of a session, which something else renews.
    Session {
        /// The file.
        file: PathBuf,
    },
}

impl OnPremises {
    /// Reads the on-premises file.
    ///
    /// # Errors
    /// It is not YAML, names both a user and a session or neither, or lacks a key; the key is named and no secret shown.
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

/// The value of a key that is not nothing: of the plain key, else of the symbol.
fn find<'n>(top: &'n [FlatEntry], name: &'n str) -> Option<Value<'n>> {
    let mut found = top.iter().filter(|entry| key(entry) == name);
    let entry = found.clone().find(|entry| symbol(&entry.key).is_none()).or_else(|| found.next())?;
    let scalar = entry.value.as_ref().filter(|scalar| !scalar.is_null())?;
    Some(Value { key: name, scalar, line: entry.line })
}

#[cfg(test)]
mod tests;
