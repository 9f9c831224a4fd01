//! What an image keeps of its original host: the files, and nothing that the host did or wanted.

use crate::ids::{DeploymentId, GroupKey};
use crate::machine::state::{Following, Group, Purpose, State};

/// A state without a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// What is on the disk: for each group the installed revision, the one before it, and the last good one. The
    /// highest sequence and the accepted keys stay too, so that a new instance refuses an old release, or a release
    /// signed with a withdrawn key, as the original host did.
    pub state: State,
    /// Deployments that were running when the image was made. No agent continues them.
    pub given_up: Vec<(GroupKey, DeploymentId)>,
}

/// Removes the host from the state. `complete` names the deployments whose Install was found complete though the state
/// does not say so yet. The history begins anew. The agent deploys the next release that it reads, even when the image
/// has it.
pub fn seal(state: State, complete: &[DeploymentId], now_ms: u64) -> Sealed {
    let mut sealed = Sealed { state: State::default(), given_up: Vec::new() };
    for (id, mut group) in state.groups {
        if let Some(active) = group.active.take() {
            if complete.contains(&active.id) && !active.installed {
                let installed = (active.request.purpose != Purpose::Remove).then(|| active.to_installed(now_ms));
                group.installed_before = std::mem::replace(&mut group.installed, installed);
            }
            sealed.given_up.push((group.key.clone(), active.id));
        }
        let of_use = in_use(&group);
        group.finished.retain(|d| of_use.contains(&d.id));
        let Following { highest, keys, .. } = group.following;
        group.following = Following { highest, keys, ..Following::default() };
        group.totals = crate::machine::state::Totals::default();
        if !of_use.is_empty() || group.following.highest.is_some() || group.following.keys.is_some() {
            sealed.state.groups.insert(id, group);
        }
    }
    sealed
}

/// The deployments whose directories hold the files' journals and unpacked bundles.
pub fn in_use(group: &Group) -> Vec<DeploymentId> {
    let installed = group.installed.iter().chain(&group.installed_before).chain(&group.last_good);
    installed.flat_map(|i| [i.deployment.clone(), i.archive.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::release_decision::{Follow, follow};
    use crate::release::Highest;
    use crate::status::tests::Host;

    fn group(state: &State) -> &Group {
        state.groups.values().next().unwrap()
    }

    #[test]
    fn files_stay_known_and_what_the_host_did_is_forgotten() {
        let mut host = Host::new();
        for number in 1..=4 {
            host.deploy("a", number);
            host.install(false);
        }
        let mut before = host.state.clone();
        before.instance = Some("i-1".parse().unwrap());
        let following = &mut before.groups.values_mut().next().unwrap().following;
        *following = Following {
            highest: Some(Highest::new(4, None)),
            tried_sequence: 4,
            held: Some("x".to_owned()),
            ..Following::default()
        };
        let sealed = seal(before.clone(), &[], 99);
        assert_eq!(sealed.given_up, []);
        assert_eq!((&sealed.state.instance, sealed.state.history.chain.next_seq), (&None, 0));
        let (was, is) = (group(&before), group(&sealed.state));
        assert_eq!((&is.installed, &is.last_good), (&was.installed, &was.last_good));
        assert_eq!(is.totals.succeeded, 0);
        // Only the deployments that the files on the disk belong to stay.
        let kept: Vec<&str> = is.finished.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(kept, ["d-a3", "d-a4"]);
        // The release in the image is deployed on the new instance; an older one is as impossible as before.
        assert_eq!(follow(Some(is), 4), Follow::Deploy);
        assert_eq!(is.following.highest.unwrap().sequence, 4);
    }

    #[test]
    fn nobody_goes_on_with_a_deployment_of_the_other_host() {
        let mut host = Host::new();
        host.deploy("a", 1);
        host.install(false);
        host.deploy("a", 2);
        host.prepare();
        let going_on = sealed_with(&host, &[]);
        assert_eq!(going_on.given_up[0].1.as_str(), "d-a2");
        assert!(group(&going_on.state).active.is_none());
        assert_eq!(group(&going_on.state).installed.as_ref().unwrap().deployment.as_str(), "d-a1");
        // Its Install was complete on the disk, and the power failed before the state could say so.
        let complete = sealed_with(&host, &["d-a2"]);
        assert_eq!(group(&complete.state).installed.as_ref().unwrap().deployment.as_str(), "d-a2");
        assert_eq!(group(&complete.state).installed_before.as_ref().unwrap().deployment.as_str(), "d-a1");
    }

    fn sealed_with(host: &Host, complete: &[&str]) -> Sealed {
        let complete: Vec<_> = complete.iter().map(|id| id.parse().unwrap()).collect();
        seal(host.state.clone(), &complete, 99)
    }

    #[test]
    fn a_group_that_left_nothing_is_forgotten() {
        let mut host = Host::new();
        host.deploy("a", 1);
        assert_eq!(seal(host.state, &[], 99).state, State::default());
    }
}
