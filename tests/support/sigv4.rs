//! Verifies AWS Signature Version 4 of a received request; written from AWS's page "Create a signed AWS API request",
//! not with the library that signs.

use std::collections::BTreeMap;

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;

use super::http_server::Request;

/// The facts in a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The access key's id.
    pub access_key: String,
    /// The region of the credential's scope.
    pub region: String,
    /// The service of the credential's scope.
    pub service: String,
    /// The signing time, as `20150830T123600Z`.
    pub signed_at: String,
}

/// Checks the request's signature under a secret key; `now` must be within 15 minutes of the signature.
///
/// # Errors
/// The error in the signature.
pub fn verify(request: &Request, secret_key: &str, now: Timestamp) -> Result<Signed, String> {
    let (signed, names, signature) = parse(request.header("authorization"), request.header("x-amz-date"))?;
    check_time(&signed.signed_at, now)?;
    for name in request.headers.keys().filter(|n| *n == "host" || n.starts_with("x-amz-")) {
        if !names.contains(name) {
            return Err(format!("the header {name} is not signed"));
        }
    }
    let payload = payload(request)?;
    let canonical = canonical(request, &names, &payload, signed.service != "s3")?;
    let date = signed.signed_at.get(..8).unwrap_or("");
    let scope = format!("{date}/{}/{}/aws4_request", signed.region, signed.service);
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", signed.signed_at, sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{secret_key}").into_bytes();
    for part in [date, &signed.region, &signed.service, "aws4_request"] {
        key = mac(&key, part.as_bytes());
    }
    let expected = hex(&mac(&key, text.as_bytes()));
    if expected != signature {
        return Err(format!("the signature is {signature} and should be {expected}; signed was\n{canonical}"));
    }
    Ok(signed)
}

fn parse(authorization: &str, date: &str) -> Result<(Signed, Vec<String>, String), String> {
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("there is no AWS4-HMAC-SHA256 authorization")?;
    let fields: BTreeMap<&str, &str> = fields.split(',').filter_map(|f| f.trim().split_once('=')).collect();
    let field = |name: &str| fields.get(name).copied().ok_or(format!("the authorization has no {name}"));
    let scope: Vec<&str> = field("Credential")?.rsplitn(5, '/').collect();
    let [last, service, region, day, access_key] = scope[..] else { return Err("the credential has no scope".into()) };
    if last != "aws4_request" || !date.starts_with(day) {
        return Err(format!("the scope {} does not fit the date {date}", scope.join("/")));
    }
    let signed = Signed {
        access_key: access_key.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        signed_at: date.to_owned(),
    };
    let names = field("SignedHeaders")?.split(';').map(str::to_owned).collect();
    Ok((signed, names, field("Signature")?.to_owned()))
}

fn check_time(signed_at: &str, now: Timestamp) -> Result<(), String> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", signed_at)
        .and_then(|t| t.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|e| format!("x-amz-date: {e}"))?;
    let skew = now.duration_since(time.timestamp()).as_secs().abs();
    if skew > 900 { Err(format!("signed {skew} s from now")) } else { Ok(()) }
}

/// The payload's hash for the canonical request; verified if it is a hash.
fn payload(request: &Request) -> Result<String, String> {
    let stated = request.header("x-amz-content-sha256");
    let actual = sha256(&request.body);
    match stated {
        "" => Ok(actual),
        special if special == "UNSIGNED-PAYLOAD" || special.starts_with("STREAMING-") => Ok(special.to_owned()),
        hash if hash == actual => Ok(actual),
        hash => Err(format!("the body's hash is {actual} and the header says {hash}")),
    }
}

fn canonical(request: &Request, names: &[String], payload: &str, encode_twice: bool) -> Result<String, String> {
    let path = if request.path().is_empty() { "/" } else { request.path() };
    let path = if encode_twice { encode(path.as_bytes(), true) } else { path.to_owned() };
    let mut pairs: Vec<(String, String)> = request
        .query()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(&decode(name), false), encode(&decode(value), false)))
        .collect();
    pairs.sort();
    let query: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = String::new();
    for name in names {
        let value = request.headers.get(name).ok_or(format!("the signed header {name} did not come"))?;
        let value: Vec<&str> = value.split_whitespace().collect();
        headers.push_str(&format!("{name}:{}\n", value.join(" ")));
    }
    Ok(format!("{}\n{path}\n{}\n{headers}\n{}\n{payload}", request.method, query.join("&"), names.join(";")))
}

fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            b'/' if keep_slash => text.push('/'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// Undoes percent-encoding.
pub fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The published example "get-vanilla" of AWS's test suite, and altered ones that must fail.
#[test]
fn the_published_example_passes_and_an_altered_one_does_not() {
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
    ];
    let mut request = Request {
        method: "GET".into(),
        target: "/".into(),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        body: bytes::Bytes::new(),
    };
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let then: Timestamp = "2015-08-30T12:36:05Z".parse().unwrap();
    let signed = verify(&request, secret, then).unwrap();
    assert_eq!((signed.access_key.as_str(), signed.service.as_str()), ("AKIDEXAMPLE", "service"));
    assert!(verify(&request, "another secret", then).unwrap_err().contains("should be"));
    assert!(verify(&request, secret, "2015-08-30T13:00:00Z".parse().unwrap()).unwrap_err().contains("from now"));
    request.target = "/?a=b".into();
    assert!(verify(&request, secret, then).unwrap_err().contains("should be"));
}
