//! The names in a directory of the store.

use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::Path;

use hostler_core::store::{Key, Listed, StoreError};
use jiff::Timestamp;

use super::DirectoryStore;

impl DirectoryStore {
    pub(super) fn list_now(&self, directory: &Key, prefix: &str, at_most: usize) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        for entry in self.entries(Some(directory))? {
            let name = entry.file_name().into_string().ok().filter(|name| name.starts_with(prefix));
            // A name that is no key was not put here by a store.
            let Some(key) = name.and_then(|name| format!("{directory}/{name}").parse::<Key>().ok()) else { continue };
            // Another process may have deleted it.
            let Some(facts) = entry.metadata().ok().filter(|facts| facts.is_file()) else { continue };
            let modified = facts.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
            found.push(Listed { key, size: facts.len(), modified });
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.truncate(at_most);
        Ok(found)
    }

    pub(super) fn directories_now(&self, below: Option<&Key>, at_most: usize) -> Result<Vec<Key>, StoreError> {
        let mut found = Vec::new();
        for entry in self.entries(below)? {
            let name = entry.file_name().into_string().ok();
            let name = name.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let text = name.map(|name| below.map_or_else(|| name.clone(), |below| format!("{below}/{name}")));
            found.extend(text.and_then(|text| text.parse::<Key>().ok()));
        }
        found.sort();
        found.truncate(at_most);
        Ok(found)
    }

    /// The entries of a directory; none if it does not exist.
    fn entries(&self, directory: Option<&Key>) -> Result<Vec<DirEntry>, StoreError> {
        let path = directory.map_or_else(|| self.root().to_path_buf(), |key| self.path(key));
        let read = |path: &Path| std::fs::read_dir(path)?.collect::<std::io::Result<Vec<DirEntry>>>();
        match read(&path) {
            Ok(entries) => Ok(entries),
            Err(e) if e.kind() == ErrorKind::NotFound || e.kind() == ErrorKind::NotADirectory => {
                self.check_root()?;
                Ok(Vec::new())
            }
            Err(e) => Err(self.failed_at("list", path.display().to_string())(e)),
        }
    }
}
