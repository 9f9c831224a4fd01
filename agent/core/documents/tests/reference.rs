//! The references of the tests: the corpus of appspec files (tests/corpus/README.md), and the tables of differences in
//! CONFORMANCE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Once;

use hostler_documents::appspec::spec::{AclEntry, AclTag};
use hostler_documents::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};

/// The project's part of the corpus.
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/corpus")
}

/// The directory of further cases, if `HOSTLER_CORPUS` names one: other people's files outside the project.
pub fn outside() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let directory = std::env::var_os("HOSTLER_CORPUS").map(PathBuf::from);
    if directory.is_none() {
        SAID.call_once(|| println!("HOSTLER_CORPUS names no further cases: only those of tests/corpus are compared"));
    }
    directory
}

/// The directory of every case, in order: the project's, then the others.
///
/// # Panics
/// When a directory cannot be read: the corpus is a part of the project and must exist.
pub fn cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for set in [Some(corpus().join("cases")), outside()].into_iter().flatten() {
        let entries = std::fs::read_dir(&set).unwrap_or_else(|error| panic!("{}: {error}", set.display()));
        let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
        found.sort();
        cases.extend(found);
    }
    cases
}

/// The name of a case: its directory's name.
pub fn id(case: &Path) -> String {
    case.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The appspec of a case: its name and its text; `None` for a case that the test writes itself.
pub fn appspec_of(case: &Path) -> Option<(&'static str, Vec<u8>)> {
    let names = ["appspec.yml", "appspec.yaml", "appspec.json"];
    names.into_iter().find_map(|name| Some((name, std::fs::read(case.join(name)).ok()?)))
}

/// The bundle of a case: the files below its `bundle_root`. Cases without a manifest have the bundle of the corpus.
pub fn listing(case: &Path) -> BundleListing {
    let own = case.join("manifest.tsv").exists();
    let text = |name: &str, shared: &str| {
        let path = if own { case.join(name) } else { corpus().join(shared) };
        std::fs::read_to_string(path).unwrap_or_default()
    };
    let source = std::fs::read_to_string(case.join("source.txt")).unwrap_or_default();
    let root = source.lines().find_map(|line| line.strip_prefix("bundle_root: ")).unwrap_or(".").trim();
    let links = text("symlinks.tsv", "bundle-links.tsv");
    let links: BTreeMap<String, String> = links
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(path, to)| (unescape(path), unescape(to)))
        .collect();
    let mut entries = BTreeMap::new();
    for line in text("manifest.tsv", "bundle.tsv").lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [path, mode, size] = cells.as_slice() else { panic!("{line:?} is no line of a manifest") };
        let path = unescape(path);
        let Ok(inside) = Path::new(&path).strip_prefix(if root == "." { "" } else { root }) else { continue };
        let (kind, mode) = match *mode {
            "120000" => (EntryKind::Symlink { target: links[&path].clone().into() }, 0o777),
            "160000" => (EntryKind::Directory, 0o755),
            file => {
                let size = size.parse().unwrap_or(1);
                (EntryKind::File { size }, u32::from_str_radix(file, 8).unwrap() & 0o7777)
            }
        };
        for above in inside.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            entries.entry(above.to_owned()).or_insert((EntryKind::Directory, 0o755));
        }
        entries.insert(inside.to_owned(), (kind, mode));
    }
    // The appspec is at the bundle's top, wherever it was in its repository.
    if let Some((name, text)) = appspec_of(case) {
        entries.entry(name.into()).or_insert((EntryKind::File { size: text.len() as u64 }, 0o644));
    }
    let entry = |(path, (kind, mode)): (PathBuf, _)| BundleEntry { path: BundlePath::new(path).unwrap(), kind, mode };
    BundleListing::new(entries.into_iter().map(entry).collect())
}

/// Paths of a manifest: backslash, tab and newline are written `\\`, `\t` and `\n`.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next().unwrap() {
                't' => '\t',
                'n' => '\n',
                other => other,
            }),
            other => out.push(other),
        }
    }
    out
}

/// The rows of CONFORMANCE.md with this beginning: the id of a row, and the cases that need it. For cases outside the
/// project, `tests/corpus/outside.tsv` names the rows that they need.
pub fn table(beginning: &str) -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../CONFORMANCE.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with(beginning)) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "a row of {} has not five cells: {line}", path.display());
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        let cases = cells[1].split(',').map(|case| case.trim().trim_matches('`').to_owned()).collect();
        assert!(rows.insert(cells[0].to_owned(), cases).is_none(), "{} is there twice", cells[0]);
    }
    if outside().is_some() {
        let further = std::fs::read_to_string(corpus().join("outside.tsv")).unwrap();
        for (row, case) in further.lines().filter_map(|line| line.split_once('\t')) {
            if row.starts_with(beginning.trim_start_matches("| ")) {
                let cases = rows.get_mut(row).unwrap_or_else(|| panic!("CONFORMANCE.md has no row {row}"));
                cases.insert(case.to_owned());
            }
        }
    }
    rows
}

/// The subject of an access control list entry, in the words of an appspec.
pub fn tag_and_name(acl: &AclEntry) -> (&str, &str) {
    match &acl.tag {
        AclTag::UserOwner => ("user", ""),
        AclTag::User(name) => ("user", name),
        AclTag::GroupOwner => ("group", ""),
        AclTag::Group(name) => ("group", name),
        AclTag::Mask => ("mask", ""),
        AclTag::Other => ("other", ""),
    }
}

#[test]
fn the_index_of_the_corpus_names_every_case_with_its_verdict() {
    let index = std::fs::read_to_string(corpus().join("index.tsv")).unwrap();
    let rows = index.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let indexed: Vec<_> = rows.map(|cells| (cells[0].clone(), cells[1].clone())).collect();
    let held: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.starts_with(corpus()))
        .map(|case| {
            let expected = std::fs::read(case.join("expected.json")).unwrap();
            let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
            let verdict = if expected["accepted"] == true { "accepted" } else { "refused" };
            (id(&case), verdict.to_owned())
        })
        .collect();
    assert_eq!(indexed, held);
}
