//! Says from which commit and when the program is built. In release builds git says the commit, and HOSTLER_COMMIT for packages
//! that are built without it. The date is SOURCE_DATE_EPOCH's, or else the commit's: the same sources make the same program. A
//! debug build has neither, or each commit would compile the crate and its tests again.

// This is how a build script speaks to cargo.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=HOSTLER_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let is_release = variable("PROFILE").is_some_and(|profile| profile == "release");
    let work_tree =
        variable("CARGO_MANIFEST_DIR").filter(|_| is_release).and_then(|of_crate| work_tree(of_crate.as_ref()));
    let of_git = |read: fn(&Path) -> Option<String>| work_tree.as_deref().and_then(read);
    let commit = variable("HOSTLER_COMMIT").or_else(|| of_git(commit)).unwrap_or_default();
    let seconds = variable("SOURCE_DATE_EPOCH").or_else(|| of_git(|tree| git(tree, &["log", "-1", "--format=%ct"])));
    let built = seconds.and_then(|seconds| date(&seconds)).unwrap_or_default();
    println!("cargo:rustc-env=HOSTLER_COMMIT={commit}");
    println!("cargo:rustc-env=HOSTLER_BUILT={built}");
    println!("cargo:rustc-env=HOSTLER_TARGET={}", variable("TARGET").unwrap_or_default());
    let known: Vec<&str> = [commit.as_str(), &built].into_iter().filter(|fact| !fact.is_empty()).collect();
    let facts = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
    println!("cargo:rustc-env=HOSTLER_VERSION={}{facts}", variable("CARGO_PKG_VERSION").unwrap_or_default());
}

/// The work tree whose `agent/app` this is; sources that lie in another repository have none.
fn work_tree(of_crate: &Path) -> Option<PathBuf> {
    let top = Path::new(&git(of_crate, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    (top.join("agent/app").canonicalize().ok()? == of_crate.canonicalize().ok()?).then_some(top)
}

fn commit(work_tree: &Path) -> Option<String> {
    for changes in ["logs/HEAD", "index"] {
        let path = work_tree.join(git(work_tree, &["rev-parse", "--git-path", changes])?);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let commit = git(work_tree, &["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(work_tree, &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    said(Command::new("git").arg("-C").arg(directory).args(arguments))
}

/// A time in seconds since 1970 as a day in UTC.
fn date(seconds: &str) -> Option<String> {
    said(Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%d"]))
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned())
}
