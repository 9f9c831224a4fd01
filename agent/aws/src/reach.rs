//! Requests without an answer say whom they were for: the network's own errors name neither host nor region.

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use hostler_core::error_chain::innermost;

/// The system's words in front of its resolver's.
const LOOKUP: &str = "failed to lookup address information: ";

/// A connector whose errors name the host, and the region that the request was signed for.
pub(crate) fn naming_hosts(connector: SharedHttpConnector) -> SharedHttpConnector {
    SharedHttpConnector::new(NamingHosts { connector })
}

#[derive(Debug)]
struct NamingHosts {
    connector: SharedHttpConnector,
}

impl HttpConnector for NamingHosts {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let host = host(request.uri()).to_owned();
        let region = request.headers().get("authorization").and_then(signed_region).map(str::to_owned);
        let answer = self.connector.call(request);
        HttpConnectorFuture::new(async move { answer.await.map_err(|error| named(error, host, region)) })
    }
}

/// Its text is the whole story, so it has no source: the innermost cause is what messages show.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {host}{}: {why}", .region.as_ref().map(|region| format!(" (region {region})")).unwrap_or_default())]
struct Unreached {
    host: String,
    region: Option<String>,
    why: String,
}

/// The error of the same kind, by which the SDK decides whether to try again.
fn named(error: ConnectorError, host: String, region: Option<String>) -> ConnectorError {
    let (is_timeout, is_io, is_user, other) = (error.is_timeout(), error.is_io(), error.is_user(), error.as_other());
    let why = innermost(&*error.into_source());
    let why = match why.strip_prefix(LOOKUP) {
        Some(resolver) => format!("name not found ({resolver}); check the region and this host's network"),
        None => why,
    };
    let source = Box::new(Unreached { host, region, why });
    match () {
        () if is_timeout => ConnectorError::timeout(source),
        () if is_io => ConnectorError::io(source),
        () if is_user => ConnectorError::user(source),
        () => ConnectorError::other(source, other),
    }
}

fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// The region in a signature's scope: `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn signed_region(authorization: &str) -> Option<&str> {
    let scope = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?.split(',').next()?;
    scope.split('/').nth(2)
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::retry::ErrorKind;

    use super::*;

    const SIGNED: &str =
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261130/eu-west-11/s3/aws4_request, SignedHeaders=host";

    fn told(error: ConnectorError) -> String {
        let region = signed_region(SIGNED).map(str::to_owned);
        innermost(
            &*named(error, host("https://own-bucket.s3.eu-west-11.amazonaws.com/k?x=1").to_owned(), region)
                .into_source(),
        )
    }

    #[test]
    fn a_request_without_an_answer_names_host_and_region() {
        let lookup = format!("{LOOKUP}Name or service not known");
        assert_eq!(
            told(ConnectorError::io(lookup.into())),
            "cannot reach own-bucket.s3.eu-west-11.amazonaws.com (region eu-west-11): name not found (Name or service not \
             known); check the region and this host's network"
        );
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(
            told(ConnectorError::io(Box::new(refused))),
            "cannot reach own-bucket.s3.eu-west-11.amazonaws.com (region eu-west-11): connection refused"
        );
        let unsigned = named(ConnectorError::io("reset".into()), host("http://127.0.0.1:9000/b/k").to_owned(), None);
        assert_eq!(innermost(&*unsigned.into_source()), "cannot reach 127.0.0.1:9000: reset");
        assert_eq!(signed_region("AWS4-ECDSA-P256-SHA256 Credential=A/20261130/s3/aws4_request, x"), None);
    }

    #[test]
    fn the_sdk_tries_again_as_before() {
        let again = |error| named(error, "h".to_owned(), None);
        assert!(again(ConnectorError::timeout("t".into())).is_timeout());
        assert!(again(ConnectorError::io("i".into())).is_io());
        assert!(again(ConnectorError::user("u".into())).is_user());
        let other = again(ConnectorError::other("o".into(), Some(ErrorKind::TransientError)));
        assert_eq!(other.as_other(), Some(ErrorKind::TransientError));
        assert!(again(ConnectorError::other("o".into(), None)).is_other());
    }
}
