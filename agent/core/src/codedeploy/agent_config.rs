//! The CodeDeploy agent's own configuration: codedeployagent.yml and the on-premises file (specs/codedeploy.md §1.4,
//! §7.1).

use std::path::PathBuf;

use crate::limits::Limits;
use crate::yaml::{self, Mapping, Node};

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

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidAgentConfig> {
    Err(InvalidAgentConfig(message.into()))
}

impl AgentConfig {
    /// Reads codedeployagent.yml: symbol keys (`:root_dir:`), of two equal keys the last, unknown keys left out.
    ///
    /// # Errors
    /// It is not YAML, or a value cannot be used; the key and its line are named.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, InvalidAgentConfig> {
        let mut config = Self::default();
        let document = document(text, limits)?;
        let Some(top) = document.as_deref().filter(|node| !node.is_null()) else { return Ok(config) };
        let Some(top) = top.as_mapping() else { return invalid("it must hold keys with values") };
        for entry in top.entries() {
            let key = entry.key.text.trim_start_matches(':');
            let Some(value) = entry.value.as_scalar() else { continue };
            if value.is_null() {
                continue;
            }
            let at = entry.value.at.line;
            config.take(key, &value.text, at)?;
        }
        Ok(config)
    }

    fn take(&mut self, key: &str, text: &str, line: u32) -> Result<(), InvalidAgentConfig> {
        let value = Value { key, text, line };
        match key {
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
            _ if is_what_hostler_does(key, text.trim()) => {}
            _ if self.without_effect.iter().any(|known| known == key) => {}
            _ => self.without_effect.push(key.to_owned()),
        }
        Ok(())
    }
}

/// Whether a key asks for nothing but what is so here anyway: the CodeDeploy agent's defaults, and what hostler never does.
fn is_what_hostler_does(key: &str, text: &str) -> bool {
    match key {
        "log_aws_wire" | "verbose" | "use_mock_command_service" => text == "false",
        // Only version 2 of the metadata service is ever asked.
        "disable_imds_v1" => true,
        "children" => text == "1",
        "codedeploy_test_profile" => text == "prod",
        _ => false,
    }
}

struct Value<'a> {
    key: &'a str,
    text: &'a str,
    line: u32,
}

impl Value<'_> {
    fn wrong<T>(&self, wanted: &str) -> Result<T, InvalidAgentConfig> {
        invalid(format!("line {}: {} is {:?} and must be {wanted}", self.line, self.key, self.text))
    }

    fn text(&self) -> Option<String> {
        Some(self.text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn path(&self) -> Result<PathBuf, InvalidAgentConfig> {
        let path = PathBuf::from(self.text.trim());
        if path.is_absolute() { Ok(path) } else { self.wrong("an absolute path") }
    }

    /// A name that becomes part of a path.
    fn file_name(&self) -> Result<String, InvalidAgentConfig> {
        let text = self.text.trim();
        if text.is_empty() || text.starts_with('.') || text.contains('/') {
            return self.wrong("a name without slashes");
        }
        Ok(text.to_owned())
    }

    fn seconds(&self) -> Result<u64, InvalidAgentConfig> {
        match self.text.trim().parse::<f64>() {
            Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds.ceil() as u64),
            _ => self.wrong("a number of seconds"),
        }
    }

    /// The CodeDeploy agent takes 1; what is on the host and the one before it are kept all the same.
    fn revisions(&self) -> Result<u32, InvalidAgentConfig> {
        match self.text.trim().parse::<u32>() {
            Ok(count) if count >= 1 => Ok(count),
            _ => self.wrong("a number from 1"),
        }
    }

    fn flag(&self) -> Result<bool, InvalidAgentConfig> {
        match self.text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => self.wrong("true or false"),
        }
    }
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
        let document = document(text, limits)?;
        let Some(top) = document.as_deref().and_then(Node::as_mapping) else {
            return invalid("it must hold keys with values");
        };
        let get = |key: &str| value(top, key);
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
                let file = PathBuf::from(need("aws_credentials_file")?);
                (arn, OnPremisesCredentials::Session { file })
            }
        };
        Ok(Self { host_identifier, region: need("region")?, credentials })
    }
}

fn value(top: &Mapping, key: &str) -> Option<String> {
    let scalar = top.get(key)?.value.as_scalar()?;
    (!scalar.is_null() && !scalar.text.is_empty()).then(|| scalar.text.clone())
}

fn document(text: &str, limits: &Limits) -> Result<Option<std::rc::Rc<Node>>, InvalidAgentConfig> {
    match yaml::parse(text, limits) {
        Ok(document) => Ok(document.root),
        // The parser may quote what it cannot read, and the file holds keys.
        Err(error) => invalid(format!("line {}: this is not YAML", error.at.line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<AgentConfig, String> {
        AgentConfig::parse(text, &Limits::default()).map_err(|e| e.to_string())
    }

    fn on_premises(text: &str) -> Result<OnPremises, String> {
        OnPremises::parse(text, &Limits::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_shipped_file_is_the_default() {
        let shipped = "---\n:log_aws_wire: false\n:log_dir: '/var/log/aws/codedeploy-agent/'\n\
                       :pid_dir: '/opt/codedeploy-agent/state/.pid/'\n:program_name: codedeploy-agent\n\
                       :root_dir: '/opt/codedeploy-agent/deployment-root'\n:verbose: false\n:wait_between_runs: 1\n\
                       :proxy_uri:\n:max_revisions: 5\n";
        let expected = AgentConfig {
            log_dir: "/var/log/aws/codedeploy-agent/".into(),
            pid_dir: "/opt/codedeploy-agent/state/.pid/".into(),
            ..AgentConfig::default()
        };
        assert_eq!(config(shipped).unwrap(), expected);
        assert_eq!(config("").unwrap(), AgentConfig::default());
        assert_eq!(config("---\n").unwrap(), AgentConfig::default());
    }

    #[test]
    fn the_last_of_two_keys_counts_and_every_bad_value_is_named_with_its_line() {
        assert_eq!(config(":max_revisions: 3\n:max_revisions: 2\n").unwrap().max_revisions, 2);
        for (text, words) in [
            (":max_revisions: 0", "line 1: max_revisions"),
            ("\n:root_dir: relative", "line 2: root_dir"),
            (":program_name: ../x", "program_name"),
            (":use_fips_mode: perhaps", "use_fips_mode"),
            (":wait_between_runs: -1", "wait_between_runs"),
            ("- a", "keys with values"),
            ("a: [", "not YAML"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_changes_nothing_here_is_named_once() {
        let text = ":verbose: true\n:log_aws_wire: true\n:log_aws_wire: true\n:disable_imds_v1: false\n:children: 1\n\
                    :group: deploy\n:user: deploy\n:wait_after_error: 30\n:own: x\n";
        let found = config(text).unwrap();
        assert_eq!(found.without_effect, ["verbose", "log_aws_wire", "group", "wait_after_error", "own"]);
        assert_eq!(found.user.as_deref(), Some("deploy"));
    }

    #[test]
    fn a_host_outside_ec2_is_a_user_or_a_session() {
        let user = "iam_user_arn: arn:u\nregion: eu-west-1\naws_access_key_id: AK\naws_secret_access_key: s3cret\n";
        let found = on_premises(user).unwrap();
        assert_eq!((found.host_identifier.as_str(), found.region.as_str()), ("arn:u", "eu-west-1"));
        assert!(!format!("{found:?}").contains("s3cret"));
        let session = "iam_session_arn: arn:s\nregion: r\naws_credentials_file: /c\n";
        assert_eq!(on_premises(session).unwrap().credentials, OnPremisesCredentials::Session { file: "/c".into() });
    }

    #[test]
    fn what_an_on_premises_file_lacks_is_named() {
        for (text, words) in [
            ("iam_user_arn: a\niam_session_arn: b\nregion: r", "both"),
            ("region: r", "neither"),
            ("iam_user_arn: a\nregion: r\naws_access_key_id: k", "aws_secret_access_key is missing"),
            ("iam_user_arn: a\naws_access_key_id: k\naws_secret_access_key: s", "region is missing"),
            ("iam_session_arn: a\nregion: r", "aws_credentials_file is missing"),
            ("{", "not YAML"),
        ] {
            let error = on_premises(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
