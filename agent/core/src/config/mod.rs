//! The agent's configuration in three stages: what each file says (`fragment`), all files merged (`input`), and what it
//! means (`settings`).

pub mod duration;
pub mod settings;
