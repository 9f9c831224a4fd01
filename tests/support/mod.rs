//! What black-box tests share.

pub mod auto_scaling;
pub mod cloudformation;
pub mod codedeploy;
pub mod crash_support;
mod eventually;
pub mod http_server;
pub mod imds;
pub mod load_balancing;
pub mod logs_service;
pub mod machine;
pub mod moto;
pub mod packages;
pub mod s3_front;
pub mod scratch;
pub mod sigv4;
pub mod syncs;
mod tree;

pub use eventually::eventually;

use std::path::Path;
use std::process::Command;

/// The first cells of the table of SEMANTICS.md with this head, whose last column names tests.
///
/// # Panics
/// When a test that it names does not exist.
pub fn rows_with_tests(head: &str) -> Vec<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let semantics = std::fs::read_to_string(top.join("SEMANTICS.md")).unwrap();
    let table = semantics.split(head).nth(1).unwrap_or_else(|| panic!("SEMANTICS.md has no table {head}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        for name in cells.last().unwrap().split(',').map(|name| name.trim().trim_matches('`')) {
            let mut grep = Command::new("grep");
            grep.args(["-rqw", "--include=*.rs", &format!("fn {name}")]).arg(top.join("tests")).arg(top.join("agent"));
            assert!(grep.status().unwrap().success(), "{row}: there is no test {name}");
        }
        cells[0].to_owned()
    })
    .collect()
}
