//! The agent's configuration in three stages: what each file says and all files merged (`input`), and what it means
//! (`settings`).

pub mod duration;
mod input;
pub mod settings;
#[cfg(test)]
mod tests;

pub use input::{looks_like_configuration, read};
