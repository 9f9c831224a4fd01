//! Keys that sign from the command line: files, and keys in KMS.

use std::path::Path;

use hostler_aws::kms::KmsKey;
use hostler_aws::signed_call::SignedCalls;
use hostler_core::codes::ExitCode;
use hostler_core::release::{Envelope, PublicKey, Signature};
use hostler_host::signature::{self, PrivateKey};

use crate::cli::SigningArgs;
use crate::failure::Failure;
use crate::setup::Setup;

/// A signing key.
#[derive(Debug)]
pub enum Signer {
    /// A key from a file.
    File(PrivateKey),
    /// A key in KMS.
    Kms(KmsKey),
}

impl Signer {
    /// Its public key.
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::File(key) => key.public(),
            Self::Kms(key) => key.public(),
        }
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(match self {
            Self::File(key) => key.sign(message)?,
            Self::Kms(key) => key.sign(message).await?,
        })
    }
}

impl SigningArgs {
    /// Whether the command line names keys.
    pub fn signs(&self) -> bool {
        !self.key.is_empty() || !self.kms_key.is_empty()
    }
}

/// The keys that the command line names. All are looked up before anything is signed.
///
/// # Errors
/// When one of them cannot be used.
pub async fn signers(setup: &Setup, arguments: &SigningArgs) -> Result<Vec<Signer>, Failure> {
    let mut signers = Vec::new();
    for path in &arguments.key {
        signers.push(Signer::File(private(path)?));
    }
    if !arguments.kms_key.is_empty() {
        let calls = signed_calls(setup).await?;
        for key in &arguments.kms_key {
            signers.push(Signer::Kms(KmsKey::open(&calls, key).await?));
        }
    }
    Ok(signers)
}

/// The client for signed calls, as configured.
///
/// # Errors
/// A usage failure for an invalid configuration.
pub async fn signed_calls(setup: &Setup) -> Result<SignedCalls, Failure> {
    let clients = setup.stores.clients()?;
    SignedCalls::of_clients(&clients).await.map_err(|e| Failure::new(ExitCode::Usage, e))
}

fn private(path: &Path) -> Result<PrivateKey, Failure> {
    PrivateKey::read(path).map_err(|e| Failure::new(ExitCode::Usage, e))
}

/// Adds each signer's signature, once, and checks it as a host would.
///
/// # Errors
/// When a key does not sign, or signs wrongly.
pub async fn sign(envelope: &mut Envelope, signers: impl IntoIterator<Item = &Signer>) -> Result<(), Failure> {
    let message = envelope.pae();
    for signer in signers {
        let (key, id) = (signer.public(), signer.public().id());
        let name = id.to_string();
        if envelope.signatures().iter().any(|s| s.key_id.as_ref() == Some(&name)) {
            continue;
        }
        let bytes = signer.sign(&message).await?;
        if !signature::verify(key, &message, &bytes) {
            let message = format!("what {id} signed does not verify with its own public key");
            return Err(Failure::say(ExitCode::VerificationFailed, message));
        }
        envelope.add_signature(Signature { key_id: Some(name), bytes });
    }
    Ok(())
}
