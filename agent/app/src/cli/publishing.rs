//! The command line of what publishers do: bundles, releases, and the keys that sign them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hostler_core::label::{Label, Message};
use hostler_core::release::AgentVersion;

use super::{FileExists, seconds, usage};

/// Form of a packed bundle.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PackType {
    /// tar in gzip; every CodeDeploy agent reads it
    Tgz,
    /// Plain tar
    Tar,
    /// tar in Zstandard
    #[value(name = "tar.zst")]
    TarZst,
    /// zip
    Zip,
}

/// Flags of `init`. On a terminal it asks for what is not given.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The bundle's directory, which may be absent [default: the current directory]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// What is installed: a file or directory of the bundle, . for all of it [default: the only one, else app]
    #[arg(long, value_name = "PATH")]
    pub source: Option<String>,
    /// The directory of the host into which it is installed [default: /srv/ and the name of DIR]
    #[arg(long, value_name = "DIR")]
    pub destination: Option<String>,
    /// The systemd unit that is stopped before the files change and started after it [default: none]
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// The user that owns the files [default: root]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// An address or a port of this host that shows whether the application works [default: none]
    #[arg(long, value_name = "URL|PORT")]
    pub check: Option<String>,
}

/// Flags of `push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The directory to pack; its appspec file lies at its top
    pub directory: PathBuf,
    /// Where to put it: s3://BUCKET/PREFIX, file:///DIR or a path
    pub store: String,
    /// Form of the bundle
    #[arg(short = 't', long = "type", value_enum, default_value = "tgz")]
    pub bundle_type: PackType,
    /// What people call the revision
    #[command(flatten)]
    pub naming: NamingArgs,
}

/// What people call a revision, and why it was published.
#[derive(Debug, Args)]
pub struct NamingArgs {
    /// What to call the revision, for example a version: at most 64 bytes [default: the git commit of the pushed directory;
    /// for `release` what `push` stored]
    #[arg(long, value_name = "TEXT", value_parser = usage::label)]
    pub label: Option<Label>,
    /// Leave the label out, and of a release the message that `push` stored: agents older than labels can read it then. `push`
    /// takes no label away that the store has
    #[arg(long, conflicts_with = "label")]
    pub no_label: bool,
    /// Why it is published: at most 256 bytes [default for `release`: what `push` stored]
    #[arg(long, value_name = "TEXT", value_parser = usage::id::<Message>)]
    pub message: Option<Message>,
}

/// Flags of `releases` and `revisions`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The store: s3://BUCKET/PREFIX, file:///DIR or a path
    pub store: String,
    /// Show the newest so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub newest: usize,
}

/// Flags of `release`.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The store: s3://BUCKET/PREFIX, file:///DIR or a path
    pub store: String,
    /// The revision that `push` printed: sha256:… (7 digits or more are enough); or a bundle that others have put there:
    /// s3://BUCKET/KEY[?versionId=ID], https://HOST/PATH, a file in a directory store, or a file that every host has:
    /// file:///PATH
    #[arg(required_unless_present = "previous")]
    pub revision: Option<String>,
    /// Go back: publish the revision that the release in the channel replaced
    #[arg(long, conflicts_with = "revision")]
    pub previous: bool,
    /// Publish nothing if the release in the channel is of this revision already
    #[arg(long)]
    pub if_changed: bool,
    /// What people call the revision
    #[command(flatten)]
    pub naming: NamingArgs,
    /// Publish a bundle that others have put there although its appspec is wrong
    #[arg(long)]
    pub no_validate: bool,
    /// Go on when a script of the old revision fails in ApplicationStop, BeforeBlockTraffic or AfterBlockTraffic
    #[arg(long)]
    pub ignore_application_stop_failures: bool,
    /// What to do with files that are there and that the last deployment did not install
    #[arg(short = 'b', long, value_enum, ignore_case = true)]
    pub file_exists_behavior: Option<FileExists>,
    /// No host takes the release up after this time, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub expires_in: Option<u64>,
    /// Publish with a sequence above this one, which hosts say they have seen
    #[arg(long, value_name = "SEQUENCE")]
    pub sequence_above: Option<u64>,
    /// Hosts follow the release from this store only, not from a copy of it
    #[arg(long)]
    pub bind_store: bool,
    /// Agents below this version refuse the release
    #[arg(long, value_name = "VERSION")]
    pub minimum_agent_version: Option<AgentVersion>,
    /// Warn where this Auto Scaling group's hosts can be taken out of service neither by Standby nor out of target groups
    #[arg(long, value_name = "NAME")]
    pub auto_scaling_group: Option<String>,
    /// What signs it
    #[command(flatten)]
    pub signing: SigningArgs,
    /// Put it beside the channel, where others sign it with `hostler sign` before any host sees it
    #[arg(long)]
    pub propose: bool,
}

/// What signs.
#[derive(Debug, Args)]
pub struct SigningArgs {
    /// Private key that signs; may be given several times
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Key in KMS that signs: id, ARN or alias/NAME; may be given several times
    #[arg(long, value_name = "KEY")]
    pub kms_key: Vec<String>,
}

/// Flags of `sign`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("signer").args(["key", "kms_key"]).required(true).multiple(true))]
pub struct SignArgs {
    /// The store: s3://BUCKET/PREFIX, file:///DIR or a path
    pub store: String,
    /// The revision that the proposed release must be of: sha256:… (a beginning is enough)
    pub revision: String,
    /// What signs it
    #[command(flatten)]
    pub signing: SigningArgs,
}

/// Kind of a new key.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum KeyAlgorithm {
    /// Ed25519
    Ed25519,
    /// ECDSA on P-256 with SHA-256
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
}

/// Flags of `keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// File for the private key; the public one goes beside it as FILE.pub. With --kms-key: file for the public key
    pub file: PathBuf,
    /// Kind of key
    #[arg(long, value_enum, default_value = "ed25519")]
    pub algorithm: KeyAlgorithm,
    /// Make no key, and fetch the public half of this one in KMS: id, ARN or alias/NAME
    #[arg(long, value_name = "KEY", conflicts_with = "algorithm")]
    pub kms_key: Option<String>,
}

/// Flags of `rotate-keys`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("signer").args(["key", "kms_key"]).required(true).multiple(true))]
pub struct RotateKeysArgs {
    /// The store: s3://BUCKET/PREFIX, file:///DIR or a path
    pub store: String,
    /// Public key that may sign from now on; given once for each
    #[arg(long, value_name = "FILE", required = true)]
    pub public_key: Vec<PathBuf>,
    /// How many of them must sign
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub threshold: u32,
    /// Leave the release in the channel as it is: fresh hosts do not follow it until one is published with the new keys
    #[arg(long)]
    pub keys_only: bool,
    /// What signs it: enough of the keys before, and enough of the new ones
    #[command(flatten)]
    pub signing: SigningArgs,
}
