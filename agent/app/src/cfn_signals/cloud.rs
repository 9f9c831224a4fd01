//! What signals need of the cloud.

use std::future::Future;

use hostler_aws::cfn::{Signal, Signalled};
use hostler_aws::fault::Fault;
use hostler_core::codes::ExitCode;

use super::send::{Sender, Target};
use crate::failure::Failure;
use crate::identity;
use crate::setup::Setup;

const TAGS: (&str, &str) = ("aws:cloudformation:stack-name", "aws:cloudformation:logical-id");

/// CloudFormation, and the tags that it puts on instances.
pub trait Cloud: Send + Sync {
    /// Signals once.
    ///
    /// # Errors
    /// When nothing can be sent with this configuration. A signal that was not taken is the inner [`Fault`].
    fn send(
        &self,
        setup: &Setup,
        target: &Target,
        signal: &Signal,
    ) -> impl Future<Output = Result<Result<Signalled, Fault>, Failure>> + Send;

    /// The stack's resource by the tags of this instance, which an Auto Scaling group of a stack puts on its instances
    /// too.
    ///
    /// # Errors
    /// When the instance metadata service does not show them.
    fn target_of_tags(&self, setup: &Setup) -> impl Future<Output = Result<Target, Failure>> + Send;
}

/// The real one.
#[derive(Debug, Clone, Copy)]
pub struct Aws;

impl Cloud for Aws {
    async fn send(&self, setup: &Setup, target: &Target, signal: &Signal) -> Result<Result<Signalled, Fault>, Failure> {
        let sender = Sender::new(&setup.stores, target).await?;
        Ok(sender.send(signal).await)
    }

    async fn target_of_tags(&self, setup: &Setup) -> Result<Target, Failure> {
        let Some(imds) = identity::metadata(setup)? else {
            return Err(Failure::say(ExitCode::Failed, "signals: from_tags needs the instance metadata service"));
        };
        let (Some(stack), Some(resource)) = (imds.tag(TAGS.0).await?, imds.tag(TAGS.1).await?) else {
            let message = format!(
                "the instance metadata shows no tags {} and {}; turn on InstanceMetadataTags in the launch template, or \
                 name stack and resource in signals: cloudformation",
                TAGS.0, TAGS.1
            );
            return Err(Failure::say(ExitCode::Failed, message));
        };
        Ok(Target::Resource { stack, resource, region: None })
    }
}
