//! Reads answers: the body within bounds, or the fault that the answer stands for.

use std::time::{Duration, SystemTime};

use aws_smithy_xml::decode::{Document, try_data};
use bytes::{Bytes, BytesMut};
use reqwest::header::{DATE, HeaderMap};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::fault::{self, Fault, FaultKind};

/// Most bytes that are read of a refusal: a code and a sentence.
const REFUSAL_BYTES: usize = 64 << 10;
/// A signature is good for five minutes around AWS's time; beyond four the clock is the likelier cause.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(4 * 60);

/// Codes of refusals for which a wrong clock may be the cause.
const PERHAPS_CLOCK_SKEW: [&str; 3] = ["AuthFailure", "InvalidSignatureException", "SignatureDoesNotMatch"];

/// AWS's answer to a call that it carried out.
#[derive(Debug)]
pub struct Answer {
    /// 200 to 299.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Bytes,
}

/// Reads a body to its end. `Ok(None)`: it is longer than `at_most`.
pub(super) async fn read_body(response: &mut Response, at_most: usize) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > at_most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body.freeze()))
}

/// AWS's time from the answer, in whole seconds.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(date.into())
}

/// Turns a refusal into a fault. `signed_at` is the time in the request's signature.
pub(super) async fn refusal(mut response: Response, action: &'static str, signed_at: SystemTime) -> Fault {
    let status = response.status();
    let headers = response.headers().clone();
    // A refusal whose body breaks off is still a refusal.
    let body = read_body(&mut response, REFUSAL_BYTES).await.ok().flatten().unwrap_or_default();
    let said = Said::read(&headers, &body);
    let clock_is_wrong = date(&headers).is_some_and(|theirs| apart(theirs, signed_at) > CLOCK_TOLERANCE);
    let kind = match said.code.as_deref() {
        Some(code) if clock_is_wrong && PERHAPS_CLOCK_SKEW.contains(&code) => FaultKind::ClockSkew,
        // Redirects are for S3's buckets. A redirect from another service is a proxy's page.
        _ if status.is_redirection() => FaultKind::Fatal,
        code => fault::sort(Some(status.as_u16()), code, action, None),
    };
    Fault {
        kind,
        status: Some(status.as_u16()),
        code: said.code,
        message: said.message.unwrap_or_else(|| without_words(status, &body)),
        request_id: said.request_id,
        extended_request_id: None,
    }
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|e| e.duration())
}

/// The text for an answer that is not from AWS: a proxy's page, or nothing at all.
fn without_words(status: StatusCode, body: &[u8]) -> String {
    let reason = status.canonical_reason().unwrap_or("an unknown status");
    let text = String::from_utf8_lossy(body);
    let first = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if first.is_empty() {
        return format!("the answer is {reason}, without a word");
    }
    let excerpt: String = first.chars().filter(|c| !c.is_control()).take(120).collect();
    format!("the answer is {reason}, and not one of AWS's (a proxy's?): {excerpt:?}")
}

/// Code, message and request id of a refusal, wherever the service puts them.
#[derive(Debug, Default, PartialEq)]
struct Said {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

/// The body of a refusal of the JSON protocols; services differ in the capitals.
#[derive(Default, Deserialize)]
struct JsonRefusal {
    #[serde(rename = "__type")]
    kind: Option<String>,
    code: Option<String>,
    #[serde(alias = "Message", alias = "errorMessage")]
    message: Option<String>,
}

impl Said {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let request_id = ["x-amzn-requestid", "x-amzn-request-id", "x-amz-request-id"].into_iter().find_map(header);
        let in_header = header("x-amzn-errortype");
        let json: Option<JsonRefusal> = serde_json::from_slice(body).ok();
        let xml = if json.is_none() { std::str::from_utf8(body).ok() } else { None };
        let element = |name: &str| xml.and_then(|xml| element_text(xml, name)).filter(|text| !text.is_empty());
        let json = json.unwrap_or_default();
        let code = in_header.or(json.kind).or(json.code).or_else(|| element("Code"));
        Self {
            code: code.map(|code| bare(&code).to_owned()).filter(|code| !code.is_empty()),
            message: json.message.filter(|message| !message.is_empty()).or_else(|| element("Message")),
            request_id: request_id.or_else(|| element("RequestId")),
        }
    }
}

/// `com.amazonaws.kms#NotFoundException:http://…` is `NotFoundException`.
fn bare(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or(code);
    code.rsplit('#').next().unwrap_or(code).trim()
}

/// The text of the first element of this name at any depth of an answer of the Query protocol.
pub fn element_text(xml: &str, name: &str) -> Option<String> {
    let mut document = Document::new(xml);
    while let Some(element) = document.next_start_element() {
        if element.local() == name {
            return try_data(&mut document).ok().map(|text| text.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &[(&'static str, &'static str)], body: &str) -> Said {
        let headers = headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        Said::read(&headers, body.as_bytes())
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn every_dialect_of_a_refusal_is_understood() {
        let json = said(
            &[("x-amzn-requestid", "id-1")],
            r#"{"__type":"com.amazonaws.logs#ResourceNotFoundException","message":"no such group"}"#,
        );
        let expected =
            Said { code: text("ResourceNotFoundException"), message: text("no such group"), request_id: text("id-1") };
        assert_eq!(json, expected);
        let header = said(
            &[
                ("x-amzn-errortype", "AccessDeniedException:http://internal.amazon.com/coral/"),
                ("x-amzn-RequestId", "id-2"),
            ],
            r#"{"Message":"not you"}"#,
        );
        assert_eq!(
            header,
            Said { code: text("AccessDeniedException"), message: text("not you"), request_id: text("id-2") }
        );
        let query = said(
            &[],
            "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error><Type>Sender</Type>\
             <Code>ValidationError</Code><Message>Stack &apos;a&apos; is not there</Message></Error><RequestId>id-3</RequestId></ErrorResponse>",
        );
        assert_eq!(
            query,
            Said { code: text("ValidationError"), message: text("Stack 'a' is not there"), request_id: text("id-3") }
        );
        assert_eq!(said(&[], "<html><body>Service Unavailable</body>"), Said::default());
        assert_eq!(said(&[], "\u{0}\u{1}<<<&&"), Said::default());
        assert_eq!(said(&[], ""), Said::default());
    }
}
