//! Texts that are kept in `tests/golden`.

use std::fs;
use std::path::Path;

/// Compares a text with the file `tests/golden/NAME`, or writes that file if `HOSTLER_GOLDEN=write` is set.
///
/// # Panics
/// When they differ, with the first difference.
pub fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    if std::env::var_os("HOSTLER_GOLDEN").is_some_and(|word| word == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != actual {
        let line = expected.lines().zip(actual.lines()).take_while(|(a, b)| a == b).count() + 1;
        panic!("tests/golden/{name} differs from line {line} on; HOSTLER_GOLDEN=write makes it what follows\n{actual}");
    }
}
