//! The agent's configuration in two steps: the content of the files, merged (`input`), and its meaning (`settings`).

pub mod duration;
mod input;
pub mod settings;
#[cfg(test)]
mod tests;

pub use input::{looks_like_configuration, may_be_configuration, read};
