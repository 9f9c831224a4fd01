//! `hostler signal`: replaces cfn-signal, without Python on the image.

use std::time::Duration;

use hostler_aws::cfn::{Signal, Signalled, UNIQUE_ID_BYTES};
use hostler_aws::fault::Fault;
use hostler_core::codes::ExitCode;
use hostler_core::retry::Backoff;
use hostler_host::clock;
use serde::Serialize;

use crate::cfn_signals::send::{Sender, Target};
use crate::cli::{Shared, SignalArgs};
use crate::failure::{Failure, Outcome};
use crate::identity::{self, IdentitySource};
use crate::output;
use crate::setup::Setup;

/// A stack waits for minutes, and the network comes up within seconds of a boot.
const BETWEEN_TRIES: Backoff = Backoff { first_ms: 1000, most_ms: 15_000 };
const MOST_TRIES: u32 = 8;

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    status: &'static str,
    unique_id: String,
    /// Whether CloudFormation was waiting for the signal.
    taken: bool,
    /// CloudFormation's message if it was not.
    message: Option<String>,
}

pub fn run(shared: &Shared, arguments: SignalArgs) -> Outcome {
    let setup = Setup::of_flags(shared)?;
    super::block_on(async { signal(&setup, arguments).await })
}

async fn signal(setup: &Setup, arguments: SignalArgs) -> Outcome {
    let signal = what(setup, &arguments).await?;
    let target = match (&arguments.stack, &arguments.resource, &arguments.url) {
        (Some(stack), Some(resource), _) => {
            let (stack, resource) = (stack.clone(), resource.clone());
            Target::Resource { stack, resource, region: arguments.region.clone() }
        }
        (_, _, Some(url)) => {
            let url = super::given::or_line_of_input(url.clone(), "the wait condition's URL")?;
            Target::WaitCondition { url }
        }
        // clap asks for one of them.
        _ => return Err(Failure::say(ExitCode::Usage, "name a stack and a resource, or a wait condition's URL")),
    };
    let sender = Sender::new(&setup.stores, &target).await?;
    let signalled = again_and_again(async || sender.send(&signal).await).await?;
    let (taken, message) = match signalled {
        Signalled::Taken => (true, None),
        Signalled::NobodyWaits(words) => (false, Some(words)),
    };
    if setup.json {
        let document = Document { version: 1, status: signal.status, unique_id: signal.unique_id, taken, message };
        output::json(&document)?;
    } else {
        let text = match message {
            None => format!("signalled {} as {}\n", signal.status, signal.unique_id),
            Some(words) => format!("CloudFormation no longer waits for this signal, which is as good: {words}\n"),
        };
        output::text(&text)?;
    }
    Ok(ExitCode::Ok)
}

async fn what(setup: &Setup, arguments: &SignalArgs) -> Result<Signal, Failure> {
    let good = match (arguments.exit_code, arguments.success) {
        (Some(code), _) => code == 0,
        (None, success) => success.unwrap_or(true),
    };
    let unique_id = match &arguments.id {
        Some(id) => id.clone(),
        None => match identity::find(setup, None)? {
            IdentitySource::Known(instance) => instance.as_str().to_owned(),
            IdentitySource::Ask(imds) => identity::ask(&imds).await.map_err(identity::failure)?.as_str().to_owned(),
        },
    };
    if unique_id.is_empty() || unique_id.len() > UNIQUE_ID_BYTES {
        let message = format!("the id {unique_id:?} has not 1 to {UNIQUE_ID_BYTES} bytes");
        return Err(Failure::say(ExitCode::Usage, message).hint("name who signals with --id"));
    }
    let otherwise = if good { "ready" } else { "failed" };
    Ok(Signal {
        status: if good { "SUCCESS" } else { "FAILURE" },
        unique_id,
        data: arguments.data.clone().unwrap_or_default(),
        reason: arguments.reason.clone().unwrap_or_else(|| otherwise.to_owned()),
    })
}

/// Tries until the signal is accepted or cannot be.
async fn again_and_again<T>(attempt: impl AsyncFn() -> Result<T, Fault>) -> Result<T, Failure> {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(fault) if fault.is_retryable() && failures + 1 < MOST_TRIES => {
                failures += 1;
                tokio::time::sleep(Duration::from_millis(BETWEEN_TRIES.wait_ms(failures, clock::random()))).await;
            }
            Err(fault) => {
                return Err(Failure::new(
                    ExitCode::Failed,
                    anyhow::Error::new(fault).context("the signal was not taken"),
                ));
            }
        }
    }
}
