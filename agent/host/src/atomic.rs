//! Files that are complete or absent: written beside, synced, renamed, and the directory synced.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A step of a durable change that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct AtomicError {
    /// The attempted step: "create", "write", "sync" …
    pub step: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> AtomicError + 'a {
    move |source| AtomicError { step, path: path.to_owned(), source }
}

/// Replaces (or creates) a file: at any moment, also after power loss, it has the old content or the new one.
///
/// One writer at a time: the temporary file beside it (`.NAME.new`) has a fixed name, so that the next writer
/// overwrites the leftovers of a crash and they never pile up.
///
/// # Errors
/// The step that failed; the file is as it was, unless the last step (syncing the directory) failed.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), AtomicError> {
    replace_with(path, mode, |file| file.write_all(bytes))
}

/// Like [`replace`], for content that is written in pieces; the writer need not buffer them.
///
/// # Errors
/// As [`replace`].
pub fn replace_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), AtomicError> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name.map_err(failed("write a file named", path))?);
    beside.push(".new");
    replace_through(&path.with_file_name(beside), path, mode, write)
}

/// Like [`replace`], with a temporary file of the caller's choice on the same file system.
///
/// # Errors
/// As [`replace`].
pub fn replace_by_way_of(temporary: &Path, path: &Path, bytes: &[u8], mode: u32) -> Result<(), AtomicError> {
    replace_through(temporary, path, mode, |file| file.write_all(bytes))
}

fn replace_through(
    temporary: &Path,
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), AtomicError> {
    write_new(temporary, mode, write).inspect_err(|_| {
        // The caller gets the first error; a leftover file is overwritten next time.
        let _ = fs::remove_file(temporary);
    })?;
    put_in_place(temporary, path)
}

/// Renames a synced file to its name and syncs the directory.
///
/// # Errors
/// The step that failed; the temporary file is then gone, unless it was renamed already.
pub fn put_in_place(temporary: &Path, path: &Path) -> Result<(), AtomicError> {
    fs::rename(temporary, path).map_err(failed("put in place", path)).inspect_err(|_| {
        let _ = fs::remove_file(temporary);
    })?;
    sync_parent(path)
}

fn write_new(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), AtomicError> {
    let options = &mut OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode).custom_flags(nix::libc::O_NOFOLLOW);
    let file = options.open(path).map_err(failed("create", path))?;
    let mut writer = BufWriter::new(&file);
    write(&mut writer).and_then(|()| writer.flush()).map_err(failed("write", path))?;
    sync(&file, File::sync_all).map_err(failed("sync", path))
}

/// Makes a name in a directory, or its removal, survive power loss.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_parent(path: &Path) -> Result<(), AtomicError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(parent).map_err(failed("open the directory", parent))?;
    sync(&directory, File::sync_all).map_err(failed("sync the directory", parent))
}

/// Makes a file survive power loss in one of the two possible ways. All promises of the state directory go through
/// here, so that tests see what a power loss may take away.
///
/// # Errors
/// The disk failed.
pub(crate) fn sync(file: &File, how: fn(&File) -> io::Result<()>) -> io::Result<()> {
    #[cfg(test)]
    watch::tell(file);
    how(file)
}

/// The test observer of this thread's synchronisations.
#[cfg(test)]
pub(crate) mod watch {
    use std::cell::RefCell;
    use std::fs::File;

    type Observer = Box<dyn FnMut(&File)>;

    thread_local! {
        static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
    }

    pub(crate) fn set(observer: Observer) {
        OBSERVER.set(Some(observer));
    }

    pub(crate) fn clear() {
        OBSERVER.set(None);
    }

    pub(super) fn tell(file: &File) {
        OBSERVER.with_borrow_mut(|observer| observer.iter_mut().for_each(|observer| observer(file)));
    }
}

/// Makes everything that was written to a file system survive power loss.
///
/// # Errors
/// The directory cannot be opened, or the disk failed.
pub fn sync_file_system(directory: &Path) -> Result<(), AtomicError> {
    let opened = File::open(directory).map_err(failed("open the directory", directory))?;
    let all = |file: &File| Ok(rustix::fs::syncfs(file)?);
    sync(&opened, all).map_err(failed("sync the file system of", directory))
}

/// Makes a directory with its missing parents, each of them durable. An existing directory stays as it is, but its name
/// is made durable too: the process that made it may have been killed before that.
///
/// # Errors
/// One of them cannot be made, or something that is no directory is in the way.
pub fn create_directories(path: &Path, mode: u32) -> Result<(), AtomicError> {
    if path.is_dir() {
        return sync_parent_of_existing(path);
    }
    let Some(parent) = path.parent() else { return Ok(()) };
    create_directories(parent, mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_parent(path),
        // Another process was faster, and may not have synced the name yet.
        Err(_) if path.is_dir() => sync_parent(path),
        Err(source) => Err(failed("create the directory", path)(source)),
    }
}

fn sync_parent_of_existing(path: &Path) -> Result<(), AtomicError> {
    if path.parent().is_none() {
        return Ok(());
    }
    match sync_parent(path) {
        // A process that may not open the parent has made nothing in it either.
        Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_created_and_replaced_with_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    fn a_leftover_of_a_crash_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(directory.path().join(".a.new"), b"a much longer torn leftover").unwrap();
        replace(&path, b"x", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    fn a_failure_leaves_the_old_content_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("child"), b"").unwrap();
        let error = replace(&path, b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("cannot put in place"), "{error}");
        assert_eq!(names(directory.path()), ["a"]);
        let error = replace(&directory.path().join("missing/a"), b"x", 0o600).unwrap_err();
        assert!(error.to_string().contains("missing/.a.new"), "{error}");
    }

    #[test]
    fn a_link_in_the_place_of_the_temporary_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, b"mine").unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join(".a.new")).unwrap();
        replace(&directory.path().join("a"), b"x", 0o600).unwrap_err();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
    }

    #[test]
    fn a_directory_that_a_killed_process_had_just_made_is_made_durable_too() {
        use std::cell::RefCell;
        use std::os::unix::fs::MetadataExt;
        use std::rc::Rc;

        let chain = ["a", "a/b", "a/b/c"];
        // It had made so many of them, and synchronised the parents of all but the last.
        for made in 0..=chain.len() {
            let top = tempfile::tempdir().unwrap();
            chain[..made].iter().for_each(|name| fs::create_dir(top.path().join(name)).unwrap());
            let synced = Rc::new(RefCell::new(Vec::new()));
            let seen = Rc::clone(&synced);
            watch::set(Box::new(move |file| {
                // The content at this moment is the content that survives.
                let directory = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
                let has = fs::read_dir(directory).unwrap().count();
                seen.borrow_mut().push((file.metadata().unwrap().ino(), has));
            }));
            create_directories(&top.path().join("a/b/c"), 0o755).unwrap();
            watch::clear();
            for name in &chain[made.saturating_sub(1)..] {
                let path = top.path().join(name);
                let parent = fs::metadata(path.parent().unwrap()).unwrap().ino();
                assert!(synced.borrow().contains(&(parent, 1)), "{name} of {made}: {:?}", synced.borrow());
            }
        }
    }

    #[test]
    fn directories_are_made_with_their_parents() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        create_directories(&deep, 0o755).unwrap();
        create_directories(&deep, 0o755).unwrap();
        assert!(deep.is_dir());
        fs::write(directory.path().join("file"), b"").unwrap();
        let error = create_directories(&directory.path().join("file/x"), 0o755).unwrap_err();
        assert!(error.to_string().contains("cannot create the directory"), "{error}");
    }
}
