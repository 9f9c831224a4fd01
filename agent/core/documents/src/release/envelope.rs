//! The DSSE envelope: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>.

use data_encoding::{BASE64, BASE64URL};
use serde::{Deserialize, Serialize};

use super::signatures::Trust;
use super::{ReleaseError, malformed, strict};
use crate::limits::Limits;

/// The envelope's `payloadType` of a release.
pub const PAYLOAD_TYPE: &str = "application/vnd.hostler.release+json";

const ENVELOPE: &str = "release document";

/// Most bytes of a stored release document: the manifest in base64 and room for a dozen signatures.
pub fn stored_bytes(limits: &Limits) -> usize {
    limits.release_bytes.saturating_mul(3)
}

/// DSSE's pre-authentication encoding: the bytes to sign. Lengths come first, so that no two pairs of type and payload
/// encode alike.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

/// One signature over the pre-authentication encoding; not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key that it claims to be from: an unsigned hint.
    pub key_id: Option<String>,
    /// The signature's bytes.
    pub bytes: Vec<u8>,
}

/// A payload and its signatures, exactly as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: &'static str,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct WrittenEnvelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
struct WrittenSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

impl Envelope {
    /// An envelope with no signatures around a payload of this type.
    ///
    /// # Errors
    /// [`ReleaseError::ManifestTooLarge`].
    pub fn unsigned(payload_type: &'static str, payload: Vec<u8>, limits: &Limits) -> Result<Self, ReleaseError> {
        let envelope = Self { payload_type, payload, signatures: Vec::new() };
        envelope.check_size(limits)?;
        Ok(envelope)
    }

    /// Reads a stored envelope with a payload of this type. It ignores fields outside DSSE, as DSSE requires.
    ///
    /// # Errors
    /// The bytes are too large, not an envelope, or have another payload type.
    pub fn parse(bytes: &[u8], payload_type: &'static str, limits: &Limits) -> Result<Self, ReleaseError> {
        let at_most = stored_bytes(limits);
        if bytes.len() > at_most {
            return Err(ReleaseError::TooLarge { bytes: bytes.len(), at_most });
        }
        strict::refuse_duplicate_keys(ENVELOPE, bytes)?;
        let written: WrittenEnvelope = strict::read(ENVELOPE, bytes)?;
        if written.payload_type != payload_type {
            return Err(ReleaseError::PayloadType { found: written.payload_type, expected: payload_type });
        }
        if written.signatures.len() > limits.release_signatures {
            let problem = format!("are {}, and may be {}", written.signatures.len(), limits.release_signatures);
            return Err(malformed(ENVELOPE, "signatures", &problem));
        }
        let payload = decode("payload", &written.payload)?;
        let signatures = written
            .signatures
            .into_iter()
            .enumerate()
            .map(|(i, s)| {
                let bytes = decode(&format!("signatures[{i}].sig"), &s.sig)?;
                Ok(Signature { key_id: s.keyid, bytes })
            })
            .collect::<Result<_, ReleaseError>>()?;
        let envelope = Self { payload_type, payload, signatures };
        envelope.check_size(limits)?;
        Ok(envelope)
    }

    /// The document to store; ends with a newline.
    ///
    /// # Errors
    /// [`ReleaseError::TooLarge`], when there are more signatures than a host reads.
    pub fn to_bytes(&self, limits: &Limits) -> Result<Vec<u8>, ReleaseError> {
        let written = WrittenEnvelope {
            payload: BASE64.encode(&self.payload),
            payload_type: self.payload_type.to_owned(),
            signatures: self
                .signatures
                .iter()
                .map(|s| WrittenSignature { keyid: s.key_id.clone(), sig: BASE64.encode(&s.bytes) })
                .collect(),
        };
        let mut bytes = serde_json::to_vec(&written).map_err(|e| malformed(ENVELOPE, ".", &e))?;
        bytes.push(b'\n');
        let at_most = stored_bytes(limits);
        if bytes.len() > at_most {
            return Err(ReleaseError::TooLarge { bytes: bytes.len(), at_most });
        }
        Ok(bytes)
    }

    /// The payload, exactly as published.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, not verified.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature over [`Envelope::pae`].
    pub fn add_signature(&mut self, signature: Signature) {
        self.signatures.push(signature);
    }

    /// Drops the signatures that `stays` does not keep.
    pub fn retain_signatures(&mut self, stays: impl FnMut(&Signature) -> bool) {
        self.signatures.retain(stays);
    }

    /// The bytes that are signed.
    pub fn pae(&self) -> Vec<u8> {
        pae(self.payload_type, &self.payload)
    }

    /// The keys that its signatures claim.
    pub fn claimed(&self) -> Trust {
        if self.signatures.is_empty() {
            return Trust::Unsigned;
        }
        let name = |s: &Signature| s.key_id.clone().unwrap_or_else(|| "?".to_owned());
        Trust::NotVerified { key_ids: self.signatures.iter().map(name).collect() }
    }

    fn check_size(&self, limits: &Limits) -> Result<(), ReleaseError> {
        let bytes = self.pae().len();
        if bytes > limits.release_bytes {
            return Err(ReleaseError::ManifestTooLarge { bytes, at_most: limits.release_bytes });
        }
        Ok(())
    }
}

/// DSSE lets producers choose the alphabet and requires consumers to accept both.
fn decode(field: &str, text: &str) -> Result<Vec<u8>, ReleaseError> {
    BASE64
        .decode(text.as_bytes())
        .or_else(|_| BASE64URL.decode(text.as_bytes()))
        .map_err(|e| malformed(ENVELOPE, field, &format!("is not base64: {e}")))
}
