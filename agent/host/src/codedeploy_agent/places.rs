//! Checks which users may change the directories that the agent relies on in the CodeDeploy agent's place, and takes
//! the right to write from others.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use hostler_core::codedeploy::exposure::{Agent, Exposed, Place, Rule};
use nix::unistd::{Gid, Uid};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::remove_tree::entries;
use crate::safe_path::{self, Seen, Walked};

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directories that the agent relies on.
#[derive(Debug, Clone)]
pub struct Directories {
    /// The directories that the CodeDeploy agent's package makes: these, and the entries in them on the way, are the
    /// agent's.
    pub tops: Vec<PathBuf>,
    /// `root_dir`; the directories in it are the agent's too.
    pub deployments: PathBuf,
    /// `log_dir`, `pid_dir` and the others.
    pub others: Vec<PathBuf>,
}

/// The user and group that this process runs as.
pub fn agent() -> Agent {
    Agent { uid: Uid::effective().as_raw(), gid: Gid::effective().as_raw() }
}

/// Each directory that another user may change, including those above the agent's own; the higher ones first.
///
/// # Errors
/// A directory is there and cannot be looked at.
pub fn exposed(directories: &Directories, agent: Agent) -> io::Result<Vec<Exposed>> {
    let mut survey = Survey { tops: directories.tops.clone(), agent, found: Vec::new() };
    // If it is a link, its target is the agent's too.
    let real = directories.tops.iter().filter_map(|top| walk(top, agent, &mut |_| ()).ok());
    survey.tops.extend(real.map(|walked| walked.real).collect::<Vec<_>>());
    for directory in &directories.others {
        survey.look(directory)?;
    }
    if let Some(walked) = survey.look(&directories.deployments)? {
        for name in sorted(&walked)? {
            let kind = rustix::fs::statat(&walked.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
            if FileType::from_raw_mode(kind) != FileType::RegularFile {
                survey.look(&directories.deployments.join(name))?;
            }
        }
    }
    Ok(survey.found)
}

/// The parts of a file's path that other users may change, for a file that the agent relies on: the file, its
/// directory, and the way to that.
pub fn exposed_file(file: &Path, agent: Agent) -> Vec<Exposed> {
    let mut on_the_way: Vec<(Place, bool)> = Vec::new();
    // The walk fails at its end, which is a file and no directory; the visits before that count.
    let _ = walk(file, agent, &mut |seen| on_the_way.push((place(seen.path, seen.stat), seen.is_link())));
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let is_own = |path: &Path| path == real || Some(path) == real.parent();
    let mut found: Vec<Exposed> = Vec::new();
    for (place, is_link) in on_the_way {
        let rule = match is_link {
            true => Rule::Link,
            false if is_own(&place.path) => Rule::Own,
            false => Rule::Above,
        };
        let exposed = agent.judge(rule, &place);
        found.extend(exposed.filter(|new| found.iter().all(|known| known.place.path != new.place.path)));
    }
    found
}

struct Survey {
    tops: Vec<PathBuf>,
    agent: Agent,
    found: Vec<Exposed>,
}

impl Survey {
    /// Looks at one of the agent's directories and the way to it; `None` where it is not there yet, or where only
    /// another user's link says where it is.
    fn look(&mut self, directory: &Path) -> io::Result<Option<Walked>> {
        let mut on_the_way = Vec::new();
        let walked =
            walk(directory, self.agent, &mut |seen| on_the_way.push((place(seen.path, seen.stat), seen.is_link())));
        let end = walked.as_ref().ok().map(|walked| walked.real.clone());
        for (place, is_link) in on_the_way {
            let own = self.tops.iter().chain(&end).any(|top| place.path.starts_with(top));
            let rule = match is_link {
                true => Rule::Link,
                false if own => Rule::Own,
                false => Rule::Above,
            };
            let exposed = self.agent.judge(rule, &place);
            let exposed =
                exposed.filter(|exposed| self.found.iter().all(|known| known.place.path != exposed.place.path));
            self.found.extend(exposed);
        }
        match walked {
            Ok(walked) => Ok(Some(walked)),
            Err(Stopped::Link(_) | Stopped::Kernel(Errno::NOENT)) => Ok(None),
            Err(Stopped::Kernel(errno)) => {
                let error = io::Error::from(errno);
                Err(io::Error::new(error.kind(), format!("cannot look at {}: {error}", directory.display())))
            }
        }
    }
}

/// Why the walk along a way stopped before its end.
enum Stopped {
    /// By a link of another user, which could make the agent take any directory for its own.
    Link(PathBuf),
    Kernel(Errno),
}

impl From<Errno> for Stopped {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Link(path) => {
                let text = format!("{} is a symbolic link of another user, and is not followed", path.display());
                Self::new(io::ErrorKind::PermissionDenied, text)
            }
            Stopped::Kernel(errno) => errno.into(),
        }
    }
}

/// Walks to one of the agent's directories, through no link of another user.
fn walk(path: &Path, agent: Agent, seen: &mut dyn FnMut(&Seen<'_>)) -> Result<Walked, Stopped> {
    let walked = safe_path::walk(path, &mut |at| {
        seen(at);
        let trusted = !at.is_link() || at.stat.st_uid == 0 || at.stat.st_uid == agent.uid;
        if trusted { Ok(()) } else { Err(Stopped::Link(at.path.to_owned())) }
    })?;
    Ok(walked.into_directory()?)
}

fn place(path: &Path, stat: &Stat) -> Place {
    // A link's mode says nothing.
    let is_link = FileType::from_raw_mode(stat.st_mode).is_symlink();
    let mode = if is_link { 0o755 } else { stat.st_mode & 0o7777 };
    let has_acl = rustix::fs::lgetxattr_query(path, "system.posix_acl_access").is_ok_and(|size| size > 0);
    Place { path: path.to_owned(), uid: stat.st_uid, gid: stat.st_gid, mode, has_acl }
}

/// The names in a directory, sorted, so that reports have an order.
fn sorted(walked: &Walked) -> io::Result<Vec<OsString>> {
    let mut names = entries(&walked.open(OFlags::RDONLY)?)?;
    names.sort();
    Ok(names)
}

/// The directory of all deployments, those on the way to an unpacked bundle, and the bundle's own; no link is followed
/// below the first.
///
/// # Errors
/// A directory is missing (`NotFound`), is no directory, or cannot be looked at.
pub fn on_the_way_to_archive(top: &Path, below: &Path) -> io::Result<Vec<Place>> {
    let Walked { directory: mut at, real: mut path, stat, .. } = walk(top, agent(), &mut |_| ())?;
    let mut places = vec![place(&path, &stat)];
    for name in below {
        at = rustix::fs::openat(&at, name, LOOK | OFlags::DIRECTORY, Mode::empty())?;
        path.push(name);
        places.push(place(&path, &rustix::fs::fstat(&at)?));
    }
    Ok(places)
}

/// Gives one of the agent's directories to root, and takes the right to write from all other users. It follows no link
/// of another user, and gives none to root: otherwise root would vouch for that user's link.
///
/// # Errors
/// It is a mount point below `deployments`, is no directory any more, or cannot be changed.
pub fn mend(exposed: &Exposed, deployments: &Path) -> io::Result<()> {
    let path = &exposed.place.path;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("the top of all is not the agent's"));
    };
    let Walked { directory: parent_fd, real: parent, .. } = walk(parent, agent(), &mut |_| ())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(rustix::fs::openat(&parent_fd, name, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&directory)?;
    let is_below = parent == deployments || std::fs::canonicalize(deployments).is_ok_and(|real| real == parent);
    if is_below && stat.st_dev != rustix::fs::fstat(&parent_fd)?.st_dev {
        return Err(io::Error::other("something else is mounted there, which stays as it is"));
    }
    take(&directory, stat.st_mode)
}

/// As [`mend`], for the files in one of the agent's directories that have no other name; nothing else is touched.
/// Returns the changed files.
///
/// # Errors
/// The directory cannot be read, or a file cannot be changed.
pub fn mend_files(directory: &Path, agent: Agent) -> io::Result<Vec<Exposed>> {
    let walked = match walk(directory, agent, &mut |_| ()) {
        Ok(found) => found,
        Err(Stopped::Kernel(Errno::NOENT)) => return Ok(Vec::new()),
        Err(stopped) => return Err(stopped.into()),
    };
    let mut changed = Vec::new();
    for name in sorted(&walked)? {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let stat = rustix::fs::statat(&walked.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            continue;
        }
        let file = File::from(rustix::fs::openat(&walked.directory, &name, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        // A further link may be to a file that is not the agent's.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            continue;
        }
        if let Some(exposed) = agent.judge(Rule::Own, &place(&walked.real.join(&name), &stat)) {
            take(&file, stat.st_mode)?;
            changed.push(exposed);
        }
    }
    Ok(changed)
}

fn take(file: &File, mode: u32) -> io::Result<()> {
    rustix::fs::fchown(file, Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT))?;
    // The kernel removed setuid with the owner. Restored, it would run the former owner's program as root.
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o755))?)
}

/// The owner and mode of an open file.
///
/// # Errors
/// The kernel's.
pub fn place_of(path: &Path, file: BorrowedFd<'_>) -> io::Result<Place> {
    Ok(place(path, &rustix::fs::fstat(file.as_fd())?))
}

/// The owner of the file at a path, without following a last link; `None` if there is no file.
pub fn owner_of(path: &Path) -> Option<u32> {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_uid)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use hostler_core::codedeploy::exposure::By;

    use super::*;
    use crate::test_support::skip;

    #[test]
    fn an_access_list_that_lets_another_user_write_is_told() {
        let top = tempfile::tempdir().unwrap();
        let open = top.path().join("log");
        std::fs::create_dir(&open).unwrap();
        match Command::new("setfacl").args(["-m", "u:65534:rwx"]).arg(&open).status() {
            Ok(status) if status.success() => {}
            other => return skip(format_args!("no setfacl, or no access lists here: {other:?}")),
        }
        let directories = Directories {
            tops: vec![top.path().to_owned()],
            deployments: top.path().join("deployments"),
            others: vec![open.clone()],
        };
        let found = exposed(&directories, agent()).unwrap();
        assert_eq!(found.iter().map(|found| (&found.place.path, found.by)).collect::<Vec<_>>(), [(&open, By::List)]);
    }
}
