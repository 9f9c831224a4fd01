//! Looks at who may change the directories that the agent relies on in the CodeDeploy agent's place, and takes from others
//! what they may.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use hostler_core::codedeploy::exposure::{Agent, Exposed, Place, Rule};
use nix::unistd::{Gid, Uid};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::remove_tree::entries;
use crate::safe_path::{Stopped, walk};

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directories that the agent relies on.
#[derive(Debug, Clone)]
pub struct Directories {
    /// What the CodeDeploy agent's package makes: these, and what lies in them on the way, are the agent's.
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

/// Each directory that another user may change, those above the agent's own among them; the higher ones first.
///
/// # Errors
/// One is there and cannot be looked at.
pub fn exposed(directories: &Directories, agent: Agent) -> io::Result<Vec<Exposed>> {
    let mut survey = Survey { tops: directories.tops.clone(), agent, found: Vec::new() };
    // Where a link leads on, what it leads to is the agent's.
    let real = directories.tops.iter().filter_map(|top| walk(top, LOOK, &mut |_, _, _| Ok(())).ok());
    let real: Vec<PathBuf> = real.map(|(_, path)| path).collect();
    survey.tops.extend(real);
    for directory in &directories.others {
        survey.look(directory)?;
    }
    if let Some(opened) = survey.look(&directories.deployments)? {
        for name in sorted(&opened)? {
            let kind = rustix::fs::statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
            if FileType::from_raw_mode(kind) != FileType::RegularFile {
                survey.look(&directories.deployments.join(name))?;
            }
        }
    }
    Ok(survey.found)
}

struct Survey {
    tops: Vec<PathBuf>,
    agent: Agent,
    found: Vec<Exposed>,
}

impl Survey {
    /// Looks at one of the agent's directories and the way to it; `None` where it is not there yet.
    fn look(&mut self, directory: &Path) -> io::Result<Option<OwnedFd>> {
        let mut on_the_way = Vec::new();
        let walked = walk(directory, OFlags::RDONLY, &mut |path, _, stat| {
            on_the_way.push(place(path, stat));
            Ok(())
        });
        let end = walked.as_ref().ok().map(|(_, path)| path.clone());
        for place in on_the_way {
            let own = self.tops.iter().chain(&end).any(|top| place.path.starts_with(top));
            let rule = if own { Rule::Own } else { Rule::Above };
            let exposed = self.agent.judge(rule, &place);
            let exposed =
                exposed.filter(|exposed| self.found.iter().all(|known| known.place.path != exposed.place.path));
            self.found.extend(exposed);
        }
        match walked {
            Ok((opened, _)) => Ok(Some(opened)),
            Err(Stopped::Kernel(Errno::NOENT)) => Ok(None),
            Err(stopped) => {
                let error = io::Error::from(errno(&stopped));
                Err(io::Error::new(error.kind(), format!("cannot look at {}: {error}", directory.display())))
            }
        }
    }
}

fn errno(stopped: &Stopped) -> Errno {
    match stopped {
        Stopped::Kernel(errno) => *errno,
        Stopped::Unsafe(_) => Errno::PERM,
    }
}

fn place(path: &Path, stat: &Stat) -> Place {
    // A link's mode says nothing.
    let is_link = FileType::from_raw_mode(stat.st_mode).is_symlink();
    let mode = if is_link { 0o755 } else { stat.st_mode & 0o7777 };
    let has_acl = rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut [0_u8; 0][..]).is_ok_and(|size| size > 0);
    Place { path: path.to_owned(), uid: stat.st_uid, gid: stat.st_gid, mode, has_acl }
}

/// The names in a directory, so that what is reported has an order.
fn sorted(directory: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = entries(directory)?;
    names.sort();
    Ok(names)
}

/// The directory of all deployments, those on the way to an unpacked bundle, and the bundle's own; no link is followed below
/// the first.
///
/// # Errors
/// One is not there (`NotFound`), is no directory, or cannot be looked at.
pub fn on_the_way_to_archive(top: &Path, below: &Path) -> io::Result<Vec<Place>> {
    let io = |stopped: Stopped| io::Error::from(errno(&stopped));
    let (mut at, mut path) = walk(top, LOOK, &mut |_, _, _| Ok(())).map_err(io)?;
    let mut places = vec![place(&path, &rustix::fs::fstat(&at)?)];
    for name in below {
        at = rustix::fs::openat(&at, name, LOOK | OFlags::DIRECTORY, Mode::empty())?;
        path.push(name);
        places.push(place(&path, &rustix::fs::fstat(&at)?));
    }
    Ok(places)
}

/// Gives one of the agent's directories to root, and takes the right to write from all others. No link is followed.
///
/// # Errors
/// It is a mount point below `deployments`, is no directory any more, or cannot be changed.
pub fn mend(exposed: &Exposed, deployments: &Path) -> io::Result<()> {
    let path = &exposed.place.path;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("the top of all is not the agent's"));
    };
    let (parent_fd, parent) =
        walk(parent, OFlags::RDONLY, &mut |_, _, _| Ok(())).map_err(|s| io::Error::from(errno(&s)))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::openat(&parent_fd, name, flags, Mode::empty()) {
        Ok(directory) => File::from(directory),
        // A link, whose owner alone is of interest.
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Ok(rustix::fs::chownat(&parent_fd, name, root_uid(), root_gid(), AtFlags::SYMLINK_NOFOLLOW)?);
        }
        Err(errno) => return Err(errno.into()),
    };
    let stat = rustix::fs::fstat(&directory)?;
    let is_below = parent == deployments || std::fs::canonicalize(deployments).is_ok_and(|real| real == parent);
    if is_below && stat.st_dev != rustix::fs::fstat(&parent_fd)?.st_dev {
        return Err(io::Error::other("something else is mounted there, which stays as it is"));
    }
    take(&directory, stat.st_mode)
}

/// The same for the files that lie in a directory of the agent's, each its only name; nothing else is touched. Gives the paths
/// of those that were changed.
///
/// # Errors
/// The directory cannot be read, or a file cannot be changed.
pub fn mend_files(directory: &Path, agent: Agent) -> io::Result<Vec<Exposed>> {
    let (opened, path) = match walk(directory, OFlags::RDONLY, &mut |_, _, _| Ok(())) {
        Ok(found) => found,
        Err(Stopped::Kernel(Errno::NOENT)) => return Ok(Vec::new()),
        Err(stopped) => return Err(errno(&stopped).into()),
    };
    let mut changed = Vec::new();
    for name in sorted(&opened)? {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let stat = rustix::fs::statat(&opened, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            continue;
        }
        let file = File::from(rustix::fs::openat(&opened, &name, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        // A further link may be to a file that is not the agent's.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            continue;
        }
        if let Some(exposed) = agent.judge(Rule::Own, &place(&path.join(&name), &stat)) {
            take(&file, stat.st_mode)?;
            changed.push(exposed);
        }
    }
    Ok(changed)
}

fn take(file: &File, mode: u32) -> io::Result<()> {
    rustix::fs::fchown(file, root_uid(), root_gid())?;
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7755))?)
}

fn root_uid() -> Option<rustix::fs::Uid> {
    Some(rustix::fs::Uid::ROOT)
}

fn root_gid() -> Option<rustix::fs::Gid> {
    Some(rustix::fs::Gid::ROOT)
}

/// What says who may change an open file.
///
/// # Errors
/// The kernel's.
pub fn place_of(path: &Path, file: BorrowedFd<'_>) -> io::Result<Place> {
    Ok(place(path, &rustix::fs::fstat(file.as_fd())?))
}

/// The owner of what a path leads to without following a last link; `None` where nothing is.
pub fn owner_of(path: &Path) -> Option<u32> {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_uid)
}
