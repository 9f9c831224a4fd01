//! Says from which commit the program is built: in release builds by git, and for packages that are built without it by
//! HOSTLER_COMMIT. A debug build has none, or each commit would compile the crate and its tests again.

// This is how a build script speaks to cargo.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=HOSTLER_COMMIT");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let given = variable("HOSTLER_COMMIT");
    let commit = match variable("PROFILE").as_str() {
        _ if !given.is_empty() => given,
        "release" => commit_of(Path::new(&variable("CARGO_MANIFEST_DIR"))).unwrap_or_default(),
        _ => String::new(),
    };
    println!("cargo:rustc-env=HOSTLER_COMMIT={commit}");
    println!("cargo:rustc-env=HOSTLER_TARGET={}", variable("TARGET"));
    let of_commit = if commit.is_empty() { String::new() } else { format!(" ({commit})") };
    println!("cargo:rustc-env=HOSTLER_VERSION={}{of_commit}", variable("CARGO_PKG_VERSION"));
}

/// The commit of the work tree whose `agent/app` this is; sources that lie in another repository have none.
fn commit_of(crate_directory: &Path) -> Option<String> {
    let top = Path::new(&git(crate_directory, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top.join("agent/app").canonicalize().ok()? != crate_directory.canonicalize().ok()? {
        return None;
    }
    for changes in ["logs/HEAD", "index"] {
        let path = crate_directory.join(git(crate_directory, &["rev-parse", "--git-path", changes])?);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let commit = git(crate_directory, &["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(crate_directory, &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned())
}
