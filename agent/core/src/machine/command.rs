//! The commands of the CodeDeploy service: in drop-in mode the service decides the order, one lifecycle event at a time.
//!
//! ```text
//!           Commanded            Acknowledged          its turn               its event ends       Reported
//! (unknown) ---------> received ------------> accepted --------> carried out ------------> ended ---------> reported
//!                          |                                                                 ^                 |
//!                          |  Acknowledged, and there is nothing to do                       |  it comes again |
//!                          +-----------------------------------------------------------------+-----------------+
//! ```
//!
//! A command is durable before it is acknowledged, and its report is durable before it is sent, until the service has
//! taken or refused it. So no crash loses a command that the service believes to be going on, or an outcome. Commands
//! of one group wait for each other and for deployments that others asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codedeploy::diagnostics::Report;
use crate::event_order::LifecycleEvent;
use crate::ids::{DeploymentId, Sha256Digest};
use crate::machine::event::WorkFailure;
use crate::machine::state::{Request, Script};

/// Commands that are remembered after they were reported, so that they are recognised when they come again.
pub const REMEMBERED_COMMANDS: usize = 16;

/// What the agent knows of the CodeDeploy service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Commands in the order in which they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// SHA-256 of the certificate that signed the first specification on this host, or the one that was accepted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<Sha256Digest>,
    /// Whether that certificate's key signed a specification over a digest that is stronger than SHA-1: it does not go back.
    /// Not known of states that were written before this was noted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signer_left_sha1: bool,
}

impl Service {
    /// Whether there is nothing that is worth writing down.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.signer.is_none()
    }

    /// The command with this identifier.
    pub fn command(&self, identifier: &str) -> Option<&Command> {
        self.commands.iter().find(|command| command.identifier == identifier)
    }

    /// The deployments of which a command is carried out or waits for its turn, with the newest such command.
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
    /// The service's name for it; the same command that comes again has the same name.
    pub identifier: String,
    /// With which the service is asked for the deployment's specification.
    pub execution: String,
    /// How far it is.
    pub stage: CommandStage,
}

/// How far a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandStage {
    /// It came, and the service may not know that it did.
    Received(Box<Order>),
    /// The service knows, and it waits for its turn.
    Accepted(Box<Order>),
    /// Its deployment's current event.
    CarriedOut(DeploymentId),
    /// It ended, and the service may not know.
    Ended(Report),
    /// The service knows, or does not want to.
    Reported(Report),
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The command's name.
    pub name: String,
    /// The lifecycle event that the name means; `None` for a name that this agent does not know.
    pub event: Option<LifecycleEvent>,
    /// What it runs, of the revision that the event means; none is nothing to do, but for DownloadBundle and Install.
    pub scripts: Vec<Script>,
    /// Whether the bundle is fetched and checked before scripts of the old revision run.
    pub checks_bundle_first: bool,
    /// The deployment as it is asked for.
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

/// The part of a deployment that only a deployment of the CodeDeploy service has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commanded {
    /// The command that is carried out; `None` while it waits for the next.
    pub command: Option<String>,
    /// Nothing more is expected, and it ends.
    pub over: bool,
    /// Whether the bundle is still to be looked at before scripts of the old revision run.
    pub checks_bundle_first: bool,
    /// Whether it was looked at, with whatever result.
    #[serde(default)]
    pub bundle_was_checked: bool,
    /// What is wrong with the bundle, found before DownloadBundle was asked for.
    pub fault: Option<WorkFailure>,
}
