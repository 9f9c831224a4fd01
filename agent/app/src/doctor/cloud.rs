//! AWS: which host this is, the metadata service, credentials, and the permissions for the groups' channels.

use std::collections::BTreeSet;

use hostler_aws::clients::Clients;
use hostler_aws::credentials;
use hostler_aws::fault::FaultKind;
use hostler_aws::imds::{Imds, ImdsFault};
use hostler_aws::signed_call::SignedCalls;
use hostler_aws::sqs::Queue;
use hostler_aws::store_s3::{S3Store, check_conditions};
use hostler_core::config::settings::GroupSettings;
use hostler_core::doctor::{Code, Finding, clock_skew};
use hostler_core::ids::{InstanceId, Sha256Digest};
use hostler_core::machine::State;
use hostler_core::machine::state::{Group, Installed};
use hostler_core::release::{self, AgentVersion, Document, RevisionSource, Trust};
use hostler_core::store::{GetOutcome, Location, S3Location, Store as _, StoreError, StoreErrorKind, release_key};
use hostler_host::{clock, ledger};

use super::{clients, environment};
use crate::identity::{self, IdentitySource};
use crate::setup::Setup;
use crate::signatures;
use crate::state_file::read_state;
use crate::stores::AnyStore;

/// Checks the credentials and every channel that the configuration uses.
pub async fn examine(setup: &Setup, write: bool, findings: &mut Vec<Finding>) {
    let groups: Vec<(&GroupSettings, &str)> =
        setup.settings.groups.iter().filter_map(|group| Some((group, group.channel.as_deref()?))).collect();
    if !groups.is_empty() && setup.settings.signatures.channel.is_none() {
        findings.push(unsigned(&known_state(setup)));
    }
    if groups.iter().any(|(_, channel)| channel.starts_with("s3://")) {
        let Some(clients) = clients(setup, Code::Credentials, findings) else { return };
        findings.push(found_credentials(&clients).await);
    }
    for (group, url) in setup.settings.groups.iter().filter_map(|group| Some((group, group.wake_up_queue.as_deref()?)))
    {
        findings.push(wake_up_queue(setup, group, url).await);
    }
    let mut looked_at = BTreeSet::new();
    for (group, channel) in groups {
        match setup.stores.open(channel) {
            Ok(store) => {
                if looked_at.insert(channel) {
                    store_itself(&store, channel, write, findings).await;
                }
                release_of(setup, group, &store, findings).await;
            }
            Err(failure) => {
                let message = format!("{}: {}", group.key, failure.one_line());
                findings.push(Finding::error(
                    Code::StoreReachable,
                    message,
                    "correct the group's channel, or make the store",
                ));
            }
        }
    }
}

/// Channels without keys are a choice. Signed releases that no key verifies are a mistake, or an attack.
fn unsigned(state: &State) -> Finding {
    let told = "no keys are configured: who can write the store decides what this host runs";
    let remedy = "hostler keygen, and signatures: channel: in the configuration";
    let is_signed = |group: &&Group| {
        let signed = |installed: &Installed| installed.trust != Trust::Unsigned;
        group.following.keys.is_some() || group.installed.as_ref().is_some_and(signed)
    };
    let signed: Vec<_> = state.groups.values().filter(is_signed).map(|group| group.key.to_string()).collect();
    if signed.is_empty() {
        return Finding::info(Code::SignaturePolicy, format!("{told}; to change that: {remedy}"));
    }
    let message = format!("{told}, and the releases of {} are signed", signed.join(", "));
    Finding::warning(Code::SignaturePolicy, message, remedy)
}

/// The state, empty where there is none or this user may not read it.
fn known_state(setup: &Setup) -> State {
    let snapshot = ledger::peek(setup.layout.state(), &setup.limits).ok().flatten();
    snapshot.and_then(|snapshot| read_state(&snapshot.state).ok()).unwrap_or_default()
}

/// Which host this is, if that can be found out.
pub async fn who(setup: &Setup, findings: &mut Vec<Finding>) -> Option<InstanceId> {
    let known = known_state(setup).instance;
    match identity::find(setup, known.as_ref()) {
        Ok(IdentitySource::Known(id)) => {
            findings.push(Finding::ok(Code::Identity, format!("this host is {id}")));
            Some(id)
        }
        Ok(IdentitySource::Ask(imds)) => match identity::ask(&imds).await {
            Ok(id) => {
                findings.push(answers(&imds).await);
                findings.push(match known {
                    Some(known) if known != id => Finding::info(
                        Code::Identity,
                        format!("this host is {id}; the state is that of {known} and is forgotten at the next start"),
                    ),
                    _ => Finding::ok(Code::Identity, format!("this host is {id}, by the instance metadata service")),
                });
                Some(id)
            }
            Err(fault) => {
                findings.push(imds_fault(&fault));
                let remedy = "see the finding about the metadata service; or set instance_id in the configuration";
                findings.push(Finding::error(Code::Identity, "it is not known which host this is", remedy));
                None
            }
        },
        Err(failure) => {
            let remedy = "set instance_id in the configuration";
            findings.push(Finding::error(Code::Identity, failure.one_line(), remedy));
            None
        }
    }
}

/// Shows the other answers of the metadata service: whether tags and the Auto Scaling group are visible.
async fn answers(imds: &Imds) -> Finding {
    let zone = imds.availability_zone().await.unwrap_or_else(|fault| format!("({fault})"));
    let kind = imds.instance_type().await.unwrap_or_else(|fault| format!("({fault})"));
    let tags = match imds.tags().await {
        Ok(Some(tags)) => format!("tags that are shown: {}", tags.len()),
        Ok(None) => "tags are not shown in the metadata".to_owned(),
        Err(fault) => format!("tags: {fault}"),
    };
    let group = match imds.target_lifecycle_state().await {
        Ok(Some(state)) => format!("its Auto Scaling group takes it to {state}"),
        Ok(None) => "no Auto Scaling state".to_owned(),
        Err(fault) => format!("Auto Scaling state: {fault}"),
    };
    Finding::ok(Code::ImdsAnswers, format!("{} answers: {kind} in {zone}; {tags}; {group}", imds.endpoint()))
}

fn imds_fault(fault: &ImdsFault) -> Finding {
    let code = match fault {
        ImdsFault::Unreachable { .. } => Code::ImdsUnreachable,
        ImdsFault::TokenUnanswered { .. } => Code::ImdsHopLimit,
        ImdsFault::NoVersionTwo { .. } => Code::ImdsVersionOne,
        ImdsFault::Slow { .. } | ImdsFault::Throttled { .. } => Code::ImdsSlow,
        ImdsFault::Forbidden | ImdsFault::Disabled => Code::ImdsRefused,
        ImdsFault::Endpoint { .. }
        | ImdsFault::TokenNotTaken { .. }
        | ImdsFault::Status { .. }
        | ImdsFault::Broken { .. }
        | ImdsFault::Garbage { .. }
        | ImdsFault::Missing { .. } => Code::ImdsWrong,
    };
    Finding::error(code, fault.to_string(), fault.remedy())
}

async fn found_credentials(clients: &Clients) -> Finding {
    match credentials::find(clients).await {
        Ok(found) => {
            let until = found.expires.map_or_else(|| "do not expire".to_owned(), |time| format!("expire at {time}"));
            let whose =
                std::env::var(environment::WHOSE).map_or_else(|_| String::new(), |whose| format!(" of {whose}"));
            let message = format!("access key {} from {}{whose}; they {until}", found.access_key_id, found.provider);
            match found.expires {
                Some(time) if time <= clock::now() => {
                    Finding::error(Code::Credentials, format!("{message}: expired"), "renew them, or attach a role")
                }
                _ => Finding::ok(Code::Credentials, message),
            }
        }
        Err(problem) => {
            let remedy =
                "attach an instance profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the service";
            Finding::error(Code::Credentials, format!("there are none: {problem}"), remedy)
        }
    }
}

async fn wake_up_queue(setup: &Setup, group: &GroupSettings, url: &str) -> Finding {
    let tried = async {
        let clients = setup.stores.clients().map_err(|failure| failure.one_line())?;
        let calls = SignedCalls::of_clients(&clients).await.map_err(|e| e.to_string())?;
        Queue::new(&calls, url).look().await.map_err(|fault| fault.to_string())
    };
    match tried.await {
        Ok(()) => Finding::ok(Code::WakeUpQueue, format!("{}: {url} can be read", group.key)),
        Err(problem) => {
            let remedy = "allow sqs:ReceiveMessage and sqs:DeleteMessage on the queue, or correct wake_up_queue; the \
                          channel is polled meanwhile";
            Finding::error(Code::WakeUpQueue, format!("{}: {url}: {problem}", group.key), remedy)
        }
    }
}

async fn store_itself(store: &AnyStore, channel: &str, write: bool, findings: &mut Vec<Finding>) {
    if let AnyStore::S3(store) = store {
        bucket(store, channel, findings).await;
    } else {
        findings.push(Finding::ok(Code::StoreReachable, format!("{channel} is a directory of this host")));
    }
    findings.push(if write {
        conditions(store, channel).await
    } else {
        let message =
            format!("{channel}: not tried, because trying writes an object and deletes it again; --write tries");
        Finding::info(Code::StoreConditions, message)
    });
}

async fn bucket(store: &S3Store, channel: &str, findings: &mut Vec<Finding>) {
    let look = store.look().await;
    if let Some(time) = look.store_time {
        findings.push(Finding::ok(Code::StoreReachable, format!("{channel} answers")));
        findings.push(clock_skew(clock::now().as_second(), time.as_second()));
    }
    if let Some(region) = &look.region {
        let message = format!("{channel} is in {region}, which is not the configured Region");
        findings.push(Finding::info(Code::StoreRegion, message));
    } else if look.store_time.is_some() {
        findings.push(Finding::ok(Code::StoreRegion, format!("{channel} is in the configured Region")));
    }
    findings.push(match look.listed {
        Ok(()) => Finding::ok(Code::StoreList, format!("{channel} may be listed")),
        Err(fault) if matches!(fault.kind, FaultKind::Denied(_)) => {
            let message =
                format!("{channel}: {fault}; a release that does not exist yet looks like one that is forbidden");
            let bucket = channel.trim_start_matches("s3://").split('/').next().unwrap_or_default();
            Finding::warning(
                Code::StoreList,
                message,
                format!("allow s3:ListBucket on arn:aws:s3:::{bucket} to the role"),
            )
        }
        Err(fault) => {
            let remedy = fault.advice().unwrap_or_else(|| "check the region and whether the bucket exists".to_owned());
            let code = if look.store_time.is_some() { Code::StoreList } else { Code::StoreReachable };
            Finding::error(code, format!("{channel}: {fault}"), remedy)
        }
    });
}

async fn conditions(store: &AnyStore, channel: &str) -> Finding {
    let nonce = match clock::random_bytes::<32>() {
        Ok(bytes) => Sha256Digest::from_bytes(bytes),
        Err(error) => {
            return Finding::error(Code::StoreConditions, format!("no randomness: {error}"), "see /dev/urandom");
        }
    };
    match check_conditions(store, &nonce).await {
        Ok(()) => Finding::ok(Code::StoreConditions, format!("{channel} keeps the conditions of writes")),
        Err(error) => {
            let remedy =
                "allow s3:PutObject and s3:DeleteObject on the store's prefix, or use a store that keeps conditions";
            Finding::error(Code::StoreConditions, crate::failure::chain(&error), remedy)
        }
    }
}

async fn release_of(setup: &Setup, group: &GroupSettings, store: &AnyStore, findings: &mut Vec<Finding>) {
    let key = release_key(&group.key);
    let place = store.location(&key);
    let read = match store.get(&key, None, release::stored_bytes(&setup.limits)).await {
        Ok(GetOutcome::Found { bytes, .. }) => {
            findings.extend(signature_of(setup, group, store, &place, &bytes).await);
            findings.push(Finding::ok(Code::StoreRead, format!("{place} can be read")));
            findings.extend(bundle_of(setup, store, &bytes).await);
            return;
        }
        Ok(GetOutcome::NotModified | GetOutcome::NotFound) => {
            let remedy = "publish one: hostler push, hostler release";
            Finding::warning(Code::StoreRead, format!("{place} does not exist: nothing was released yet"), remedy)
        }
        Err(error) => unreadable(&error),
    };
    findings.push(read);
}

/// Whether the bundle that the release names can be read too: its bucket may need other permissions.
async fn bundle_of(setup: &Setup, store: &AnyStore, bytes: &[u8]) -> Option<Finding> {
    let document = Document::parse(bytes, &setup.limits, AgentVersion::current().ok()?).ok()?;
    let revision = document.release.revision;
    let (place, size) = match revision.source {
        RevisionSource::Key(key) => (store.location(&key), store.size(&key).await),
        RevisionSource::Location(Location::S3(place)) => {
            let object = setup.stores.object(S3Location { version_id: revision.version_id, ..place }).ok()?;
            (object.location(), object.facts().await.map(|found| found.map(|facts| facts.size)))
        }
        // Access to other servers is decided there; a deployment shows it.
        RevisionSource::Location(_) => return None,
    };
    let wrong = |what: &str| {
        let remedy = "push the bundle again, or release what is there";
        Finding::error(Code::StoreRead, format!("{place}, which is released, {what}"), remedy)
    };
    Some(match size {
        Ok(Some(size)) if size == revision.content.size => Finding::ok(Code::StoreRead, format!("{place} can be read")),
        Ok(Some(size)) => wrong(&format!("has {size} bytes and should have {}", revision.content.size)),
        Ok(None) => wrong("does not exist"),
        Err(error) => unreadable(&error),
    })
}

fn unreadable(error: &StoreError) -> Finding {
    let remedy = match error.kind {
        StoreErrorKind::Denied => {
            "allow s3:GetObject on the store's prefix (and kms:Decrypt where it is encrypted with a key)"
        }
        _ => "check the network, the region and the name of the bucket",
    };
    Finding::error(Code::StoreRead, crate::failure::chain(error), remedy)
}

/// Whether the release has the signatures that the configuration requires; without keys there is nothing to check.
async fn signature_of(
    setup: &Setup,
    group: &GroupSettings,
    store: &AnyStore,
    place: &str,
    bytes: &[u8],
) -> Option<Finding> {
    setup.settings.signatures.channel.as_ref()?;
    let state = known_state(setup);
    let verified = match signatures::channel_keys(setup, store, &group.key, &state).await {
        Ok(keys) => signatures::open(bytes, place, &setup.limits, keys.policy.as_ref()).map(|_| ()),
        Err(failure) => Err(failure),
    };
    Some(match verified {
        Ok(()) => Finding::ok(Code::SignaturePolicy, format!("{place} is signed as the configuration wants it")),
        Err(failure) => {
            let remedy = "sign it with keys that the configuration names, or correct the keys";
            Finding::error(Code::SignaturePolicy, failure.one_line(), remedy)
        }
    })
}

#[cfg(test)]
mod tests {
    use hostler_core::doctor::Severity;
    use hostler_core::ids::GroupKey;
    use hostler_core::release::{AcceptedKeys, SigningPolicy};

    use super::*;

    #[test]
    fn channels_without_keys_are_a_choice_until_their_releases_are_signed() {
        let key = GroupKey::new("web".parse().unwrap(), "production".parse().unwrap());
        let mut group = Group::new(key.clone());
        let state = |group: &Group| State { groups: [(key.id(), group.clone())].into(), ..State::default() };
        let choice = unsigned(&state(&group));
        assert_eq!(choice.severity, Severity::Info);
        assert!(choice.message.contains("hostler keygen"), "{}", choice.message);
        let policy = SigningPolicy { version: 1, threshold: 1, keys: Vec::new() };
        group.following.keys = Some(AcceptedKeys::new(&policy.clone(), policy));
        let lost = unsigned(&state(&group));
        assert_eq!(lost.severity, Severity::Warning);
        assert!(lost.message.contains("the releases of web/production are signed"), "{}", lost.message);
    }
}
