//! The members of this host's group: from the Auto Scaling group, or from the hosts' reports in the channels' stores.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use hostler_aws::asg::AutoScaling;
use hostler_core::host_report::{HOST_REPORT_BYTES, HostReport};
use hostler_core::ids::{GroupKey, InstanceId};
use hostler_core::machine::Event;
use hostler_core::machine_events::{Change, MachineEvent, Member, Membership, look_again_ms, read_again_ms};
use hostler_core::retry::Backoff;
use hostler_core::store::{ETag, GetOutcome, Key, Store as _, hosts_key};
use hostler_host::{atomic, clock};
use tokio::time::Instant;

use crate::controller::{Controller, LogOnce, Retries, View, Wake};
use crate::engine::Handle;
use crate::failure::Failure;
use crate::setup::Setup;
use crate::stores::{self, AnyStore};

/// The most documents of one group that are read. Prevents: a store full of other things in this host's memory.
const MOST_DOCUMENTS: usize = 1000;

/// Waits after failures in a row.
const AFTER_FAILURES: Backoff = Backoff { first_ms: 5000, most_ms: 900_000 };

/// A document as last read.
struct Read {
    etag: ETag,
    /// `None` if the document cannot be understood.
    report: Option<HostReport>,
    at: Instant,
}

/// Tells the engine about the members, while there are scripts of Configure.
pub struct Members<P = Aws> {
    places: P,
    handle: Handle,
    instance: InstanceId,
    retries: Retries,
    log: LogOnce,
}

/// Where the members are known.
pub trait Places: Send {
    /// The members as they are now.
    ///
    /// # Errors
    /// When they are not known now.
    fn look(
        &mut self,
        setup: &Setup,
        instance: &InstanceId,
    ) -> impl Future<Output = Result<Membership, Failure>> + Send;
}

impl Members {
    /// Nothing is known of the members yet.
    pub fn new(handle: Handle, instance: InstanceId) -> Self {
        Self::of(Aws::default(), handle, instance)
    }
}

impl<P: Places> Controller for Members<P> {
    const NAME: &'static str = "members";

    async fn reconcile(&mut self, View { state, setup, .. }: &View) -> Wake {
        if !state.machine_events.present.contains(&MachineEvent::Configure) {
            return Wake::on_state();
        }
        // What the state says does not make others members: the time alone counts.
        let again = |members| Duration::from_millis(look_again_ms(members, clock::random()));
        match self.look_and_tell(setup).await {
            Ok(Some(members)) => {
                self.retries.succeeded();
                if self.log.ends() {
                    log::info!("the group's members are known again");
                }
                Wake::on_reload().after(again(members))
            }
            Ok(None) => Wake::on_reload().at(self.retries.failed()).after(again(0)),
            Err(failure) => {
                if self.log.begins() {
                    log::warn!(hostler_event = "members-unknown"; "Configure waits, the group's members are not known: {}", failure.one_line());
                }
                Wake::on_reload().at(self.retries.failed())
            }
        }
    }
}

impl<P: Places> Members<P> {
    fn of(places: P, handle: Handle, instance: InstanceId) -> Self {
        Self { places, handle, instance, retries: Retries::new(AFTER_FAILURES), log: LogOnce::default() }
    }

    /// The number of members; `None` while this host is not a member: before it is in service, or before its own
    /// document is written.
    async fn look_and_tell(&mut self, setup: &Setup) -> Result<Option<usize>, Failure> {
        let members = self.places.look(setup, &self.instance).await?;
        if !members.has(&self.instance) {
            return Ok(None);
        }
        tell(setup, &self.handle, &members).await?;
        Ok(Some(members.members.len()))
    }
}

/// Writes the document before the journal names it.
async fn tell(setup: &Setup, handle: &Handle, members: &Membership) -> Result<(), Failure> {
    let (bytes, digest) = members.to_bytes()?;
    if handle.state().borrow().machine_events.members == Some(digest) {
        return Ok(());
    }
    let path = setup.layout.members(&digest);
    atomic::create_directories(&setup.layout.machine_events(), 0o750)?;
    atomic::replace(&path, &bytes, 0o644)?;
    // If the engine has ended, the next start tells it.
    let _ = handle.ask(Event::Machine(Change::Members(digest))).await;
    Ok(())
}

/// The real places: the Auto Scaling group, or the documents in the stores.
#[derive(Default)]
pub struct Aws {
    documents: BTreeMap<(String, Key), Read>,
}

impl Places for Aws {
    async fn look(&mut self, setup: &Setup, instance: &InstanceId) -> Result<Membership, Failure> {
        if setup.settings.auto_scaling.is_some() {
            return of_auto_scaling(setup, instance).await;
        }
        let documents = &mut self.documents;
        let mut members = Vec::new();
        for group in &setup.settings.groups {
            let Some(channel) = &group.channel else { continue };
            let store = setup.stores.open(channel)?;
            let listed = store.list(&hosts_key(&group.key), "", MOST_DOCUMENTS).await.map_err(stores::failure)?;
            let keys: Vec<Key> = listed.into_iter().map(|object| object.key).collect();
            documents.retain(|(of, key), _| {
                of != channel || keys.contains(key) || !key.as_str().starts_with(hosts_key(&group.key).as_str())
            });
            let read_again = Duration::from_millis(read_again_ms(keys.len()));
            for key in keys {
                let place = (channel.clone(), key);
                let known = documents.remove(&place);
                if let Some(read) = read(&store, &group.key, &place.1, known, read_again).await? {
                    members.extend(read.report.as_ref().and_then(member));
                    documents.insert(place, read);
                }
            }
        }
        Ok(Membership::new(members))
    }
}

fn member(report: &HostReport) -> Option<Member> {
    report.as_member().ok().filter(|_| report.is_member(clock::now_ms()))
}

/// Reads a document, or returns a recent copy; `None` when it no longer exists.
async fn read(
    store: &AnyStore,
    group: &GroupKey,
    key: &Key,
    known: Option<Read>,
    again: Duration,
) -> Result<Option<Read>, Failure> {
    let known = match known {
        Some(known) if known.at.elapsed() < again => return Ok(Some(known)),
        known => known,
    };
    let etag = known.as_ref().map(|known| &known.etag);
    Ok(match store.get(key, etag, HOST_REPORT_BYTES).await.map_err(stores::failure)? {
        GetOutcome::NotFound => None,
        GetOutcome::NotModified => known.map(|known| Read { at: Instant::now(), ..known }),
        GetOutcome::Found { bytes, etag } => {
            let report =
                HostReport::of_other(&bytes, key, group).map_err(|problem| left_out(&store.location(key), &problem));
            Some(Read { etag, report: report.ok(), at: Instant::now() })
        }
    })
}

/// Logged once for each content of a document: it is read again only when it has changed.
fn left_out(whose: &str, problem: &str) {
    log::warn!(hostler_event = "member-left-out"; "{whose} is left out of the members: {problem}");
}

async fn of_auto_scaling(setup: &Setup, instance: &InstanceId) -> Result<Membership, Failure> {
    let clients = setup.stores.clients()?;
    let service = AutoScaling::of_clients(&clients).await;
    let own = service.describe(instance.as_str()).await.context("which group this instance is in")?;
    // Outside of a group, a host has no fellow members.
    let Some(own) = own else { return Ok(Membership::new(Vec::new())) };
    let found = service.in_service(&own.group).await.context("who is in the Auto Scaling group")?;
    let member = |(instance, zone): (String, String)| {
        let member = Member::new(&instance, Some(&zone), None);
        member.map_err(|problem| left_out(&format!("an instance of {}", own.group), &problem)).ok()
    };
    Ok(Membership::new(found.into_iter().filter_map(member).collect()))
}

#[cfg(test)]
mod tests;
