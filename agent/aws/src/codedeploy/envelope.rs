//! The cryptography of a deployment specification's envelope (`hostler_core::codedeploy::envelope`): the signatures in
//! it, and whether its signer is one of a configured authority.

use std::time::Duration;

use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use hostler_core::codedeploy::envelope::{self, Checks, DigestAlgorithm, SignatureAlgorithm};
pub use hostler_core::codedeploy::envelope::{EnvelopeError, OpenedEnvelope};
use hostler_core::codedeploy::wire::Envelope;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};

/// Opens an envelope: every signature in it must be valid for exactly the content in it.
///
/// # Errors
/// See [`EnvelopeError`].
pub fn open(envelope: &Envelope) -> Result<OpenedEnvelope, EnvelopeError> {
    envelope::open(envelope, &AwsLc)
}

struct AwsLc;

impl Checks for AwsLc {
    fn is_digest(&self, algorithm: DigestAlgorithm, content: &[u8], expected: &[u8]) -> bool {
        let algorithm = match algorithm {
            DigestAlgorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            DigestAlgorithm::Sha256 => &digest::SHA256,
            DigestAlgorithm::Sha384 => &digest::SHA384,
            DigestAlgorithm::Sha512 => &digest::SHA512,
        };
        digest(algorithm, content).as_ref() == expected
    }

    fn is_signature(&self, algorithm: SignatureAlgorithm, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
            // The service's signer is older than SHA-256 certificates; a forged one would have to match the pinned key.
            SignatureAlgorithm::Rsa(DigestAlgorithm::Sha1) => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            SignatureAlgorithm::Rsa(DigestAlgorithm::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            SignatureAlgorithm::Rsa(DigestAlgorithm::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            SignatureAlgorithm::Rsa(DigestAlgorithm::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            SignatureAlgorithm::P256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            SignatureAlgorithm::P256Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
            SignatureAlgorithm::P384Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
            SignatureAlgorithm::P384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        };
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }
}

/// Checks that the signer's certificate leads to one of these authorities (PEM) and is valid now, which is the time
/// since
/// 1970.
///
/// # Errors
/// [`EnvelopeError::Chain`].
pub fn verify_chain(envelope: &OpenedEnvelope, authorities: &[u8], now: Duration) -> Result<(), EnvelopeError> {
    let wrong = |problem: &dyn std::fmt::Display| EnvelopeError::Chain(problem.to_string());
    let roots: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(authorities)
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(&format_args!("the authorities are not PEM: {e}")))?;
    let anchors = roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>();
    let anchors = anchors.map_err(|e| wrong(&e))?;
    let certificates: Vec<CertificateDer<'_>> =
        envelope.certificates().iter().map(|c| CertificateDer::from(c.as_slice())).collect();
    let (signer, intermediates) = certificates.split_first().ok_or(EnvelopeError::BadSignature)?;
    let signer = webpki::EndEntityCert::try_from(signer).map_err(|e| wrong(&e))?;
    // id-kp-codeSigning, if the certificate names purposes at all.
    let usage = webpki::KeyUsage::required_if_present(&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03]);
    let chain = signer.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        intermediates,
        UnixTime::since_unix_epoch(now),
        usage,
        None,
        None,
    );
    chain.map(drop).map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests;
