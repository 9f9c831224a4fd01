//! Unpacking beside `tar` and `unzip`: the same bundle, the same directory in memory, turn by turn.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use hostler_host::archive::{UnpackOptions, detect, unpack};

use crate::support::{Measured, fastest, has, measure, memory_directory, this_program, write};

const ROUNDS: usize = 5;
const PEAK_KIB: i64 = 48 << 10;

/// One bundle form, the tool that packs it, and the tool to compare with.
struct Peer {
    form: &'static str,
    tool: &'static str,
    pack: &'static [&'static str],
    unpack: &'static [&'static str],
    /// How many times faster than the tool hostler must be.
    bound: f64,
}

const PEERS: &[Peer] = &[
    Peer {
        form: "tgz",
        tool: "tar",
        pack: &["tar", "-czf", "../bundle", "."],
        unpack: &["tar", "-xzf", "../bundle"],
        bound: 1.0,
    },
    Peer {
        form: "tar.zst",
        tool: "zstd",
        pack: &["tar", "--zstd", "-cf", "../bundle", "."],
        unpack: &["tar", "--zstd", "-xf", "../bundle"],
        bound: 1.0,
    },
    Peer {
        form: "zip",
        tool: "unzip",
        pack: &["zip", "-qry", "../bundle.zip", "."],
        unpack: &["unzip", "-qo", "../bundle.zip"],
        bound: 1.5,
    },
];

type Fill = fn(&Path);

/// Trees that each show one cost, and a tree like an application's.
const TREES: &[(&str, Fill)] =
    &[("application (6,000 files, 120 MB)", application), ("large files (500 MB)", large), ("100,000 files", many)];

pub fn run() -> bool {
    let mut within = true;
    for (name, fill) in TREES {
        println!("{name}");
        let room = memory_directory();
        let tree = room.path().join("tree");
        fs::create_dir(&tree).expect("the tree");
        fill(&tree);
        for peer in PEERS.iter().filter(|peer| has(peer.tool)) {
            within &= compare(room.path(), &tree, peer);
        }
    }
    within
}

fn compare(room: &Path, tree: &Path, peer: &Peer) -> bool {
    let status = Command::new(peer.pack[0]).args(&peer.pack[1..]).current_dir(tree).status();
    assert!(status.expect("the packing tool").success());
    let bundle = ["bundle", "bundle.zip"].map(|name| room.join(name)).into_iter().find(|path| path.exists());
    let bundle = bundle.expect("the bundle");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let out = room.join("out");
        let arguments = ["unpack", bundle.to_str().unwrap(), out.to_str().unwrap()];
        ours.push(measure(&mut this_program(&arguments)));
        fs::remove_dir_all(&out).expect("our result");
        fs::create_dir(&out).expect("a directory for the tool");
        theirs.push(measure(Command::new(peer.unpack[0]).args(&peer.unpack[1..]).current_dir(&out)));
        fs::remove_dir_all(&out).expect("the tool's result");
    }
    fs::remove_file(&bundle).expect("the bundle");
    report(peer, fastest(&ours), fastest(&theirs), ours.iter().map(|run| run.peak_kib).max().unwrap_or(0))
}

fn report(peer: &Peer, ours: Measured, theirs: Measured, peak_kib: i64) -> bool {
    let ratio = theirs.wall.as_secs_f64() / ours.wall.as_secs_f64();
    let within = ratio >= peer.bound && peak_kib <= PEAK_KIB;
    println!("  {:8} hostler {ours}", peer.form);
    println!("  {:8} {:7} {theirs}", "", peer.unpack[0]);
    let verdict = if within { "ok" } else { "MISSED" };
    println!("  {:8} {ratio:.2} times as fast, bound {:.1}, peak at most 48 MiB: {verdict}", "", peer.bound);
    within
}

/// The measured child.
pub fn child(bundle: &Path, destination: &Path) {
    let bundle = File::open(bundle).expect("the bundle");
    let kind = detect(&bundle).expect("its type");
    unpack(&bundle, kind, destination, &UnpackOptions::default()).expect("unpacking");
}

fn application(tree: &Path) {
    for file in 0..6000 {
        let directory = tree.join(format!("node_modules/package-{}/lib", file / 12));
        fs::create_dir_all(&directory).expect("a directory");
        write(&directory.join(format!("module-{file}.js")), 200 + file * 7919 % 16_000, file as u64);
    }
    for file in 0..8 {
        write(&tree.join(format!("asset-{file}.jar")), 9 << 20, 1000 + file);
    }
}

fn large(tree: &Path) {
    for file in 0..10 {
        write(&tree.join(format!("large-{file}")), 50 << 20, file);
    }
}

fn many(tree: &Path) {
    for file in 0..100_000 {
        let directory = tree.join(format!("d{}/e{}", file / 10_000, file / 100));
        if file % 100 == 0 {
            fs::create_dir_all(&directory).expect("a directory");
        }
        write(&directory.join(format!("file-with-a-usual-name-{file}.txt")), 100 + file % 400, file as u64);
    }
}
