//! The figures that the README states, each measured beside the usual tool in the same run.
//!
//! `cargo bench -p hostler --bench figures` runs all, `cargo bench -p hostler --bench figures -- unpack` one. A figure
//! that misses its bound makes the run fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod booted;
#[path = "../support/codedeploy/mod.rs"]
#[allow(dead_code)]
mod codedeploy;
mod codedeploy_agent;
mod deployment;
mod events;
#[path = "../support/eventually.rs"]
#[allow(dead_code)]
mod eventually;
mod hooks;
#[path = "../support/http_server.rs"]
#[allow(dead_code)]
mod http_server;
mod idle;
mod logs;
#[path = "../support/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../support/made_once.rs"]
#[allow(dead_code)]
mod made_once;
mod many_files;
mod plan;
#[path = "../support/requirement.rs"]
#[allow(dead_code)]
mod requirement;
mod s3;
#[path = "../support/s3_front.rs"]
#[allow(dead_code)]
mod s3_front;
#[path = "../support/sigv4.rs"]
#[allow(dead_code)]
mod sigv4;
mod support;
mod syncs;
#[path = "../support/syncs.rs"]
mod trace;
#[path = "../support/tree.rs"]
#[allow(dead_code)]
mod tree;
mod unpack;
mod update;

use std::process::ExitCode;

use eventually::eventually;
use requirement::skip;

/// One figure by its name; true if it is within its bounds.
type Figure = fn() -> bool;

const FIGURES: &[(&str, Figure)] = &[
    ("tiny", deployment::tiny),
    ("syncs", syncs::run),
    ("small-files", deployment::small_files),
    ("plan", plan::run),
    ("many-files", many_files::run),
    ("unpack", unpack::run),
    ("update", update::run),
    ("hooks", hooks::run),
    ("logs", logs::run),
    ("idle", idle::run),
    ("download", s3::download),
    ("delta", s3::delta),
    ("codedeploy", codedeploy_agent::run),
    ("events", events::run),
    ("booted", booted::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // A measured child: this program again, so that its memory counts separately.
    if let [child, rest @ ..] = arguments.as_slice()
        && child == support::CHILD
    {
        return support::child(rest);
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    if let Some(unknown) = arguments.iter().find(|argument| FIGURES.iter().all(|(name, _)| name != argument)) {
        let known: Vec<_> = FIGURES.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no figure {unknown:?}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let mut within = true;
    for (name, figure) in FIGURES.iter().filter(|(name, _)| wanted(name)) {
        println!("== {name}");
        within &= figure();
    }
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
