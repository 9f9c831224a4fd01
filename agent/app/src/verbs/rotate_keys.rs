//! `hostler rotate-keys STORE`: replaces the keys that sign a group's releases, and signs the channel's release with
//! the new keys. If it was interrupted or runs twice, it continues from the documents in the store.

use std::path::Path;

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::release::{KeysDocument, PublicKey, SigningPolicy, next_policy};
use hostler_core::store::{Condition, PutOutcome, Store as _, signing_policy_key};
use hostler_host::{clock, signature};

use crate::cli::{RotateKeysArgs, Shared};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::signatures::{Chain, publishers_chain};
use crate::signing::{self, Signer};
use crate::stores::{self, AnyStore};

mod standing;

use standing::Standing;

pub fn run(shared: &Shared, arguments: &RotateKeysArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let group = setup.group(shared)?;
    let store = setup.stores.open(&arguments.store)?;
    super::block_on(async {
        stores::must_keep_conditions(&store).await?;
        let chain = chain(&setup, &store, &group).await?;
        let keys: Vec<PublicKey> = arguments.public_key.iter().map(|path| public(path)).collect::<Result<_, _>>()?;
        let policy = SigningPolicy { version: chain.end.version + 1, threshold: arguments.threshold, keys };
        if let Err((field, problem)) = policy.check() {
            return Err(Failure::say(ExitCode::Usage, format!("the new {field} {problem}")));
        }
        let signers = signing::signers(&setup, &arguments.signing).await?;
        let chain = match asks_for_the_same(&chain.end, &policy) {
            // An earlier run got this far.
            true => chain,
            false => publish(&setup, &store, &group, (chain.end, policy), &signers).await?,
        };
        let location = store.location(&signing_policy_key(&group, chain.end.version));
        let standing = match arguments.keys_only {
            true => Ok(Standing::LeftAlone),
            false => standing::sign_again(&setup, &store, &group, &chain, &signers).await,
        };
        let standing = standing.inspect_err(|_| {
            output::notice(&format!("key policy {} is published: {location}", chain.end.version));
        })?;
        say(&setup, &location, &chain.end, &standing)
    })
}

async fn chain(setup: &Setup, store: &AnyStore, group: &GroupKey) -> Result<Chain, Failure> {
    publishers_chain(setup, store, group).await?.ok_or_else(|| {
        let message = "no keys are configured here, so that nothing can follow them";
        Failure::say(ExitCode::Refused, message)
            .hint("configure the first keys on every host (signatures: channel), and here")
    })
}

fn asks_for_the_same(now: &SigningPolicy, new: &SigningPolicy) -> bool {
    let all_in = |some: &SigningPolicy, others: &SigningPolicy| some.keys.iter().all(|key| others.keys.contains(key));
    now.threshold == new.threshold && all_in(now, new) && all_in(new, now)
}

/// Writes the new policy beside the channel. Of several publishers one succeeds; the others find the same policy or
/// another one there.
async fn publish(
    setup: &Setup,
    store: &AnyStore,
    group: &GroupKey,
    (now, new): (SigningPolicy, SigningPolicy),
    signers: &[Signer],
) -> Result<Chain, Failure> {
    let mut envelope = KeysDocument::new(group, new.clone(), clock::now()).seal(&setup.limits)?;
    signing::sign(&mut envelope, signers).await?;
    let bytes = envelope.to_bytes(&setup.limits)?;
    next_policy(&now, &bytes, group, &setup.limits, &signature::verify).map_err(|e| {
        Failure::new(ExitCode::VerificationFailed, e)
            .hint("sign with enough of the keys before, and with enough of the new ones: --key, --kms-key")
    })?;
    let place = signing_policy_key(group, new.version);
    match store.put(&place, &bytes, Condition::IfAbsent).await.map_err(stores::failure)? {
        PutOutcome::Stored(_) => Ok(Chain { before: Some(now), end: new }),
        PutOutcome::PreconditionFailed => {
            let there = chain(setup, store, group).await?;
            if asks_for_the_same(&there.end, &new) {
                return Ok(there);
            }
            let message = format!("{} exists already, and no key policy is ever replaced", store.location(&place));
            Err(Failure::say(ExitCode::Refused, message)
                .hint("if the keys before it do not stand for it, hosts say so; delete it then, and try again"))
        }
    }
}

fn public(path: &Path) -> Result<PublicKey, Failure> {
    signature::read_public(path).map_err(|e| Failure::new(ExitCode::Usage, e))
}

fn say(setup: &Setup, location: &str, policy: &SigningPolicy, standing: &Standing) -> Outcome {
    if setup.json {
        let mut document = serde_json::json!({ "version": 1, "location": location, "release": standing.json() });
        document["policy"] = serde_json::to_value(policy)?;
        output::json(&document)?;
        return Ok(ExitCode::Ok);
    }
    let keys: Vec<String> = policy.keys.iter().map(ToString::to_string).collect();
    output::text(&format!(
        "key policy {version}: {location}\n{standing}\n\n\
         hosts take it up with their next look at the channel that finds something new, at the latest with the tenth. New \
         hosts need less of the store with these lines:\n\n\
         signatures:\n  channel:\n    version: {version}\n    threshold: {threshold}\n    keys: [{keys}]\n",
        version = policy.version,
        threshold = policy.threshold,
        keys = keys.join(", "),
    ))?;
    Ok(ExitCode::Ok)
}
