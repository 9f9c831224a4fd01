//! The programs with the CodeDeploy agent's names, and `hostler migrate`.

pub mod agent;
pub mod local;
pub mod migrate;
