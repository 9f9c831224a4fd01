//! Reports this host to its Auto Scaling group once its application has been unhealthy for long, one host of a
//! deployment group at a time: one controller, on which nothing waits.

mod claim;
mod group;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostler_core::config::settings::AutoScalingSettings;
use hostler_core::health::replacement::Wish;
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::machine::State;
use hostler_core::machine::replacement::wish;
use hostler_core::retry::jittered_ms;
use hostler_core::status::Health;
use hostler_host::clock;
use tokio::sync::watch;

use crate::controller::{Controller, View, Wake};
use crate::setup::Setup;
use claim::ClaimOfGroup;
use group::{Aws, Group};

/// Polls of the metadata service per turn.
const POLLS: u64 = 4;

/// The reporting. It looks at fixed intervals and not when health changes: what counts is how long it stays bad, and each
/// look asks the store. If it is not configured, it asks nothing and only a reload wakes it.
pub struct UnhealthyReport<G = Aws> {
    group: G,
    instance: InstanceId,
    claims: BTreeMap<(String, String), ClaimOfGroup>,
    now: Now,
}

/// The newest state and health. A deployment may begin while one of the steps is taken, which the view does not show.
struct Now {
    state: watch::Receiver<Arc<State>>,
    health: watch::Receiver<Health>,
}

impl UnhealthyReport {
    /// Nothing is known of any claim yet.
    pub fn new(state: watch::Receiver<Arc<State>>, health: watch::Receiver<Health>, instance: InstanceId) -> Self {
        Self::to(Aws, state, health, instance)
    }
}

impl<G: Group> UnhealthyReport<G> {
    fn to(group: G, state: watch::Receiver<Arc<State>>, health: watch::Receiver<Health>, instance: InstanceId) -> Self {
        Self { group, instance, claims: BTreeMap::new(), now: Now { state, health } }
    }
}

impl<G: Group> Controller for UnhealthyReport<G> {
    const NAME: &'static str = "unhealthy report";

    async fn reconcile(&mut self, View { setup, .. }: &View) -> Wake {
        for (key, channel) in followed(setup) {
            let new = || ClaimOfGroup::new(key.clone(), channel, self.instance.clone());
            self.claims.entry((key.id(), channel.to_owned())).or_insert_with(new);
        }
        // A claim that is no longer configured is released before it is forgotten.
        self.claims.retain(|_, claim| claim.may_be_own() || after_seconds(setup, claim).is_some());
        let pause = pause(setup);
        for claim in self.claims.values_mut() {
            let (key, after) = (claim.key.clone(), after_seconds(setup, claim));
            let wish = || self.now.wish(&key, after);
            claim.turn(&self.group, setup, wish, pause).await;
        }
        if self.claims.is_empty() { Wake::on_reload() } else { Wake::on_reload().after(pause) }
    }
}

impl Now {
    fn wish(&self, key: &GroupKey, after_seconds: Option<u64>) -> Wish {
        let (state, health) = (self.state.borrow(), self.health.borrow());
        wish(&state, key, health.get(&key.id()), after_seconds, clock::now_ms())
    }
}

/// The groups for which this host may be reported, with the channels whose stores hold the claims.
fn followed(setup: &Setup) -> impl Iterator<Item = (&GroupKey, &str)> {
    let settings = setup.settings.auto_scaling.as_ref();
    let on = settings.is_some_and(|settings| settings.set_instance_health_after_seconds.is_some());
    let groups = setup.settings.groups.iter().filter(move |_| on);
    groups.filter_map(|group| Some((&group.key, group.channel.as_deref()?)))
}

fn after_seconds(setup: &Setup, claim: &ClaimOfGroup) -> Option<u64> {
    let is_followed = followed(setup).any(|(key, channel)| claim.is_in(key, channel));
    setup.settings.auto_scaling.as_ref().filter(|_| is_followed)?.set_instance_health_after_seconds
}

fn pause(setup: &Setup) -> Duration {
    let poll_seconds = setup
        .settings
        .auto_scaling
        .as_ref()
        .map_or_else(|| AutoScalingSettings::default().poll_seconds, |settings| settings.poll_seconds);
    Duration::from_millis(jittered_ms(poll_seconds.saturating_mul(1000 * POLLS), clock::random()))
}

#[cfg(test)]
mod tests;
