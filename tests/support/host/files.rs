//! Files, trees of them, and small file systems.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::skip;

/// Writes a file and the directories above it.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path)
        .and_then(|mut file| file.write_all(content.as_ref()))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Everything below a directory: path → kind, mode, owner and content.
pub fn tree(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![top.to_owned()];
    while let Some(directory) = ahead.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
            let text = if metadata.is_dir() {
                ahead.push(path.clone());
                format!("directory {mode:o} {owner}")
            } else if metadata.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("file {mode:o} {owner} {}", shown(&fs::read(&path).unwrap()))
            };
            found.insert(path.strip_prefix(top).unwrap().to_owned(), text);
        }
    }
    found
}

/// A content that can be compared and, if it is short, read.
fn shown(content: &[u8]) -> String {
    if content.len() <= 64 {
        return content.escape_ascii().to_string();
    }
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{} bytes {:x}", content.len(), hasher.finish())
}

/// A small separate file system, unmounted when this is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// A tmpfs on a new directory; `None` with a printed reason if mounting is not allowed.
    pub fn tmpfs(path: &Path, bytes: u64) -> Option<Self> {
        use nix::mount::{MsFlags, mount};
        fs::create_dir_all(path).expect("the mount point");
        let options = format!("size={bytes},mode=755");
        match mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(Self(path.to_owned())),
            Err(error) => {
                skip(format_args!("cannot mount a tmpfs: {error}"));
                None
            }
        }
    }

    /// Fills all space except this many bytes, with the returned file.
    pub fn leave_free(&self, bytes: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("the filler");
        let page = [0xff; 4096];
        while self.free() > bytes && file.write_all(&page).is_ok() {}
        path
    }

    /// The free bytes.
    pub fn free(&self) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.0).expect("statvfs");
        found.blocks_available() * found.fragment_size()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

/// As [`tree`], with the top itself, owner's group, time and every content by its digest: for what must not be touched.
pub fn tree_with_times(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    collect(top, top, &mut found);
    found
}

fn collect(top: &Path, path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let content = if metadata.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else if metadata.is_file() {
        hostler_core::ids::Sha256Digest::of(&fs::read(path).unwrap()).to_string()
    } else {
        String::new()
    };
    let (mode, user, group) = (metadata.mode(), metadata.uid(), metadata.gid());
    let time = format!("{}.{}", metadata.mtime(), metadata.mtime_nsec());
    let name = path.strip_prefix(top).unwrap().to_owned();
    found.insert(name, format!("{mode:o} {user}:{group} {time} {content}"));
    if metadata.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| collect(top, entry, found));
    }
}
