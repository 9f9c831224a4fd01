//! The signatures of a release document, as `validate` shows them.

use hostler_core::codes::ExitCode;
use hostler_core::release::{Document, KeyId, SigningPolicy, examine};
use hostler_host::signature;
use serde::Serialize;

use crate::cli::ValidateArgs;
use crate::failure::Failure;
use crate::setup::Setup;

/// The result of checking the signatures.
#[derive(Debug, Serialize)]
pub struct Signatures {
    /// The number of keys that must have signed.
    needed: u32,
    /// Keys whose signature is good.
    good: Vec<KeyId>,
    /// Keys that a signature names although it is not theirs.
    bad: Vec<KeyId>,
    /// The names in the other signatures.
    unknown: Vec<String>,
}

/// The keys to check a release with: all keys of the command line, else the configuration's policy for the channel.
///
/// # Errors
/// A usage failure for a file without a public key.
pub fn policy(setup: &Setup, arguments: &ValidateArgs) -> Result<Option<SigningPolicy>, Failure> {
    if arguments.public_key.is_empty() {
        return Ok(setup.settings.signatures.channel.clone());
    }
    let keys = arguments.public_key.iter().map(|path| signature::read_public(path)).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|e| Failure::new(ExitCode::Usage, e))?;
    let policy = SigningPolicy { version: 1, threshold: u32::try_from(keys.len()).unwrap_or(u32::MAX), keys };
    match policy.check() {
        Ok(()) => Ok(Some(policy)),
        Err((field, problem)) => Err(Failure::say(ExitCode::Usage, format!("the public {field} {problem}"))),
    }
}

impl Signatures {
    /// Checks each signature.
    pub fn of(document: &Document, policy: &SigningPolicy) -> Self {
        let found = examine(policy, &document.envelope, &signature::verify);
        Self { needed: policy.threshold, good: found.good, bad: found.bad, unknown: found.unknown }
    }

    /// One line for each signature.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.good.iter().for_each(|id| text.push_str(&format!("signed by {id}\n")));
        self.bad.iter().for_each(|id| text.push_str(&format!("NOT signed by {id}, as a signature claims\n")));
        for name in &self.unknown {
            text.push_str(&format!("signed by another key, not checked: {}\n", name.escape_default()));
        }
        text
    }
}
