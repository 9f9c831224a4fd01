//! Texts for users, compared with the files in `tests/golden`. `HOSTLER_GOLDEN=write` writes the current texts.

use std::path::Path;

/// Compares a text with the golden file of this name.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "tests read files")]
pub fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("txt");
    let found = format!("{}\n", found.trim_end_matches('\n'));
    if std::env::var("HOSTLER_GOLDEN").is_ok_and(|wish| wish == "write") {
        return std::fs::write(&path, found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(kept == found, "{} differs (HOSTLER_GOLDEN=write keeps it):\n{found}", path.display());
}
