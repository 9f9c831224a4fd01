//! The command lines of the CodeDeploy agent's programs, by whose names hostler can be called.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use hostler_core::ids::{ApplicationName, GroupName};

use super::FileExists;

/// Deploys on this host without the CodeDeploy service.
#[derive(Debug, Parser)]
#[command(name = "codedeploy-local", disable_version_flag = true)]
pub struct CodeDeployLocal {
    /// The bundle: a path, s3://bucket/key?versionId=..&etag=.., a repository's address on github.com, or that of its
    /// zipball or tarball on api.github.com
    #[arg(short = 'l', long, value_name = "LOCATION", default_value = ".")]
    pub bundle_location: String,
    /// What the bundle is: tgz, tar, zip or directory
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "directory")]
    pub bundle_type: String,
    /// What to do with files that are there and that the last deployment did not install
    #[arg(short = 'b', long, value_enum, ignore_case = true, default_value = "DISALLOW")]
    pub file_exists_behavior: FileExists,
    /// Id of the deployment group, and name of its directory
    #[arg(short = 'g', long, value_name = "ID", default_value = "default-local-deployment-group")]
    pub deployment_group: hostler_core::ids::DeploymentGroupId,
    /// Name of the deployment group
    #[arg(short = 'd', long, value_name = "NAME", default_value = "LocalFleet", value_parser = GroupName::given)]
    pub deployment_group_name: GroupName,
    /// Name of the application
    #[arg(short = 'a', long, value_name = "NAME", default_value = "local", value_parser = ApplicationName::given)]
    pub application_name: ApplicationName,
    /// Lifecycle events in their order, with commas between [default: all of them]
    #[arg(short = 'e', long, value_name = "EVENTS")]
    pub events: Option<String>,
    /// The CodeDeploy agent's configuration
    #[arg(short = 'c', long, value_name = "FILE", default_value = "/etc/codedeploy-agent/conf/codedeployagent.yml")]
    pub agent_configuration_file: PathBuf,
    /// Name of the appspec file in the bundle [default: appspec.yml, else appspec.yaml]
    #[arg(short = 'A', long, value_name = "NAME")]
    pub appspec_filename: Option<String>,
    /// Print the version of these options
    #[arg(short = 'v', long)]
    pub version: bool,
    /// Prefix of destinations and state, for tests
    #[arg(long, hide = true, default_value = "/")]
    pub root: PathBuf,
}

/// Starts, stops and shows the agent, under the CodeDeploy agent's name.
#[derive(Debug, Parser)]
#[command(name = "codedeploy-agent", version)]
pub struct CodeDeployAgent {
    /// Taken and not used: hostler's service reads its own configuration
    #[arg(long = "config_file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// What to do with hostler.service
    #[arg(value_enum)]
    pub verb: AgentVerb,
}

/// What to do with the service.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum AgentVerb {
    /// Start it
    Start,
    /// Stop it
    Stop,
    /// Stop and start it
    Restart,
    /// Show whether it runs
    Status,
}
