use std::path::{Path, PathBuf};

use super::leftovers::leftovers;
use super::paths::matches;
use super::*;
use crate::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};

#[test]
fn bundle_paths_stay_in_the_bundle() {
    for (text, clean) in
        [("/", ""), (".", ""), ("./", ""), ("", ""), ("a//b/", "a/b"), ("/etc/x", "etc/x"), ("a/../b", "b")]
    {
        assert_eq!(bundle_path(text).as_deref(), Some(Path::new(clean)), "{text}");
    }
    for text in ["..", "a/../..", "../a", "/../a"] {
        assert_eq!(bundle_path(text), None, "{text}");
    }
    assert_eq!(host_path("/srv/../etc/./x/"), PathBuf::from("/etc/x"));
    assert_eq!(host_path("srv"), PathBuf::from("/srv"));
}

#[test]
fn only_the_star_is_special_in_patterns() {
    for (name, pattern) in [
        ("a.sh", "*.sh"),
        ("a.sh", "a*"),
        ("a.sh", "*"),
        ("a.sh", "a.sh"),
        ("abcbc", "a*bc"),
        ("a.b.c", "*.*"),
        ("", "*"),
        ("aXbXc", "a*b*c"),
    ] {
        assert!(matches(name, pattern), "{name} {pattern}");
    }
    for (name, pattern) in
        [("a.sh", "*.py"), ("a.sh", "?.sh"), ("a", ""), ("ab", "a"), ("a", "a*a"), ("abc", "a*d"), ("acb", "a*b*c")]
    {
        assert!(!matches(name, pattern), "{name} {pattern}");
    }
}

#[test]
fn only_what_macos_adds_is_told_how_macos_leaves_it_out() {
    for (path, is_of_macos) in [(".git", false), ("a~", false), ("._a", true), ("__MACOSX", true), ("a/._b", true)] {
        let path = BundlePath::new(path).unwrap();
        let entry = BundleEntry { path, kind: EntryKind::File { size: 1 }, mode: 0o644 };
        let mut findings = Findings::new("appspec.yml", 1);
        leftovers(&BundleListing::new(vec![entry.clone()]), &mut findings);
        let found = findings.into_list();
        let help = found[0].help.as_deref().unwrap();
        assert_eq!(help.contains("COPYFILE_DISABLE=1"), is_of_macos, "{entry:?}: {help}");
    }
}
