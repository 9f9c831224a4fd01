//! Decides what hostler does. Pure: nothing in this crate opens a file, starts a process, reads a
//! clock or an environment variable; all of that reaches it as arguments.
//!
//! ```text
//! hostler-documents                   the words, the documents, and the plan of an Install
//!        ^
//! codes event_order retry flow        more words
//!        ^
//! logs health delta                   lines -> batches; probes' answers -> verdicts
//!        ^
//! machine lifecycle traffic           step(state, event, now) -> (state, effects, deadline)
//!        ^
//! config status metrics               what is set, and what is shown
//! ```
//!
//! An arrow upward is an import; none goes downward.
#![forbid(unsafe_code)]

pub use hostler_documents::{
    appspec, bundle, elf, history, hook, ids, limits, path_rule, plan, release, shared_path, store, text, yaml,
};

pub mod codedeploy;
pub mod codes;
pub mod config;
pub mod delta;
pub mod doctor;
pub mod event_order;
pub mod flow;
pub mod health;
pub mod host_report;
pub mod identity;
pub mod lifecycle;
pub mod logs;
pub mod machine;
pub mod machine_events;
pub mod metrics;
pub mod notable;
pub mod retry;
pub mod signals;
pub mod status;
pub mod traffic;
pub mod wake_up;

#[cfg(test)]
#[path = "../tests/golden.rs"]
mod golden;
