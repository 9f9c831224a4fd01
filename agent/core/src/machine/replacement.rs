//! Whether the Auto Scaling group shall replace this host because of its health. `health::replacement` says how the
//! agent proceeds.

use crate::health::replacement::Wish;
use crate::health::{Colour, HealthReport};
use crate::ids::GroupKey;
use crate::lifecycle::InstanceState;
use crate::machine::state::State;

/// What this host wants for one of its groups. The group must be red for `after_seconds`; with `None` it never asks.
pub fn wish(
    state: &State,
    key: &GroupKey,
    health: Option<&HealthReport>,
    after_seconds: Option<u64>,
    now_ms: u64,
) -> Wish {
    let Some(after_seconds) = after_seconds else { return Wish::GiveBack };
    let held = state.groups.get(&key.id()).is_some_and(|group| group.following.hold().is_some());
    match state.lifecycle.instance_state {
        InstanceState::WarmPool | InstanceState::Standby => return Wish::GiveBack,
        InstanceState::Terminating | InstanceState::RebalanceHold => return Wish::Keep,
        // An administrator looks after it by hand.
        InstanceState::InService if held => return Wish::GiveBack,
        InstanceState::InService => {}
    }
    let withdrawn = state.traffic.as_ref().is_some_and(|withdrawal| withdrawal.is_out_of_service());
    let deploys = state.all_active().next().is_some();
    if withdrawn || deploys || state.lifecycle.action.is_some() {
        return Wish::Keep;
    }
    match health {
        Some(report) if report.is_healthy() => Wish::GiveBack,
        Some(report) if report.colour == Colour::Red && is_over(report.since_ms, after_seconds, now_ms) => Wish::Report,
        _ => Wish::Keep,
    }
}

fn is_over(since_ms: u64, after_seconds: u64, now_ms: u64) -> bool {
    now_ms >= since_ms.saturating_add(after_seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Action, ActionKind};
    use crate::status::tests::Host;
    use crate::traffic::{Place, Withdrawal};

    const AFTER: Option<u64> = Some(900);

    fn key() -> GroupKey {
        GroupKey::new("web".parse().unwrap(), "a".parse().unwrap())
    }

    fn report(colour: Colour, since_ms: u64) -> HealthReport {
        HealthReport { colour, since_ms, causes: Vec::new(), checks: Vec::new() }
    }

    fn served() -> Host {
        let mut host = Host::new();
        host.deploy("a", 1);
        host.install(false);
        host
    }

    /// The wish of a host that has been red for a long time.
    fn wish_of(state: &State) -> Wish {
        wish(state, &key(), Some(&report(Colour::Red, 1000)), AFTER, 10_000_000)
    }

    #[test]
    fn a_host_wants_to_be_replaced_once_it_was_red_for_long_enough_and_not_before() {
        let host = served();
        let at = |health: Option<&HealthReport>, now_ms| wish(&host.state, &key(), health, AFTER, now_ms);
        let red = report(Colour::Red, 1000);
        assert_eq!(at(Some(&red), 900_999), Wish::Keep);
        assert_eq!(at(Some(&red), 901_000), Wish::Report);
        assert_eq!(at(Some(&red), 0), Wish::Keep, "the clock was set back");
        assert_eq!(at(None, 901_000), Wish::Keep);
        assert_eq!(at(Some(&report(Colour::Grey, 0)), u64::MAX), Wish::Keep);
        for healthy in [Colour::Green, Colour::Yellow] {
            assert_eq!(at(Some(&report(healthy, 0)), 901_000), Wish::GiveBack);
        }
        assert_eq!(wish(&host.state, &key(), Some(&red), None, u64::MAX), Wish::GiveBack, "it is off");
    }

    #[test]
    fn a_host_that_is_about_to_change_or_does_not_serve_is_not_reported() {
        for (instance_state, wish) in [
            (InstanceState::InService, Wish::Report),
            (InstanceState::Standby, Wish::GiveBack),
            (InstanceState::WarmPool, Wish::GiveBack),
            (InstanceState::RebalanceHold, Wish::Keep),
            (InstanceState::Terminating, Wish::Keep),
        ] {
            let mut host = served();
            host.state.lifecycle.instance_state = instance_state;
            assert_eq!(wish_of(&host.state), wish, "{instance_state:?}");
        }
        let mut deploying = served();
        deploying.deploy("a", 2);
        assert_eq!(wish_of(&deploying.state), Wish::Keep);
        let mut held = served();
        let following = &mut held.state.groups.get_mut(&key().id()).unwrap().following;
        following.held = Some("rolled back by hand".to_owned());
        following.highest = Some(crate::release::Highest::new(1, None));
        assert_eq!(wish_of(&held.state), Wish::GiveBack);
        let mut launching = served();
        launching.state.lifecycle.action = Some(Action {
            entry: 1,
            kind: ActionKind::Launch,
            group: None,
            hooks: Vec::new(),
            begun_ms: 0,
            deadline_ms: None,
            stops: false,
            decided: None,
        });
        assert_eq!(wish_of(&launching.state), Wish::Keep);
    }

    #[test]
    fn a_host_out_of_its_target_groups_is_not_reported_and_one_with_suppressed_checks_is() {
        let mut host = served();
        for (place, wish) in [(Place::Targets { targets: Vec::new() }, Wish::Keep), (Place::InPlace, Wish::Report)] {
            host.state.traffic = Some(Withdrawal {
                group: key(),
                deployment: "d-1".parse().unwrap(),
                since_ms: 0,
                place,
                suppresses_status_checks: false,
                touched: false,
                in_flight: None,
                problem: None,
            });
            assert_eq!(wish_of(&host.state), wish, "{:?}", host.state.traffic);
        }
    }
}
