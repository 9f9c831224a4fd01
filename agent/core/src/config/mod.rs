//! The agent's configuration in two steps: the content of the files, merged (`input`), by a table of all keys (`keys`),
//! and its meaning (`settings`).

mod input;
pub mod keys;
pub mod settings;
#[cfg(test)]
mod tests;

pub use input::{looks_like_configuration, may_be_configuration, read};
