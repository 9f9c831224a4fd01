//! The command line of `validate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The form in which findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FindingsFormat {
    /// Text, with the lines
    Text,
    /// As --json
    Json,
    /// SARIF 2.1.0, which code scanning services read
    Sarif,
    /// Workflow commands, by which GitHub Actions marks the lines in a pull request
    Github,
}

/// Flags of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// A bundle (directory or file), an appspec file, a configuration file or a release document
    pub path: PathBuf,
    /// How the findings are printed [default: text; with --json: json]
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    pub format: Option<FindingsFormat>,
    /// Fail on warnings too
    #[arg(long)]
    pub deny_warnings: bool,
    /// Name of the appspec file in the bundle [default: appspec.yml, else appspec.yaml]
    #[arg(short = 'A', long, value_name = "NAME")]
    pub appspec_filename: Option<String>,
    /// Public key that must have signed a release document; all that are given must [default: the configuration's]
    #[arg(long, value_name = "FILE")]
    pub public_key: Vec<PathBuf>,
}
