//! The behaviour of a test that lacks a requirement. Tests of `agent/host` include this file by its path.

use std::ffi::OsString;
use std::fmt::Display;

/// Prints why a test, or the rest of it, does not run here.
///
/// # Panics
/// Where every requirement must exist: with `HOSTLER_TEST_REQUIRE`, and with `CI=true`. `tests/run` installs the
/// requirements, so a test that does not run there is lost.
#[track_caller]
pub fn skip(reason: impl Display) {
    let required = everything_is_required(|name| std::env::var_os(name));
    assert!(!required, "not run, and HOSTLER_TEST_REQUIRE or CI=true asks for every test: {reason}");
    eprintln!("skipped: {reason}");
}

fn everything_is_required(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    variable("HOSTLER_TEST_REQUIRE").is_some() || variable("CI").is_some_and(|ci| ci == "true")
}

#[test]
fn a_test_that_lacks_something_fails_in_ci_and_where_it_is_asked_for() {
    let with = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), OsString::from(value));
        everything_is_required(move |asked| (asked == name).then(|| value.clone()))
    };
    assert!(with("CI", "true") && with("HOSTLER_TEST_REQUIRE", "1"));
    assert!(!with("CI", "false") && !with("HOME", "/root"));
}
