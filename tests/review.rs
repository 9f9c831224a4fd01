//! The page of the review: every finding is covered by existing tests, or answered. The promises: each has its tests.

use std::fs;
use std::path::Path;

use crate::support::kept_by::kept_rows;

#[test]
fn every_finding_is_kept_by_a_test_or_answered() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/development/review-2026-11.md");
    let findings = kept_rows(&fs::read_to_string(page).unwrap(), 1);
    let numbered = |name: &str, last: u32| (1..=last).map(|number| format!("{name}{number}")).collect::<Vec<_>>();
    let reviews =
        [numbered("engine ", 27), numbered("security ", 17), numbered("drop-in F", 14), numbered("tools P", 9)];
    let reports = [numbered("W", 15), ["N1", "N2", "N3", "N5", "N7", "N8", "N9"].map(str::to_owned).to_vec()];
    let logs = numbered("logs F", 4).split_off(2);
    for name in reviews.into_iter().chain(reports).flatten().chain(logs) {
        assert!(findings.iter().any(|finding| names(finding, &name)), "{name} has no row");
    }
}

#[test]
fn every_promise_has_its_test() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SEMANTICS.md");
    let text = fs::read_to_string(page).unwrap();
    assert!(kept_rows(&text, 1).len() > 120);
    assert!(text.lines().count() <= 250, "SEMANTICS.md keeps the promises; rules and tasks have pages of their own");
}

/// Whether the cell names this finding, alone or among others.
fn names(finding: &str, name: &str) -> bool {
    let mut found = finding.match_indices(name);
    found.any(|(at, _)| !finding[at + name.len()..].starts_with(|next: char| next.is_ascii_digit()))
}
