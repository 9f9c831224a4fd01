//! Files that tools leave beside an application, and that are not meant to be deployed.

use std::path::Path;

use super::super::codes::Code;
use super::super::diagnose::{Findings, quoted};
use crate::bundle::BundleListing;

/// Number of files named in the message.
const NAMED: usize = 3;

/// The remedy where a whole checkout is the bundle.
const OF_GIT: &str = "each host gets `.git`, with the tokens that its configuration may hold. In the directory of the bundle, \
    `mkdir ../export && git archive HEAD | tar -x -C ../export` makes a directory without it: push that one";

/// Looks for files of editors and version control, for caches, and for the files that macOS adds.
pub(super) fn leftovers(listing: &BundleListing, findings: &mut Findings) {
    let mut named = Vec::new();
    let (mut number, mut from_macos, mut of_git) = (0_usize, false, false);
    let mut last: Option<&Path> = None;
    for path in listing.entries().iter().map(|entry| entry.path.as_path()) {
        // The content of such a directory follows it at once, and is not reported separately.
        if last.is_some_and(|last| path.starts_with(last)) || !is_leftover(path) {
            continue;
        }
        last = Some(path);
        number += 1;
        from_macos |= is_of_macos(path);
        of_git |= path.file_name().is_some_and(|name| name == ".git");
        if named.len() < NAMED {
            named.push(quoted(&path.to_string_lossy()));
        }
    }
    if number == 0 {
        return;
    }
    let more = match number - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("the bundle holds what an application seldom needs: {}{more}", named.join(", "));
    let mut help = match of_git {
        true => OF_GIT.to_owned(),
        false => "leave it out of the bundle (`git archive`, `tar --exclude`, `zip -x`)".to_owned(),
    };
    if from_macos {
        help += "; macOS adds `._` files and `__MACOSX` unless COPYFILE_DISABLE=1 is set and `zip -X` is used";
    }
    findings.add(Code::Leftovers, None, message).help(help);
}

fn is_leftover(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let parent = path.parent().and_then(Path::file_name);
    matches!(name, ".git" | ".svn" | ".hg" | ".DS_Store" | "Thumbs.db")
        || is_of_macos(path)
        || name == ".cache" && parent.is_some_and(|parent| parent == "node_modules")
        || name.ends_with('~') && name.len() > 1
        || name.ends_with(".swp")
        || name.len() > 2 && name.starts_with('#') && name.ends_with('#')
}

/// The files that the archivers of macOS make of a file's attributes.
fn is_of_macos(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name == "__MACOSX" || name.starts_with("._") && name.len() > 2)
}
