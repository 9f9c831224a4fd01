//! What the tests compare with: the corpus of real appspec files, and the tables of differences in SEMANTICS.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hostler_documents::appspec::spec::{AclEntry, AclTag};

/// The corpus's directory; `None` with a printed reason where it is not there.
pub fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("HOSTLER_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared"), PathBuf::from);
    let corpus = shared.join("corpus");
    if !corpus.is_dir() {
        println!("skipped: there is no corpus at {} (HOSTLER_SHARED names the directory above it)", corpus.display());
        return None;
    }
    Some(corpus)
}

/// The rows of SEMANTICS.md that begin so: the id of a row, and the cases that need it.
pub fn table(beginning: &str) -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../SEMANTICS.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let mut rows = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with(beginning)) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "a row of {} has not five cells: {line}", path.display());
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        let cases = cells[1].split(',').map(|case| case.trim().trim_matches('`').to_owned()).collect();
        assert!(rows.insert(cells[0].to_owned(), cases).is_none(), "{} is there twice", cells[0]);
    }
    rows
}

/// Whom an entry of an access control list is for, in the words of an appspec.
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
