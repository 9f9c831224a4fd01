//! Decides what hostler does. Pure: nothing in this crate opens a file, starts a process, reads a
//! clock or an environment variable; all of that reaches it as arguments.
//!
//! ```text
//! hostler-documents                 the words, the documents, and the plan of an Install
//!        ^
//! codes event_order identity        more words: exit codes, lifecycle events, where a machine runs,
//! operator_events doctor            what operators alert on and what `doctor` finds,
//! retry flow transfer delta wake_up  waits, and how bytes come
//!        ^
//! lifecycle cfn_signals traffic     journals of the state, and the decisions that need no more than their own;
//! health codedeploy                 answers of probes -> verdicts; the CodeDeploy service's words
//!        ^
//! machine_events                    a journal that needs the words of the lifecycle
//!        ^
//! machine                           step(state, event, now) -> (state, effects); decisions over the whole state
//!        ^
//! logs                              lines -> batches
//!        ^
//! config status                     what is set, and what is shown
//!        ^
//! host_report metrics               what is shown to other hosts and to monitoring
//! ```
//!
//! The lowest floor comes first. A module imports from the floors before its own, and never from its own floor;
//! `tests/layers.rs` fails otherwise.
#![forbid(unsafe_code)]

pub use hostler_documents::{
    appspec, bundle, elf, error_chain, findings, flat_yaml, history, hook, ids, label, limits, path_rule, plan,
    release, shared_path, store, text, values, yaml,
};

pub mod cfn_signals;
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
pub mod operator_events;
pub mod retry;
pub mod status;
pub mod traffic;
pub mod transfer;
pub mod wake_up;

#[cfg(test)]
#[path = "../tests/golden.rs"]
mod golden;

#[cfg(test)]
#[path = "../tests/layers.rs"]
mod layers;
