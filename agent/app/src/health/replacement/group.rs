//! What the replacement of a host needs of its Auto Scaling group.

use std::future::Future;

use hostler_aws::asg::AutoScaling;
use hostler_core::health::replacement::Standing;
use hostler_core::ids::InstanceId;

use crate::failure::Failure;
use crate::setup::Setup;

/// The group that replaces its unhealthy members.
pub trait Group: Send + Sync {
    /// Reports a member as unhealthy.
    ///
    /// # Errors
    /// When the group does not take it.
    fn set_unhealthy(&self, setup: &Setup, instance: &InstanceId) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What the group says about a host.
    ///
    /// # Errors
    /// When it does not say.
    fn standing(&self, setup: &Setup, instance: &InstanceId) -> impl Future<Output = Result<Standing, Failure>> + Send;
}

/// The real one. The client is made for each request: an HTTP client that is kept is memory that a healthy host does not
/// need.
#[derive(Debug, Clone, Copy)]
pub struct Aws;

impl Group for Aws {
    async fn set_unhealthy(&self, setup: &Setup, instance: &InstanceId) -> Result<(), Failure> {
        Ok(service(setup).await?.set_unhealthy(instance.as_str()).await?)
    }

    async fn standing(&self, setup: &Setup, instance: &InstanceId) -> Result<Standing, Failure> {
        let member = service(setup).await?.describe(instance.as_str()).await?;
        Ok(Standing::read(member.as_ref().map(|member| (member.state.as_str(), member.healthy))))
    }
}

async fn service(setup: &Setup) -> Result<AutoScaling, Failure> {
    Ok(AutoScaling::of_clients(&*setup.stores.clients()?).await)
}
