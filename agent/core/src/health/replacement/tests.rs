use super::*;

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
