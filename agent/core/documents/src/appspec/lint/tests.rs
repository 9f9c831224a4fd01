use std::path::{Path, PathBuf};

use super::paths::matches;
use super::*;

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
