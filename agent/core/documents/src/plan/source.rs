//! Finds a `source` in a bundle. Links on the way are resolved inside the bundle, never out of it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::problem::{Problem, ProblemCode, shown};
use crate::appspec::spec::FileMapping;
use crate::bundle::{BundleEntry, BundleListing, EntryKind};

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// The object that a `source` names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source<'a> {
    /// A directory whose content is copied, relative to the bundle's top; empty for the whole bundle.
    Directory(PathBuf),
    /// One file, or one link that does not lead to a directory of the bundle.
    Entry(&'a BundleEntry),
}

enum Fault {
    Missing(PathBuf),
    Escapes,
    NotADirectory(PathBuf),
    LinkLoop,
}

/// Finds the source of one entry of `files`.
pub(super) fn find<'a>(listing: &'a BundleListing, mapping: &FileMapping) -> Result<Source<'a>, Problem> {
    let text = mapping.source.as_str();
    let found = walk(listing, text, false).map_err(|fault| describe(listing, mapping, fault))?;
    let Source::Entry(entry) = &found else { return Ok(found) };
    if matches!(entry.kind, EntryKind::Symlink { .. }) {
        // A source that names a directory, link or not, means its content; a link to any other object stays a link.
        if let Ok(Source::Directory(directory)) = walk(listing, text, true) {
            return Ok(Source::Directory(directory));
        }
    }
    if text.ends_with('/') || text.ends_with("/.") {
        let fault = Fault::NotADirectory(entry.path.as_path().to_owned());
        return Err(describe(listing, mapping, fault));
    }
    Ok(found)
}

/// The entries strictly below a directory of the bundle (empty: all), in order.
pub(super) fn below<'a>(
    listing: &'a BundleListing,
    directory: &'a Path,
) -> impl Iterator<Item = (&'a Path, &'a BundleEntry)> {
    let entries = listing.entries();
    let start = match directory.as_os_str().is_empty() {
        true => 0,
        false => entries.partition_point(|e| e.path.as_path() <= directory),
    };
    entries.iter().skip(start).map_while(move |e| Some((e.path.as_path().strip_prefix(directory).ok()?, e)))
}

fn walk<'a>(listing: &'a BundleListing, text: &str, follow_last: bool) -> Result<Source<'a>, Fault> {
    let mut here = PathBuf::new();
    let mut todo: VecDeque<OsString> = components(OsStr::new(text)).collect();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            if !here.pop() {
                return Err(Fault::Escapes);
            }
            continue;
        }
        let next = here.join(&name);
        let Some(entry) = listing.get(&next) else { return Err(Fault::Missing(next)) };
        match &entry.kind {
            EntryKind::Directory => here = next,
            EntryKind::File { .. } if todo.is_empty() => return Ok(Source::Entry(entry)),
            EntryKind::File { .. } => return Err(Fault::NotADirectory(next)),
            EntryKind::Symlink { .. } if todo.is_empty() && !follow_last => return Ok(Source::Entry(entry)),
            EntryKind::Symlink { target } => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Fault::LinkLoop);
                }
                if target.as_bytes().starts_with(b"/") {
                    return Err(Fault::Escapes);
                }
                for component in components(target).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(component);
                }
            }
        }
    }
    Ok(Source::Directory(here))
}

/// The components of a path without `.` and empty ones.
fn components(text: &OsStr) -> impl Iterator<Item = OsString> {
    text.as_bytes()
        .split(|b| *b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
        .map(|c| OsStr::from_bytes(c).to_owned())
}

fn describe(listing: &BundleListing, mapping: &FileMapping, fault: Fault) -> Problem {
    let source = &mapping.source;
    let problem = match fault {
        Fault::Missing(path) => {
            let hint = missing_hint(listing, source, &path);
            let message = format!("the bundle does not hold the source {source:?}");
            Problem::new(ProblemCode::SourceMissing, message, hint).path(&path)
        }
        Fault::Escapes => Problem::new(
            ProblemCode::SourceEscapes,
            format!("the source {source:?} leads out of the bundle"),
            "name a file or directory of the bundle; .. and links may not leave it",
        ),
        Fault::NotADirectory(path) => Problem::new(
            ProblemCode::SourceNotADirectory,
            format!("the source {source:?} goes on after {}, which is not a directory", shown(&path)),
            "name the file itself, without a slash at the end",
        )
        .path(&path),
        Fault::LinkLoop => Problem::new(
            ProblemCode::SourceLinkLoop,
            format!("the source {source:?} goes through more than {MOST_LINKS} symbolic links"),
            "name the file or directory itself",
        ),
    };
    problem.at(mapping.source_at)
}

fn missing_hint(listing: &BundleListing, source: &str, missing: &Path) -> String {
    if source.contains(['*', '?', '[', '$']) {
        return "patterns and variables are not expanded: name one file, or a directory for all it holds".into();
    }
    let wanted = missing.file_name().unwrap_or_default();
    let alike = |e: &&BundleEntry| e.path.as_path().file_name().is_some_and(|n| n.eq_ignore_ascii_case(wanted));
    match listing.entries().iter().find(alike) {
        Some(entry) => format!("it does hold {}; paths are from the bundle's top", shown(entry.path.as_path())),
        None => "add it to the bundle (a build step may be missing) or take the entry out of files".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::BundlePath;

    fn entry(path: &str, kind: EntryKind) -> BundleEntry {
        BundleEntry { path: BundlePath::new(path).unwrap(), kind, mode: 0o644 }
    }

    fn link(path: &str, target: &str) -> BundleEntry {
        entry(path, EntryKind::Symlink { target: target.into() })
    }

    fn listing() -> BundleListing {
        BundleListing::new(vec![
            entry("a", EntryKind::Directory),
            entry("a/b", EntryKind::Directory),
            entry("a/b/file", EntryKind::File { size: 1 }),
            entry("a-b", EntryKind::File { size: 1 }),
            link("to_dir", "a/b"),
            link("to_file", "a-b"),
            link("a/up", "../a-b"),
            link("out", "../x"),
            link("etc", "/etc"),
            link("loop", "loop"),
        ])
    }

    fn found(source: &str) -> Result<String, ProblemCode> {
        let mapping = FileMapping {
            source: source.into(),
            destination: "/srv".into(),
            source_at: Default::default(),
            destination_at: Default::default(),
        };
        match find(&listing(), &mapping) {
            Ok(Source::Directory(path)) => Ok(format!("{}/", path.display())),
            Ok(Source::Entry(entry)) => Ok(entry.path.as_path().display().to_string()),
            Err(problem) => Err(problem.code),
        }
    }

    #[test]
    fn sources_are_found_inside_the_bundle_only() {
        for whole in ["", "/", ".", "./", "//", "a/..", "/a/../"] {
            assert_eq!(found(whole).as_deref(), Ok("/"), "{whole:?}");
        }
        for (source, expected) in [
            ("a", "a/"),
            ("/a//b/", "a/b/"),
            ("./a/b/file", "a/b/file"),
            ("to_dir", "a/b/"),
            ("to_dir/", "a/b/"),
            ("to_dir/file", "a/b/file"),
            ("to_dir/../../a-b", "a-b"),
            ("to_file", "to_file"),
            ("a/up", "a/up"),
            ("out", "out"),
            ("etc", "etc"),
            ("loop", "loop"),
        ] {
            assert_eq!(found(source).as_deref(), Ok(expected), "{source:?}");
        }
        for (source, code) in [
            ("..", ProblemCode::SourceEscapes),
            ("../x", ProblemCode::SourceEscapes),
            ("a/../..", ProblemCode::SourceEscapes),
            ("etc/passwd", ProblemCode::SourceEscapes),
            ("out/x", ProblemCode::SourceEscapes),
            ("loop/x", ProblemCode::SourceLinkLoop),
            ("nothing", ProblemCode::SourceMissing),
            ("a/*", ProblemCode::SourceMissing),
            ("a-b/", ProblemCode::SourceNotADirectory),
            ("a-b/.", ProblemCode::SourceNotADirectory),
            ("a-b/x", ProblemCode::SourceNotADirectory),
            ("a\0", ProblemCode::SourceMissing),
        ] {
            assert_eq!(found(source), Err(code), "{source:?}");
        }
    }

    #[test]
    fn what_is_below_a_directory_does_not_include_its_namesakes() {
        let listing = listing();
        let names: Vec<_> = below(&listing, Path::new("a")).map(|(rest, _)| rest.display().to_string()).collect();
        assert_eq!(names, ["b", "b/file", "up"]);
        assert_eq!(below(&listing, Path::new("")).count(), 10);
    }
}
