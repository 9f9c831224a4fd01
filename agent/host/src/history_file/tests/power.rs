//! Power loss at every moment of the ledger's and the history's work together: any unsynchronised data may be missing,
//! and the next start may be interrupted too.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use super::*;

const FILES: [&str; 2] = ["ledger", "history.ndjson"];
/// Bytes that a disk writes at once.
const SECTOR: usize = 512;
const ROOM: usize = 4 << 10;

type Files = BTreeMap<&'static str, Vec<u8>>;

/// A moment: the possible contents of the disk after a power loss, and the promises made before it.
struct Moment {
    when: String,
    outcomes: Vec<Files>,
    /// How many events were acknowledged; one more was being recorded.
    acknowledged: usize,
    begun: usize,
    anchors: Vec<Anchor>,
}

/// Looks at the files before each synchronisation and on request.
struct Watch {
    directory: PathBuf,
    /// The contents on disk, by inode.
    contents: BTreeMap<u64, Vec<u8>>,
    /// The inode of each name on disk.
    names: BTreeMap<&'static str, u64>,
    acknowledged: usize,
    begun: usize,
    anchors: Vec<Anchor>,
    moments: Vec<Moment>,
}

impl Watch {
    fn start(directory: &Path, known: &Promised) -> Rc<RefCell<Self>> {
        let Promised { acknowledged, begun, anchors } = known.clone();
        let (contents, names, moments) = Default::default();
        let directory = directory.to_owned();
        let mut watch = Self { directory, contents, names, acknowledged, begun, anchors, moments };
        for (name, inode, bytes) in watch.present() {
            watch.contents.insert(inode, bytes);
            watch.names.insert(name, inode);
        }
        let watch = Rc::new(RefCell::new(watch));
        let observer = Rc::clone(&watch);
        atomic::watch::set(Box::new(move |file| observer.borrow_mut().synced(file)));
        watch
    }

    fn present(&self) -> Vec<(&'static str, u64, Vec<u8>)> {
        let found = FILES.iter().filter_map(|name| {
            let path = self.directory.join(name);
            Some((*name, fs::metadata(&path).ok()?.ino(), fs::read(&path).unwrap()))
        });
        found.collect()
    }

    fn synced(&mut self, file: &File) {
        self.moment("a file is synchronised");
        let meta = file.metadata().unwrap();
        if meta.is_dir() {
            self.names = self.present().into_iter().map(|(name, inode, _)| (name, inode)).collect();
        } else {
            // By its descriptor, because it may still have another name, and it is open for writing only.
            let bytes = fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file))).unwrap();
            self.contents.insert(meta.ino(), bytes);
        }
    }

    fn moment(&mut self, when: &str) {
        let mut outcomes = vec![Files::new()];
        let present = self.present();
        for name in FILES {
            let now = present.iter().find(|(other, ..)| *other == name);
            let mut possible: BTreeSet<Option<Vec<u8>>> = BTreeSet::new();
            for inode in [self.names.get(name).copied(), now.map(|(_, inode, _)| *inode)] {
                let Some(inode) = inode else {
                    possible.insert(None);
                    continue;
                };
                let durable = self.contents.get(&inode).cloned().unwrap_or_default();
                let current = now.filter(|(_, other, _)| *other == inode).map(|(.., bytes)| bytes);
                possible.extend(mixtures(&durable, current.unwrap_or(&durable)).into_iter().map(Some));
            }
            let with = |files: &Files, bytes: &Option<Vec<u8>>| {
                let mut files = files.clone();
                files.extend(bytes.clone().map(|bytes| (name, bytes)));
                files
            };
            outcomes = outcomes.iter().flat_map(|files| possible.iter().map(move |one| with(files, one))).collect();
        }
        let (acknowledged, begun, anchors) = (self.acknowledged, self.begun, self.anchors.clone());
        self.moments.push(Moment { when: when.to_owned(), outcomes, acknowledged, begun, anchors });
    }
}

#[derive(Clone, Default)]
struct Promised {
    acknowledged: usize,
    begun: usize,
    anchors: Vec<Anchor>,
}

/// The possible contents of a file after a power loss, if it has one content on disk and another in memory.
fn mixtures(durable: &[u8], current: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::from([durable.to_vec(), current.to_vec()]);
    // Its length is on disk, or its length and half of the new bytes.
    let same = durable.iter().zip(current).take_while(|(a, b)| a == b).count();
    let grown = current.len() > durable.len();
    for kept in [same + 1, same + (current.len() - same) / 2, current.len().saturating_sub(1)] {
        if grown && kept < current.len() && kept > same {
            found.insert(current[..kept].to_vec());
            let mut zeros = current[..kept].to_vec();
            zeros.resize(current.len(), 0);
            found.insert(zeros);
            let mut hole = current.to_vec();
            hole[same..kept].fill(0);
            found.insert(hole);
        }
    }
    // Each differing sector alone, all up to it, or all but it.
    let length = current.len().max(durable.len());
    let at = |from: &[u8], index: usize| from.get(index).copied();
    let differing: Vec<usize> = (0..length.div_ceil(SECTOR))
        .filter(|sector| (sector * SECTOR..(sector + 1) * SECTOR).any(|index| at(durable, index) != at(current, index)))
        .collect();
    for chosen in &differing {
        for takes in [|a: usize, b: usize| a == b, |a: usize, b: usize| a <= b, |a: usize, b: usize| a != b] {
            let mixed = (0..length).filter_map(|index| {
                let (from, other) =
                    if takes(index / SECTOR, *chosen) { (current, durable) } else { (durable, current) };
                at(from, index).or_else(|| at(other, index).map(|_| 0))
            });
            found.insert(mixed.collect());
        }
    }
    found
}

fn limits() -> Limits {
    Limits { ledger_bytes: ROOM, ..Limits::default() }
}

/// The agent's work with both files, watched.
fn work(directory: &Path) -> Vec<Moment> {
    let watch = Watch::start(directory, &Promised::default());
    let mut host = Host::start_with(directory, &limits());
    let mut number = 0;
    for length in [3, 1, 2] {
        for _ in 0..length {
            watch.borrow_mut().begun += 1;
            host.record(event(number));
            number += 1;
            let mut watch = watch.borrow_mut();
            watch.acknowledged += 1;
            watch.moment("a record is acknowledged");
        }
        host.file.sync().unwrap();
        host.state.settled();
        watch.borrow_mut().anchors.extend(host.state.chain.anchor());
        host.persist();
        watch.borrow_mut().moment("a deployment is at its end");
    }
    atomic::watch::clear();
    std::mem::take(&mut watch.borrow_mut().moments)
}

fn write(directory: &Path, files: &Files) {
    for name in FILES {
        match files.get(name) {
            Some(bytes) => fs::write(directory.join(name), bytes).unwrap(),
            None => drop(fs::remove_file(directory.join(name))),
        }
    }
}

/// Starts on the leftovers of a power loss and checks that all promises were kept.
fn check(directory: &Path, moment: &Moment, files: &Files, watched: bool) -> Vec<Moment> {
    write(directory, files);
    let known = Promised { acknowledged: moment.acknowledged, begun: moment.begun, anchors: moment.anchors.clone() };
    let watch = watched.then(|| Watch::start(directory, &known));
    let host = Host::start_with(directory, &limits());
    atomic::watch::clear();
    let when = &moment.when;
    let anchors = moment.anchors.iter().cloned().chain(host.state.chain.anchor());
    assert_eq!(verify(directory, anchors, &limits()).unwrap(), [], "{when}");
    let found = entries_with(directory, &limits());
    let numbers: Vec<u64> = found.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{when}");
    let mut events = Vec::new();
    for entry in found {
        match entry.kind {
            Kind::Recovered(recovered) => {
                let torn = Recovered { lost_bytes: recovered.lost_bytes, ..Recovered::default() };
                assert_eq!(recovered, torn, "{when}: more than a torn end");
            }
            kind => events.push(kind),
        }
    }
    let counts = moment.acknowledged..=moment.begun;
    assert!(counts.contains(&events.len()), "{when}: {} records of {counts:?}", events.len());
    assert!(events.iter().enumerate().all(|(at, kind)| *kind == event(at as u64)), "{when}: {events:?}");
    watch.map(|watch| std::mem::take(&mut watch.borrow_mut().moments)).unwrap_or_default()
}

#[test]
fn power_fails_everywhere_in_ledger_and_history() {
    let memory = Path::new("/dev/shm");
    let make = || if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let moments = work(make().path());
    assert!(moments.len() > 20, "{}", moments.len());
    let directory = make();
    let mut seen = BTreeSet::new();
    let mut again = 0;
    for moment in &moments {
        for files in &moment.outcomes {
            if !seen.insert((moment.acknowledged, moment.begun, moment.anchors.len(), files.clone())) {
                continue;
            }
            // The start is interrupted too, and the next one after it.
            for mut later in check(directory.path(), moment, files, true) {
                later.when = format!("{}; then in starting, {}", moment.when, later.when);
                for files in &later.outcomes {
                    if seen.insert((later.acknowledged, later.begun, later.anchors.len(), files.clone())) {
                        again += 1;
                        check(directory.path(), &later, files, false);
                    }
                }
            }
        }
    }
    assert!(seen.len() > 100 && again > 100, "{} states, {again} of them in starting", seen.len());
    eprintln!("{} states, {again} of them in starting", seen.len());
}
