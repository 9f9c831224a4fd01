//! The identity of the host in its reports: asked once, and again when the AWS clients are replaced.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_aws::sts::Sts;
use hostler_core::host_report::Reporter;
use hostler_core::ids::InstanceId;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::identity;
use crate::setup::Setup;
use crate::shipping::ip_address;
use crate::stores::{AnyStore, Stores};

/// Between two requests to a metadata service that did not give the zone.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(3600);

/// The known parts of the identity.
#[derive(Debug)]
pub struct Identification {
    instance: InstanceId,
    /// `aws:userid`, with the clients that asked for it.
    user: Option<(Arc<Stores>, String)>,
    zone: Option<String>,
    zone_asked: Option<Instant>,
}

impl Identification {
    /// An identification of this host.
    pub fn new(instance: InstanceId) -> Self {
        Self { instance, user: None, zone: None, zone_asked: None }
    }

    /// Forgets the user, so that it is asked again: the role may have been replaced.
    pub fn forget_user(&mut self) {
        self.user = None;
    }

    /// The host as its report in this store names it.
    ///
    /// # Errors
    /// When the store is in S3 and STS does not identify the credentials.
    pub async fn of(&mut self, setup: &Setup, store: &AnyStore) -> Result<Reporter, Failure> {
        let user = match store {
            AnyStore::Directory(_) => self.instance.as_str().to_owned(),
            AnyStore::S3(_) => self.user(setup).await?,
        };
        Ok(Reporter {
            user,
            instance: self.instance.clone(),
            zone: self.zone(setup).await,
            address: ip_address(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    async fn user(&mut self, setup: &Setup) -> Result<String, Failure> {
        if let Some((stores, user)) = &self.user
            && Arc::ptr_eq(stores, &setup.stores)
        {
            return Ok(user.clone());
        }
        // Made for this one request: an HTTP client that is kept is memory that an idle daemon does not need.
        let sts = Sts::of_clients(&*setup.stores.clients()?).await?;
        let user = sts.user_id().await.context("the host's user id is not known")?;
        self.user = Some((Arc::clone(&setup.stores), user.clone()));
        Ok(user)
    }

    /// The zone. A host off EC2 has none; a metadata service that does not answer is asked again now and then.
    async fn zone(&mut self, setup: &Setup) -> Option<String> {
        let rests = self.zone_asked.is_some_and(|at| at.elapsed() < BETWEEN_QUESTIONS);
        if self.zone.is_some() || rests {
            return self.zone.clone();
        }
        self.zone_asked = Some(Instant::now());
        if let Ok(Some(imds)) = identity::metadata(setup) {
            self.zone = imds.availability_zone().await.ok();
        }
        self.zone.clone()
    }
}
