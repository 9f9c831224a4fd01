//! A look at a store for `hostler doctor`: it tries to list, and reads the store's clock off the answer.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::S3Store;
use super::deadline::SMALL_REQUEST;
use crate::fault::Fault;

/// The result of one list request.
#[derive(Debug)]
pub struct Look {
    /// Whether the store's prefix may be listed.
    pub listed: Result<(), Fault>,
    /// The store's clock, in seconds, if it answered at all.
    pub store_time: Option<Timestamp>,
    /// The bucket's actual Region, if it is not the configured one.
    pub region: Option<String>,
}

impl S3Store {
    /// Lists one key of the store.
    pub async fn look(&self) -> Look {
        let date = AnswersDate::default();
        let listed = self.bucket.call(async |client| {
            let list = client.list_objects_v2().bucket(&self.bucket.name).max_keys(1);
            let list = list.set_prefix((!self.prefix.is_empty()).then(|| format!("{}/", self.prefix)));
            let sent = list.customize().interceptor(date.clone()).send().await;
            sent.map(|_| ()).map_err(|e| Fault::of(e, "s3:ListBucket"))
        });
        let late = || Err(Fault::broken(format!("no whole answer came within {} seconds", SMALL_REQUEST.as_secs())));
        let listed = tokio::time::timeout(SMALL_REQUEST, listed).await.unwrap_or_else(|_| late());
        Look { listed, store_time: date.read(), region: self.region() }
    }
}

/// Keeps the Date of the last answer, whatever the answer is.
#[derive(Debug, Clone, Default)]
struct AnswersDate(Arc<Mutex<Option<Timestamp>>>);

impl AnswersDate {
    fn read(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for AnswersDate {
    fn name(&self) -> &'static str {
        "AnswersDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _configuration: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(time) = date.and_then(|text| rfc2822::DateTimeParser::new().parse_timestamp(text).ok()) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
        }
        Ok(())
    }
}
