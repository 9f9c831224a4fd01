//! Whether users other than the agent's own may change what the agent relies on in the CodeDeploy agent's place: its
//! directories with their content, and unpacked bundles.
//!
//! | place | owner | others that may write to it |
//! |---|---|---|
//! | above the agent's directories | root or the agent | a group (as for `/var/log` on some systems); all, if sticky |
//! | one of the agent's directories or files | root or the agent | root's or the agent's group |
//! | an unpacked bundle that is installed | root or the agent | root's or the agent's group |
//! | a link that leads to one of the agent's directories | root or the agent | |
//! | a bundle whose script runs | also the script's user; any user that root gave it to | root's or the agent's group |

use std::path::PathBuf;

/// The user and group that the agent runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// The facts that decide which users may change a file, or a directory and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its path.
    pub path: PathBuf,
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Whether an access control list names users or groups; then the mode's group bits are their mask.
    pub has_acl: bool,
}

/// The role of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A directory on the way to the agent's.
    Above,
    /// A symbolic link on the way; its owner decides where it leads.
    Link,
    /// The agent's own.
    Own,
}

/// The way in which another user may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its owner.
    Owner,
    /// Its group.
    Group,
    /// A user or group in an access control list.
    List,
    /// Every user.
    Everybody,
}

/// A place that another user may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The place.
    pub place: Place,
    /// The users that may change it.
    pub by: By,
    /// The role in which it was judged.
    pub rule: Rule,
}

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

impl Agent {
    /// Whether root or the agent itself owns it.
    pub fn owns(self, place: &Place) -> bool {
        place.uid == 0 || place.uid == self.uid
    }

    /// Which other users may change this place; `None` if no other user may.
    pub fn judge(self, rule: Rule, place: &Place) -> Option<Exposed> {
        let by = if self.owns(place) { self.written_by(rule, place) } else { Some(By::Owner) };
        by.map(|by| Exposed { place: place.clone(), by, rule })
    }

    fn written_by(self, rule: Rule, place: &Place) -> Option<By> {
        let is = |bits: u32| place.mode & bits != 0;
        let trusted_group = place.gid == 0 || place.gid == self.gid;
        match rule {
            // Its mode says nothing.
            Rule::Link => None,
            Rule::Above => (is(OTHERS_WRITE) && !is(STICKY)).then_some(By::Everybody),
            Rule::Own if is(OTHERS_WRITE) => Some(By::Everybody),
            Rule::Own if is(GROUP_WRITES) && place.has_acl => Some(By::List),
            Rule::Own if is(GROUP_WRITES) && !trusted_group => Some(By::Group),
            Rule::Own => None,
        }
    }

    /// Which other users may change an unpacked bundle that is about to be used. `above` are the directory of all
    /// deployments, of the group, and of the deployment. `reader` is the user that a script of it runs as; `None` for
    /// an Install.
    pub fn judge_archive(self, above: &[Place], archive: &Place, reader: Option<u32>) -> Option<Exposed> {
        let readers_own = |place: &Place| reader.is_some_and(|reader| reader == place.uid);
        let (deployment, higher) = above.split_last()?;
        // The content of a directory of the script's user cannot gain that user anything.
        let judge = |place: &Place| {
            let as_owned = if readers_own(place) { Place { uid: 0, ..place.clone() } } else { place.clone() };
            self.judge(Rule::Own, &as_owned).map(|found| Exposed { place: place.clone(), ..found })
        };
        let of_higher = higher.iter().find_map(|place| self.judge(Rule::Own, place));
        of_higher.or_else(|| judge(deployment)).or_else(|| {
            // In a directory of root, only root can have given it to its owner: through a script of the bundle, or
            // through the CodeDeploy agent, which keeps the owners of a tar.
            let given = reader.is_some() && self.owns(deployment);
            let found = judge(archive);
            found.filter(|found| found.by != By::Owner || !given)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Agent = Agent { uid: 0, gid: 0 };

    fn place(uid: u32, gid: u32, mode: u32) -> Place {
        Place { path: "/x".into(), uid, gid, mode, has_acl: false }
    }

    fn by(agent: Agent, rule: Rule, place: &Place) -> Option<By> {
        agent.judge(rule, place).map(|found| found.by)
    }

    #[test]
    fn what_lies_above_may_be_a_groups_and_what_is_the_agents_may_not() {
        // /var/log of Ubuntu, /tmp, a directory of root, one of a user, and a directory writable by all.
        let cases = [
            (place(0, 104, 0o775), None, Some(By::Group)),
            (place(0, 0, 0o1777), None, Some(By::Everybody)),
            (place(0, 0, 0o775), None, None),
            (place(0, 104, 0o755), None, None),
            (place(33, 33, 0o755), Some(By::Owner), Some(By::Owner)),
            (place(0, 0, 0o757), Some(By::Everybody), Some(By::Everybody)),
            (Place { has_acl: true, ..place(0, 0, 0o775) }, None, Some(By::List)),
            (Place { has_acl: true, ..place(0, 0, 0o755) }, None, None),
        ];
        for (place, above, own) in cases {
            assert_eq!(by(ROOT, Rule::Above, &place), above, "above: {place:?}");
            assert_eq!(by(ROOT, Rule::Own, &place), own, "own: {place:?}");
        }
    }

    #[test]
    fn a_link_is_its_owners_word_whatever_its_mode() {
        for (uid, found) in [(0, None), (33, Some(By::Owner))] {
            assert_eq!(by(ROOT, Rule::Link, &place(uid, uid, 0o777)), found);
        }
    }

    #[test]
    fn an_agent_without_root_owns_its_own_directories() {
        let agent = Agent { uid: 1000, gid: 1000 };
        assert_eq!(by(agent, Rule::Own, &place(1000, 1000, 0o775)), None);
        assert_eq!(by(agent, Rule::Own, &place(0, 0, 0o755)), None);
        assert_eq!(by(agent, Rule::Own, &place(1001, 1000, 0o755)), Some(By::Owner));
        assert_eq!(by(agent, Rule::Own, &place(1000, 1001, 0o775)), Some(By::Group));
    }

    #[test]
    fn a_bundle_is_used_only_where_its_user_gets_nothing_by_it() {
        let judge = |deployment: Place, archive: Place, reader: Option<u32>| {
            let above = [place(0, 0, 0o755), place(0, 0, 0o755), deployment];
            ROOT.judge_archive(&above, &archive, reader).map(|found| found.by)
        };
        let (roots, users) = (place(0, 0, 0o755), place(33, 33, 0o755));
        assert_eq!(judge(roots.clone(), roots.clone(), None), None);
        // The bundle's own user put it there.
        assert_eq!(judge(users.clone(), users.clone(), None), Some(By::Owner));
        assert_eq!(judge(users.clone(), users.clone(), Some(0)), Some(By::Owner));
        assert_eq!(judge(users.clone(), users.clone(), Some(34)), Some(By::Owner));
        assert_eq!(judge(users.clone(), users.clone(), Some(33)), None, "it could run that as well without the agent");
        // Root gave it to a user.
        assert_eq!(judge(roots.clone(), users.clone(), Some(0)), None);
        assert_eq!(judge(roots.clone(), users.clone(), None), Some(By::Owner));
        assert_eq!(judge(roots.clone(), place(0, 0, 0o777), Some(0)), Some(By::Everybody));
        assert_eq!(judge(users, place(33, 33, 0o777), Some(33)), Some(By::Everybody));
        let exposed = [place(33, 0, 0o755), place(0, 0, 0o755), roots.clone()];
        assert!(
            ROOT.judge_archive(&exposed, &roots, Some(33)).is_some(),
            "the directories above are the agent's alone"
        );
    }
}
