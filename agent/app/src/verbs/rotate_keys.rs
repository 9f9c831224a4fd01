//! `hostler rotate-keys STORE`: other keys than before sign a group's releases from now on.

use std::path::Path;

use hostler_core::codes::ExitCode;
use hostler_core::machine::State;
use hostler_core::release::{KeysDocument, PublicKey, SigningPolicy, next_policy};
use hostler_core::store::{Condition, PutOutcome, Store as _, signing_policy_key};
use hostler_host::{clock, signature};

use crate::cli::{RotateKeysArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::signing;
use crate::sources::signatures::channel_keys;
use crate::sources::store;

pub fn run(shared: &Shared, arguments: &RotateKeysArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let group = setup.group(shared)?;
    let store = setup.stores.open(&arguments.store)?;
    super::block_on(async {
        let Some(current) = channel_keys(&setup, &store, &group, &State::default()).await?.policy else {
            let message = "no keys are configured here, so that nothing can follow them";
            return Err(Failure::say(ExitCode::Refused, message)
                .hint("configure the first keys on every host (signatures: channel), and here"));
        };
        let keys: Vec<PublicKey> = arguments.public_key.iter().map(|path| public(path)).collect::<Result<_, _>>()?;
        let policy = SigningPolicy { version: current.version + 1, threshold: arguments.threshold, keys };
        if let Err((field, problem)) = policy.check() {
            return Err(Failure::say(ExitCode::Usage, format!("the new {field} {problem}")));
        }
        let signers = signing::signers(&setup, &arguments.signing).await?;
        let mut envelope = KeysDocument::new(&group, policy.clone(), clock::now()).seal(&setup.limits)?;
        signing::sign(&mut envelope, &signers).await?;
        let bytes = envelope.to_bytes(&setup.limits)?;
        next_policy(&current, &bytes, &group, &setup.limits, &signature::verify).map_err(|e| {
            Failure::new(ExitCode::VerificationFailed, e)
                .hint("sign with enough of the keys before, and with enough of the new ones: --key, --kms-key")
        })?;
        let place = signing_policy_key(&group, policy.version);
        match store.put(&place, &bytes, Condition::IfAbsent).await.map_err(store::failure)? {
            PutOutcome::Stored(_) => say(&setup, &store.location(&place), &policy),
            PutOutcome::PreconditionFailed => {
                let message = format!("{} exists already, and no key policy is ever replaced", store.location(&place));
                Err(Failure::say(ExitCode::Refused, message)
                    .hint("if the keys before it do not stand for it, hosts say so; delete it then, and try again"))
            }
        }
    })
}

fn public(path: &Path) -> Result<PublicKey, Failure> {
    signature::read_public(path).map_err(|e| Failure::new(ExitCode::Usage, e))
}

fn say(setup: &Setup, location: &str, policy: &SigningPolicy) -> Outcome {
    if setup.json {
        let mut document = serde_json::json!({ "version": 1, "location": location });
        document["policy"] = serde_json::to_value(policy)?;
        output::json(&document)?;
        return Ok(ExitCode::Ok);
    }
    let keys: Vec<String> = policy.keys.iter().map(ToString::to_string).collect();
    output::text(&format!(
        "key policy {version}: {location}\n\n\
         hosts take it up with the next release. New hosts need less of the store with these lines:\n\n\
         signatures:\n  channel:\n    version: {version}\n    threshold: {threshold}\n    keys: [{keys}]\n",
        version = policy.version,
        threshold = policy.threshold,
        keys = keys.join(", "),
    ))?;
    Ok(ExitCode::Ok)
}
