//! The tables of CONFORMANCE.md that name tests: the deviations in the CodeDeploy agent's place, that agent's faults, and
//! what its own tests ask for.

use crate::support::kept_by::{kept_rows, table_of};

const PAGE: &str = "CONFORMANCE.md";

#[test]
fn every_line_has_its_test() {
    let page = include_str!("../../CONFORMANCE.md");
    let (_, tests) = page.split_once("## The CodeDeploy agent's own tests").expect("the page has this part");
    assert!(kept_rows(tests, 1).len() > 70);
}

#[test]
fn every_fault_of_the_codedeploy_agent_has_its_test() {
    let rows = kept_rows(&table_of(PAGE, "| n | the CodeDeploy agent 1.8.1 | kept by |"), 1);
    assert_eq!(rows, (1..=20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn every_deviation_in_the_codedeploy_agents_place_has_its_test() {
    let head = "| id | what the CodeDeploy agent does | what hostler does | kept by |";
    let rows = kept_rows(&table_of(PAGE, head), 1);
    assert_eq!(rows, (1..=rows.len()).map(|number| format!("S-{number}")).collect::<Vec<_>>());
    assert!(rows.len() >= 15);
}
