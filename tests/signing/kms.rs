//! Keys in KMS: against our own server, which has the two operations and checks the caller, and against moto.

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use serde_json::json;

use super::*;
use crate::support::http_server::{Reply, Request, Server};
use crate::support::moto::Moto;
use crate::support::sigv4;

const ENVIRONMENT: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];
const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// The server side of the two operations, by the API reference.
struct FakeKms {
    ed25519: Ed25519KeyPair,
    p256: EcdsaKeyPair,
    /// The requested regions and operations.
    asked: Mutex<Vec<(String, String)>>,
    /// The number of calls to throttle first.
    throttled: Mutex<u32>,
}

impl FakeKms {
    fn new() -> Self {
        Self {
            ed25519: Ed25519KeyPair::generate().unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            asked: Mutex::default(),
            throttled: Mutex::default(),
        }
    }

    fn answer(&self, request: &Request) -> Reply {
        let refuse = |kind: &str, message: &str| {
            let body = json!({ "__type": kind, "message": message }).to_string();
            Reply::new(400, body).header("x-amzn-RequestId", "11111111-2222")
        };
        let signed = match sigv4::verify(request, ENVIRONMENT[1].1, jiff::Timestamp::now()) {
            Ok(signed) => signed,
            Err(problem) => return refuse("InvalidSignatureException", &problem),
        };
        let operation = request.header("x-amz-target").trim_start_matches("TrentService.").to_owned();
        assert_eq!((signed.service.as_str(), request.header("content-type")), ("kms", "application/x-amz-json-1.1"));
        self.asked.lock().unwrap().push((signed.region, operation.clone()));
        let mut throttled = self.throttled.lock().unwrap();
        if *throttled > 0 {
            *throttled -= 1;
            return refuse("ThrottlingException", "Rate exceeded");
        }
        let input: Value = serde_json::from_slice(&request.body).unwrap();
        let key = input["KeyId"].as_str().unwrap();
        let (der, spec, algorithm) = match key {
            "alias/p256" => {
                let der = AsDer::<PublicKeyX509Der<'_>>::as_der(self.p256.public_key()).unwrap();
                (der.as_ref().to_vec(), "ECC_NIST_P256", "ECDSA_SHA_256")
            }
            "alias/rsa" => (vec![1], "RSA_2048", "RSASSA_PSS_SHA_256"),
            "alias/denied" => return refuse("AccessDeniedException", "User: x is not authorized to perform: kms:Sign"),
            "alias/none" => return refuse("NotFoundException", "Alias is not found"),
            _ => {
                let der = AsDer::<PublicKeyX509Der<'_>>::as_der(self.ed25519.public_key()).unwrap();
                (der.as_ref().to_vec(), "ECC_NIST_EDWARDS25519", "ED25519_SHA_512")
            }
        };
        let body = if operation == "GetPublicKey" {
            json!({
                "KeyId": ARN, "PublicKey": BASE64.encode(&der), "KeySpec": spec, "CustomerMasterKeySpec": spec,
                "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": [algorithm],
            })
        } else {
            let message = BASE64.decode(input["Message"].as_str().unwrap().as_bytes()).unwrap();
            if input["MessageType"] != "RAW" || input["SigningAlgorithm"] != algorithm || message.len() > 4096 {
                return refuse("ValidationException", &input.to_string());
            }
            let signature = match spec {
                "ECC_NIST_P256" => self.p256.sign(&SystemRandom::new(), &message).unwrap(),
                _ => self.ed25519.sign(&message),
            };
            json!({ "KeyId": ARN, "Signature": BASE64.encode(signature.as_ref()), "SigningAlgorithm": algorithm })
        };
        Reply::new(200, body.to_string())
    }
}

fn start() -> (Arc<FakeKms>, Server) {
    let kms = Arc::new(FakeKms::new());
    let fake = Arc::clone(&kms);
    let server = Server::start(move |request| {
        let reply = fake.answer(&request);
        async move { reply }
    });
    (kms, server)
}

/// A host whose configuration uses this endpoint and these keys.
fn configure(signed: &Signed, endpoint: &str, keys: &[&str]) {
    let aws = format!("aws: {{region: us-east-1, endpoint_url: \"{endpoint}\"}}\n");
    let keys: Vec<String> = keys.iter().map(|name| signed.line(name)).collect();
    let policy = match keys.len() {
        0 => String::new(),
        count => format!("signatures: {{channel: {{threshold: {count}, keys: [{}]}}}}\n", keys.join(", ")),
    };
    signed.host.write("root/etc/hostler/config.yaml", aws + &policy);
}

fn with_kms(signed: &Signed, arguments: &[&str]) -> Ended {
    // A pair of keys belongs to no group.
    let group = if arguments[0] == "keygen" { &[][..] } else { &["--application", "shop", "--group", "web"] };
    signed.host.hostler_with(&ENVIRONMENT, &[arguments, group].concat())
}

#[test]
fn keys_in_kms_sign_releases_and_hosts_need_only_their_public_halves() {
    let (kms, server) = start();
    let signed = Signed::new(&[]);
    configure(&signed, &server.url(), &[]);
    with_kms(&signed, &["keygen", "one.pub", "--kms-key", ARN]).with_code(0);
    let said = with_kms(&signed, &["keygen", "two.pub", "--kms-key", "alias/p256"]).with_code(0).out;
    assert!(said.contains(&format!("keys: [{}]", signed.line("two"))) && !said.contains("private"), "{said}");
    configure(&signed, &server.url(), &["one", "two"]);
    let revision = signed.host.push("v1");
    *kms.throttled.lock().unwrap() = 2;
    with_kms(&signed, &["release", "store", &revision, "--kms-key", ARN, "--kms-key", "alias/p256"]).with_code(0);
    // The request goes to the ARN's region, not to the configured one.
    let asked = kms.asked.lock().unwrap().clone();
    assert!(asked.contains(&("eu-west-1".to_owned(), "Sign".to_owned())), "{asked:?}");
    assert!(asked.contains(&("us-east-1".to_owned(), "Sign".to_owned())), "{asked:?}");
    // A host has no client for AWS and needs none.
    drop(server);
    signed.host.run_once().with_code(0);
    assert_eq!(signed.status()["signature"]["verified"]["key_ids"].as_array().unwrap().len(), 2);
}

#[test]
fn what_kms_refuses_is_said_with_what_to_do_and_nothing_is_published() {
    let (_kms, server) = start();
    let signed = Signed::new(&[]);
    configure(&signed, &server.url(), &[]);
    let revision = signed.host.push("v1");
    for (key, words) in [
        ("alias/denied", &["allow kms:GetPublicKey", "request id 11111111-2222"][..]),
        ("alias/none", &["alias/none", "does not exist", "Alias is not found"]),
        ("alias/rsa", &["is RSA_2048 for SIGN_VERIFY", "ECC_NIST_EDWARDS25519"]),
    ] {
        let output = with_kms(&signed, &["release", "store", &revision, "--kms-key", key]).with_code(1);
        for word in words {
            assert!(output.err.contains(word), "{word}: {}", output.err);
        }
    }
    assert!(!signed.document().exists());
}

/// moto as a second opinion, for the kinds of key that it supports.
#[test]
fn moto_signs_with_what_it_has() {
    let Some(moto) = Moto::start_or_skip() else { return };
    let signed = Signed::new(&[]);
    configure(&signed, &moto.url(), &[]);
    for spec in ["ECC_NIST_P256", "ECC_NIST_EDWARDS25519"] {
        let Some(key) = create_key(&moto, spec) else {
            eprintln!("moto has no {spec}");
            assert_ne!(spec, "ECC_NIST_P256");
            continue;
        };
        let public = format!("{spec}.pub");
        with_kms(&signed, &["keygen", &public, "--kms-key", &key]).with_code(0);
        configure(&signed, &moto.url(), &[spec]);
        let revision = signed.host.push("v1");
        with_kms(&signed, &["release", "store", &revision, "--kms-key", &key]).with_code(0);
        signed.host.run_once().with_code(0);
        configure(&signed, &moto.url(), &[]);
    }
}

fn create_key(moto: &Moto, spec: &str) -> Option<String> {
    let answer = moto.json("kms", "TrentService.CreateKey", &json!({ "KeySpec": spec, "KeyUsage": "SIGN_VERIFY" }));
    answer.ok().map(|answer| answer["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned())
}
