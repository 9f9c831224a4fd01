//! The arrows of ARCHITECTURE.md, read from the manifests; its tables of rooms, and the maps on the crates' pages, read
//! from the sources.

mod map;
mod rooms;
pub mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates with a map of their rooms that is tested here; core's own tests check core's map.
const WITH_A_MAP: [&str; 3] = ["agent/app/src", "agent/aws/src", "agent/host/src"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sources of every crate below `agent/`, from the project's directory.
fn crates() -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::from("agent")]);
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(root().join(&below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            if path.ends_with("src") {
                found.push(path.to_str().unwrap().to_owned());
            } else if root().join(&path).is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn rooms_import_only_what_the_map_of_their_crate_has_below_or_beside_them() {
    let all = WITH_A_MAP.map(|sources| (sources, map::problems(&root().join(sources))));
    let found: Vec<String> =
        all.iter().flat_map(|(of, found)| found.iter().map(move |one| format!("{of}: {one}"))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What of an effect is CodeDeploy's own lies in its wing, behind the ports of `work/ports.rs`. Nothing else may come into
/// the effects: no test for that kind of group, and no word of it in a comment.
#[test]
fn the_effects_and_the_engine_name_no_wing() {
    let sources = root().join("agent/app/src");
    let (mut read, mut found) = (0, Vec::new());
    let mut open: Vec<PathBuf> = ["work", "engine", "engine.rs", "ports.rs"].map(|name| sources.join(name)).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        read += 1;
        let text = fs::read_to_string(&path).unwrap().to_lowercase();
        let named =
            text.lines().enumerate().filter(|(_, line)| line.contains("codedeploy") || line.contains("wings::"));
        let file = path.strip_prefix(&sources).unwrap().display();
        found.extend(named.map(|(line, text)| format!("{file}:{}: {}", line + 1, text.trim())));
    }
    assert!(read > 30, "{read} files are not all");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_tables_of_rooms_are_complete_and_true() {
    let crates = crates();
    assert!(WITH_A_MAP.iter().all(|sources| crates.iter().any(|found| found == sources)), "{crates:?}");
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let found = rooms::problems(&text, &root(), &crates);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The crates that `package` is built with, from `cargo tree`, without dev-dependencies.
fn crates_below(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}

#[test]
fn core_depends_on_nothing_that_acts() {
    let acting = ["tokio", "mio", "hyper", "reqwest", "nix", "rustix", "libc", "tempfile", "rustls", "socket2"];
    let below = crates_below("hostler-core");
    assert!(below.iter().any(|name| name == "serde"), "the list is read wrongly: {below:?}");
    let found: Vec<_> =
        below.iter().filter(|name| acting.contains(&name.as_str()) || name.starts_with("aws")).collect();
    assert!(found.is_empty(), "core decides and never acts, and now depends on {found:?}");
}

#[test]
fn the_edges_do_not_see_each_other_and_nobody_sees_the_program() {
    for (package, never) in [
        ("hostler-core", &["hostler-archive", "hostler-host", "hostler-aws", "hostler"][..]),
        ("hostler-archive", &["hostler-host", "hostler-aws", "hostler"]),
        ("hostler-host", &["hostler-aws", "hostler"]),
        ("hostler-aws", &["hostler-archive", "hostler-host", "hostler"]),
    ] {
        let below = crates_below(package);
        let found: Vec<_> = below.iter().filter(|name| never.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{package} depends on {found:?}");
    }
}

/// The fuzz targets of bundles are built with this crate, from nothing and with a sanitizer.
#[test]
fn bundles_are_read_without_network_and_processes() {
    let heavy = ["tokio", "mio", "hyper", "reqwest", "rustls", "socket2"];
    let below = crates_below("hostler-archive");
    assert!(below.iter().any(|name| name == "rawzip"), "the list is read wrongly: {below:?}");
    let found: Vec<_> = below.iter().filter(|name| heavy.contains(&name.as_str()) || name.starts_with("aws")).collect();
    assert!(found.is_empty(), "hostler-archive depends on {found:?}");
}
