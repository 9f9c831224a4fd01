//! The path rule for files that the agent only reads: logs, and files of secrets.
//!
//! The agent reads as root. A user that leads it to a file must not gain more than that user could read. Root may lead
//! it anywhere. A user may lead it
//! - by a link, to files of the same user. The path may pass through root's directories;
//! - by a directory, to its entries: to files of the same user, and to files that users other than their owner may
//!   read. Applications that start as root write their logs into directories of their users.

use std::path::{Path, PathBuf};

use super::UnsafeStep;

/// The kind of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    File,
}

/// How the path comes to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coming {
    /// By a name in the directory before.
    ByName,
    /// By a link's target, or out of a directory by `..`.
    ByLink,
}

/// A place on the way.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// Its path.
    pub path: &'p Path,
    /// The user id of its owner.
    pub owner: u32,
    /// Its kind.
    pub kind: Kind,
    /// Whether users other than its owner may read it, or pass through it: see [`is_shared`].
    pub shared: bool,
}

/// Whether users other than its owner may read a file, or pass through a directory: all users, or a group other than
/// root's. Groups count only if the kernel prevents users from adding hard links to files that they cannot write
/// (`fs.protected_hardlinks`).
pub fn is_shared(kind: Kind, mode: u32, group: u32, links_are_protected: bool) -> bool {
    let (all, of_group) = if kind == Kind::Directory { (0o001, 0o010) } else { (0o004, 0o040) };
    mode & all != 0 || (mode & of_group != 0 && group != 0 && links_are_protected)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At a place that the user owns.
    Own,
    /// Led away by a link: the path must return to a place that the user owns.
    Away,
    /// In a directory of the user, at a shared place of another owner.
    Shared,
}

#[derive(Debug)]
struct Leader {
    user: u32,
    path: PathBuf,
    at: At,
}

/// A path that is walked from the top, one step after another.
#[derive(Debug, Default)]
pub struct ReadingWay {
    leader: Option<Leader>,
    last: PathBuf,
}

impl ReadingWay {
    /// Continues to a place.
    ///
    /// # Errors
    /// The step is not safe.
    pub fn step(&mut self, place: &Place<'_>, coming: Coming) -> Result<(), UnsafeStep> {
        place.path.clone_into(&mut self.last);
        let own = |leader: &Leader| leader.user == place.owner;
        if self.leader.as_ref().map_or(place.owner != 0, own) {
            self.leader = Some(Leader { user: place.owner, path: place.path.to_owned(), at: At::Own });
            return Ok(());
        }
        let Some(leader) = &mut self.leader else { return Ok(()) };
        leader.at = match (leader.at, place.kind) {
            // The directory's owner could have made the same link.
            (At::Own, Kind::Link) if coming == Coming::ByName || place.owner == 0 => At::Own,
            (At::Away, Kind::Link) if place.owner == 0 => At::Away,
            (At::Own, _) if coming == Coming::ByName && place.shared => At::Shared,
            (At::Shared, _) if place.shared || place.kind == Kind::Link => At::Shared,
            (At::Own, Kind::Directory) if coming == Coming::ByLink && place.owner == 0 => At::Away,
            (At::Away, Kind::Directory) if place.owner == 0 => At::Away,
            _ => return Err(leader.unsafe_step(place.path, place.owner)),
        };
        Ok(())
    }

    /// Ends at a directory that the agent lists.
    ///
    /// # Errors
    /// A user's link led to a directory of root.
    pub fn end(&self) -> Result<(), UnsafeStep> {
        match &self.leader {
            Some(leader) if leader.at == At::Away => Err(leader.unsafe_step(&self.last, 0)),
            _ => Ok(()),
        }
    }
}

impl Leader {
    fn unsafe_step(&self, to: &Path, to_owner: u32) -> UnsafeStep {
        UnsafeStep { from: self.path.clone(), from_owner: self.user, to: to.to_owned(), to_owner }
    }
}

#[cfg(test)]
mod tests {
    use super::Coming::{ByLink, ByName};
    use super::Kind::{Directory, File, Link};
    use super::*;

    type Step = (&'static str, u32, Kind, bool, Coming);

    fn walk(steps: &[Step]) -> Result<(), UnsafeStep> {
        let mut way = ReadingWay::default();
        for (path, owner, kind, shared, coming) in steps {
            let place = Place { path: Path::new(path), owner: *owner, kind: *kind, shared: *shared };
            way.step(&place, *coming)?;
        }
        way.end()
    }

    const TOP: Step = ("/", 0, Directory, true, ByName);
    const AGAIN: Step = ("/", 0, Directory, true, ByLink);
    const APP: Step = ("/srv/app", 33, Directory, true, ByName);

    #[test]
    fn root_leads_anywhere_and_a_user_to_what_is_the_users() {
        let secret = ("/root/x", 0, File, false, ByName);
        assert_eq!(walk(&[TOP, ("/l", 0, Link, true, ByName), AGAIN, secret]), Ok(()));
        assert_eq!(walk(&[TOP, APP, ("/srv/app/x.log", 33, File, false, ByName)]), Ok(()));
        let link = ("/srv/app/current", 33, Link, true, ByName);
        let relative = ("/srv/app/releases", 33, Directory, false, ByLink);
        assert_eq!(walk(&[TOP, APP, link, relative, ("/srv/app/releases/x", 33, File, false, ByName)]), Ok(()));
        // An absolute link, as deployments make them: root's directories are on the way.
        let own = ("/var/log/app", 33, Directory, false, ByName);
        assert_eq!(walk(&[TOP, APP, link, AGAIN, ("/var", 0, Directory, true, ByName), own]), Ok(()));
        // Root's link in a user's directory counts as the user's.
        let by_root = ("/srv/app/log", 0, Link, true, ByName);
        assert_eq!(walk(&[TOP, APP, by_root, AGAIN, own]), Ok(()));
    }

    #[test]
    fn a_users_link_leads_to_nothing_of_others() {
        for (made_by, target) in [
            (33, ("/etc/x", 0, File, false, ByName)),
            (33, ("/etc/world-readable", 0, File, true, ByName)),
            (33, ("/home/other", 1000, Directory, true, ByName)),
            (33, ("/root", 0, Directory, false, ByName)),
            (0, ("/etc/x", 0, File, true, ByName)),
        ] {
            let refused = walk(&[TOP, APP, ("/srv/app/l", made_by, Link, true, ByName), AGAIN, target]).unwrap_err();
            assert_eq!((refused.from_owner, refused.to_owner), (33, target.1), "{refused}");
            assert_eq!(refused.to, Path::new(target.0));
        }
        let out = ("/srv", 0, Directory, true, ByLink);
        assert!(walk(&[TOP, APP, out, ("/srv/x.log", 0, File, true, ByName)]).is_err(), "out of it by ..");
        let refused = walk(&[TOP, APP, AGAIN]).unwrap_err();
        assert_eq!(refused.to, Path::new("/"), "a directory of root is not looked into");
    }

    #[test]
    fn what_lies_in_a_users_directory_is_read_where_others_may_read_it_too() {
        let of_root = |shared| ("/srv/app/x.log", 0, File, shared, ByName);
        assert_eq!(walk(&[TOP, APP, of_root(true)]), Ok(()));
        assert!(walk(&[TOP, APP, of_root(false)]).unwrap_err().to_string().contains("/srv/app/x.log"));
        let below = |directory, file| {
            let directory = ("/srv/app/log", 0, Directory, directory, ByName);
            walk(&[TOP, APP, directory, ("/srv/app/log/x", 0, File, file, ByName)])
        };
        assert_eq!(below(true, true), Ok(()));
        assert!(below(false, true).is_err() && below(true, false).is_err());
        let secret = ("/root/x", 0, File, false, ByName);
        let link = ("/srv/app/log/l", 0, Link, true, ByName);
        assert!(walk(&[TOP, APP, ("/srv/app/log", 0, Directory, true, ByName), link, AGAIN, secret]).is_err());
    }

    #[test]
    fn what_others_share_is_told_by_modes() {
        for (kind, mode, group, protected, shared) in [
            (File, 0o644, 0, false, true),
            (File, 0o640, 4, true, true),
            (File, 0o640, 4, false, false),
            (File, 0o640, 0, true, false),
            (File, 0o600, 4, true, false),
            (File, 0o711, 4, true, false),
            (Directory, 0o711, 0, false, true),
            (Directory, 0o750, 4, true, true),
            (Directory, 0o700, 4, true, false),
        ] {
            assert_eq!(is_shared(kind, mode, group, protected), shared, "{kind:?} {mode:o} of {group}");
        }
    }
}
