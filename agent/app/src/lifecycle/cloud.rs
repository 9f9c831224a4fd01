//! The clients of the Auto Scaling group and of the instance metadata service.

use std::sync::Arc;

use hostler_aws::asg::AutoScaling;
use hostler_aws::imds::{Imds, ImdsSettings};

use crate::failure::Failure;
use crate::setup::Setup;
use crate::stores::Stores;

/// Both clients, for one configuration.
pub(super) struct Cloud {
    /// `None` if it is switched off or cannot be used.
    pub imds: Option<Imds>,
    pub group: AutoScaling,
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

impl Cloud {
    /// # Errors
    /// As [`check`].
    pub async fn reach(setup: &Setup) -> Result<Self, Failure> {
        let group = AutoScaling::of_clients(&*setup.stores.clients()?).await;
        let variable = |name: &str| std::env::var(name).ok();
        let imds = match ImdsSettings::from_environment(variable).and_then(Imds::new) {
            Ok(imds) => Some(imds),
            Err(fault) => {
                log::warn!("the group's wishes are seen late, by its own API alone: {fault}");
                None
            }
        };
        Ok(Self { imds, group, stores: Arc::clone(&setup.stores) })
    }

    /// Whether these clients belong to this configuration.
    pub fn is_of(&self, setup: &Setup) -> bool {
        Arc::ptr_eq(&self.stores, &setup.stores)
    }
}
