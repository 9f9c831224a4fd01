//! The claim of one group: its object in the store, and what the Auto Scaling group says about its holder.

use std::time::Duration;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::health::replacement::{
    CLAIM_BYTES, CLAIM_VERSION, Claim, Holder, Look, Next, Standing, Wish, decide,
};
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::operator_events::OperatorEvent;
use hostler_core::retry::Backoff;
use hostler_core::store::{Condition, ETag, GetOutcome, Key, PutOutcome, Store as _, unhealthy_key};
use hostler_host::clock;
use tokio::time::Instant;

use super::group::Group;
use crate::controller::{LogOnce, Retries};
use crate::failure::Failure;
use crate::log_output::operator_event;
use crate::setup::Setup;
use crate::stores::{self, AnyStore};

/// Waits after failures of the store or the Auto Scaling group.
const AFTER_FAILURES: Backoff = Backoff { first_ms: 5000, most_ms: 900_000 };
/// The most steps of one turn: each step happens at most twice, when another host is faster.
const MOST_STEPS: usize = 16;
/// Turns until this host looks at the group again after a report: during its grace period the group accepts none.
const TURNS_AFTER_A_REPORT: u32 = 4;

/// One group's claim, as this host follows it.
#[derive(Debug)]
pub struct ClaimOfGroup {
    /// The group.
    pub key: GroupKey,
    channel: String,
    instance: InstanceId,
    /// True after a start, and after a write whose answer was lost.
    may_be_own: bool,
    told_reported: LogOnce,
    retries: Retries,
    log: LogOnce,
}

/// A claim that was read.
struct Stored {
    claim: Claim,
    etag: ETag,
}

impl ClaimOfGroup {
    /// A claim about which nothing is known.
    pub fn new(key: GroupKey, channel: &str, instance: InstanceId) -> Self {
        let (channel, retries) = (channel.to_owned(), Retries::new(AFTER_FAILURES));
        let (told_reported, log) = (LogOnce::default(), LogOnce::default());
        Self { key, channel, instance, may_be_own: true, told_reported, retries, log }
    }

    /// Whether this host may have to release it.
    pub fn may_be_own(&self) -> bool {
        self.may_be_own
    }

    /// Whether it is this group's claim in this channel's store.
    pub fn is_in(&self, key: &GroupKey, channel: &str) -> bool {
        &self.key == key && self.channel == channel
    }

    /// Takes the steps that are due. `wish` is evaluated before each step, since a deployment may have begun meanwhile.
    pub async fn turn<G: Group>(&mut self, group: &G, setup: &Setup, wish: impl Fn() -> Wish + Send, pause: Duration) {
        if !self.retries.is_due() {
            return;
        }
        match self.take_steps(group, setup, wish).await {
            Ok(reported) => {
                self.retries.succeeded();
                if reported {
                    self.retries.rest_until(Instant::now() + pause * TURNS_AFTER_A_REPORT);
                }
                self.log.ends();
            }
            Err(failure) => {
                self.retries.failed();
                if self.log.begins() {
                    log::warn!(
                        hostler_event = "unhealthy-not-reported", group:% = self.key, channel = self.channel.as_str();
                        "{}: reporting this host as unhealthy to its Auto Scaling group is tried again: {}", self.key, failure.one_line()
                    );
                }
            }
        }
    }

    /// Returns whether the host was reported in these steps.
    async fn take_steps<G: Group>(
        &mut self,
        group: &G,
        setup: &Setup,
        wish: impl Fn() -> Wish + Send,
    ) -> Result<bool, Failure> {
        let mut reported = false;
        let mut look = Look { wish: wish(), may_be_own: self.may_be_own, holder: None, own: None, other: None };
        let mut stored: Option<Stored> = None;
        for _ in 0..MOST_STEPS {
            (look.wish, look.may_be_own) = (wish(), self.may_be_own);
            match (decide(&look), &stored) {
                (Next::Rest, _) => break,
                (Next::AskForOwn, _) => look.own = Some(group.standing(setup, &self.instance).await?),
                (Next::AskForOther, Some(other)) => {
                    look.other = Some(group.standing(setup, &other.claim.instance).await?)
                }
                (Next::Report, _) => {
                    group.set_unhealthy(setup, &self.instance).await?;
                    look.own = Some(Standing::Unhealthy);
                    reported = true;
                }
                (Next::Claim, _) => {
                    self.put(setup, None).await?;
                    (look.holder, look.other) = (None, None);
                }
                (Next::TakeOver, Some(other)) => {
                    self.put(setup, Some(other)).await?;
                    (look.holder, look.other) = (None, None);
                }
                (Next::Release, Some(own)) => {
                    self.release(setup, own).await?;
                    break;
                }
                // The other steps need a claim that was read.
                (Next::Read | Next::AskForOther | Next::TakeOver | Next::Release, _) => {
                    stored = self.read(setup).await?;
                    let holder = stored.as_ref().map(|stored| stored.claim.instance == self.instance);
                    self.may_be_own = holder == Some(true);
                    look.holder = Some(match holder {
                        None => Holder::Nobody,
                        Some(true) => Holder::Own,
                        Some(false) => Holder::Other,
                    });
                }
            }
        }
        self.tell_reported(&look);
        Ok(reported)
    }

    /// Logged once for each claim.
    fn tell_reported(&mut self, look: &Look) {
        let reported = (look.holder, look.own) == (Some(Holder::Own), Some(Standing::Unhealthy));
        if reported && self.told_reported.begins() {
            operator_event!(
                Warn, OperatorEvent::ReportedUnhealthy, group = self.key;
                "{}: the Auto Scaling group was told that this host is unhealthy, and replaces it", self.key
            );
        }
    }

    fn place(&self, setup: &Setup) -> Result<(AnyStore, Key), Failure> {
        Ok((setup.stores.open(&self.channel)?, unhealthy_key(&self.key)))
    }

    async fn read(&self, setup: &Setup) -> Result<Option<Stored>, Failure> {
        let (store, key) = self.place(setup)?;
        let GetOutcome::Found { bytes, etag } = store.get(&key, None, CLAIM_BYTES).await.map_err(stores::failure)?
        else {
            return Ok(None);
        };
        let claim = serde_json::from_slice::<Claim>(&bytes).ok().filter(|claim| claim.version == CLAIM_VERSION);
        let message = || {
            let place = store.location(&key);
            format!("{place} is no claim that this version knows; delete it if no host is being replaced")
        };
        let claim = claim.ok_or_else(|| Failure::say(ExitCode::Failed, message()))?;
        Ok(Some(Stored { claim, etag }))
    }

    /// Writes the claim. Another host may be faster: reading the claim then shows the holder.
    async fn put(&mut self, setup: &Setup, before: Option<&Stored>) -> Result<(), Failure> {
        let (store, key) = self.place(setup)?;
        let (instance, claimed_ms) = (self.instance.clone(), clock::now_ms());
        let claim = Claim { version: CLAIM_VERSION, instance, nonce: clock::random(), claimed_ms };
        let bytes = serde_json::to_vec(&claim).context("the claim cannot be written as JSON")?;
        let condition = before.map_or(Condition::IfAbsent, |stored| Condition::IfMatch(&stored.etag));
        self.may_be_own = true;
        self.told_reported = LogOnce::default();
        if store.put(&key, &bytes, condition).await.map_err(stores::failure)? == PutOutcome::PreconditionFailed {
            return Ok(());
        }
        let from = before.map_or("none", |stored| stored.claim.instance.as_str());
        log::info!(
            hostler_event = "unhealthy-claimed", group:% = self.key, from = from;
            "{}: this host has been unhealthy for long and claims to be the one that is replaced", self.key
        );
        Ok(())
    }

    async fn release(&mut self, setup: &Setup, own: &Stored) -> Result<(), Failure> {
        let (store, key) = self.place(setup)?;
        // Deleted or another host's: either way it no longer belongs to this host.
        store.delete(&key, Some(&own.etag)).await.map_err(stores::failure)?;
        self.may_be_own = false;
        log::info!(hostler_event = "unhealthy-claim-released", group:% = self.key; "{}: this host need not be replaced any more", self.key);
        Ok(())
    }
}
