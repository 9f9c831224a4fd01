//! States of a disk on this machine's file systems: each object is made anew, and its inode is written into the
//! journal.

use rustix::fs::{CWD, XattrFlags};
use serde_json::Value as Json;

use super::*;

pub(super) const UNKNOWN: u64 = 1 << 52;
/// The tops, whichever host's.
const TOPS: [&str; 2] = ["/the-root", "/the-state"];

/// The paths of these tops, each with a name that is the same for every host.
pub(super) fn general(tops: &Tops) -> Vec<(String, String)> {
    tops.iter().zip(TOPS).map(|(top, general)| (top.to_str().unwrap().to_owned(), general.to_owned())).collect()
}

/// Translates inodes and the tops' paths in a journal from one host to another. Anything else stays as it is.
pub(super) fn translate(bytes: &[u8], number: impl Fn(u64) -> u64, paths: &[(String, String)]) -> Vec<u8> {
    let change = |inode: &mut Json| match inode.as_u64() {
        Some(known) if known > 0 => *inode = number(known).into(),
        _ => {}
    };
    let Ok(mut document) = serde_json::from_slice::<Json>(bytes) else { return bytes.to_owned() };
    match &mut document {
        Json::Array(list) => {
            for item in list {
                let Some(is) = item.get_mut("is") else {
                    change(&mut item["inode"]);
                    continue;
                };
                change(&mut is["inode"]);
                // The birth time of an object is not part of a disk here.
                is.as_object_mut().unwrap().remove("born");
            }
        }
        Json::Object(_) => {
            for part in ["anchors", "directories", "backups"] {
                for record in document[part].as_array_mut().into_iter().flatten() {
                    if let Some(inode) = record.get_mut("inode") {
                        change(inode);
                    }
                    for name in ["real", "parent"] {
                        if let Some(path) = record.get_mut(name) {
                            *path = paths
                                .iter()
                                .fold(path.as_str().unwrap().to_owned(), |path, (from, to)| path.replacen(from, to, 1))
                                .into();
                        }
                    }
                }
            }
        }
        _ => return bytes.to_owned(),
    }
    serde_json::to_vec(&document).unwrap()
}

impl Image {
    /// The tree below the root alone, by path: the subject of an Install.
    pub fn root(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        let mut open = vec![(PathBuf::from("/"), 0)];
        while let Some((path, id)) = open.pop() {
            let Node { object, data, entries } = &self.nodes[&id];
            let (Object { kind, access, owner, modified, .. }, data) = (object, String::from_utf8_lossy(data));
            open.extend(entries.iter().map(|(name, child)| (path.join(name), *child)));
            tree.insert(
                path,
                format!("object {id}: {kind:?} {access:?} of {}:{} {modified:?} {data}", owner.0, owner.1),
            );
        }
        tree
    }

    /// Makes the image on this machine's file systems; returns the object of each inode.
    pub(super) fn write(&self, tops: &Tops) -> HashMap<(u64, u64), Id> {
        let mut made: BTreeMap<Id, PathBuf> = BTreeMap::new();
        for (id, top) in tops.iter().enumerate() {
            self.make(id, top, &mut made);
        }
        let inode = |path: &PathBuf| {
            let meta = std::fs::symlink_metadata(path).unwrap();
            (meta.dev(), meta.ino())
        };
        let inodes: BTreeMap<Id, (u64, u64)> = made.iter().map(|(id, path)| (*id, inode(path))).collect();
        let paths: Vec<_> = general(tops).into_iter().map(|(own, general)| (general, own)).collect();
        let number = |id: u64| inodes.get(&(id as Id - 1)).map_or(id | UNKNOWN, |(_, inode)| *inode);
        for (id, path) in &made {
            if self.nodes[id].object.kind == Kind::File {
                let bytes = translate(&self.nodes[id].data, number, &paths);
                std::fs::write(path, bytes).unwrap();
            }
        }
        // Paths in order have children after their parents, so in reverse.
        let mut paths: Vec<_> = made.iter().collect();
        paths.sort_by(|a, b| b.1.cmp(a.1));
        for (id, path) in paths {
            let object = &self.nodes[id].object;
            std::os::unix::fs::lchown(path, Some(object.owner.0), Some(object.owner.1)).unwrap();
            if !matches!(object.kind, Kind::Link(_)) {
                for (name, list) in LISTS.iter().zip(&object.access.lists) {
                    match list {
                        Some(list) => rustix::fs::lsetxattr(path, *name, list, XattrFlags::empty()).unwrap(),
                        None => drop(rustix::fs::lremovexattr(path, *name)),
                    }
                }
                std::fs::set_permissions(path, PermissionsExt::from_mode(object.access.mode)).unwrap();
            }
            let time = Timespec { tv_sec: object.modified.0, tv_nsec: object.modified.1 as _ };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        inodes.into_iter().map(|(id, inode)| (inode, id)).collect()
    }

    fn make(&self, id: Id, path: &Path, made: &mut BTreeMap<Id, PathBuf>) {
        let node = &self.nodes[&id];
        if let Some(first) = made.get(&id) {
            return std::fs::hard_link(first, path).unwrap();
        }
        match &node.object.kind {
            Kind::File => std::fs::write(path, b"").unwrap(),
            Kind::Link(target) => symlink(target, path).unwrap(),
            Kind::Directory => std::fs::create_dir(path).unwrap(),
        }
        made.insert(id, path.to_owned());
        for (name, child) in &node.entries {
            self.make(*child, &path.join(name), made);
        }
    }
}
