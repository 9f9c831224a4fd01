//! What tests need alike and takes seconds to make: made once in a run, and kept for the next runs.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// A directory that `make` fills, in the target directory below `name`. The other tests wait meanwhile, and take what is there.
///
/// `state` is the state of what it is made from (`state_of`); what was made from another state is removed.
pub fn made_once(name: &str, state: u64, make: impl FnOnce(&Path)) -> PathBuf {
    let top = Path::new(env!("CARGO_TARGET_TMPDIR")).join("made-once").join(name);
    fs::create_dir_all(&top).unwrap();
    let lock = File::create(top.join("lock")).unwrap();
    lock.lock().unwrap();
    let made = top.join(format!("{state:016x}"));
    if !made.exists() {
        for old in fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            fs::remove_dir_all(old).unwrap();
        }
        // Renamed when it is complete: a test may be ended while it makes it.
        let partial = top.join("partial");
        fs::create_dir(&partial).unwrap();
        make(&partial);
        fs::rename(&partial, &made).unwrap();
    }
    made
}

/// Another number whenever one of the files, or a file in one of the directories, has another size or was written again.
pub fn state_of(paths: &[&Path]) -> u64 {
    let mut state = DefaultHasher::new();
    let mut left: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if found.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            left.sort();
        } else {
            (path, found.len(), found.modified().unwrap()).hash(&mut state);
        }
    }
    state.finish()
}
