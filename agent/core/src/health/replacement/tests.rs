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

/// What a host wants that has been red for long.
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
    for (posture, wish) in [
        (Posture::Free, Wish::Report),
        (Posture::Parked, Wish::GiveBack),
        (Posture::Pooled, Wish::GiveBack),
        (Posture::AtRisk, Wish::Keep),
        (Posture::Leaving, Wish::Keep),
    ] {
        let mut host = served();
        host.state.lifecycle.posture = posture;
        assert_eq!(wish_of(&host.state), wish, "{posture:?}");
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

#[test]
fn only_the_groups_own_word_proves_that_a_host_is_gone() {
    for (member, standing) in [
        (None, Standing::Gone),
        (Some(("Terminated", true)), Standing::Gone),
        (Some(("Terminated", false)), Standing::Gone),
        (Some(("Warmed:Terminated", false)), Standing::Gone),
        (Some(("InService", true)), Standing::InService),
        (Some(("InService", false)), Standing::Unhealthy),
        (Some(("Terminating:Wait", false)), Standing::Unhealthy),
        (Some(("Terminating", true)), Standing::Elsewhere),
        (Some(("Standby", true)), Standing::Elsewhere),
        (Some(("Tomorrow", true)), Standing::Elsewhere),
    ] {
        assert_eq!(Standing::read(member), standing, "{member:?}");
    }
}

fn all_looks() -> Vec<Look> {
    let standings =
        [None, Some(Standing::Gone), Some(Standing::Unhealthy), Some(Standing::InService), Some(Standing::Elsewhere)];
    let mut looks = Vec::new();
    for wish in [Wish::Report, Wish::Keep, Wish::GiveBack] {
        for holder in [None, Some(Holder::Nobody), Some(Holder::Own), Some(Holder::Other)] {
            for own in standings {
                for other in standings {
                    let both = [true, false];
                    looks.extend(both.map(|may_be_own| Look { wish, may_be_own, holder, own, other }));
                }
            }
        }
    }
    looks
}

#[test]
fn each_step_has_its_proof_whatever_is_known() {
    use Standing::{Gone, InService, Unhealthy};
    let mut seen = Vec::new();
    for look in all_looks() {
        let next = decide(&look);
        let proven = match next {
            Next::Rest => true,
            Next::Read => look.holder.is_none() && look.wish != Wish::Keep,
            Next::AskForOwn => look.holder.is_some() && look.own.is_none(),
            Next::AskForOther => look.holder == Some(Holder::Other) && look.other.is_none(),
            Next::Claim => look.holder == Some(Holder::Nobody) && look.own == Some(InService),
            Next::TakeOver => look.holder == Some(Holder::Other) && look.other == Some(Gone),
            Next::Report => look.holder == Some(Holder::Own) && look.own == Some(InService),
            Next::Release => {
                look.holder == Some(Holder::Own) && look.wish == Wish::GiveBack && look.own != Some(Unhealthy)
            }
        };
        let changes = matches!(next, Next::Claim | Next::TakeOver | Next::Report);
        assert!(proven && (!changes || look.wish == Wish::Report), "{look:?}: {next:?}");
        if !seen.contains(&next) {
            seen.push(next);
        }
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn a_turn_leads_from_nothing_known_to_its_end() {
    let unread = |wish, may_be_own| Look { wish, may_be_own, holder: None, own: None, other: None };
    let known = |wish, holder, own, other| Look { wish, may_be_own: true, holder: Some(holder), own, other };
    use Standing::{Elsewhere, Gone, InService, Unhealthy};
    for (look, next) in [
        (unread(Wish::Report, false), Next::Read),
        (unread(Wish::GiveBack, true), Next::Read),
        (unread(Wish::GiveBack, false), Next::Rest),
        (unread(Wish::Keep, true), Next::Rest),
        (known(Wish::Report, Holder::Nobody, None, None), Next::AskForOwn),
        (known(Wish::Report, Holder::Nobody, Some(InService), None), Next::Claim),
        (known(Wish::Report, Holder::Nobody, Some(Unhealthy), None), Next::Rest),
        (known(Wish::Report, Holder::Nobody, Some(Elsewhere), None), Next::Rest),
        (known(Wish::Report, Holder::Nobody, Some(Gone), None), Next::Rest),
        (known(Wish::Report, Holder::Other, Some(InService), None), Next::AskForOther),
        (known(Wish::Report, Holder::Other, Some(InService), Some(InService)), Next::Rest),
        (known(Wish::Report, Holder::Other, Some(InService), Some(Unhealthy)), Next::Rest),
        (known(Wish::Report, Holder::Other, Some(InService), Some(Elsewhere)), Next::Rest),
        (known(Wish::Report, Holder::Other, Some(InService), Some(Gone)), Next::TakeOver),
        (known(Wish::Report, Holder::Own, Some(InService), None), Next::Report),
        (known(Wish::Report, Holder::Own, Some(Unhealthy), None), Next::Rest),
        (known(Wish::Keep, Holder::Own, Some(InService), None), Next::Rest),
        (known(Wish::GiveBack, Holder::Own, None, None), Next::AskForOwn),
        (known(Wish::GiveBack, Holder::Own, Some(InService), None), Next::Release),
        (known(Wish::GiveBack, Holder::Own, Some(Elsewhere), None), Next::Release),
        (known(Wish::GiveBack, Holder::Own, Some(Unhealthy), None), Next::Rest),
        (known(Wish::GiveBack, Holder::Other, Some(InService), None), Next::Rest),
    ] {
        assert_eq!(decide(&look), next, "{look:?}");
    }
}
