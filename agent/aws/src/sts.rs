//! STS: whose credentials these are
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>). The call needs no permission.

use std::time::Duration;

use crate::clients::Clients;
use crate::fault::{Fault, FaultKind};
use crate::signed_call::{Operation, Service, SignedCalls, SignedCallsError, element_text};

const GET_CALLER_IDENTITY: Operation = Operation {
    service: Service { endpoint_prefix: "sts", signing_name: "sts" },
    action: "sts:GetCallerIdentity",
    timeout: Duration::from_secs(10),
    answer_bytes: 16 << 10,
};
const VERSION: &str = "2011-06-15";

/// The service.
#[derive(Debug, Clone)]
pub struct Sts(SignedCalls);

impl Sts {
    /// Uses the SDK's credentials, region and endpoint.
    ///
    /// # Errors
    /// See [`SignedCallsError`].
    pub async fn of_clients(clients: &Clients) -> Result<Self, SignedCallsError> {
        SignedCalls::of_clients(clients).await.map(Self)
    }

    /// The caller's `aws:userid` in IAM policies: for an instance role its id, a colon and the instance id.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn user_id(&self) -> Result<String, Fault> {
        let answer = self.0.query(&GET_CALLER_IDENTITY, VERSION, "GetCallerIdentity", &[]).await?;
        element_text(&answer, "UserId")
            .filter(|id| !id.is_empty())
            .ok_or_else(|| Fault::without_answer(FaultKind::Fatal, "the answer of GetCallerIdentity names no user id"))
    }
}
