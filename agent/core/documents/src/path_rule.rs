//! The path rule: which steps on the way to a place may be trusted.
//!
//! The owner of a directory or a link decides where a path continues. The agent refuses a step from something that a
//! user other than root owns to something that another user, including root, owns: that user could lead the agent to
//! the other's files. It is systemd's rule of "unsafe path transitions" with one exception: a user's link may lead
//! through directories of root that every user may pass, to something that the same user owns, as `current ->
//! /srv/app/releases/7` does. An agent that runs as an ordinary user trusts that user's files as it trusts root's:
//! leading it there gains nothing.

pub mod reading;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use reading::{Coming, Kind, Place};

/// Whether an agent that runs as the user `agent` follows the user `owner`'s directories and links anywhere.
pub fn is_trusted(agent: u32, owner: u32) -> bool {
    owner == 0 || owner == agent
}

/// What to do about a step that the path rule refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnsafePaths {
    /// The agent does not take it, and the work that needs it fails.
    #[default]
    Refuse,
    /// The agent takes it with a warning.
    Warn,
}

/// A step that the path rule refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsafeStep {
    /// The directory or link that leads on.
    pub from: PathBuf,
    /// The user id of its owner.
    pub from_owner: u32,
    /// Where it leads.
    pub to: PathBuf,
    /// The user id of that place's owner.
    pub to_owner: u32,
}

impl fmt::Display for UnsafeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, from_owner, to, to_owner } = self;
        write!(
            f,
            "user {from_owner} owns {} and could lead the agent anywhere, and user {to_owner} owns {}, where the way goes on",
            from.display(),
            to.display()
        )
    }
}

/// A path that is walked from the top, one step after another.
#[derive(Debug, Default)]
pub struct Way {
    agent: u32,
    before: Option<(PathBuf, u32)>,
    /// The user's link, or directory left by `..`, that led to root's directories. The path must then return to
    /// something that the user owns.
    away: Option<(PathBuf, u32)>,
    by_user: bool,
}

impl Way {
    /// A path for an agent that runs as this user.
    pub fn of(agent: u32) -> Self {
        Self { agent, ..Self::default() }
    }

    /// Whether a user other than root and the agent's own owns a part of the path before its end, and so decides where
    /// it continues.
    pub fn is_by_user(&self) -> bool {
        self.by_user
    }

    /// Continues to a directory or link. `shared` of a directory: every user may pass through it.
    ///
    /// # Errors
    /// The step is not safe.
    pub fn step(&mut self, place: &Place<'_>, coming: Coming) -> Result<(), UnsafeStep> {
        let Place { path, owner, kind, shared } = *place;
        let before = self.before.replace((path.to_owned(), owner));
        // The user could go there as well.
        let of_root = owner == 0 && (kind == Kind::Link || (kind == Kind::Directory && shared));
        if let Some(leader) = self.away.take() {
            return match leader.1 {
                user if user == owner => Ok(()),
                _ if of_root => {
                    self.away = Some(leader);
                    Ok(())
                }
                _ => Err(unsafe_step(leader, place)),
            };
        }
        let Some(from) = before.filter(|(_, owner)| !is_trusted(self.agent, *owner)) else { return Ok(()) };
        self.by_user = true;
        match from.1 {
            user if user == owner => Ok(()),
            _ if of_root && coming == Coming::ByLink => {
                self.away = Some(from);
                Ok(())
            }
            // The directory's owner could have made the same link.
            _ if owner == 0 && kind == Kind::Link => {
                self.before = Some(from);
                Ok(())
            }
            _ => Err(unsafe_step(from, place)),
        }
    }

    /// Ends where the last step led.
    ///
    /// # Errors
    /// A user's link led to a directory of root's.
    pub fn end(&mut self) -> Result<(), UnsafeStep> {
        match (self.away.take(), &self.before) {
            (Some((from, from_owner)), Some((to, to_owner))) => {
                Err(UnsafeStep { from, from_owner, to: to.clone(), to_owner: *to_owner })
            }
            _ => Ok(()),
        }
    }
}

fn unsafe_step((from, from_owner): (PathBuf, u32), to: &Place<'_>) -> UnsafeStep {
    UnsafeStep { from, from_owner, to: to.path.to_owned(), to_owner: to.owner }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Coming::{ByLink, ByName};
    use super::Kind::{Directory, Link};
    use super::*;

    type Step = (&'static str, u32, Kind, bool, Coming);

    fn by_names(agent: u32, owners: &[u32]) -> (bool, bool) {
        let mut way = Way::of(agent);
        let place = |owner: &u32| Place { path: Path::new("/x"), owner: *owner, kind: Directory, shared: true };
        let safe = owners.iter().try_for_each(|owner| way.step(&place(owner), ByName)).is_ok();
        (safe, way.is_by_user())
    }

    fn walk(steps: &[Step]) -> Result<(), UnsafeStep> {
        let mut way = Way::default();
        for (path, owner, kind, shared, coming) in steps {
            way.step(&Place { path: Path::new(path), owner: *owner, kind: *kind, shared: *shared }, *coming)?;
        }
        way.end()
    }

    #[test]
    fn root_may_lead_to_anyone_and_a_user_only_to_what_is_the_users() {
        for (from, to, safe) in
            [(0, 0, true), (0, 33, true), (33, 33, true), (33, 0, false), (33, 1000, false), (1000, 33, false)]
        {
            assert_eq!(by_names(0, &[from, to]).0, safe, "{from} to {to}");
        }
    }

    #[test]
    fn an_agent_of_an_ordinary_user_trusts_that_user_too() {
        assert_eq!(by_names(1000, &[0, 1000, 0]), (true, false));
        assert_eq!(by_names(0, &[0, 1000, 0]), (false, true));
        assert_eq!(by_names(1000, &[0, 33, 1000]), (false, true));
        assert_eq!(by_names(0, &[0, 33, 33]), (true, true));
        assert_eq!(by_names(0, &[0, 0, 33]), (true, false), "what is at the end leads nowhere");
    }

    const TOP: Step = ("/", 0, Directory, true, ByName);
    const AGAIN: Step = ("/", 0, Directory, true, ByLink);
    const APP: Step = ("/srv/app", 33, Directory, true, ByName);
    const LINK: Step = ("/srv/app/link", 33, Link, true, ByName);

    #[test]
    fn a_users_link_may_pass_through_roots_directories_to_what_is_the_users() {
        let srv = ("/srv", 0, Directory, true, ByName);
        let own = ("/srv/app/releases", 33, Directory, false, ByName);
        assert_eq!(walk(&[TOP, APP, LINK, ("/srv/app/releases", 33, Directory, false, ByLink)]), Ok(()));
        assert_eq!(walk(&[TOP, APP, LINK, AGAIN, srv, APP, own]), Ok(()));
        assert_eq!(walk(&[TOP, APP, LINK, AGAIN, ("/home", 0, Link, true, ByName), AGAIN, own]), Ok(()));
        assert_eq!(walk(&[TOP, APP, LINK, ("/srv", 0, Directory, true, ByLink), own]), Ok(()), "by `..`");
        for (what, there) in [
            ("a closed directory", ("/root", 0, Directory, false, ByName)),
            ("another user's", ("/home/other", 1000, Directory, true, ByName)),
        ] {
            let refused = walk(&[TOP, APP, LINK, AGAIN, there, own]).unwrap_err();
            assert_eq!((refused.from.to_str(), refused.to.to_str()), (Some("/srv/app/link"), Some(there.0)), "{what}");
        }
        let by_root = ("/srv/app/link", 0, Link, true, ByName);
        assert_eq!(walk(&[TOP, APP, by_root, ("/srv/app/releases", 33, Directory, false, ByLink)]), Ok(()));
        assert_eq!(walk(&[TOP, APP, by_root, AGAIN, srv, APP, own]), Ok(()));
        let refused = walk(&[TOP, APP, by_root, AGAIN, srv]).unwrap_err();
        assert_eq!((refused.from.to_str(), refused.to.to_str()), (Some("/srv/app"), Some("/srv")));
        assert!(walk(&[TOP, APP, srv, own]).is_err(), "a directory leads to what is in it, and it is root's");
        let below = ("/srv/app/releases/roots", 0, Directory, true, ByName);
        assert!(walk(&[TOP, APP, LINK, AGAIN, own, below]).is_err(), "it is the user's place again");
    }

    #[test]
    fn a_way_names_its_first_unsafe_step() {
        let etc = ("/etc", 0, Directory, true, ByName);
        for steps in [&[TOP, APP, LINK, AGAIN, etc][..], &[TOP, APP, LINK, ("/etc", 0, Directory, true, ByLink)]] {
            let refused = walk(steps).unwrap_err();
            assert_eq!((refused.from.to_str(), refused.from_owner), (Some("/srv/app/link"), 33));
            assert_eq!((refused.to.to_str(), refused.to_owner), (Some("/etc"), 0));
            assert!(refused.to_string().contains("user 33 owns /srv/app/link"), "{refused}");
        }
    }
}
