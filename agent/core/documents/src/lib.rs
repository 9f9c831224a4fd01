//! The documents that hostler reads and writes, and the words for what is in them: the lower half of `hostler-core`,
//! which shows it to everybody else. Pure as that is.
//!
//! ```text
//! ids limits text shared_path path_rule bundle hook store yaml health_check
//!        ^                            the words
//! appspec release history             documents: text in, meaning or diagnostics out
//!        ^
//! plan                                appspec + listing + last install + host -> ordered actions
//! ```
//!
//! An arrow upward is an import; none goes downward.
#![forbid(unsafe_code)]

pub mod appspec;
pub mod bundle;
pub mod elf;
pub mod health_check;
pub mod history;
pub mod hook;
pub mod ids;
pub mod limits;
pub mod path_rule;
pub mod plan;
pub mod release;
pub mod shared_path;
pub mod store;
pub mod text;
pub mod yaml;

#[cfg(test)]
#[path = "../../tests/golden.rs"]
mod golden;
