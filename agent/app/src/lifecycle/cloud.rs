//! The way to the Auto Scaling group and to the instance metadata service.

use std::sync::Arc;

use hostler_aws::asg::AutoScaling;
use hostler_aws::imds::{Imds, ImdsSettings};

use crate::failure::Failure;
use crate::setup::Setup;
use crate::stores::Stores;

/// Both, for one configuration.
pub(super) struct Cloud {
    /// `None` where it is switched off or cannot be asked.
    pub imds: Option<Imds>,
    pub group: AutoScaling,
    stores: Arc<Stores>,
}

/// Whether the group can be obeyed as this configuration says.
///
/// # Errors
/// A usage failure for certificates or a proxy that cannot be used.
pub fn check(setup: &Setup) -> Result<(), Failure> {
    if setup.settings.auto_scaling.is_some() {
        setup.stores.clients()?;
    }
    Ok(())
}

impl Cloud {
    /// # Errors
    /// As of [`check`].
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

    /// Whether it is the way of this configuration.
    pub fn is_of(&self, setup: &Setup) -> bool {
        Arc::ptr_eq(&self.stores, &setup.stores)
    }
}
