//! Small requests end in a bounded time, whatever the other side does. Bundles are streams, and have a minimum speed
//! instead.

use std::time::Duration;

use hostler_core::store::{StoreError, StoreErrorKind};
use tokio::time::timeout;

/// For one question about a small object, with all that it takes: credentials, tries, another region, the whole body.
/// Longer than one silent try of the SDK, so that another one follows it. Prevents: a byte now and then that holds a
/// poll for ever.
pub(super) const SMALL_REQUEST: Duration = Duration::from_secs(45);

/// The request's result, if it ends in time.
pub(super) async fn in_time<T>(
    operation: &'static str,
    location: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    within(SMALL_REQUEST, operation, location, request).await
}

async fn within<T>(
    patience: Duration,
    operation: &'static str,
    location: impl FnOnce() -> String,
    request: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(patience, request).await.unwrap_or_else(|_| {
        let problem = format!(
            "no whole answer came within {} seconds; is the store, or a proxy before it, overloaded?",
            patience.as_secs()
        );
        Err(StoreError {
            operation,
            location: location(),
            kind: StoreErrorKind::Transient,
            problem,
            request_ids: Vec::new(),
            source: None,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use hostler_core::config::settings::{AwsSettings, DownloadSettings};
    use hostler_core::limits::Limits;
    use hostler_core::store::{GetOutcome, Store as _};

    use super::*;
    use crate::clients::Clients;
    use crate::store_s3::S3Store;

    const BODY: &str = "a release";

    /// A server whose answers come byte by byte and do not end as long as it drips, and at once when it does not.
    fn server(drips: &Arc<AtomicBool>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let drips = Arc::clone(drips);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let drips = drips.load(Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    let length = if drips { 1000 } else { BODY.len() };
                    let head = format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {length}\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes());
                    if !drips {
                        let _ = stream.write_all(BODY.as_bytes());
                        return;
                    }
                    while stream.write_all(b"x").is_ok() {
                        std::thread::park_timeout(Duration::from_millis(10));
                    }
                });
            }
        });
        address
    }

    fn store(address: SocketAddr) -> S3Store {
        let settings = AwsSettings {
            region: Some("us-east-1".to_owned()),
            endpoint_url: Some(format!("http://{address}")),
            proxy: Some(hostler_core::config::settings::Proxy::Direct),
            ..AwsSettings::default()
        };
        let credentials = SharedCredentialsProvider::new(Credentials::new("AKID", "secret", None, None, "test"));
        let clients = Arc::new(Clients::new(settings).unwrap().with_credentials(credentials));
        let limits = Arc::new(Limits::default());
        S3Store::new(clients, "s3://bucket/st".parse().unwrap(), limits, DownloadSettings::default())
    }

    #[tokio::test]
    async fn an_answer_that_drips_is_given_up_and_the_next_one_is_read() {
        let drips = Arc::new(AtomicBool::new(true));
        let store = store(server(&drips));
        let key = "shop/web/release.json".parse().unwrap();
        let patience = Duration::from_millis(100);
        let dripping = within(patience, "read", || store.location(&key), store.get_now(&key, None, 4096));
        let late = dripping.await.unwrap_err();
        assert_eq!((late.operation, late.kind), ("read", StoreErrorKind::Transient));
        assert!(late.to_string().contains("s3://bucket/st/shop/web/release.json"), "{late}");
        assert!(late.to_string().contains("no whole answer came within"), "{late}");
        drips.store(false, Ordering::SeqCst);
        match store.get(&key, None, 4096).await.unwrap() {
            GetOutcome::Found { bytes, .. } => assert_eq!(bytes, BODY.as_bytes()),
            other => panic!("{other:?}"),
        }
    }
}
