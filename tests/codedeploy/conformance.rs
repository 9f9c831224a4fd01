#![doc = include_str!("conformance.md")]

use crate::support::kept_by::{kept_rows, table_of_semantics};

#[test]
fn every_line_has_its_test() {
    assert!(kept_rows(include_str!("conformance.md"), 1).len() > 70);
}

#[test]
fn every_fault_of_the_codedeploy_agent_has_its_test() {
    let rows = kept_rows(&table_of_semantics("| n | the CodeDeploy agent 1.8.1 | kept by |"), 1);
    assert_eq!(rows, (1..=20).map(|number| number.to_string()).collect::<Vec<_>>());
}
