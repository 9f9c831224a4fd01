//! The path rule: which steps on the way to a place may be trusted.
//!
//! Whoever owns a directory or a link decides where the way goes on. A step from something that a user other than root
//! owns to something that another user owns (root too) is refused: that user could lead the agent to what is not the
//! user's. It is systemd's rule of "unsafe path transitions". An agent that runs as an ordinary user trusts what that user
//! owns as it trusts what root owns: nobody gains anything by leading it there.

pub mod reading;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Whether the way may go from something that the user `from` owns to something that the user `to` owns; for an agent that
/// runs as root.
pub fn is_safe_step(from: u32, to: u32) -> bool {
    is_trusted(0, from) || from == to
}

/// Whether an agent that runs as the user `agent` lets what the user `owner` owns lead it anywhere.
pub fn is_trusted(agent: u32, owner: u32) -> bool {
    owner == 0 || owner == agent
}

/// What is done about a step that the path rule refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnsafePaths {
    /// It is not taken, and what needs it fails.
    #[default]
    Refuse,
    /// It is taken, with a warning.
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
    /// The user id of that one's owner.
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

/// A way that is walked from the top, one step after another.
#[derive(Debug, Default)]
pub struct Way {
    agent: u32,
    before: Option<(PathBuf, u32)>,
    by_user: bool,
}

impl Way {
    /// A way of an agent that runs as this user.
    pub fn of(agent: u32) -> Self {
        Self { agent, ..Self::default() }
    }

    /// Whether somebody else than root and the agent's user owns something on the way before its end, and so decides where
    /// it goes on.
    pub fn is_by_user(&self) -> bool {
        self.by_user
    }

    /// Goes on to a directory or link and its owner.
    ///
    /// # Errors
    /// The step is not safe.
    pub fn step(&mut self, to: &Path, owner: u32) -> Result<(), UnsafeStep> {
        let before = self.before.replace((to.to_owned(), owner));
        let Some((from, from_owner)) = before else { return Ok(()) };
        if is_trusted(self.agent, from_owner) {
            return Ok(());
        }
        self.by_user = true;
        if from_owner == owner {
            return Ok(());
        }
        Err(UnsafeStep { from, from_owner, to: to.to_owned(), to_owner: owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_may_lead_to_anyone_and_a_user_only_to_what_is_the_users() {
        for (from, to, safe) in
            [(0, 0, true), (0, 33, true), (33, 33, true), (33, 0, false), (33, 1000, false), (1000, 33, false)]
        {
            assert_eq!(is_safe_step(from, to), safe, "{from} to {to}");
        }
    }

    #[test]
    fn an_agent_of_an_ordinary_user_trusts_that_user_too() {
        let walk = |agent, owners: &[u32]| {
            let mut way = Way::of(agent);
            let safe = owners.iter().try_for_each(|owner| way.step(Path::new("/"), *owner)).is_ok();
            (safe, way.is_by_user())
        };
        assert_eq!(walk(1000, &[0, 1000, 0]), (true, false));
        assert_eq!(walk(0, &[0, 1000, 0]), (false, true));
        assert_eq!(walk(1000, &[0, 33, 1000]), (false, true));
        assert_eq!(walk(0, &[0, 33, 33]), (true, true));
        assert_eq!(walk(0, &[0, 0, 33]), (true, false), "what is at the end leads nowhere");
    }

    #[test]
    fn a_way_names_its_first_unsafe_step() {
        let walk = |steps: &[(&str, u32)]| {
            let mut way = Way::default();
            steps.iter().try_for_each(|(path, owner)| way.step(Path::new(path), *owner))
        };
        assert_eq!(walk(&[("/", 0), ("/srv", 0), ("/srv/app", 33), ("/srv/app/link", 33), ("/srv/app/x", 33)]), Ok(()));
        let refused = walk(&[("/", 0), ("/srv/app", 33), ("/srv/app/link", 33), ("/", 0), ("/etc", 0)]).unwrap_err();
        assert_eq!((refused.from.to_str(), refused.from_owner), (Some("/srv/app/link"), 33));
        assert_eq!((refused.to.to_str(), refused.to_owner), (Some("/"), 0));
        assert!(refused.to_string().contains("user 33 owns /srv/app/link"), "{refused}");
    }
}
