//! One request each, its result, and the time of the next try.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use hostler_aws::fault::{Fault, FaultKind};
use hostler_aws::logs::{CloudWatchLogs, Put};
use hostler_core::logs::answer::Rejected;
use hostler_core::logs::lag::Totals;
use hostler_core::logs::settings::GroupWish;
use hostler_core::operator_events::OperatorEvent;
use hostler_core::retry::Backoff;
use hostler_host::clock;
use hostler_host::log_follow::{Outgoing, Tail, Ticket};
use tokio::time::Instant;

use crate::controller::{LogOnce, Retries};
use crate::log_output::operator_event;

/// Waits after failures.
const BACKOFF: Backoff = Backoff { first_ms: 400, most_ms: 60_000 };

/// Waits after a refusal that only an administrator can resolve: permissions, credentials.
const DENIED: Backoff = Backoff { first_ms: 15_000, most_ms: 60_000 };

/// How a request ended.
pub enum Sent {
    /// The service has taken the batch.
    Accepted { rejected: Rejected, events: usize, retention_of: Option<(String, u32)> },
    /// The service refuses a part of it.
    Refused(Fault),
    /// To be sent again.
    Failed(Fault),
}

/// Sends a batch; makes its log group and stream if they do not exist.
pub async fn send(service: &CloudWatchLogs, outgoing: Outgoing) -> Sent {
    let Outgoing { name, body, is_gzip, events, .. } = outgoing;
    let body = Bytes::from(body);
    let mut retention_of = None;
    let mut put = service.put(body.clone(), is_gzip, events).await;
    if matches!(put, Put::Missing) {
        match service.create(&name.group, &name.stream, &name.wish).await {
            Ok(is_new) => retention_of = retention(&name.group, &name.wish, is_new),
            Err(fault) => return Sent::Failed(fault),
        }
        put = service.put(body, is_gzip, events).await;
    }
    match put {
        Put::Accepted(rejected) => Sent::Accepted { rejected, events, retention_of },
        Put::Refused(fault) => Sent::Refused(fault),
        Put::Failed(fault) => Sent::Failed(fault),
        Put::Missing => Sent::Failed(Fault::broken("the stream was made and does not exist yet")),
    }
}

fn retention(group: &str, wish: &GroupWish, is_new: bool) -> Option<(String, u32)> {
    is_new.then_some(wish.retention_in_days).flatten().map(|days| (group.to_owned(), days))
}

/// The state of the requests.
pub struct Delivery {
    service: CloudWatchLogs,
    /// The streams whose last batch failed.
    waits: BTreeMap<Ticket, Retries>,
    totals: Totals,
    /// Logged once until a request succeeds again. Prevents: a log about failing logs that fills the disk.
    failing: LogOnce,
    /// Streams whose events were rejected; each is logged once.
    rejecting: BTreeSet<Ticket>,
}

impl Delivery {
    pub fn new(service: CloudWatchLogs) -> Self {
        Self {
            service,
            waits: BTreeMap::new(),
            totals: Totals::default(),
            failing: LogOnce::default(),
            rejecting: BTreeSet::new(),
        }
    }

    /// Uses another client from now on, without the waits of the previous one.
    pub fn use_service(&mut self, service: CloudWatchLogs) {
        self.service = service;
        self.waits.clear();
    }

    pub fn service(&self) -> CloudWatchLogs {
        self.service.clone()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Streams that still wait.
    pub fn held(&self) -> BTreeSet<Ticket> {
        self.waits.iter().filter(|(_, wait)| !wait.is_due()).map(|(ticket, _)| ticket.clone()).collect()
    }

    /// The time of the next try.
    pub fn next_try(&self) -> Option<Instant> {
        self.waits.values().filter(|wait| !wait.is_due()).filter_map(Retries::next).min()
    }

    /// Clears all waits: the end is near.
    pub fn forget_waits(&mut self) {
        self.waits.clear();
    }

    pub fn begins(&mut self, outgoing: &Outgoing) {
        self.totals.repeated_batches += u64::from(outgoing.is_again);
    }

    /// Records how a request ended.
    pub fn ended(&mut self, tail: &mut Tail, ticket: &Ticket, sent: Sent) {
        match sent {
            Sent::Accepted { rejected, events, retention_of } => {
                tail.acknowledge(ticket, clock::now_ms());
                self.accepted(ticket, rejected, events);
                if let Some((group, days)) = retention_of {
                    set_retention(self.service(), group, days);
                }
            }
            Sent::Refused(fault) => {
                self.totals.failed += 1;
                tail.refuse(ticket, fault.to_string(), clock::now_ms());
            }
            Sent::Failed(fault) => {
                tail.release(ticket, fault.to_string());
                self.failed(ticket, &fault);
            }
        }
    }

    fn accepted(&mut self, ticket: &Ticket, rejected: Rejected, events: usize) {
        self.waits.remove(ticket);
        self.totals.batches += 1;
        self.totals.events += (events - rejected.all()) as u64;
        self.totals.rejected_events += rejected.all() as u64;
        if self.failing.ends() {
            log::info!("logs are shipped again");
        }
        if rejected.all() > 0 && self.rejecting.insert(ticket.clone()) {
            operator_event!(
                Warn, OperatorEvent::LogsLost,
                too_old = rejected.too_old, expired = rejected.expired, too_new = rejected.too_new;
                "CloudWatch Logs did not keep {} events ({} too old, {} expired, {} too new): look at the clock and at the time format of their log",
                rejected.all(), rejected.too_old, rejected.expired, rejected.too_new
            );
        }
    }

    fn failed(&mut self, ticket: &Ticket, fault: &Fault) {
        let is_throttled = fault.kind == FaultKind::Throttled;
        self.totals.throttled += u64::from(is_throttled);
        self.totals.failed += u64::from(!is_throttled);
        let needs_somebody = matches!(fault.kind, FaultKind::Denied(_) | FaultKind::NoCredentials);
        if !is_throttled && self.failing.begins() {
            log::warn!(error:% = fault; "logs are not shipped; they wait in their files: {fault}");
        }
        let wait = self.waits.entry(ticket.clone()).or_insert_with(|| Retries::new(BACKOFF));
        wait.failed_with(if needs_somebody { DENIED } else { BACKOFF });
    }
}

/// Sets a new group's retention, slowly: an account may make five calls a second.
fn set_retention(service: CloudWatchLogs, group: String, days: u32) {
    tokio::spawn(async move {
        for failures in 1..=20 {
            match service.put_retention(&group, days).await {
                Ok(()) => return,
                Err(fault) if failures == 20 => {
                    log::warn!(group, days, error:% = fault; "the retention of the log group {group} could not be set to {days} days: {fault}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(BACKOFF.wait_ms(failures, clock::random()))).await,
            }
        }
    });
}
