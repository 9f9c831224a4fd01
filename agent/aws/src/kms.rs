//! Signing keys that never leave KMS. Only the publisher uses KMS; hosts hold public keys.
//!
//! `GetPublicKey` and `Sign` of <https://docs.aws.amazon.com/kms/latest/APIReference/>: a raw message has at most 4,096
//! bytes, and a release is kept within that limit.

use std::time::Duration;

use aws_config::Region;
use data_encoding::BASE64;
use hostler_core::release::{Algorithm, InvalidKey, PublicKey};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::signed_call::{JsonVersion, Operation, Service, SignedCalls};

const KMS: Service = Service { endpoint_prefix: "kms", signing_name: "kms" };
const TIMEOUT: Duration = Duration::from_secs(20);
/// A public key or a signature in base64, with its field names.
const ANSWER_BYTES: usize = 64 << 10;
const GET_PUBLIC_KEY: Operation =
    Operation { service: KMS, action: "kms:GetPublicKey", timeout: TIMEOUT, answer_bytes: ANSWER_BYTES };
const SIGN: Operation = Operation { service: KMS, action: "kms:Sign", timeout: TIMEOUT, answer_bytes: ANSWER_BYTES };

/// Tries of one call, so that short throttling does not lose a signature.
const ATTEMPTS: u32 = 4;
/// The first pause between them; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a KMS key did not sign.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// KMS did not do it.
    #[error("cannot {operation} the KMS key {key}")]
    Fault {
        /// "read" or "sign with".
        operation: &'static str,
        /// The key, as it was named.
        key: String,
        /// KMS's fault.
        #[source]
        fault: Box<Fault>,
    },
    /// The key cannot sign releases.
    #[error(
        "the KMS key {key} is {spec} for {usage}; releases are signed with ECC_NIST_EDWARDS25519 or ECC_NIST_P256 for SIGN_VERIFY"
    )]
    OtherKind {
        /// The key, as it was named.
        key: String,
        /// Its KeySpec.
        spec: String,
        /// Its KeyUsage.
        usage: String,
    },
    /// KMS's answer is not base64.
    #[error("KMS's answer about {key} cannot be read: {part} is not base64")]
    NotBase64 {
        /// The key, as it was named.
        key: String,
        /// The part of the answer.
        part: &'static str,
    },
    /// KMS gave a public key that cannot be used.
    #[error("the public key of the KMS key {key} cannot be used")]
    PublicKey {
        /// The key, as it was named.
        key: String,
        /// Why it cannot be used.
        #[source]
        source: InvalidKey,
    },
}

/// A key in KMS.
#[derive(Debug)]
pub struct KmsKey {
    calls: SignedCalls,
    /// Key id, ARN, or alias.
    key: String,
    public: PublicKey,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PublicKeyInput<'a> {
    key_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublicKeyOutput {
    public_key: String,
    /// Called `CustomerMasterKeySpec` before 2021; emulators still send that alone.
    #[serde(alias = "CustomerMasterKeySpec")]
    key_spec: Option<String>,
    key_usage: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SignInput<'a> {
    key_id: &'a str,
    message: String,
    message_type: &'a str,
    signing_algorithm: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SignOutput {
    signature: String,
}

impl KmsKey {
    /// Looks a key up by id, ARN or `alias/name`. A key with an ARN is looked up in the ARN's region.
    ///
    /// # Errors
    /// See [`KmsError`].
    pub async fn open(calls: &SignedCalls, key: &str) -> Result<Self, KmsError> {
        let calls = match region_of(key) {
            Some(region) => calls.in_region(Region::new(region.to_owned())),
            None => calls.clone(),
        };
        let input = PublicKeyInput { key_id: key };
        let answer: serde_json::Value = call(&calls, &GET_PUBLIC_KEY, "TrentService.GetPublicKey", &input)
            .await
            .map_err(|fault| KmsError::Fault { operation: "read", key: key.to_owned(), fault: Box::new(fault) })?;
        let answer = public_key_output(answer).ok_or(KmsError::NotBase64 { key: key.to_owned(), part: "PublicKey" })?;
        let der = BASE64
            .decode(answer.public_key.as_bytes())
            .map_err(|_| KmsError::NotBase64 { key: key.to_owned(), part: "PublicKey" })?;
        let (spec, usage) = (answer.key_spec.unwrap_or_default(), answer.key_usage.unwrap_or_default());
        if !matches!(spec.as_str(), "ECC_NIST_EDWARDS25519" | "ECC_NIST_P256") || usage != "SIGN_VERIFY" {
            return Err(KmsError::OtherKind { key: key.to_owned(), spec, usage });
        }
        let public = PublicKey::from_der(&der).map_err(|source| KmsError::PublicKey { key: key.to_owned(), source })?;
        Ok(Self { calls, key: key.to_owned(), public })
    }

    /// Its public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message of at most 4,096 bytes.
    ///
    /// # Errors
    /// See [`KmsError`].
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        let input = SignInput {
            key_id: &self.key,
            message: BASE64.encode(message),
            message_type: "RAW",
            signing_algorithm: match self.public.algorithm() {
                Algorithm::Ed25519 => "ED25519_SHA_512",
                Algorithm::EcdsaP256 => "ECDSA_SHA_256",
            },
        };
        let answer: SignOutput = call(&self.calls, &SIGN, "TrentService.Sign", &input).await.map_err(|fault| {
            KmsError::Fault { operation: "sign with", key: self.key.clone(), fault: Box::new(fault) }
        })?;
        BASE64
            .decode(answer.signature.as_bytes())
            .map_err(|_| KmsError::NotBase64 { key: self.key.clone(), part: "Signature" })
    }
}

/// AWS sends both names of the key's kind, which serde would take for one field given twice.
fn public_key_output(mut answer: serde_json::Value) -> Option<PublicKeyOutput> {
    let object = answer.as_object_mut()?;
    if object.contains_key("KeySpec") {
        object.remove("CustomerMasterKeySpec");
    }
    serde_json::from_value(answer).ok()
}

/// The fourth part of `arn:partition:kms:region:account:key/id`.
fn region_of(key: &str) -> Option<&str> {
    key.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

/// Neither call changes anything, so each may be repeated.
async fn call<Output: serde::de::DeserializeOwned>(
    calls: &SignedCalls,
    operation: &Operation,
    target: &'static str,
    input: &impl Serialize,
) -> Result<Output, Fault> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match calls.json(operation, JsonVersion::V1_1, target, input).await {
            Err(fault) if fault.is_retryable() => tokio::time::sleep(pause).await,
            answer => return answer,
        }
        pause *= 2;
    }
    calls.json(operation, JsonVersion::V1_1, target, input).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_its_region() {
        assert_eq!(region_of("arn:aws:kms:eu-west-1:111122223333:key/1"), Some("eu-west-1"));
        assert_eq!(region_of("arn:aws-us-gov:kms:us-gov-west-1:1:alias/ci"), Some("us-gov-west-1"));
        assert_eq!(region_of("alias/ci"), None);
        assert_eq!(region_of("1234abcd-12ab-34cd-56ef-1234567890ab"), None);
    }

    #[test]
    fn both_names_of_the_kind_of_key_are_read() {
        for kind in [
            serde_json::json!({"PublicKey": "a", "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
            serde_json::json!({"PublicKey": "a", "CustomerMasterKeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
            serde_json::json!({"PublicKey": "a", "KeySpec": "ECC_NIST_P256", "CustomerMasterKeySpec": "ECC_NIST_P256"}),
        ] {
            assert_eq!(public_key_output(kind).unwrap().key_spec.as_deref(), Some("ECC_NIST_P256"));
        }
    }
}
