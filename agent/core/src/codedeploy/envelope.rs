//! The envelope of a deployment specification: PKCS#7 SignedData (RFC 5652 §5) with the specification inside.
//!
//! The signature over the content is verified for real: an envelope whose content was altered after signing is refused.
//! The caller passes in the cryptographic checks ([`Checks`]). docs/usage/codedeploy-service.md says what a signature
//! proves, and what takes the pinned signer or a configured chain.

use der::asn1::ObjectIdentifier;
use der::{Reader as _, SliceReader};

use crate::codedeploy::wire::Envelope;
use crate::ids::Sha256Digest;

/// Why an envelope cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Another kind of envelope.
    #[error("the specification's format is {0:?}, and only signed ones (PKCS7/JSON) are accepted")]
    Format(String),
    /// The content contradicts the format.
    #[error("the specification's envelope is not signed data as PKCS#7 has it: {0}")]
    Malformed(&'static str),
    /// A signature algorithm that this agent does not know.
    #[error("the specification is signed in a way that is not known here: {0}")]
    Unsupported(String),
    /// The content differs from the signed content.
    #[error(
        "the specification's signature does not verify: it was altered after it was signed, or another key signed it"
    )]
    BadSignature,
    /// The chain does not lead to the configured authorities.
    #[error("the certificate that signed the specification does not lead to the configured authorities: {0}")]
    Chain(String),
}

/// The digests that an envelope may be signed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// SHA-1: an attacker may find another content with the same digest.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The signature algorithms that an envelope may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSA with PKCS#1 1.5, over this digest.
    Rsa(DigestAlgorithm),
    /// ECDSA on P-256 over SHA-256.
    P256Sha256,
    /// ECDSA on P-256 over SHA-384.
    P256Sha384,
    /// ECDSA on P-384 over SHA-256.
    P384Sha256,
    /// ECDSA on P-384 over SHA-384.
    P384Sha384,
}

/// The cryptography that opening an envelope needs.
pub trait Checks {
    /// Whether `digest` is the digest of `content`.
    fn is_digest(&self, algorithm: DigestAlgorithm, content: &[u8], digest: &[u8]) -> bool;

    /// Whether the key, as in its certificate, made this signature over `message`.
    fn is_signature(&self, algorithm: SignatureAlgorithm, key: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// First bytes of encodings in DER.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_0_PRIMITIVE: u8 = 0x80;

/// An envelope whose signature verifies.
#[derive(Debug, Clone)]
pub struct OpenedEnvelope {
    /// The signed content.
    pub content: String,
    /// SHA-256 of the signer's certificate.
    pub signer: Sha256Digest,
    /// Whether it has a signature over a SHA-1 digest, for which an attacker may find other content.
    pub uses_sha1: bool,
    /// The signer's certificate, then the others in the envelope; in DER.
    certificates: Vec<Vec<u8>>,
}

impl OpenedEnvelope {
    /// The signer's certificate, then the others in the envelope; in DER.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }
}

/// Opens an envelope. Every signature in it must cover exactly its content.
///
/// # Errors
/// See [`EnvelopeError`].
pub fn open(envelope: &Envelope, checks: &dyn Checks) -> Result<OpenedEnvelope, EnvelopeError> {
    if envelope.format != "PKCS7/JSON" {
        return Err(EnvelopeError::Format(envelope.format.clone()));
    }
    let bytes = decode(&envelope.payload)?;
    let signed = SignedData::read(&bytes)?;
    let mut signer = None;
    for info in &signed.signers {
        signer = Some(signed.verify(info, checks)?);
    }
    let signer = signer.ok_or(EnvelopeError::Malformed("it has no signature"))?;
    let content =
        std::str::from_utf8(signed.content).map_err(|_| EnvelopeError::Malformed("its content is not text"))?;
    let others = signed.certificates.iter().copied().filter(|c| c.whole != signer.whole);
    Ok(OpenedEnvelope {
        content: content.to_owned(),
        signer: Sha256Digest::of(signer.whole),
        uses_sha1: signed.signers.iter().any(|info| info.digest == SHA_1),
        certificates: std::iter::once(signer).chain(others).map(|c| c.whole.to_vec()).collect(),
    })
}

/// The bytes of PEM or of bare Base64, with any line breaks.
fn decode(payload: &str) -> Result<Vec<u8>, EnvelopeError> {
    let lines = payload.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let base64: String = lines.collect();
    data_encoding::BASE64.decode(base64.as_bytes()).map_err(|_| EnvelopeError::Malformed("it is not Base64"))
}

/// One tag, length and value.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    value: &'a [u8],
    whole: &'a [u8],
}

/// The elements that follow one another, up to exactly the end.
fn elements(bytes: &[u8]) -> Result<Vec<Element<'_>>, EnvelopeError> {
    let broken = |_| EnvelopeError::Malformed("a length or a tag is wrong");
    let mut reader = SliceReader::new(bytes).map_err(broken)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        let from = reader.position();
        let value = reader.decode::<der::asn1::AnyRef<'_>>().map_err(broken)?.value();
        let range = usize::try_from(from).map_err(broken)?..usize::try_from(reader.position()).map_err(broken)?;
        let whole = bytes.get(range).unwrap_or_default();
        found.push(Element { tag: whole.first().copied().unwrap_or_default(), value, whole });
    }
    Ok(found)
}

impl<'a> Element<'a> {
    fn expect(self, tag: u8, what: &'static str) -> Result<Self, EnvelopeError> {
        if self.tag == tag { Ok(self) } else { Err(EnvelopeError::Malformed(what)) }
    }

    fn inside(self) -> Result<Vec<Element<'a>>, EnvelopeError> {
        elements(self.value)
    }

    fn identifier(self) -> Result<ObjectIdentifier, EnvelopeError> {
        let value = self.expect(OBJECT_IDENTIFIER, "an object identifier is missing")?.value;
        ObjectIdentifier::from_bytes(value).map_err(|_| EnvelopeError::Malformed("an object identifier is wrong"))
    }

    /// The algorithm of an AlgorithmIdentifier, and its parameter.
    fn algorithm(self) -> Result<(ObjectIdentifier, Option<Element<'a>>), EnvelopeError> {
        let parts = self.expect(SEQUENCE, "an algorithm is missing")?.inside()?;
        let algorithm = nth(&parts, 0, "an algorithm is missing")?.identifier()?;
        Ok((algorithm, parts.get(1).copied()))
    }
}

fn nth<'a>(list: &[Element<'a>], at: usize, what: &'static str) -> Result<Element<'a>, EnvelopeError> {
    list.get(at).copied().ok_or(EnvelopeError::Malformed(what))
}

fn only<'a>(bytes: &'a [u8], what: &'static str) -> Result<Element<'a>, EnvelopeError> {
    match elements(bytes)?.as_slice() {
        [one] => Ok(*one),
        _ => Err(EnvelopeError::Malformed(what)),
    }
}

struct SignedData<'a> {
    content_type: ObjectIdentifier,
    content: &'a [u8],
    certificates: Vec<Element<'a>>,
    signers: Vec<SignerInfo<'a>>,
}

struct SignerInfo<'a> {
    /// Issuer and serial number as they stand, or a key identifier.
    who: Element<'a>,
    digest: ObjectIdentifier,
    attributes: Option<Element<'a>>,
    algorithm: ObjectIdentifier,
    signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let outer = only(bytes, "it is not one structure")?.expect(SEQUENCE, "it is not a structure")?.inside()?;
        if nth(&outer, 0, "its type is missing")?.identifier()? != SIGNED_DATA {
            return Err(EnvelopeError::Malformed("it is something else than signed data"));
        }
        let content = nth(&outer, 1, "its content is missing")?.expect(CONTEXT_0, "its content is missing")?;
        let parts =
            only(content.value, "its content is not one structure")?.expect(SEQUENCE, "it holds nothing")?.inside()?;
        let [_version, _digests, encapsulated, rest @ ..] = parts.as_slice() else {
            return Err(EnvelopeError::Malformed("parts are missing"));
        };
        let encapsulated = encapsulated.expect(SEQUENCE, "what was signed is missing")?.inside()?;
        let content_type = nth(&encapsulated, 0, "what was signed has no type")?.identifier()?;
        let content =
            nth(&encapsulated, 1, "what was signed is not in it")?.expect(CONTEXT_0, "what was signed is not in it")?;
        let content =
            only(content.value, "what was signed is in parts")?.expect(OCTET_STRING, "what was signed is no text")?;
        let certificates = match rest.iter().find(|part| part.tag == CONTEXT_0) {
            Some(certificates) => certificates.inside()?,
            None => Vec::new(),
        };
        let signers = rest
            .last()
            .copied()
            .filter(|part| part.tag == SET)
            .ok_or(EnvelopeError::Malformed("it has no signature"))?;
        let signers = signers.inside()?.into_iter().map(SignerInfo::read).collect::<Result<_, _>>()?;
        Ok(Self { content_type, content: content.value, certificates, signers })
    }

    /// The certificate whose key made this signature over the content.
    fn verify(&self, signer: &SignerInfo<'a>, checks: &dyn Checks) -> Result<Element<'a>, EnvelopeError> {
        let certificate = self.certificate_of(signer)?;
        let signed = match signer.attributes {
            None => self.content.to_vec(),
            Some(attributes) => self.check_attributes(signer, attributes, checks)?,
        };
        let key = PublicKey::read(certificate)?;
        let algorithm = key.algorithm(signer.digest, signer.algorithm)?;
        if checks.is_signature(algorithm, key.bytes, &signed, signer.signature) {
            Ok(certificate)
        } else {
            Err(EnvelopeError::BadSignature)
        }
    }

    /// Signed attributes stand in for the content: they must include its digest and type. The signature then covers
    /// their encoding as a set.
    fn check_attributes(
        &self,
        signer: &SignerInfo<'a>,
        attributes: Element<'a>,
        checks: &dyn Checks,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let (mut content_type, mut message_digest) = (None, None);
        for attribute in attributes.inside()? {
            let parts = attribute.expect(SEQUENCE, "an attribute is wrong")?.inside()?;
            let name = nth(&parts, 0, "an attribute is wrong")?.identifier()?;
            let values = nth(&parts, 1, "an attribute is wrong")?.expect(SET, "an attribute is wrong")?;
            let slot = match name {
                CONTENT_TYPE => &mut content_type,
                MESSAGE_DIGEST => &mut message_digest,
                _ => continue,
            };
            if slot.replace(only(values.value, "an attribute has several values")?).is_some() {
                return Err(EnvelopeError::Malformed("an attribute comes twice"));
            }
        }
        let content_type = content_type.ok_or(EnvelopeError::Malformed("the signed type is missing"))?;
        let message_digest = message_digest.ok_or(EnvelopeError::Malformed("the signed digest is missing"))?;
        let algorithm = digest_algorithm(signer.digest)?;
        let expected = message_digest.expect(OCTET_STRING, "the signed digest is wrong")?.value;
        if !checks.is_digest(algorithm, self.content, expected) || content_type.identifier()? != self.content_type {
            return Err(EnvelopeError::BadSignature);
        }
        let mut signed = attributes.whole.to_vec();
        if let Some(tag) = signed.first_mut() {
            *tag = SET;
        }
        Ok(signed)
    }

    fn certificate_of(&self, signer: &SignerInfo<'a>) -> Result<Element<'a>, EnvelopeError> {
        let absent = EnvelopeError::Malformed("the signer's certificate is not in it");
        for certificate in &self.certificates {
            let facts = tbs(*certificate)?;
            let named = match signer.who.tag {
                SEQUENCE => [facts.issuer.whole, facts.serial.whole].concat() == signer.who.value,
                // A key identifier is in an extension; with a single certificate there is no choice.
                CONTEXT_0_PRIMITIVE => self.certificates.len() == 1,
                _ => false,
            };
            if named {
                return Ok(*certificate);
            }
        }
        Err(absent)
    }
}

impl<'a> SignerInfo<'a> {
    fn read(element: Element<'a>) -> Result<Self, EnvelopeError> {
        let parts = element.expect(SEQUENCE, "a signer is wrong")?.inside()?;
        let who = nth(&parts, 1, "a signer has no name")?;
        let (digest, _) = nth(&parts, 2, "a signer has no digest")?.algorithm()?;
        let attributes = parts.get(3).copied().filter(|part| part.tag == CONTEXT_0);
        let after = if attributes.is_some() { 4 } else { 3 };
        let (algorithm, _) = nth(&parts, after, "a signer has no algorithm")?.algorithm()?;
        let signature =
            nth(&parts, after + 1, "a signature is missing")?.expect(OCTET_STRING, "a signature is missing")?;
        Ok(Self { who, digest, attributes, algorithm, signature: signature.value })
    }
}

struct CertificateFacts<'a> {
    serial: Element<'a>,
    issuer: Element<'a>,
    key: Element<'a>,
}

/// The required parts of a certificate (RFC 5280 §4.1).
fn tbs(certificate: Element<'_>) -> Result<CertificateFacts<'_>, EnvelopeError> {
    const WRONG: &str = "a certificate is wrong";
    let parts = certificate.expect(SEQUENCE, WRONG)?.inside()?;
    let fields = nth(&parts, 0, WRONG)?.expect(SEQUENCE, WRONG)?.inside()?;
    // The version comes first and may be left out.
    let from = usize::from(nth(&fields, 0, WRONG)?.tag == CONTEXT_0);
    Ok(CertificateFacts {
        serial: nth(&fields, from, WRONG)?.expect(INTEGER, WRONG)?,
        issuer: nth(&fields, from + 2, WRONG)?.expect(SEQUENCE, WRONG)?,
        key: nth(&fields, from + 5, WRONG)?.expect(SEQUENCE, WRONG)?,
    })
}

struct PublicKey<'a> {
    kind: ObjectIdentifier,
    curve: Option<ObjectIdentifier>,
    bytes: &'a [u8],
}

impl<'a> PublicKey<'a> {
    fn read(certificate: Element<'a>) -> Result<Self, EnvelopeError> {
        const WRONG: &str = "a certificate's key is wrong";
        let parts = tbs(certificate)?.key.inside()?;
        let (kind, parameter) = nth(&parts, 0, WRONG)?.algorithm()?;
        let curve = parameter.filter(|p| p.tag == OBJECT_IDENTIFIER).map(Element::identifier).transpose()?;
        let bits = nth(&parts, 1, WRONG)?.expect(BIT_STRING, WRONG)?.value;
        match bits.split_first() {
            Some((0, bytes)) => Ok(Self { kind, curve, bytes }),
            _ => Err(EnvelopeError::Malformed(WRONG)),
        }
    }

    fn algorithm(
        &self,
        digest: ObjectIdentifier,
        signature: ObjectIdentifier,
    ) -> Result<SignatureAlgorithm, EnvelopeError> {
        Ok(match (self.kind, self.curve, digest) {
            (RSA, _, _) if signature == RSA_PSS => return Err(EnvelopeError::Unsupported("RSASSA-PSS".to_owned())),
            (RSA, _, SHA_1 | SHA_256 | SHA_384 | SHA_512) => SignatureAlgorithm::Rsa(digest_algorithm(digest)?),
            (EC, Some(P_256), SHA_256) => SignatureAlgorithm::P256Sha256,
            (EC, Some(P_256), SHA_384) => SignatureAlgorithm::P256Sha384,
            (EC, Some(P_384), SHA_256) => SignatureAlgorithm::P384Sha256,
            (EC, Some(P_384), SHA_384) => SignatureAlgorithm::P384Sha384,
            (kind, _, digest) => return Err(EnvelopeError::Unsupported(format!("key {kind} with digest {digest}"))),
        })
    }
}

fn digest_algorithm(identifier: ObjectIdentifier) -> Result<DigestAlgorithm, EnvelopeError> {
    Ok(match identifier {
        SHA_1 => DigestAlgorithm::Sha1,
        SHA_256 => DigestAlgorithm::Sha256,
        SHA_384 => DigestAlgorithm::Sha384,
        SHA_512 => DigestAlgorithm::Sha512,
        other => return Err(EnvelopeError::Unsupported(format!("digest {other}"))),
    })
}
