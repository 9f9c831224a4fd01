//! The CodeDeploy command service: its calls, and the envelopes that it signs.

mod client;
mod credentials;
mod envelope;
mod github;
mod identity;

pub use client::{CommandService, is_refused_for_good};
pub use credentials::credentials;
pub use envelope::{EnvelopeError, OpenedEnvelope, open, verify_chain};
pub use github::{Commit, GitHubError};
pub use identity::{Identity, IdentityError, identity};
