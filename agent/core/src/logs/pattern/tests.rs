//! The meaning of patterns, for names of any bytes.

use std::os::unix::ffi::OsStrExt as _;

use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, name: &[u8]) -> bool {
    Pattern::new(pattern).unwrap().matches(name)
}

#[test]
fn characters_and_bytes_that_are_none_are_matched_one_by_one() {
    for (pattern, names) in [
        ("*.log", vec![&b"a.log"[..], b".log", b"\xff\xfe.log", b"a\nb.log", "é\u{1F600}.log".as_bytes()]),
        ("app?.log", vec![b"app1.log", b"app\xff.log", "appé.log".as_bytes()]),
        ("[!a-c]x", vec![b"dx", b"\x80x", "éx".as_bytes()]),
        ("[]x]", vec![b"]", b"x"]),
        ("[!]]", vec![b"a"]),
        ("[a-]", vec![b"a", b"-"]),
        ("[[]", vec![b"["]),
        ("x[é-ü]", vec!["xö".as_bytes()]),
        ("/a/**/b", vec![b"/a/b", b"/a/c/b", b"/a/c/\xff/b"]),
        ("**/b", vec![b"b", b"a/b"]),
        ("/a/**", vec![b"/a/b", b"/a/b/c"]),
        ("", vec![b""]),
    ] {
        for name in names {
            assert!(matches(pattern, name), "{pattern} and {}", name.escape_ascii());
        }
    }
    for (pattern, name) in [
        ("*.log", &b"a.log.gz"[..]),
        ("app?.log", b"app.log"),
        ("??", "é".as_bytes()),
        ("[!a-c]x", b"bx"),
        ("/a/**/b", b"/a/cb"),
        ("/a/**/b", b"/ab"),
        ("**/b", b"ab"),
        ("a", b""),
    ] {
        assert!(!matches(pattern, name), "{pattern} and {}", name.escape_ascii());
    }
}

#[test]
fn what_is_no_pattern_is_told_with_its_place() {
    assert_eq!(PathPattern::new("/a/[bc"), Err(BadPattern::OpenSet { at: 4 }));
    assert_eq!(PathPattern::new("/a/[]"), Err(BadPattern::OpenSet { at: 4 }));
    assert_eq!(PathPattern::new("/a**/b"), Err(BadPattern::Recursive { at: 3 }));
    assert_eq!(PathPattern::new("/**b"), Err(BadPattern::Recursive { at: 2 }));
    assert_eq!(PathPattern::new("/***"), Err(BadPattern::Recursive { at: 2 }));
    assert!(PathPattern::new("/[a/b]").is_err());
}

#[test]
fn a_path_is_cut_into_what_a_walk_goes_along() {
    let pattern = PathPattern::new("/var//log/*/x/**/**/a.log").unwrap();
    assert_eq!(pattern.base, Path::new("/var/log"));
    let names = Part::Names(Pattern::new("*").unwrap());
    assert_eq!(
        pattern.parts,
        [names.clone(), Part::Literal("x".into()), Part::Directories, Part::Literal("a.log".into())]
    );
    let plain = PathPattern::new("/var/log/a.log").unwrap();
    assert_eq!((plain.parent(), plain.parts.len()), (Path::new("/var/log"), 0));
    assert_eq!(PathPattern::new("/a/**").unwrap().parts, [Part::Directories, names], "the files below");
}

#[test]
fn hidden_names_are_meant_only_where_the_dot_is_written() {
    let name = |pattern: &str, name: &[u8]| Pattern::new(pattern).unwrap().matches_name(OsStr::from_bytes(name));
    assert!(name("*.log", b"a.log") && name(".*.log", b".a.log") && name("*", b"\xff"));
    assert!(!name("*.log", b".a.log") && !name("[.]a", b".a") && !name("?a", b".a"));
}

/// The same pattern for another matcher; in it a byte is a character.
fn as_regex(pattern: &str) -> regex::bytes::Regex {
    let escaped = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
    regex::bytes::Regex::new(&format!("(?s-u)^{escaped}$")).unwrap()
}

proptest! {
    #[test]
    fn any_bytes_are_matched_as_another_matcher_matches_them(
        pattern in "[ab.?*/]{0,8}",
        name in prop::collection::vec(prop::sample::select(&b"ab./\n\x80\xff"[..]), 0..12),
    ) {
        prop_assume!(!pattern.contains("**"));
        prop_assert_eq!(matches(&pattern, &name), as_regex(&pattern).is_match(&name));
    }

    #[test]
    fn nothing_that_is_written_or_that_is_a_name_ends_the_process(
        pattern in any::<String>(),
        shape in "[a\\[\\]!\\-*?/é]{0,12}",
        name in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        for pattern in [pattern, shape] {
            if let Ok(pattern) = Pattern::new(&pattern) {
                pattern.matches(&name);
                pattern.matches_name(OsStr::from_bytes(&name));
            }
            let _ = PathPattern::new(&pattern);
        }
    }
}
