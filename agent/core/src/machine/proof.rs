//! When this host is proven good, or bad for good, and what the agent then signals to CloudFormation
//! (docs/protocols/auto-scaling.md#cloudformation-signals).

use crate::cfn_signals::Verdict;
use crate::health::HealthReport;
use crate::ids::GroupKey;
use crate::machine::state::{Group, Outcome, Purpose, Totals};

/// A group's verdict about this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nothing yet.
    Waiting,
    /// Its deployment succeeded here, and the host is healthy as far as there are checks.
    Good,
    /// Its deployment failed, and the agent does not try again by itself.
    Bad(String),
}

/// A group's verdict. `checks` is the number of its health checks; `health` is their report.
pub fn proof(group: Option<&Group>, checks: usize, health: Option<&HealthReport>) -> Proof {
    // An image's revision was deployed on another instance.
    let Some(group) = group.filter(|group| group.active.is_none() && group.totals != Totals::default()) else {
        return Proof::Waiting;
    };
    let Some(last) = group.finished.last() else { return Proof::Waiting };
    match &last.request.purpose {
        Purpose::Stop(_) | Purpose::Remove => return Proof::Waiting,
        Purpose::RollBack(rolls_back) => return Proof::Bad(format!("{} failed", rolls_back.deployment)),
        Purpose::Release(_) | Purpose::ByHand | Purpose::Commanded | Purpose::RollBackByHand => {}
    }
    match (&last.failure, last.outcome) {
        (Some(failure), _) => Proof::Bad(format!("{} failed in {}: {}", last.id, failure.event, failure.message)),
        (None, Some(Outcome::Succeeded)) if checks == 0 || health.is_some_and(HealthReport::is_healthy) => Proof::Good,
        (None, _) => Proof::Waiting,
    }
}

/// The verdict about a host with these groups; `None` while there is none. With `failures`, a failed deployment is
/// signalled; without, the agent waits for the next one.
pub fn verdict(groups: &[(GroupKey, Proof)], failures: bool) -> Option<Verdict> {
    let bad = groups.iter().find_map(|(key, proof)| match proof {
        Proof::Bad(why) => Some(format!("{key}: {why}")),
        Proof::Waiting | Proof::Good => None,
    });
    if let Some(reason) = bad {
        return failures.then_some(Verdict { success: false, reason });
    }
    let all_good = !groups.is_empty() && groups.iter().all(|(_, proof)| *proof == Proof::Good);
    all_good.then(|| {
        let names: Vec<String> = groups.iter().map(|(key, _)| key.to_string()).collect();
        Verdict { success: true, reason: format!("{} is deployed and healthy", names.join(", ")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Colour;
    use crate::status::tests::Host;

    fn of(host: &Host, checks: usize, colour: Option<Colour>) -> Proof {
        let report = colour.map(|colour| HealthReport { colour, since_ms: 0, causes: vec![], checks: vec![] });
        proof(host.state.groups.values().next(), checks, report.as_ref())
    }

    #[test]
    fn a_host_is_good_once_it_deployed_and_is_healthy() {
        let mut host = Host::new();
        assert_eq!(of(&host, 0, None), Proof::Waiting);
        host.deploy("a", 1);
        assert_eq!(of(&host, 0, None), Proof::Waiting);
        host.install(false);
        assert_eq!(of(&host, 0, None), Proof::Good);
        assert_eq!(of(&host, 1, None), Proof::Waiting);
        assert_eq!(of(&host, 1, Some(Colour::Grey)), Proof::Waiting);
        assert_eq!(of(&host, 1, Some(Colour::Red)), Proof::Waiting);
        assert_eq!(of(&host, 1, Some(Colour::Yellow)), Proof::Good);
        // The same state in an image says nothing about the host that boots from it.
        host.state = crate::machine::seal::seal(host.state, &[], 9).state;
        assert_eq!(of(&host, 0, None), Proof::Waiting);
    }

    #[test]
    fn a_first_deployment_that_fails_is_bad_and_one_that_is_made_good_by_a_rollback_too() {
        let mut host = Host::new();
        host.deploy("a", 1);
        host.install(true);
        let bad = of(&host, 0, None);
        assert!(matches!(&bad, Proof::Bad(why) if why.contains("Install")), "{bad:?}");
        let group = host.state.groups.values().next().unwrap().key.clone();
        assert_eq!(verdict(&[(group.clone(), bad.clone())], false), None);
        let said = verdict(&[(group, bad)], true).unwrap();
        assert_eq!(said.word(), "FAILURE");
        host.deploy("a", 2);
        host.install(false);
        assert_eq!(of(&host, 0, None), Proof::Good);
    }

    #[test]
    fn all_groups_have_to_be_good_and_none_is_not_good() {
        let key = |name: &str| GroupKey::new("web".parse().unwrap(), name.parse().unwrap());
        assert_eq!(verdict(&[], true), None);
        assert_eq!(verdict(&[(key("a"), Proof::Good), (key("b"), Proof::Waiting)], true), None);
        assert!(verdict(&[(key("a"), Proof::Good), (key("b"), Proof::Good)], true).unwrap().success);
    }
}
