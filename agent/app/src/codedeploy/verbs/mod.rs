//! What is called by the CodeDeploy agent's names, and `hostler migrate`.

pub mod agent;
pub mod local;
pub mod migrate;
