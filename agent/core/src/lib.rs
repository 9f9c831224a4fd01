//! Decides what hostler does. Pure: nothing in this crate opens a file, starts a process, reads a
//! clock or an environment variable; all of that reaches it as arguments.
//!
//! ```text
//! ids limits codes bundle hook store yaml retry flow   the words
//!        ^
//! appspec release config              documents: text in, meaning or diagnostics out
//!        ^
//! plan health                         appspec + listing + last install + host -> ordered actions; probes' answers -> verdicts
//!        ^
//! machine lifecycle traffic           step(state, event, now) -> (state, effects, deadline)
//!        ^
//! status history                      what is shown and what is remembered
//! ```
//!
//! An arrow upward is an import; none goes downward.
#![forbid(unsafe_code)]

pub mod appspec;
pub mod bundle;
pub mod codedeploy;
pub mod codes;
pub mod config;
pub mod delta;
pub mod doctor;
pub mod event_order;
pub mod flow;
pub mod health;
pub mod history;
pub mod hook;
pub mod host_report;
pub mod identity;
pub mod ids;
pub mod lifecycle;
pub mod limits;
pub mod logs;
pub mod machine;
pub mod machine_events;
pub mod metrics;
pub mod notable;
pub mod plan;
pub mod release;
pub mod retry;
pub mod signals;
pub mod status;
pub mod store;
pub mod traffic;
pub mod wake_up;
pub mod yaml;

// The tests from outside, which use the crate by its name.
#[cfg(test)]
extern crate self as hostler_core;
#[cfg(test)]
#[path = "../tests/main.rs"]
mod outside;
