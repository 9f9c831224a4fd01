//! The documents that hostler reads and writes, and their vocabulary: the lower half of `hostler-core`, which
//! re-exports it. Pure, like that crate.
//!
//! ```text
//! ids limits text shared_path       the words; errors in words, and how values are written
//! path_rule elf health_check error_chain values
//!        ^
//! bundle hook label store yaml      what is made of them: listings, runs of hooks, names of revisions, places, nodes
//!                                   with positions
//!        ^
//! appspec                           a document: text in, meaning or diagnostics out
//! flat_yaml                         other programs' files of one level: text in, values as they are written out
//!        ^
//! plan                              appspec + listing + last install + host -> ordered actions
//! release                           documents of a channel, and whether a host may follow them
//!        ^
//! history                           the hash chain of what was done
//! findings                          mistakes in the forms that services for source code read
//! ```
//!
//! The lowest floor comes first. A module imports from the floors before its own, and never from its own floor;
//! `tests/layers.rs` of core fails otherwise.
#![forbid(unsafe_code)]

pub mod appspec;
pub mod bundle;
pub mod elf;
pub mod error_chain;
pub mod findings;
pub mod flat_yaml;
pub mod health_check;
pub mod history;
pub mod hook;
pub mod ids;
pub mod label;
pub mod limits;
pub mod path_rule;
pub mod plan;
pub mod release;
pub mod shared_path;
pub mod store;
pub mod text;
pub mod values;
pub mod yaml;

#[cfg(test)]
#[path = "../../tests/golden.rs"]
mod golden;
