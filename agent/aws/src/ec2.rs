//! EC2's application status checks, suppressed while a host is deployed to
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableApplicationStatusCheckSuppression.html>).

use std::time::Duration;

use crate::clients::Clients;
use crate::fault::{Fault, FaultKind};
use crate::signed_call::{Operation, Service, SignedCalls, SignedCallsError, element_text};

const VERSION: &str = "2016-11-15";
const ENABLE: Operation = operation("ec2:EnableApplicationStatusCheckSuppression");
const DISABLE: Operation = operation("ec2:DisableApplicationStatusCheckSuppression");

const fn operation(action: &'static str) -> Operation {
    Operation {
        service: Service { endpoint_prefix: "ec2", signing_name: "ec2" },
        action,
        timeout: Duration::from_secs(30),
        answer_bytes: 64 << 10,
    }
}

/// The application status checks of instances.
#[derive(Debug, Clone)]
pub struct StatusChecks(SignedCalls);

impl StatusChecks {
    /// Uses the SDK's credentials, region and endpoint.
    ///
    /// # Errors
    /// See [`SignedCallsError`].
    pub async fn of_clients(clients: &Clients) -> Result<Self, SignedCallsError> {
        SignedCalls::of_clients(clients).await.map(Self)
    }

    /// Suspends the consequences of the checks for this many seconds.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn suppress(&self, instance: &str, seconds: u64) -> Result<(), Fault> {
        let seconds = seconds.to_string();
        let parameters = [("InstanceId.1", instance), ("DurationSeconds", seconds.as_str())];
        self.call(&ENABLE, "EnableApplicationStatusCheckSuppression", &parameters).await
    }

    /// Ends the suspension: the checks count again.
    ///
    /// # Errors
    /// A [`Fault`].
    pub async fn resume(&self, instance: &str) -> Result<(), Fault> {
        self.call(&DISABLE, "DisableApplicationStatusCheckSuppression", &[("InstanceId.1", instance)]).await
    }

    async fn call(&self, operation: &Operation, name: &str, parameters: &[(&str, &str)]) -> Result<(), Fault> {
        let answer = self.0.query(operation, VERSION, name, parameters).await?;
        // The answer to a good request still reports the result for each instance.
        match element_text(&answer, "reason") {
            Some(reason) => Err(Fault::without_answer(FaultKind::Fatal, reason)),
            None => Ok(()),
        }
    }
}
