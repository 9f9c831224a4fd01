//! The arrows of ARCHITECTURE.md, read off the manifests.

use std::process::Command;

/// The crates that `package` is built with, by `cargo tree`, without those that only its tests use.
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
        ("hostler-core", &["hostler-host", "hostler-aws", "hostler"][..]),
        ("hostler-host", &["hostler-aws", "hostler"]),
        ("hostler-aws", &["hostler-host", "hostler"]),
    ] {
        let below = crates_below(package);
        let found: Vec<_> = below.iter().filter(|name| never.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{package} depends on {found:?}");
    }
}
