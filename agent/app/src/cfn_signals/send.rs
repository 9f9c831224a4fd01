//! The target of a signal and one try to send it: for `hostler signal`, and for the agent's automatic signals.

use anyhow::Context as _;
use hostler_aws::cfn::{CloudFormation, Signal, Signalled, WaitCondition};
use hostler_aws::fault::Fault;
use hostler_core::ids::Sha256Digest;

use crate::failure::Failure;
use crate::stores::Stores;

/// The target that waits for a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resource of a stack.
    Resource {
        /// The stack's name or id.
        stack: String,
        /// The resource's logical id.
        resource: String,
        /// The stack's region, where it differs from this host's.
        region: Option<String>,
    },
    /// A wait condition, by the presigned URL of its handle.
    WaitCondition {
        /// The URL; knowing it is permission to signal.
        url: String,
    },
}

impl Target {
    /// The name by which the target is remembered; it holds no secret.
    pub fn name(&self) -> String {
        match self {
            Self::Resource { stack, resource, region } => {
                let region = region.as_ref().map(|region| format!("{region}:")).unwrap_or_default();
                format!("{region}{stack}/{resource}")
            }
            Self::WaitCondition { url } => {
                let digest = Sha256Digest::of(url.as_bytes()).hex();
                format!("wait condition {}", digest.chars().take(12).collect::<String>())
            }
        }
    }
}

/// A client for a target.
pub enum Sender {
    /// To a resource.
    Resource(CloudFormation, String, String),
    /// To a wait condition.
    WaitCondition(WaitCondition),
}

impl Sender {
    /// Makes the client for a target. Nothing is sent.
    ///
    /// # Errors
    /// When certificates, proxy or region are missing or wrong.
    pub async fn new(stores: &Stores, target: &Target) -> Result<Self, Failure> {
        let clients = stores.clients()?;
        match target {
            Target::Resource { stack, resource, region } => {
                let service = CloudFormation::of_clients(&clients, region.clone()).await;
                Ok(Self::Resource(service.context("nothing can be signalled")?, stack.clone(), resource.clone()))
            }
            Target::WaitCondition { url } => Ok(Self::WaitCondition(WaitCondition::of_clients(&clients, url.clone())?)),
        }
    }

    /// Signals once.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn send(&self, signal: &Signal) -> Result<Signalled, Fault> {
        match self {
            Self::Resource(service, stack, resource) => service.signal(stack, resource, signal).await,
            Self::WaitCondition(handle) => handle.signal(signal).await.map(|()| Signalled::Taken),
        }
    }
}
