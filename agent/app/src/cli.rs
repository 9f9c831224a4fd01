//! The command line: types only. The verbs are in `verbs/`.

mod codedeploy_agent;
mod display;
pub mod examples;
mod groups;
mod of_verbs;
mod publishing;
mod usage;
mod validate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hostler_core::event_order::LifecycleEvent;
use hostler_core::ids::{ApplicationName, DeploymentId, GroupName, InstanceId};
use hostler_core::values::{YEAR_SECONDS, duration};

pub use of_verbs::{command, parse};

pub use codedeploy_agent::{AgentVerb, CodeDeployAgent, CodeDeployLocal};
#[cfg(test)]
pub use display::ColorWhen;
pub use display::Display;
pub use publishing::{
    InitArgs, KeyAlgorithm, KeygenArgs, ListArgs, NamingArgs, PackType, PushArgs, ReleaseArgs, RotateKeysArgs,
    SignArgs, SigningArgs,
};
pub use validate::{FindingsFormat, ValidateArgs};

/// What the general help ends with.
pub const AFTER_HELP: &str = include_str!("cli/after_help.txt");

/// Deploys revision bundles on this host.
#[derive(Debug, Parser)]
#[command(name = "hostler", version = env!("HOSTLER_VERSION"), about, long_about = None, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Flags of all verbs.
    #[command(flatten)]
    pub shared: Shared,
    /// What is printed, and how.
    #[command(flatten)]
    pub display: Display,
}

/// Flags of all verbs.
#[derive(Debug, Clone, Args)]
pub struct Shared {
    /// Configuration file [default: ROOT/etc/hostler/config.yaml, and config.d/*.yaml beside it]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Use DIR instead of / for everything that hostler reads and writes
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// State directory [default: ROOT/var/lib/hostler]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Application [default: as for --group]
    #[arg(long, global = true, value_name = "NAME", value_parser = usage::id::<ApplicationName>)]
    pub application: Option<ApplicationName>,
    /// Deployment group [default: the configuration's, where it names one; `deploy` and `plan` else use local/local]
    #[arg(long, global = true, value_name = "NAME", value_parser = usage::id::<GroupName>)]
    pub group: Option<GroupName>,
    /// Store with the group's channel: s3://BUCKET/PREFIX, file:///DIR or a path
    #[arg(long, global = true, value_name = "STORE")]
    pub channel: Option<String>,
    /// Print JSON, one document or one document a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Follow the channels and deploy what they say (the daemon)
    Run(RunArgs),
    /// Deploy a directory, a bundle file or an object of S3 now
    Deploy(DeployArgs),
    /// Return to the last good revision and hold the channel's release
    Rollback(RollbackArgs),
    /// Follow the channel again after a rollback, a removal, a failed release or a deployment by hand
    Resume,
    /// Run the group's ApplicationStop and take its files off this host
    Remove(RemoveArgs),
    /// Drain and stop the daemon
    Stop,
    /// Have the daemon read its configuration again
    Reload,
    /// Show what runs on this host, since when and from where
    Status(StatusArgs),
    /// Show what was done on this host
    History(HistoryArgs),
    /// Show the output of a deployment's hooks
    Logs(LogsArgs),
    /// Write a first appspec.yml with its scripts
    Init(InitArgs),
    /// Check a bundle, appspec file, configuration or release document
    Validate(ValidateArgs),
    /// Show what a deployment would do on this host as it is
    Plan(PlanArgs),
    /// Pack a directory reproducibly, store it under its SHA-256 and print the revision
    Push(PushArgs),
    /// Look at what the CodeDeploy agent left on this host, and take its place
    Migrate(MigrateArgs),
    /// Publish the revision that a deployment group shall run
    Release(ReleaseArgs),
    /// Show which revisions were released, newest first
    Releases(ListArgs),
    /// Show the bundles of a store, newest first
    Revisions(ListArgs),
    /// Add a signature to a proposed release, and publish it with the last one that is missing
    Sign(SignArgs),
    /// Make a pair of keys that signs releases
    Keygen(KeygenArgs),
    /// Publish which keys sign a group's releases from now on
    RotateKeys(RotateKeysArgs),
    /// Show what is wrong with this host's set-up and what to do about it
    Doctor(DoctorArgs),
    /// Tell CloudFormation that this host is ready, or that it failed (as cfn-signal does)
    Signal(SignalArgs),
    /// Forget this instance before an image is made of its disk
    Seal,
    /// Print a script by which a shell completes this command line
    Completions(CompletionsArgs),
    /// Write the manual pages (used when packages are built)
    #[command(hide = true)]
    ManPages(ManPagesArgs),
    /// Print the version
    Version,
}

impl Verb {
    /// Whether what it writes is a publisher's: keys, appspecs, bundles, releases and manual pages, as closed to others as the shell's
    /// umask says.
    pub fn writes_the_callers_own(&self) -> bool {
        let publishes = matches!(self, Self::Push(_) | Self::Release(_) | Self::Sign(_) | Self::RotateKeys(_));
        publishes || matches!(self, Self::Keygen(_) | Self::ManPages(_) | Self::Init(_))
    }
}

/// Flags of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Do it: configure and start hostler, then stop the CodeDeploy agent
    #[arg(long)]
    pub apply: bool,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Finish what the ledger holds, do what the channels say, and exit with the outcome
    #[arg(long)]
    pub once: bool,
    /// Only bring an interrupted Install to an end (used at boot)
    #[arg(long, conflicts_with = "once")]
    pub recover: bool,
    /// Give up what this deployment installed on file systems that are lost, or its undoing (with --recover)
    #[arg(long, requires = "recover", value_name = "DEPLOYMENT", value_parser = usage::id::<DeploymentId>)]
    pub give_up: Option<DeploymentId>,
    /// Time between looks at the channel, for example 60s or 5m
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub poll: Option<u64>,
    /// Name of this host [default: the instance id on EC2, elsewhere the host name]
    #[arg(long, value_name = "ID", value_parser = usage::id::<InstanceId>)]
    pub instance_id: Option<InstanceId>,
    /// Go on when a script of the old revision fails in ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic
    #[arg(long)]
    pub ignore_application_stop_failures: bool,
}

/// What to do with files that are there already; spelt as in the configuration, which takes no other case.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum FileExists {
    /// Fail
    Disallow,
    /// Replace them
    Overwrite,
    /// Leave them
    Retain,
}

/// Flags of `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// A directory with an appspec file, or a tar, tgz, tar.zst or zip: a file, s3://BUCKET/KEY[?versionId=ID],
    /// https://HOST/PATH, or - for one line of standard input, where other users do not see a presigned address
    pub what: PathBuf,
    /// What to do with files that are there and that the last deployment did not install
    #[arg(short = 'b', long, value_enum, ignore_case = true)]
    pub file_exists_behavior: Option<FileExists>,
    /// Name of the appspec file in the bundle [default: appspec.yml, else appspec.yaml]
    #[arg(short = 'A', long, value_name = "NAME")]
    pub appspec_filename: Option<String>,
    /// Go on when a script of the old revision fails in ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic
    #[arg(long)]
    pub ignore_application_stop_failures: bool,
    /// Leave what the last deployment installed and this one does not
    #[arg(long)]
    pub no_cleanup: bool,
    /// Do not return to the last good revision when an event fails
    #[arg(long)]
    pub no_rollback: bool,
    /// Signed release document that says what the bundle file must be
    #[arg(long, value_name = "FILE")]
    pub release: Option<PathBuf>,
}

/// Flags of `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Return to the revision of this deployment [default: the newest good one before the installed one]
    #[arg(long, value_name = "DEPLOYMENT", value_parser = usage::id::<DeploymentId>)]
    pub to: Option<DeploymentId>,
    /// Return to that deployment's revision although the deployment failed
    #[arg(long, requires = "to")]
    pub force: bool,
}

/// Flags of `remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Go on when a script of ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic fails
    #[arg(long)]
    pub ignore_application_stop_failures: bool,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print the daemon's metrics as OpenMetrics text
    #[arg(long, conflicts_with = "json")]
    pub metrics: bool,
    /// Print only what is wrong; exit 1 if anything is
    #[arg(long, conflicts_with = "metrics")]
    pub health: bool,
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Also write, and delete, scratch objects in the stores to see whether conditions are kept
    #[arg(long)]
    pub write: bool,
}

/// Flags of `signal`; short ones are those of cfn-signal.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("outcome").args(["exit_code", "success"]),
    override_usage = "hostler signal [OPTIONS] --stack <STACK> --resource <ID>\n       hostler signal [OPTIONS] <URL>"
)]
pub struct SignalArgs {
    /// The presigned URL of a wait condition handle, or - for one line of standard input: other users see arguments, and who
    /// knows the URL may signal
    #[arg(required_unless_present = "stack", conflicts_with_all = ["stack", "resource"])]
    pub url: Option<String>,
    /// Name or id of the stack that waits
    #[arg(long, value_name = "STACK", requires = "resource")]
    pub stack: Option<String>,
    /// Logical id of the resource that waits
    #[arg(long, value_name = "ID", requires = "stack")]
    pub resource: Option<String>,
    /// Region of the stack [default: the configuration's, else this host's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Exit status of what was done: 0 signals success, anything else failure
    #[arg(short, long, value_name = "STATUS", allow_negative_numbers = true)]
    pub exit_code: Option<i64>,
    /// true signals success, false failure [default: true]
    #[arg(short, long, value_name = "BOOLEAN")]
    pub success: Option<bool>,
    /// Why, in words; a wait condition keeps them
    #[arg(short, long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// What a wait condition gives to the template
    #[arg(short, long, value_name = "TEXT")]
    pub data: Option<String>,
    /// Who signals; a second signal of the same one changes nothing [default: this instance]
    #[arg(short, long, value_name = "ID")]
    pub id: Option<String>,
}

/// Flags of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Check the hash chain for edited, removed and reordered records
    #[arg(long)]
    pub verify: bool,
    /// Show the newest so many deployments
    #[arg(short = 'n', long, value_name = "COUNT", conflicts_with = "verify")]
    pub newest: Option<usize>,
    /// Show each record: events, scripts, and what was held, resumed or repaired
    #[arg(short = 'e', long, conflicts_with = "verify")]
    pub events: bool,
    /// Show the records of this deployment
    #[arg(long, value_name = "DEPLOYMENT", conflicts_with_all = ["verify", "newest"], value_parser = usage::id::<DeploymentId>)]
    pub deployment: Option<DeploymentId>,
}

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The deployment [default: the newest one; after a failure that was rolled back, the failed one]
    #[arg(value_parser = usage::id::<DeploymentId>)]
    pub deployment: Option<DeploymentId>,
    /// Go on showing what is written until the deployment, and the rollback that follows it, have ended
    #[arg(short, long)]
    pub follow: bool,
    /// Show the newest so many lines
    #[arg(short = 'n', long = "lines", value_name = "LINES")]
    pub newest: Option<usize>,
    /// Show only what the scripts of this lifecycle event print
    #[arg(long, value_name = "EVENT")]
    pub event: Option<LifecycleEvent>,
    /// Show how far the daemon has shipped each log to CloudWatch Logs
    #[arg(long, conflicts_with_all = ["deployment", "follow", "newest", "event"])]
    pub lag: bool,
}

/// Flags of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// A directory with an appspec file, or a tar, tgz, tar.zst or zip: a file, s3://BUCKET/KEY[?versionId=ID],
    /// https://HOST/PATH, or - for one line of standard input, where other users do not see a presigned address
    pub what: PathBuf,
    /// What to do with files that are there and that the last deployment did not install
    #[arg(short = 'b', long, value_enum, ignore_case = true)]
    pub file_exists_behavior: Option<FileExists>,
    /// Name of the appspec file in the bundle [default: appspec.yml, else appspec.yaml]
    #[arg(short = 'A', long, value_name = "NAME")]
    pub appspec_filename: Option<String>,
}

/// A shell with completions.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    /// bash, of any version
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Flags of `man-pages`.
#[derive(Debug, Args)]
pub struct ManPagesArgs {
    /// The directory to write them to
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

fn seconds(text: &str) -> Result<u64, String> {
    duration(text, &(1..=YEAR_SECONDS)).map_err(|unfit| unfit.to_string())
}

#[cfg(test)]
mod tests;
