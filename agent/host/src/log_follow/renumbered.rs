//! File systems whose device number has changed since the positions were written: NVMe, loop and network devices get
//! new numbers with each boot or mount. The files on them are the same, and their sent events are not sent again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::log_reader::Facts;
use super::positions::FileRecord;
use crate::safe_path::Opener;

/// Sets the records to the number that their file system has now. One of its files that is found by its inode and its
/// time of birth, at its path or, rotated, beside it, stands for all: nothing else shows that they were on the same
/// file system. If the file system notes no birth, or none of its files is found, its number stays. `most` bounds the
/// entries of a directory.
pub(super) fn renumber(records: &mut [FileRecord], opener: &Opener, most: usize) {
    let mut listed = BTreeMap::new();
    let mut now: BTreeMap<u64, u64> = BTreeMap::new();
    for record in records.iter() {
        let before = record.identity.device;
        if !now.contains_key(&before)
            && let Some(device) = device_of(record, opener, most, &mut listed)
        {
            now.insert(before, device);
        }
    }
    for record in records {
        if let Some(device) = now.get(&record.identity.device) {
            record.identity.device = *device;
        }
    }
}

/// The device that a file is on now.
fn device_of(
    record: &FileRecord,
    opener: &Opener,
    most: usize,
    listed: &mut BTreeMap<PathBuf, Vec<Facts>>,
) -> Option<u64> {
    let (inode, born_ns) = (record.identity.inode, record.identity.born_ns);
    let is_it = |facts: &&Facts| born_ns != 0 && (facts.inode, facts.born_ns) == (inode, born_ns);
    if let Ok(facts) = Facts::of_path(&record.path)
        && is_it(&&facts)
    {
        return Some(facts.device);
    }
    let directory = record.path.parent()?;
    let beside = listed.entry(directory.to_owned()).or_insert_with(|| list(directory, opener, most));
    beside.iter().find(is_it).map(|facts| facts.device)
}

fn list(directory: &Path, opener: &Opener, most: usize) -> Vec<Facts> {
    if opener.look_into(directory).is_err() {
        return Vec::new();
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(most);
    entries.filter_map(|entry| Facts::of_path(&entry.path()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use hostler_core::logs::identity::{Fingerprint, Identity};

    use super::*;

    fn record(id: u64, path: &Path, device: u64, born_ns: Option<u64>) -> FileRecord {
        let facts = Facts::of_path(path).unwrap();
        let born_ns = born_ns.unwrap_or(facts.born_ns);
        FileRecord {
            id,
            source: "source".to_owned(),
            path: path.to_owned(),
            identity: Identity { device, inode: facts.inode, born_ns, head: Fingerprint::default() },
            offset: 0,
            trail: Fingerprint::default(),
            last_ms: None,
            changed_ns: facts.changed_ns,
            origin: path.to_owned(),
            size: facts.size,
            rotated: false,
        }
    }

    fn renumbered(mut records: Vec<FileRecord>) -> Vec<u64> {
        renumber(&mut records, &Opener::default(), 100);
        records.iter().map(|record| record.identity.device).collect()
    }

    #[test]
    fn a_file_system_is_known_again_by_any_of_its_files_and_not_by_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let [kept, rotated, gone] = ["kept", "rotated", "gone"].map(|name| directory.path().join(name));
        for path in [&kept, &rotated, &gone] {
            fs::write(path, "").unwrap();
        }
        let Facts { device, born_ns, .. } = Facts::of_path(&kept).unwrap();
        if born_ns == 0 {
            // No file is recognised if the file system notes no birth.
            assert_eq!(renumbered(vec![record(1, &kept, device + 1, None)]), [device + 1]);
            return;
        }
        // The first two are on one file system, the third was on another one.
        let of = |path: &Path, number| record(1, path, number, None);
        let before = vec![of(&gone, device + 1), of(&rotated, device + 1), record(3, &kept, device + 2, Some(1))];
        fs::remove_file(&gone).unwrap();
        fs::rename(&rotated, directory.path().join("rotated.1")).unwrap();
        assert_eq!(renumbered(before), [device, device, device + 2], "another birth is another file");
        assert_eq!(renumbered(vec![of(&kept, device)]), [device]);
    }
}
