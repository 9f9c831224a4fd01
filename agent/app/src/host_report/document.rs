//! One document: its last written content, and the time of the next try.

use anyhow::Context as _;
use hostler_core::host_report::{HOST_REPORT_BYTES, HostReport, ReportContent, Reporter};
use hostler_core::ids::GroupKey;
use hostler_core::retry::Backoff;
use hostler_core::status::ReportStatus;
use hostler_core::store::{Condition, ETag, GetOutcome, Key, PutOutcome, Store as _, StoreErrorKind, host_key};
use hostler_host::clock;
use tokio::time::Instant;

use super::{BETWEEN_WRITES, Identification, at};
use crate::controller::{LogOnce, Retries};
use crate::failure::Failure;
use crate::setup::Setup;
use crate::stores::{self, AnyStore};

/// Waits after failures that may pass.
const AFTER_FAILURES: Backoff = Backoff { first_ms: 5000, most_ms: 900_000 };
/// Waits after a refusal, which an administrator has to resolve: a late policy is noticed, and a read-only role costs
/// little.
const AFTER_REFUSALS: Backoff = Backoff { first_ms: 60_000, most_ms: 3_600_000 };

/// The document of one group.
#[derive(Debug)]
pub struct Document {
    /// The group.
    pub key: GroupKey,
    channel: String,
    place: Option<String>,
    /// The document in the store, as far as this process knows.
    stored: Option<Stored>,
    retries: Retries,
    log: LogOnce,
    problem: Option<String>,
}

#[derive(Debug)]
struct Stored {
    user: String,
    /// `None` if the stored document is not a readable report.
    report: Option<HostReport>,
    /// `None` where there is no document yet.
    etag: Option<ETag>,
}

/// Why a document was not written.
struct Unwritten {
    refused: bool,
    failure: Failure,
}

impl From<Failure> for Unwritten {
    fn from(failure: Failure) -> Self {
        Self { refused: false, failure }
    }
}

impl Document {
    /// A document about which nothing is known.
    pub fn new(key: GroupKey, channel: &str) -> Self {
        Self {
            key,
            channel: channel.to_owned(),
            place: None,
            stored: None,
            retries: Retries::new(AFTER_FAILURES),
            log: LogOnce::default(),
            problem: None,
        }
    }

    /// Selects the store. In another store, nothing is known of the document.
    pub fn is_in(&mut self, channel: &str) {
        if self.channel != channel {
            *self = Self::new(self.key.clone(), channel);
        }
    }

    /// The status to show.
    pub fn status(&self) -> ReportStatus {
        let stored = self.stored.as_ref().and_then(|stored| stored.report.as_ref());
        ReportStatus {
            key: self.key.clone(),
            place: self.place.clone(),
            written_ms: stored.map(|report| report.written_ms),
            error: self.problem.clone(),
        }
    }

    /// Writes the document if it is due; returns when to look again.
    pub async fn keep_true(
        &mut self,
        setup: &Setup,
        identification: &mut Identification,
        content: impl FnOnce(Reporter) -> ReportContent,
    ) -> Instant {
        if let Some(next) = self.retries.next().filter(|_| !self.retries.is_due()) {
            return next;
        }
        match self.write_if_due(setup, identification, content).await {
            Ok(next) => {
                self.problem = None;
                if self.log.ends() {
                    log::info!(hostler_event = "report-written-again", group:% = self.key; "{}: the host's report is written again", self.key);
                }
                next
            }
            Err(unwritten) => {
                let waits = if unwritten.refused { AFTER_REFUSALS } else { AFTER_FAILURES };
                let next = self.retries.failed_with(waits);
                identification.forget_user();
                // The stored document must be read again: a write whose answer was lost may have happened.
                self.stored = None;
                self.tell(unwritten.failure.one_line());
                next
            }
        }
    }

    /// Logs the problem once until a write succeeds.
    fn tell(&mut self, problem: String) {
        if self.log.begins() {
            log::warn!(
                hostler_event = "report-not-written", group:% = self.key, channel = self.channel.as_str();
                "{}: this host's report is not written into {}, deployments go on (report: false turns it off): {problem}",
                self.key, self.channel
            );
        }
        self.problem = Some(problem);
    }

    async fn write_if_due(
        &mut self,
        setup: &Setup,
        identification: &mut Identification,
        content: impl FnOnce(Reporter) -> ReportContent,
    ) -> Result<Instant, Unwritten> {
        let store = setup.stores.open(&self.channel)?;
        let who = identification.of(setup, &store).await?;
        let key = host_key(&self.key, &who.user).map_err(Failure::from)?;
        self.place = Some(store.location(&key));
        let content = content(who);
        let before = match self.stored.take() {
            Some(stored) if stored.user == content.user => stored,
            _ => read(&store, &key, &content.user).await?,
        };
        let due_ms = before.report.as_ref().map_or(0, |report| report.due_ms(&content, clock::random()));
        let now_ms = clock::now_ms();
        if due_ms > now_ms {
            self.stored = Some(before);
            self.retries.succeeded();
            return Ok(at(due_ms));
        }
        let counter = before.report.as_ref().map_or(0, |report| report.counter);
        let report = HostReport::after(counter, content, now_ms);
        let etag = put(&store, &key, &report, before.etag.as_ref()).await?;
        self.stored = Some(Stored { user: report.content.user.clone(), report: Some(report), etag: Some(etag) });
        // The next look draws the time of the daily write.
        let next = Instant::now() + BETWEEN_WRITES;
        self.retries.rest_until(next);
        Ok(next)
    }
}

async fn read(store: &AnyStore, key: &Key, user: &str) -> Result<Stored, Unwritten> {
    let user = user.to_owned();
    match store.get(key, None, HOST_REPORT_BYTES).await {
        Ok(GetOutcome::Found { bytes, etag }) => {
            // An unreadable document is replaced: only this host writes it.
            Ok(Stored { user, report: serde_json::from_slice(&bytes).ok(), etag: Some(etag) })
        }
        Ok(GetOutcome::NotFound | GetOutcome::NotModified) => Ok(Stored { user, report: None, etag: None }),
        Err(error) => Err(unwritten(error)),
    }
}

async fn put(store: &AnyStore, key: &Key, report: &HostReport, before: Option<&ETag>) -> Result<ETag, Unwritten> {
    let bytes = serde_json::to_vec(report).context("the report cannot be written as JSON").map_err(Failure::from)?;
    let condition = before.map_or(Condition::IfAbsent, Condition::IfMatch);
    match store.put(key, &bytes, condition).await.map_err(unwritten)? {
        PutOutcome::Stored(etag) => Ok(etag),
        PutOutcome::PreconditionFailed => {
            let message = format!("another host wrote {}; does it have the same name?", store.location(key));
            Err(Failure::say(hostler_core::codes::ExitCode::Failed, message).into())
        }
    }
}

fn unwritten(error: hostler_core::store::StoreError) -> Unwritten {
    Unwritten { refused: error.kind == StoreErrorKind::Denied, failure: stores::failure(error) }
}
