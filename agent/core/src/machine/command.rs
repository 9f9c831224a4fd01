//! The commands of the CodeDeploy service. In drop-in mode the service decides the order, one lifecycle event at a
//! time.
//!
//! ```text
//!           Commanded            Acknowledged          its turn               its event ends       Reported
//! (unknown) ---------> received ------------> accepted --------> carried out ------------> ended ---------> reported
//!                          |                                                                 ^                 |
//!                          |  Acknowledged, and there is nothing to do                       |  it comes again |
//!                          +-----------------------------------------------------------------+-----------------+
//! ```
//!
//! A command is durable before the agent acknowledges it. Its report is durable before the agent sends it, and stays
//! until the service has accepted or refused it. So no crash loses an outcome, or a command that the service believes
//! to be running. Commands of one group wait for each other and for deployments from other sources.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codedeploy::diagnostics::Report;
use crate::event_order::LifecycleEvent;
use crate::ids::{DeploymentId, Sha256Digest};
use crate::machine::event::WorkFailure;
use crate::machine::state::{Request, Script};

/// Commands that are remembered after they were reported, so that the agent recognises them when they come again.
pub const REMEMBERED_COMMANDS: usize = 16;

/// The agent's record of the CodeDeploy service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Commands in the order in which they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// SHA-256 of the certificate that signed the first specification on this host, or of the last one accepted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Sha256Digest>,
    /// Whether that certificate's key has signed a specification over a digest stronger than SHA-1. It does not go
    /// back. States that were written by older agents do not have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signer_left_sha1: bool,
}

impl Service {
    /// Whether there is nothing worth writing down.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.signer.is_none()
    }

    /// The command with this identifier.
    pub fn command(&self, identifier: &str) -> Option<&Command> {
        self.commands.iter().find(|command| command.identifier == identifier)
    }

    /// The deployments that have a command in progress or waiting for its turn, with the newest such command.
    pub fn going_on(&self) -> BTreeMap<DeploymentId, String> {
        let deployments = self.commands.iter().filter_map(|command| match &command.stage {
            CommandStage::Accepted(order) => Some((order.deployment.clone(), command.identifier.clone())),
            CommandStage::CarriedOut(deployment) => Some((deployment.clone(), command.identifier.clone())),
            _ => None,
        });
        deployments.collect()
    }
}

/// One command: one lifecycle event of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The service's name for the command; a command that comes again has the same name.
    pub identifier: String,
    /// The agent asks for the deployment's specification with this.
    pub execution: String,
    /// How far the command is.
    pub stage: CommandStage,
}

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandStage {
    /// It came; the service may not know that the agent has it.
    Received(Box<Order>),
    /// The service knows that the agent has it, and it waits for its turn.
    Accepted(Box<Order>),
    /// It runs as its deployment's current event.
    CarriedOut(DeploymentId),
    /// It ended; the service may not know.
    Ended(Report),
    /// The service knows the result, or has refused it.
    Reported(Report),
}

/// The request in a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The command's name.
    pub name: String,
    /// The lifecycle event that the name means; `None` for a name that this agent does not know.
    pub event: Option<LifecycleEvent>,
    /// The scripts that it runs, of the revision that the event means. With none there is nothing to do, except for
    /// DownloadBundle and Install.
    pub scripts: Vec<Script>,
    /// Whether the agent fetches and checks the bundle before scripts of the old revision run.
    pub checks_bundle_first: bool,
    /// The deployment as requested.
    pub request: Request,
}

impl Order {
    /// Whether there is nothing to do. DownloadBundle and Install always have something.
    pub fn is_noop(&self) -> bool {
        match self.event {
            None => true,
            Some(event) => event.has_scripts() && self.scripts.is_empty(),
        }
    }
}

/// The part of a deployment that only the CodeDeploy service's deployments have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commanded {
    /// The command in progress; `None` while the deployment waits for the next one.
    pub command: Option<String>,
    /// No more commands are expected, and the deployment ends.
    pub over: bool,
    /// Whether the bundle is still to be checked before scripts of the old revision run.
    pub checks_bundle_first: bool,
    /// Whether the bundle was checked, with any result.
    #[serde(default)]
    pub bundle_was_checked: bool,
    /// The bundle's fault, found before the service asked for DownloadBundle.
    pub fault: Option<WorkFailure>,
}
