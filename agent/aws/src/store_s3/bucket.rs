//! A bucket in any region: requests go to its own region once that is known.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Region};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use hostler_core::config::settings::AddressingStyle;

use crate::clients::Clients;
use crate::fault::{Fault, FaultKind};

/// The region of the first request. Every region answers with the bucket's own region.
const FIRST_REGION: &str = "us-east-1";

/// A bucket with the client that reaches it.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    clients: Arc<Clients>,
    /// The region that an answer named, and the client for it.
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    region: Option<String>,
    client: Option<Client>,
}

impl Bucket {
    pub(crate) fn new(clients: Arc<Clients>, name: String) -> Self {
        Self { name, clients, found: Mutex::default() }
    }

    /// Does a request; if the bucket is in another region, finds out in which and does it again there; if the
    /// credentials have expired, asks for others once.
    pub(crate) async fn call<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        self.renewing(|| self.call_in_region(&request)).await
    }

    /// Sends a request, and once more with other credentials if the first ones are refused as expired.
    pub(crate) async fn renewing<T, F>(&self, request: impl Fn() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        match request().await {
            Err(fault) if fault.kind == FaultKind::Expired => {
                self.clients.forget_credentials().await;
                request().await
            }
            other => other,
        }
    }

    async fn call_in_region<T, F>(&self, request: &impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let client = self.client().await;
        match request(client).await {
            Err(Fault {
                kind: FaultKind::Elsewhere(named),
                code,
                message,
                status,
                request_id,
                extended_request_id,
            }) => {
                let region = match named {
                    Some(region) => Some(region),
                    None => self.ask_region().await,
                };
                let known = self.region();
                match region.filter(|region| Some(region) != known.as_ref()) {
                    Some(region) => {
                        log::debug!(bucket = self.name.as_str(), region = region.as_str(); "the bucket is in another region");
                        self.lock().region = Some(region);
                        self.lock().client = None;
                        request(self.client().await).await
                    }
                    None => Err(Fault {
                        kind: FaultKind::Elsewhere(None),
                        code,
                        message,
                        status,
                        request_id,
                        extended_request_id,
                    }),
                }
            }
            other => other,
        }
    }

    /// The bucket's actual region, if an answer named one.
    pub(crate) fn region(&self) -> Option<String> {
        self.lock().region.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        // The value is complete at any time.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client for single requests.
    async fn client(&self) -> Client {
        if let Some(client) = self.lock().client.clone() {
            return client;
        }
        let client = self.connect(self.clients.for_s3()).await;
        self.lock().client = Some(client.clone());
        client
    }

    /// A separate client with kept connections, for the requests of one download or upload.
    pub(crate) async fn client_for(&self, connections: usize) -> Client {
        self.connect(Some(self.clients.for_download(connections))).await
    }

    async fn connect(&self, http: Option<SharedHttpClient>) -> Client {
        let sdk = self.clients.sdk().await;
        let settings = &self.clients.settings().s3;
        let mut builder = Builder::from(sdk);
        if let Some(region) = self.region() {
            builder.set_region(Some(Region::new(region)));
        } else if sdk.region().is_none() {
            builder.set_region(Some(Region::new(FIRST_REGION)));
        }
        if let Some(url) = &settings.endpoint_url {
            builder.set_endpoint_url(Some(url.clone()));
        }
        if let Some(http) = http {
            builder.set_http_client(Some(http));
        }
        let own_endpoint = settings.endpoint_url.is_some()
            || sdk.endpoint_url().is_some()
            || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
        builder.set_force_path_style(Some(match settings.addressing_style {
            AddressingStyle::Auto => own_endpoint,
            AddressingStyle::Path => true,
            AddressingStyle::Virtual => false,
        }));
        Client::from_conf(builder.build())
    }

    async fn ask_region(&self) -> Option<String> {
        let client = self.client().await;
        match client.head_bucket().bucket(&self.name).send().await {
            Ok(answer) => answer.bucket_region,
            Err(error) => match Fault::of(error, "s3:ListBucket").kind {
                FaultKind::Elsewhere(region) => region,
                _ => None,
            },
        }
    }
}
