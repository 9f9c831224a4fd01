//! The meaning of the configuration, with defaults and checks applied.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::health::Check;
use crate::ids::{GroupKey, InstanceId};
use crate::lifecycle::{Rebalance, WithoutRelease};
use crate::logs::settings::LogSettings;
use crate::machine::state::Policy;
use crate::path_rule::UnsafePaths;
use crate::release::SigningPolicy;
use crate::traffic::TrafficSettings;

/// Seconds between two polls of a channel, unless the configuration says otherwise
/// (docs/protocols/rollout.md#polling-a-channel).
pub const DEFAULT_POLL_SECONDS: u64 = 60;

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name of this host; `None` is its host name.
    pub instance_id: Option<InstanceId>,
    /// Seconds between two polls of a channel, for groups without an interval of their own; `None` is
    /// [`DEFAULT_POLL_SECONDS`].
    pub poll_seconds: Option<u64>,
    /// The deployment groups that this host follows.
    pub groups: Vec<GroupSettings>,
    /// How hooks are run.
    pub hooks: HookSettings,
    /// The address that answers a load balancer's health check; `None` is no answer.
    pub health_listener: Option<SocketAddr>,
    /// How the agent follows the Auto Scaling group; `None` is not at all.
    pub auto_scaling: Option<AutoScalingSettings>,
    /// Which keys must sign each source of deployments.
    pub signatures: SignatureSettings,
    /// Where this host signals once it is proven; `None` is nowhere.
    pub signals: Option<SignalSettings>,
    /// How the scripts of machine events are run.
    pub machine_events: MachineEventSettings,
    /// How the agent reaches AWS.
    pub aws: AwsSettings,
    /// How the agent fetches bundles.
    pub downloads: DownloadSettings,
    /// How the agent follows the CodeDeploy service.
    pub codedeploy: CodeDeploySettings,
    /// The logs to ship to CloudWatch Logs; `None` is nothing.
    pub logs: Option<LogSettings>,
    /// What to do about paths that a user other than root could redirect.
    pub unsafe_paths: UnsafePaths,
    /// Which of its own records the daemon writes.
    pub log_level: LogLevel,
}

/// Which records the daemon writes: those of this level and of the graver ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is wrong, and the daemon goes on.
    Warn,
    /// What the daemon does.
    #[default]
    Info,
    /// How it does it.
    Debug,
}

impl LogLevel {
    /// The words of the levels, the gravest first.
    pub const WORDS: &[(&str, Self)] =
        &[("error", Self::Error), ("warn", Self::Warn), ("info", Self::Info), ("debug", Self::Debug)];
}

impl Settings {
    /// Seconds between two polls of a channel, for a group without an interval of its own.
    pub fn poll_seconds(&self) -> u64 {
        self.poll_seconds.unwrap_or(DEFAULT_POLL_SECONDS)
    }

    /// The settings of a group; a group that is not configured yet is added with the defaults of this host.
    pub fn group_mut(&mut self, key: GroupKey) -> &mut GroupSettings {
        let at = self.groups.iter().position(|group| group.key == key).unwrap_or_else(|| {
            self.groups.push(GroupSettings { poll_seconds: self.poll_seconds(), ..GroupSettings::new(key) });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    /// The settings of a group; the defaults for a group that is not configured.
    pub fn policy(&self, key: &GroupKey) -> Policy {
        self.groups.iter().find(|g| &g.key == key).map_or_else(Policy::default, |g| g.policy.clone())
    }

    /// The health checks of a group's configuration.
    pub fn health(&self, key: &GroupKey) -> &[Check] {
        self.groups.iter().find(|g| &g.key == key).map_or(&[], |g| &g.health)
    }

    /// The keys whose values only the agent should know.
    pub fn secrets(&self) -> Vec<&'static str> {
        let with_password = |proxy: &Option<Proxy>| matches!(proxy, Some(Proxy::Url(url)) if url.contains('@'));
        let found = [
            ("aws.proxy", with_password(&self.aws.proxy)),
            ("aws.s3.proxy", with_password(&self.aws.s3.proxy)),
            // A process that knows it may signal.
            ("signals.wait_condition", self.signals.as_ref().is_some_and(|signals| signals.wait_condition.is_some())),
        ];
        found.into_iter().filter(|(_, holds)| *holds).map(|(key, _)| key).collect()
    }

    /// The users that can reach a group's unpacked bundles. The CodeDeploy agent leaves its own open, and scripts
    /// written for it change users with `su` and `sudo`.
    pub fn bundle_access(&self, key: &GroupKey) -> BundleAccess {
        let usual = if key.codedeploy_group_id.is_some() { BundleAccess::Everyone } else { BundleAccess::Scripts };
        self.hooks.bundle_access.unwrap_or(usual)
    }

    /// How a group's deployments take this host out of service. A group without configuration does not.
    pub fn traffic(&self, key: &GroupKey) -> TrafficSettings {
        self.groups.iter().find(|g| &g.key == key).map_or_else(TrafficSettings::default, |g| g.traffic.clone())
    }
}

/// How the agent follows the Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoScalingSettings {
    /// The launch hooks that this agent completes.
    pub launch_hooks: Vec<String>,
    /// The termination hooks that this agent completes.
    pub terminate_hooks: Vec<String>,
    /// Seconds after which a launch that is not ready is given up.
    pub launch_timeout_seconds: u64,
    /// What to do with a launch when there is no release yet.
    pub without_release: WithoutRelease,
    /// Complete a termination hook with ABANDON when a script of the shutdown failed.
    pub abandon_failed_shutdown: bool,
    /// The reaction to EC2's recommendation to replace the instance.
    pub rebalance: Rebalance,
    /// Seconds for which a group's health must be red before this host reports itself to the Auto Scaling group; `None`
    /// is never.
    pub set_instance_health_after_seconds: Option<u64>,
    /// Seconds between two requests to the metadata service.
    pub poll_seconds: u64,
}

impl Default for AutoScalingSettings {
    fn default() -> Self {
        Self {
            launch_hooks: Vec::new(),
            terminate_hooks: Vec::new(),
            launch_timeout_seconds: 1800,
            without_release: WithoutRelease::Continue,
            abandon_failed_shutdown: false,
            rebalance: Rebalance::Note,
            set_instance_health_after_seconds: None,
            // AWS recommends this interval for the spot notice.
            poll_seconds: 5,
        }
    }
}

/// One deployment group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Its names.
    pub key: GroupKey,
    /// The store with its channel; `None` for a group that is deployed by hand only.
    pub channel: Option<String>,
    /// Seconds between two polls of the channel.
    pub poll_seconds: u64,
    /// URL of an SQS queue whose messages announce a change of the channel; `None` is polling alone.
    pub wake_up_queue: Option<String>,
    /// Releases below this sequence are refused, even by a host that has never seen one; `None` is no floor.
    pub minimum_sequence: Option<u64>,
    /// Sequences accepted under another epoch do not count; 0 if it is not configured.
    pub sequence_epoch: u64,
    /// Whether releases must be bound to the channel's store.
    pub require_store: bool,
    /// How deployments are done.
    pub policy: Policy,
    /// Health checks in addition to those of the appspec.
    pub health: Vec<Check>,
    /// Whether this host reports in the channel's store which revision it runs.
    pub report: bool,
    /// How deployments take this host out of service.
    pub traffic: TrafficSettings,
}

impl GroupSettings {
    /// A group without a channel, with the default of every other setting.
    pub fn new(key: GroupKey) -> Self {
        Self {
            key,
            channel: None,
            poll_seconds: DEFAULT_POLL_SECONDS,
            wake_up_queue: None,
            minimum_sequence: None,
            sequence_epoch: 0,
            require_store: false,
            policy: Policy::default(),
            health: Vec::new(),
            report: true,
            traffic: TrafficSettings::default(),
        }
    }
}

/// Which keys must sign each source of deployments. With `None` nothing from that source is verified, and `status` says
/// so. With a policy, anything that does not satisfy it is refused. The CodeDeploy service's specifications carry no
/// digest that a release document could name; [`CodeDeploySettings`] says which signers they may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureSettings {
    /// Releases in a channel.
    pub channel: Option<SigningPolicy>,
    /// `hostler deploy`.
    pub cli: Option<SigningPolicy>,
}

/// How the scripts of machine events are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineEventSettings {
    /// Time limit of one script, in seconds.
    pub timeout_seconds: u64,
}

impl Default for MachineEventSettings {
    fn default() -> Self {
        Self { timeout_seconds: 1800 }
    }
}

/// Where in CloudFormation this host signals once it is proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignalSettings {
    /// A resource of a stack.
    pub resource: Option<StackResource>,
    /// The presigned URL of a wait condition's handle.
    pub wait_condition: Option<String>,
    /// Signal FAILURE when a deployment failed, rather than wait for a later success.
    pub failure: bool,
}

/// A resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackResource {
    /// The resource that made this instance, as its tags say.
    OfTags,
    /// This resource.
    Named {
        /// The stack's name or id.
        stack: String,
        /// The resource's logical id.
        resource: String,
        /// The stack's region; `None` is this host's.
        region: Option<String>,
    },
}

/// How hooks are run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookSettings {
    /// Pass the agent's whole environment, as the CodeDeploy agent does.
    pub inherit_environment: bool,
    /// The working directory; `None` is the unpacked bundle.
    pub working_directory: Option<PathBuf>,
    /// The users that can reach unpacked bundles; `None` is the default for the source of the deployments.
    pub bundle_access: Option<BundleAccess>,
}

/// The users other than root that can reach an unpacked bundle, and read there what its modes allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleAccess {
    /// The users that its scripts and health checks run as.
    Scripts,
    /// Every user of the host.
    Everyone,
}

/// How the agent reaches AWS. The names are those of AWS's shared config file where it has them. A missing value comes
/// from the `AWS_*` environment variables, then from the shared config file, then from the instance metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// The region, for example `eu-west-1`.
    pub region: Option<String>,
    /// The endpoint of all services: for emulators and private networks.
    pub endpoint_url: Option<String>,
    /// Use FIPS 140 endpoints.
    pub use_fips_endpoint: Option<bool>,
    /// Use endpoints that answer on IPv6 and IPv4.
    pub use_dualstack_endpoint: Option<bool>,
    /// PEM file of the trusted certificate authorities, instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy; `None` takes it from `HTTPS_PROXY` and the like.
    pub proxy: Option<Proxy>,
    /// Hosts, domains and networks that are reached without the proxy.
    pub no_proxy: Vec<String>,
    /// Different settings for S3.
    pub s3: S3Settings,
}

/// Different settings for S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// The endpoint of S3 alone.
    pub endpoint_url: Option<String>,
    /// The position of the bucket's name.
    pub addressing_style: AddressingStyle,
    /// The proxy of S3 alone.
    pub proxy: Option<Proxy>,
}

/// The position of the bucket's name in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressingStyle {
    /// In the host name, as S3 prefers; in the path for a custom endpoint.
    #[default]
    Auto,
    /// In the path: `https://endpoint/bucket/key`.
    Path,
    /// In the host name: `https://bucket.endpoint/key`.
    Virtual,
}

/// How the agent connects to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Without a proxy, regardless of the environment.
    Direct,
    /// Through this proxy: `http://host:port`, with `user:password@` if it requires them.
    Url(String),
}

/// How the agent fetches bundles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownloadSettings {
    /// Bytes per second for all connections of a download together; `None` is no limit.
    pub max_bytes_per_second: Option<u64>,
}

/// How the agent follows the CodeDeploy service. It reads further settings from the CodeDeploy agent's own
/// configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeDeploySettings {
    /// Whether the agent follows it at all.
    pub enabled: bool,
    /// The CodeDeploy agent's configuration, below the root prefix.
    pub agent_config: PathBuf,
    /// What to do while the CodeDeploy agent runs on this host.
    pub running_agent: RunningAgent,
    /// What to do when a different certificate signs the specifications.
    pub changed_signer: ChangedSigner,
    /// PEM file of the authorities that must have issued the signer's certificate; `None` is no check.
    pub signer_authorities: Option<PathBuf>,
    /// The address of GitHub's API; for GitHub Enterprise.
    pub github_api: String,
}

impl Default for CodeDeploySettings {
    fn default() -> Self {
        Self {
            enabled: false,
            agent_config: "/etc/codedeploy-agent/conf/codedeployagent.yml".into(),
            running_agent: RunningAgent::Wait,
            changed_signer: ChangedSigner::Report,
            signer_authorities: None,
            github_api: "https://api.github.com".to_owned(),
        }
    }
}

/// What to do while the CodeDeploy agent runs: only one of the two may serve a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunningAgent {
    /// Wait until it ends, then take over.
    Wait,
    /// End with an error.
    Refuse,
}

/// What to do when the signer of specifications changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedSigner {
    /// Warn and trust the new one from then on.
    Report,
    /// Refuse its specifications.
    Refuse,
}
