//! A disk that keeps for certain only synchronised data: the test looks at an Install before each of its steps and
//! synchronisations, and can take away any selection of the data that is not on disk yet.
//!
//! Objects have numbers that stay the same in every copy, so that "the very same file" can be asked for in a copy.

mod copy;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::*;
use copy::{UNKNOWN, general, translate};

pub(super) type Id = usize;

/// One part of an object that reaches the disk by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Entry(Id, OsString),
    Data(Id),
    /// The permission bits with the access control lists, which the kernel keeps consistent.
    Access(Id),
    Owner(Id),
    Modified(Id),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Entry(Option<Id>),
    Data(Arc<[u8]>),
    Access(Access),
    Owner(u32, u32),
    Modified(i64, i64),
}

/// Permission bits and access control lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Access {
    mode: u32,
    /// The kernel's form of the lists in [`LISTS`].
    lists: [Option<Vec<u8>>; 2],
}

const LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

type State = BTreeMap<Cell, Value>;

/// An object's facts from its birth on, and its attributes while later ones are not on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    kind: Kind,
    access: Access,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Directory,
    Link(PathBuf),
}

/// Changes that are on disk together or not at all: a rename changes two names.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub items: Vec<(Cell, Value)>,
}

impl Change {
    /// Whether this change is on disk only with the other, earlier one: the history of one name, and of one object's
    /// content or mode, is in order.
    pub fn follows(&self, earlier: &Self) -> bool {
        let ordered = |cell: &Cell| !matches!(cell, Cell::Modified(_));
        self.items.iter().any(|(cell, _)| ordered(cell) && earlier.items.iter().any(|(other, _)| other == cell))
    }

    pub fn has_data(&self) -> bool {
        self.items.iter().any(|(cell, _)| matches!(cell, Cell::Data(_)))
    }

    /// The same with half of each content.
    pub fn truncated(&self) -> Self {
        let half = |value: &Value| match value {
            Value::Data(bytes) => Value::Data(bytes[..bytes.len() / 2].into()),
            other => other.clone(),
        };
        Self { items: self.items.iter().map(|(cell, value)| (cell.clone(), half(value))).collect() }
    }
}

/// A moment at which the power may fail.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub when: String,
    durable: State,
    pub pending: Vec<Change>,
}

/// Everything below the tops, in a form that compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Image {
    nodes: BTreeMap<Id, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    object: Object,
    data: Arc<[u8]>,
    entries: BTreeMap<OsString, Id>,
}

/// The observed directories: the root of the Install (object 0), and the journal's parent (object 1).
pub(super) type Tops = [PathBuf; 2];

/// Replaces the file system's synchronisation, and takes notes.
pub(super) struct Disk {
    tops: Tops,
    links: Links,
    /// Whether it takes notes at all.
    watched: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ids: HashMap<(u64, u64), Id>,
    objects: Vec<Object>,
    /// Open, so that the file system gives no inode number to another object.
    held: Vec<OwnedFd>,
    encoded: HashMap<Vec<u8>, Arc<[u8]>>,
    now: State,
    durable: State,
    pending: Vec<Change>,
    points: Vec<Point>,
}

impl Disk {
    /// All that is there is on disk.
    pub fn new(tops: &Tops, links: Links) -> Self {
        Self::begin(tops, links, true, Inner::default())
    }

    fn begin(tops: &Tops, links: Links, watched: bool, mut inner: Inner) -> Self {
        inner.now = inner.look(tops);
        inner.durable = inner.now.clone();
        Self { tops: tops.clone(), links, watched, inner: Mutex::new(inner) }
    }

    /// Makes a copy of a state of this disk elsewhere, as a disk of its own.
    pub fn copy(&self, image: &Image, tops: &Tops, watched: bool) -> Self {
        let objects = self.inner.lock().unwrap().objects.clone();
        let ids = image.write(tops);
        Self::begin(tops, self.links, watched, Inner { ids, objects, ..Inner::default() })
    }

    fn observe(&self, when: String) {
        if !self.watched {
            return;
        }
        let mut inner = self.inner.lock().unwrap();
        let next = inner.look(&self.tops);
        let changes = inner.changes(&next);
        inner.pending.extend(changes);
        inner.now = next;
        let point = Point { when, durable: inner.durable.clone(), pending: inner.pending.clone() };
        inner.points.push(point);
    }

    fn keep(&self, covers: impl Fn(&Cell, &[Object]) -> bool) {
        let mut inner = self.inner.lock().unwrap();
        let Inner { pending, durable, objects, .. } = &mut *inner;
        for change in pending.iter_mut() {
            let (kept, rest) =
                std::mem::take(&mut change.items).into_iter().partition(|(cell, _)| covers(cell, objects));
            let kept: Vec<_> = kept;
            durable.extend(kept);
            change.items = rest;
        }
        pending.retain(|change| !change.items.is_empty());
    }

    /// All moments so far; the last one is now.
    pub fn points(&self) -> Vec<Point> {
        self.observe("the end".to_owned());
        std::mem::take(&mut self.inner.lock().unwrap().points)
    }

    /// The current content, whether on disk or not.
    pub fn image(&self) -> Image {
        let mut inner = self.inner.lock().unwrap();
        let now = inner.look(&self.tops);
        inner.image(&now)
    }

    /// The content after a power loss at this moment, if these of its changes are on disk.
    pub fn after<'a>(&self, point: &Point, kept: impl Iterator<Item = &'a Change>) -> Image {
        let mut state = point.durable.clone();
        state.extend(kept.flat_map(|change| change.items.iter().cloned()));
        self.inner.lock().unwrap().image(&state)
    }
}

impl Steps for Disk {
    fn before(&self, step: Step) -> Result<(), InstallError> {
        self.observe(format!("{step:?}"));
        Ok(())
    }

    fn link(&self, from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new: &str) -> Result<(), Errno> {
        self.links.error().map_or_else(|| RealSyscalls.link(from, name, to, new), Err)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.observe("a file or directory is synchronised".to_owned());
        if !self.watched {
            return Ok(());
        }
        let meta = file.metadata()?;
        let id = self.inner.lock().unwrap().ids[&(meta.dev(), meta.ino())];
        self.keep(|cell, _| cell.object() == id);
        Ok(())
    }

    fn sync_file_system(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        self.observe("a file system is synchronised".to_owned());
        let device = rustix::fs::fstat(directory)?.st_dev;
        self.keep(|cell, objects| objects[cell.object()].device == device);
        Ok(())
    }
}

impl Cell {
    fn object(&self) -> Id {
        match self {
            Self::Entry(id, _) | Self::Data(id) | Self::Access(id) | Self::Owner(id) | Self::Modified(id) => *id,
        }
    }

    /// The part of an object that is written together.
    fn part(&self) -> u8 {
        match self {
            Self::Owner(_) => 1,
            _ => 0,
        }
    }
}

fn access(path: &Path, meta: &std::fs::Metadata) -> Access {
    let list = |name: &str| {
        let mut bytes = vec![0; 1024];
        // A link has no list, nor has a file system without them.
        let length = rustix::fs::lgetxattr(path, name, &mut bytes[..]).ok()?;
        bytes.truncate(length);
        Some(bytes)
    };
    Access { mode: meta.permissions().mode() & 0o7777, lists: LISTS.map(list) }
}

impl Inner {
    fn look(&mut self, tops: &Tops) -> State {
        // They have the first two numbers.
        for (number, top) in tops.iter().enumerate() {
            assert_eq!(self.number(top, &std::fs::symlink_metadata(top).unwrap()), number, "{}", top.display());
        }
        let mut state = State::new();
        for top in tops {
            self.look_at(top, &mut state);
        }
        // Only now all objects have numbers.
        for id in 0..self.objects.len() {
            let Some(Value::Data(bytes)) = state.get(&Cell::Data(id)) else { continue };
            let encoded = self.encode(&bytes.clone(), tops);
            state.insert(Cell::Data(id), Value::Data(encoded));
        }
        state
    }

    fn number(&mut self, path: &Path, meta: &std::fs::Metadata) -> Id {
        if let Some(id) = self.ids.get(&(meta.dev(), meta.ino())) {
            return *id;
        }
        let kind = match meta {
            meta if meta.is_symlink() => Kind::Link(std::fs::read_link(path).unwrap()),
            meta if meta.is_dir() => Kind::Directory,
            _ => Kind::File,
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.held.push(rustix::fs::open(path, flags, Mode::empty()).unwrap());
        let (access, owner, modified) =
            (access(path, meta), (meta.uid(), meta.gid()), (meta.mtime(), meta.mtime_nsec()));
        self.objects.push(Object { kind, access, owner, modified, device: meta.dev() });
        self.ids.insert((meta.dev(), meta.ino()), self.objects.len() - 1);
        self.objects.len() - 1
    }

    fn look_at(&mut self, path: &Path, state: &mut State) -> Id {
        let meta = std::fs::symlink_metadata(path).unwrap();
        let id = self.number(path, &meta);
        state.insert(Cell::Access(id), Value::Access(access(path, &meta)));
        state.insert(Cell::Owner(id), Value::Owner(meta.uid(), meta.gid()));
        state.insert(Cell::Modified(id), Value::Modified(meta.mtime(), meta.mtime_nsec()));
        match self.objects[id].kind {
            Kind::File => drop(state.insert(Cell::Data(id), Value::Data(std::fs::read(path).unwrap().into()))),
            Kind::Link(_) => {}
            Kind::Directory => {
                for entry in std::fs::read_dir(path).unwrap() {
                    let name = entry.unwrap().file_name();
                    let child = self.look_at(&path.join(&name), state);
                    state.insert(Cell::Entry(id, name), Value::Entry(Some(child)));
                }
            }
        }
        id
    }

    /// A journal with the objects' numbers instead of their inodes.
    fn encode(&mut self, bytes: &[u8], tops: &Tops) -> Arc<[u8]> {
        if let Some(known) = self.encoded.get(bytes) {
            return Arc::clone(known);
        }
        let device = self.objects[0].device;
        let number = |inode: u64| self.ids.get(&(device, inode)).map_or(inode | UNKNOWN, |id| *id as u64 + 1);
        let encoded: Arc<[u8]> = translate(bytes, number, &general(tops)).into();
        self.encoded.insert(bytes.to_owned(), Arc::clone(&encoded));
        encoded
    }

    fn value(&self, state: &State, cell: &Cell) -> Option<Value> {
        let born = |id: Id| self.objects.get(id);
        state.get(cell).cloned().or_else(|| match cell {
            Cell::Entry(..) => Some(Value::Entry(None)),
            Cell::Data(_) => Some(Value::Data([].into())),
            Cell::Access(id) => born(*id).map(|object| Value::Access(object.access.clone())),
            Cell::Owner(id) => born(*id).map(|object| Value::Owner(object.owner.0, object.owner.1)),
            Cell::Modified(id) => born(*id).map(|object| Value::Modified(object.modified.0, object.modified.1)),
        })
    }

    /// The changes since the last look.
    fn changes(&self, next: &State) -> Vec<Change> {
        let gone = self.now.keys().filter(|cell| matches!(cell, Cell::Entry(..)) && !next.contains_key(cell));
        let gone = gone.map(|cell| (cell.clone(), Value::Entry(None)));
        let differs = |(cell, value): &(&Cell, &Value)| self.value(&self.now, cell).as_ref() != Some(*value);
        let changed = next.iter().filter(differs).map(|(cell, value)| (cell.clone(), value.clone()));
        let mut names: Vec<Change> = Vec::new();
        let mut objects: BTreeMap<(Id, u8), Change> = BTreeMap::new();
        for (cell, value) in gone.chain(changed) {
            let Cell::Entry(..) = cell else {
                let change =
                    objects.entry((cell.object(), cell.part())).or_insert_with(|| Change { items: Vec::new() });
                change.items.push((cell, value));
                continue;
            };
            // One rename: the names that the same object lost and got.
            let one = |other: &Change| {
                other.items.iter().any(|(known, new)| {
                    let before = [self.value(&self.now, known), Some(new.clone())];
                    let shared = [self.value(&self.now, &cell), Some(value.clone())];
                    let moved = |value: &Option<Value>| *value != Some(Value::Entry(None)) && shared.contains(value);
                    before.iter().any(moved)
                })
            };
            let (together, mut rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|change| one(change));
            let mut items: Vec<_> = together.into_iter().flat_map(|change| change.items).collect();
            items.push((cell, value));
            rest.push(Change { items });
            names = rest;
        }
        for change in &mut names {
            // A directory's time is on disk with its names.
            let directories: BTreeSet<Id> = change.items.iter().map(|(cell, _)| cell.object()).collect();
            for own in directories.iter().filter_map(|directory| objects.get(&(*directory, 0))) {
                change.items.extend(own.items.iter().filter(|(cell, _)| matches!(cell, Cell::Modified(_))).cloned());
            }
        }
        let named: BTreeSet<Id> =
            names.iter().flat_map(|change| change.items.iter().map(|(cell, _)| cell.object())).collect();
        for id in named {
            if let Some(own) = objects.get_mut(&(id, 0)) {
                own.items.retain(|(cell, _)| !matches!(cell, Cell::Modified(_)));
            }
        }
        names.extend(objects.into_values().filter(|change| !change.items.is_empty()));
        names
    }

    fn image(&self, state: &State) -> Image {
        let mut nodes = BTreeMap::new();
        let mut open: Vec<Id> = vec![0, 1];
        while let Some(id) = open.pop() {
            if nodes.contains_key(&id) {
                continue;
            }
            let mut object = self.objects[id].clone();
            if let Some(Value::Access(access)) = self.value(state, &Cell::Access(id)) {
                object.access = access;
            }
            if let Some(Value::Owner(user, group)) = self.value(state, &Cell::Owner(id)) {
                object.owner = (user, group);
            }
            if let Some(Value::Modified(seconds, nanoseconds)) = self.value(state, &Cell::Modified(id)) {
                object.modified = (seconds, nanoseconds);
            }
            let Some(Value::Data(data)) = self.value(state, &Cell::Data(id)) else { unreachable!() };
            let mut entries = BTreeMap::new();
            for (cell, value) in state.range(Cell::Entry(id, OsString::new())..) {
                match (cell, value) {
                    (Cell::Entry(directory, name), Value::Entry(child)) if *directory == id => {
                        entries.extend(child.map(|child| (name.clone(), child)));
                    }
                    _ => break,
                }
            }
            open.extend(entries.values());
            nodes.insert(id, Node { object, data, entries });
        }
        Image { nodes }
    }
}
