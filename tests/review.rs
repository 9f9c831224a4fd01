//! The page of the review: every finding is kept by tests that exist, or answered.

use std::fs;
use std::path::Path;

use crate::support::kept_by::kept_rows;

#[test]
fn every_finding_is_kept_by_a_test_or_answered() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/development/review-2026-11.md");
    let findings = kept_rows(&fs::read_to_string(page).unwrap(), 1);
    for number in 1..=27 {
        let name = format!("engine {number}");
        let is_of = |finding: &String| {
            finding.strip_prefix(&name).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
        };
        assert!(findings.iter().any(is_of), "{name} has no row");
    }
}
