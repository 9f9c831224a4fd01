//! The CodeDeploy agent's side of the CodeDeploy command service: requests, answers, and their consequences.
//!
//! ```text
//! endpoint       which host answers, under which service name and with which prefix of the target header
//! wire           the five operations' requests and answers
//! envelope       the signed data that a specification comes in
//! specification  what a deployment is: revision, group, overrides
//! events         which revision's scripts an event runs
//! diagnostics    what is reported at the end of a command
//! agent_config   codedeployagent.yml and the on-premises file
//! instructions   the files with which two agents tell each other what an Install left on the host
//! exposure       whether other users may change what the agent relies on
//! local          what the arguments of `codedeploy-local` mean
//! backoff        how long to wait after calls that failed
//! ```
//!
//! The facts are from the CodeDeploy agent 1.8.1 (docs/protocols/codedeploy.md; its numbers are in the docstrings).

pub mod agent_config;
pub mod backoff;
pub mod diagnostics;
pub mod endpoint;
pub mod envelope;
pub mod events;
pub mod exposure;
pub mod instructions;
pub mod local;
pub mod specification;
pub mod wire;
