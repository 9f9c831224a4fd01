//! Compatibility with CodeDeploy: the CodeDeploy service as a source of deployments, and the CodeDeploy agent's place on
//! this host. A wing of the program: its rooms have their own places on the map of the crate's page.
//!
//! ```text
//! compat      that agent's configuration, and which of its settings fill the gaps in hostler's own
//! exposure    whether other users may change what that agent relies on
//! records     the files by which the two agents tell each other the state of the host
//! revisions   which deployment directories are kept, whichever agent made them
//! bundle      where the bundles of commanded deployments come from: a port of the effects
//! environment what a hook sees as that agent's environment
//! place       records, checks and deletions as that agent makes them: the other port
//! source/     the command service: polls for commands, and reports their results
//! verbs/      the programs `codedeploy-agent` and `codedeploy-local`, and `hostler migrate`
//! ```

pub mod bundle;
pub mod compat;
pub mod environment;
pub mod exposure;
pub mod place;
pub mod records;
pub mod revisions;
pub mod source;
pub mod verbs;
