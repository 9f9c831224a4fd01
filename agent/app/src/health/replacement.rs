//! Reports this host to its Auto Scaling group once its application has been unhealthy for long, one host of a
//! deployment group at a time: one task, on which nothing waits.

mod claim;

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

use crate::setup::{Setup, SetupWatch};
use claim::ClaimOfGroup;

/// Polls of the metadata service per turn.
const POLLS: u64 = 4;

/// Runs until it is dropped. If it is not configured, it asks nothing and only a reload wakes it.
pub async fn report_unhealthy(
    mut setup_watch: SetupWatch,
    state: watch::Receiver<Arc<State>>,
    health: watch::Receiver<Health>,
    instance: InstanceId,
) {
    let mut claims: BTreeMap<(String, String), ClaimOfGroup> = BTreeMap::new();
    loop {
        let setup = setup_watch.now();
        for (key, channel) in followed(&setup) {
            let new = || ClaimOfGroup::new(key.clone(), channel, instance.clone());
            claims.entry((key.id(), channel.to_owned())).or_insert_with(new);
        }
        // A claim that is no longer configured is released before it is forgotten.
        claims.retain(|_, claim| claim.may_be_own() || after_seconds(&setup, claim).is_some());
        let pause = pause(&setup);
        for claim in claims.values_mut() {
            let (key, after) = (claim.key.clone(), after_seconds(&setup, claim));
            let wish = || wish_now(&state, &health, &key, after);
            claim.turn(&setup, wish, pause).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause), if !claims.is_empty() => {}
            () = setup_watch.changed() => {}
        }
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

fn wish_now(
    state: &watch::Receiver<Arc<State>>,
    health: &watch::Receiver<Health>,
    key: &GroupKey,
    after_seconds: Option<u64>,
) -> Wish {
    wish(&state.borrow(), key, health.borrow().get(&key.id()), after_seconds, clock::now_ms())
}
