//! What the configuration means: defaulted and checked.

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

/// Seconds between two looks at a channel, unless the configuration says otherwise
/// (docs/protocols/rollout.md#polling-a-channel).
pub const DEFAULT_POLL_SECONDS: u64 = 60;

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name of this host; `None` is its host name.
    pub instance_id: Option<InstanceId>,
    /// The deployment groups that this host follows.
    pub groups: Vec<GroupSettings>,
    /// How hooks are run.
    pub hooks: HookSettings,
    /// Where a load balancer's health check is answered; `None` is nowhere.
    pub health_listener: Option<SocketAddr>,
    /// How the Auto Scaling group is obeyed; `None` is not at all.
    pub auto_scaling: Option<AutoScalingSettings>,
    /// Whose signatures each source of deployments needs.
    pub signatures: SignatureSettings,
    /// To whom this host signals once it is proven; `None` is nobody.
    pub signals: Option<SignalSettings>,
    /// How the scripts of machine events are run.
    pub machine_events: MachineEventSettings,
    /// How AWS is reached.
    pub aws: AwsSettings,
    /// How bundles are fetched.
    pub downloads: DownloadSettings,
    /// How the CodeDeploy service is followed.
    pub codedeploy: CodeDeploySettings,
    /// What is shipped to CloudWatch Logs; `None` is nothing.
    pub logs: Option<LogSettings>,
    /// What is done about ways to files that a user other than root could lead elsewhere.
    pub unsafe_paths: UnsafePaths,
}

impl Settings {
    /// The settings of a group; those of a group that is not configured are the defaults.
    pub fn policy(&self, key: &GroupKey) -> Policy {
        self.groups.iter().find(|g| &g.key == key).map_or_else(Policy::default, |g| g.policy.clone())
    }

    /// The health checks that the configuration has for a group.
    pub fn health(&self, key: &GroupKey) -> &[Check] {
        self.groups.iter().find(|g| &g.key == key).map_or(&[], |g| &g.health)
    }

    /// The keys with values that only the agent should know.
    pub fn secrets(&self) -> Vec<&'static str> {
        let with_password = |proxy: &Option<Proxy>| matches!(proxy, Some(Proxy::Url(url)) if url.contains('@'));
        let found = [
            ("aws.proxy", with_password(&self.aws.proxy)),
            ("aws.s3.proxy", with_password(&self.aws.s3.proxy)),
            // Who knows it may signal.
            ("signals.wait_condition", self.signals.as_ref().is_some_and(|signals| signals.wait_condition.is_some())),
        ];
        found.into_iter().filter(|(_, holds)| *holds).map(|(key, _)| key).collect()
    }

    /// Who reaches the unpacked bundles of a group. The CodeDeploy agent leaves its own open, and scripts that were written
    /// for it change users by `su` and `sudo`.
    pub fn bundle_access(&self, key: &GroupKey) -> BundleAccess {
        let usual = if key.codedeploy_group_id.is_some() { BundleAccess::Everyone } else { BundleAccess::Scripts };
        self.hooks.bundle_access.unwrap_or(usual)
    }

    /// How a group's deployments take this host out of service; not at all for one that is not configured.
    pub fn traffic(&self, key: &GroupKey) -> TrafficSettings {
        self.groups.iter().find(|g| &g.key == key).map_or_else(TrafficSettings::default, |g| g.traffic.clone())
    }
}

/// How the Auto Scaling group is obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoScalingSettings {
    /// The launch hooks that this agent completes.
    pub launch_hooks: Vec<String>,
    /// The termination hooks that this agent completes.
    pub terminate_hooks: Vec<String>,
    /// Seconds until a launch that is not ready is given up.
    pub launch_timeout_seconds: u64,
    /// What is done with a launch when nothing was released yet.
    pub without_release: WithoutRelease,
    /// Complete a termination hook with ABANDON when a script of the shutdown failed.
    pub abandon_failed_shutdown: bool,
    /// What follows from EC2's recommendation to replace the instance.
    pub rebalance: Rebalance,
    /// Seconds for which a group's health must be red before this host reports itself to the Auto Scaling group; `None` is
    /// never.
    pub set_instance_health_after_seconds: Option<u64>,
    /// Seconds between two looks at the metadata service.
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
            // As AWS advises for the spot notice.
            poll_seconds: 5,
        }
    }
}

/// One deployment group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Its names.
    pub key: GroupKey,
    /// The store with its channel; `None` for a group that is only deployed to by hand.
    pub channel: Option<String>,
    /// Seconds between two looks at the channel.
    pub poll_seconds: u64,
    /// URL of an SQS queue whose messages say that the channel changed; `None` is polling alone.
    pub wake_up_queue: Option<String>,
    /// Releases below this sequence are refused, also by a host that has never seen one; `None` is no floor.
    pub minimum_sequence: Option<u64>,
    /// Sequences that were accepted under another number do not count; 0 where it is not configured.
    pub sequence_epoch: u64,
    /// Whether releases must be bound to the channel's store.
    pub require_store: bool,
    /// How deployments are done.
    pub policy: Policy,
    /// Health checks beside those of the appspec.
    pub health: Vec<Check>,
    /// Whether this host says in the channel's store what it runs.
    pub report: bool,
    /// How deployments take this host out of service.
    pub traffic: TrafficSettings,
}

/// Whose signatures each source of deployments needs. `None`: nothing from it is verified, and `status` says so. With a
/// policy, what does not satisfy it is refused. The CodeDeploy service's specifications carry no digest that a release
/// document could name; whose they may be is [`CodeDeploySettings`]'s.
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
    /// Seconds that one script has.
    pub timeout_seconds: u64,
}

impl Default for MachineEventSettings {
    fn default() -> Self {
        Self { timeout_seconds: 1800 }
    }
}

/// To whom in CloudFormation this host signals once it is proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignalSettings {
    /// A resource of a stack.
    pub resource: Option<StackResource>,
    /// The presigned URL of a wait condition's handle.
    pub wait_condition: Option<String>,
    /// Signal FAILURE when a deployment failed, rather than wait for one that succeeds.
    pub failure: bool,
}

/// A resource of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackResource {
    /// The one that made this instance, as its tags say.
    OfTags,
    /// This one.
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
    /// Who reaches unpacked bundles; `None` is what is usual where the deployments come from.
    pub bundle_access: Option<BundleAccess>,
}

/// Who reaches an unpacked bundle beside root, and there reads what its modes let them read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleAccess {
    /// The users that its scripts and health checks run as.
    Scripts,
    /// Every user of the host.
    Everyone,
}

/// How AWS is reached. The names are those of AWS's shared config file where it has them. What is not set here comes from
/// the `AWS_*` environment variables, then from the shared config file, then from the instance metadata.
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
    /// PEM file of the certificate authorities that are trusted, instead of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy; `None` is what `HTTPS_PROXY` and its kin say.
    pub proxy: Option<Proxy>,
    /// Hosts, domains and networks that are reached without the proxy.
    pub no_proxy: Vec<String>,
    /// What is different for S3.
    pub s3: S3Settings,
}

/// What is different for S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// The endpoint of S3 alone.
    pub endpoint_url: Option<String>,
    /// Where the bucket's name stands.
    pub addressing_style: AddressingStyle,
    /// The proxy of S3 alone.
    pub proxy: Option<Proxy>,
}

/// Where the bucket's name stands in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AddressingStyle {
    /// In the host name, as S3 wants it; in the path for an endpoint of one's own.
    #[default]
    Auto,
    /// In the path: `https://endpoint/bucket/key`.
    Path,
    /// In the host name: `https://bucket.endpoint/key`.
    Virtual,
}

/// How the way to a service begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Without a proxy, whatever the environment says.
    Direct,
    /// Through this one: `http://host:port`, with `user:password@` where it asks for them.
    Url(String),
}

/// How bundles are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DownloadSettings {
    /// Bytes that all connections of a download together may bring in a second; `None` is as fast as they come.
    pub max_bytes_per_second: Option<u64>,
}

/// How the CodeDeploy service is followed. What the CodeDeploy agent's own configuration says is not repeated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeDeploySettings {
    /// Whether it is followed at all.
    pub enabled: bool,
    /// The CodeDeploy agent's configuration, below the root prefix.
    pub agent_config: PathBuf,
    /// What is done while the CodeDeploy agent runs on this host.
    pub running_agent: RunningAgent,
    /// What is done when specifications come signed with another certificate than before.
    pub changed_signer: ChangedSigner,
    /// PEM file of the authorities that the signer's certificate must lead to; `None` is no such check.
    pub signer_authorities: Option<PathBuf>,
    /// Where GitHub's API is; for GitHub Enterprise.
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

/// What is done while the CodeDeploy agent runs: only one of the two may serve a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunningAgent {
    /// Wait for its end, and take over then.
    Wait,
    /// End with an error.
    Refuse,
}

/// What is done when the signer of specifications changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedSigner {
    /// Warn and trust the new one from then on.
    Report,
    /// Refuse its specifications.
    Refuse,
}
