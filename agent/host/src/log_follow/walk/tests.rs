//! Walks over directories whose names are any bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

fn find(pattern: &str, most: usize) -> Found {
    walk(&Opener::default(), &PathPattern::new(pattern).unwrap(), most, |_| true)
}

fn below(root: &Path, found: &Found) -> Vec<String> {
    found.files.iter().map(|file| file.strip_prefix(root).unwrap().display().to_string()).collect()
}

#[test]
fn each_form_finds_its_files_and_the_directories_where_more_may_come() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for directory in ["a/b/c", "d", ".hidden"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["x.log", "a/app.log", "a/b/app.log", "a/b/c/app.log", "d/app.log", ".hidden/app.log", "d/.app.log"] {
        fs::write(root.join(file), "").unwrap();
    }
    let text = root.display();
    for (pattern, files, directories) in [
        ("x.log", &["x.log"][..], 1),
        ("y.log", &[], 1),
        ("*.log", &["x.log"], 1),
        ("*/app.log", &["a/app.log", "d/app.log"], 3),
        ("a/*/app.log", &["a/b/app.log"], 2),
        ("**/app.log", &["a/app.log", "a/b/app.log", "a/b/c/app.log", "d/app.log"], 5),
        ("a/**", &["a/app.log", "a/b/app.log", "a/b/c/app.log"], 3),
        (".hidden/*", &[".hidden/app.log"], 1),
        ("*/.*", &["d/.app.log"], 3),
        ("missing/*.log", &[], 1),
    ] {
        let found = find(&format!("{text}/{pattern}"), 100);
        assert_eq!(below(root, &found), files, "{pattern}");
        assert_eq!(found.directories.len(), directories, "{pattern}: {:?}", found.directories);
        assert!(!found.cut);
    }
}

#[test]
fn circles_of_links_end_and_links_to_directories_are_followed() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("app.log"), "").unwrap();
    for circle in ["a", "b"] {
        symlink(".", root.path().join(circle)).unwrap();
    }
    symlink(elsewhere.path(), root.path().join("data")).unwrap();
    let found = find(&format!("{}/**/*.log", root.path().display()), 100);
    assert_eq!(below(root.path(), &found), ["data/app.log"]);
    // Each directory counts once for each part, not once for each way to it.
    let stars = "*/".repeat(12);
    let found = find(&format!("{}/{stars}*.log", root.path().display()), 100);
    assert!(!found.cut && found.directories.len() <= 2 * 13, "{:?}", found.directories);
}

#[test]
fn files_and_directories_have_a_bound_and_are_always_the_same() {
    let root = tempfile::tempdir().unwrap();
    for number in (0..50).rev() {
        fs::create_dir(root.path().join(format!("{number:02}"))).unwrap();
        fs::write(root.path().join(format!("{number:02}.log")), "").unwrap();
    }
    let text = root.path().display();
    let found = find(&format!("{text}/*.log"), 3);
    assert_eq!(below(root.path(), &found), ["00.log", "01.log", "02.log"]);
    assert!(found.cut);
    let found = find(&format!("{text}/**"), 10);
    assert_eq!(found.files.len(), 10, "those of the first directory");
    assert!(found.cut && found.directories.len() <= 10);
    assert!(!find(&format!("{text}/*.log"), 50).cut);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn files_with_names_of_any_bytes_are_found_in_each_form(
        names in prop::collection::btree_set(prop::collection::vec(1_u8.., 1..24), 1..8),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut made = BTreeSet::new();
        for name in names {
            let name: Vec<u8> = name.into_iter().map(|byte| if matches!(byte, b'/' | b'.') { b'_' } else { byte }).collect();
            let directory = root.path().join(OsStr::from_bytes(&name));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("app.log"), "").unwrap();
            fs::write(directory.join(OsStr::from_bytes(&[b"app", &name[..], b".log"].concat())), "").unwrap();
            made.insert(directory);
        }
        let text = root.path().display();
        for (pattern, each) in [("*/app.log", 1), ("**/*.log", 2), ("*/app?*.log", 1), ("**", 2), ("*/app[!x]*g", 2)] {
            let found = find(&format!("{text}/{pattern}"), 100);
            let of = |directory: &PathBuf| found.files.iter().filter(|file| file.parent() == Some(directory)).count();
            for directory in &made {
                let counted = of(directory);
                // `x` may be the first byte of a name.
                prop_assert!(counted == each || pattern.contains("[!x]") && counted > 0, "{pattern}: {:?}", found);
                prop_assert!(found.directories.contains(directory));
            }
        }
    }
}
