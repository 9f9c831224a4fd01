//! What the lifecycle needs of the Auto Scaling group and of the instance metadata service.

use std::future::Future;
use std::sync::Arc;

use hostler_aws::asg::{Answer, AutoScaling, GroupHook, Member};
use hostler_aws::fault::Fault;
use hostler_aws::imds::{Imds, ImdsFault, ImdsSettings};

use crate::failure::Failure;
use crate::setup::Setup;
use crate::stores::Stores;

/// The group and the metadata service, as one configuration reaches them.
pub trait Cloud: Clone + Send + Sync {
    /// The ways to both. Nothing is asked.
    ///
    /// # Errors
    /// As [`check`].
    fn reach(&self, setup: &Setup) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Gives the ways up: nothing is asked for now.
    fn leave(&mut self);

    /// Whether these ways belong to this configuration.
    fn is_of(&self, setup: &Setup) -> bool;

    /// Whether there is a metadata service: it may be switched off, or its address wrong.
    fn has_metadata(&self) -> bool;

    /// The state to which the group moves this instance; `None` outside of a group, and without a metadata service.
    ///
    /// # Errors
    /// The fault of the metadata service.
    fn target_lifecycle_state(&self) -> impl Future<Output = Result<Option<String>, ImdsFault>> + Send;

    /// A document of the metadata service; `None` where there is none.
    ///
    /// # Errors
    /// The fault of the metadata service.
    fn metadata(&self, path: &str) -> impl Future<Output = Result<Option<String>, ImdsFault>> + Send;

    /// The group that an instance is in; `None` outside of one.
    ///
    /// # Errors
    /// The group's [`Fault`].
    fn describe(&self, instance: &str) -> impl Future<Output = Result<Option<Member>, Fault>> + Send;

    /// The group's lifecycle hooks.
    ///
    /// # Errors
    /// The group's [`Fault`].
    fn hooks(&self, group: &str) -> impl Future<Output = Result<Vec<GroupHook>, Fault>> + Send;

    /// Keeps a hook waiting.
    ///
    /// # Errors
    /// The group's [`Fault`].
    fn heartbeat(&self, group: &str, hook: &str, instance: &str) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Completes a hook.
    ///
    /// # Errors
    /// The group's [`Fault`].
    fn complete(
        &self,
        group: &str,
        hook: &str,
        instance: &str,
        result: &str,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;
}

/// The real ones; the clients are made when they are first needed, and again for another configuration.
#[derive(Clone, Default)]
pub struct Aws(Option<Arc<Reached>>);

struct Reached {
    imds: Option<Imds>,
    group: AutoScaling,
    stores: Arc<Stores>,
}

/// Checks that the agent can follow the group with this configuration.
///
/// # Errors
/// A usage failure for invalid certificates or an invalid proxy.
pub fn check(setup: &Setup) -> Result<(), Failure> {
    if setup.settings.auto_scaling.is_some() {
        setup.stores.clients()?;
    }
    Ok(())
}

impl Aws {
    fn imds(&self) -> Option<&Imds> {
        self.0.as_ref()?.imds.as_ref()
    }

    fn group(&self) -> Result<&AutoScaling, Fault> {
        let reached = self.0.as_ref().map(|reached| &reached.group);
        reached.ok_or_else(|| Fault::broken("the Auto Scaling group has not been reached yet"))
    }
}

impl Cloud for Aws {
    async fn reach(&self, setup: &Setup) -> Result<Self, Failure> {
        let group = AutoScaling::of_clients(&*setup.stores.clients()?).await;
        let variable = |name: &str| std::env::var(name).ok();
        let imds = match ImdsSettings::from_environment(variable).and_then(Imds::new) {
            Ok(imds) => Some(imds),
            Err(fault) => {
                log::warn!("the group's wishes are seen late, by its own API alone: {fault}");
                None
            }
        };
        Ok(Self(Some(Arc::new(Reached { imds, group, stores: Arc::clone(&setup.stores) }))))
    }

    fn leave(&mut self) {
        self.0 = None;
    }

    fn is_of(&self, setup: &Setup) -> bool {
        self.0.as_ref().is_some_and(|reached| Arc::ptr_eq(&reached.stores, &setup.stores))
    }

    fn has_metadata(&self) -> bool {
        self.imds().is_some()
    }

    async fn target_lifecycle_state(&self) -> Result<Option<String>, ImdsFault> {
        match self.imds() {
            Some(imds) => imds.target_lifecycle_state().await,
            None => Ok(None),
        }
    }

    async fn metadata(&self, path: &str) -> Result<Option<String>, ImdsFault> {
        match self.imds() {
            Some(imds) => imds.get(path).await,
            None => Ok(None),
        }
    }

    async fn describe(&self, instance: &str) -> Result<Option<Member>, Fault> {
        self.group()?.describe(instance).await
    }

    async fn hooks(&self, group: &str) -> Result<Vec<GroupHook>, Fault> {
        self.group()?.hooks(group).await
    }

    async fn heartbeat(&self, group: &str, hook: &str, instance: &str) -> Result<Answer, Fault> {
        self.group()?.heartbeat(group, hook, instance).await
    }

    async fn complete(&self, group: &str, hook: &str, instance: &str, result: &str) -> Result<Answer, Fault> {
        self.group()?.complete(group, hook, instance, result).await
    }
}
