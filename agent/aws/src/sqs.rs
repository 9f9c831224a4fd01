//! A queue of SQS, read by long polls: `ReceiveMessage` and `DeleteMessageBatch` of
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>.

use std::time::Duration;

use aws_config::Region;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::signed_call::{JsonVersion, Operation, Service, SignedCalls};

const SQS: Service = Service { endpoint_prefix: "sqs", signing_name: "sqs" };
/// The longest that SQS holds a poll open.
const WAIT_SECONDS: u32 = 20;
/// Most messages of one answer.
const MOST_MESSAGES: u32 = 10;
/// SQS sends at most ten messages of 1 MiB together, with their escapes.
const ANSWER_BYTES: usize = 4 << 20;
const RECEIVE: Operation = Operation {
    service: SQS,
    action: "sqs:ReceiveMessage",
    timeout: Duration::from_secs(WAIT_SECONDS as u64 + 10),
    answer_bytes: ANSWER_BYTES,
};
const DELETE: Operation =
    Operation { service: SQS, action: "sqs:DeleteMessage", timeout: Duration::from_secs(20), answer_bytes: 64 << 10 };

/// A queue by its URL.
#[derive(Debug, Clone)]
pub struct Queue {
    calls: SignedCalls,
    url: String,
}

/// A received message, which other readers do not see for a while.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// Its text.
    #[serde(default)]
    pub body: String,
    receipt_handle: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveInput<'a> {
    queue_url: &'a str,
    max_number_of_messages: u32,
    wait_time_seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility_timeout: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveOutput {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteInput<'a> {
    queue_url: &'a str,
    entries: Vec<DeleteEntry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteEntry<'a> {
    id: String,
    receipt_handle: &'a str,
}

impl Queue {
    /// A queue by its URL; calls go to the region that the URL names.
    pub fn new(calls: &SignedCalls, url: &str) -> Self {
        let calls = match region_of(url) {
            Some(region) => calls.in_region(Region::new(region.to_owned())),
            None => calls.clone(),
        };
        Self { calls, url: url.to_owned() }
    }

    /// Waits up to 20 seconds for messages; often there are none.
    ///
    /// # Errors
    /// The fault of SQS or of the connection.
    pub async fn receive(&self) -> Result<Vec<Message>, Fault> {
        let input = ReceiveInput {
            queue_url: &self.url,
            max_number_of_messages: MOST_MESSAGES,
            wait_time_seconds: WAIT_SECONDS,
            visibility_timeout: None,
        };
        let output: ReceiveOutput =
            self.calls.json(&RECEIVE, JsonVersion::V1_0, "AmazonSQS.ReceiveMessage", &input).await?;
        Ok(output.messages)
    }

    /// Tries the calls that listening needs, and takes no message away from another reader: a received message stays
    /// visible, and the deleted one does not exist.
    ///
    /// # Errors
    /// The fault of SQS or of the connection.
    pub async fn look(&self) -> Result<(), Fault> {
        let input = ReceiveInput {
            queue_url: &self.url,
            max_number_of_messages: 1,
            wait_time_seconds: 0,
            visibility_timeout: Some(0),
        };
        let _: ReceiveOutput = self.calls.json(&RECEIVE, JsonVersion::V1_0, "AmazonSQS.ReceiveMessage", &input).await?;
        let none = Message { body: String::new(), receipt_handle: "none".to_owned() };
        match self.delete(&[none]).await {
            Err(fault) if fault.code.as_deref().is_some_and(|code| code.contains("ReceiptHandle")) => Ok(()),
            other => other,
        }
    }

    /// Takes messages off the queue. A message that stays is received again later.
    ///
    /// # Errors
    /// The fault of SQS or of the connection.
    pub async fn delete(&self, messages: &[Message]) -> Result<(), Fault> {
        let entries = messages.iter().enumerate();
        let entries = entries.map(|(n, m)| DeleteEntry { id: n.to_string(), receipt_handle: &m.receipt_handle });
        let input = DeleteInput { queue_url: &self.url, entries: entries.collect() };
        let _: serde_json::Value =
            self.calls.json(&DELETE, JsonVersion::V1_0, "AmazonSQS.DeleteMessageBatch", &input).await?;
        Ok(())
    }
}

/// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`; the URLs of emulators name no region.
fn region_of(url: &str) -> Option<&str> {
    let host = url.strip_prefix("https://sqs.")?.split('/').next()?;
    host.split('.').next().filter(|region| region.contains('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_url_names_its_region() {
        assert_eq!(region_of("https://sqs.eu-west-1.amazonaws.com/111122223333/q"), Some("eu-west-1"));
        assert_eq!(region_of("https://sqs.cn-north-1.amazonaws.com.cn/1/q"), Some("cn-north-1"));
        assert_eq!(region_of("http://127.0.0.1:5000/123456789012/q"), None);
    }
}
