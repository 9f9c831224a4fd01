//! Shipping logs to CloudWatch Logs: one task, which owns what is followed, and a few requests at a time.
//!
//! Looking at files goes on whatever becomes of the requests. A stream that has to wait keeps no request, no body and no
//! memory: its batch is built again when its time has come.

mod delivery;
mod metrics;
mod sources;

pub use metrics::write_metrics;
pub use sources::ip_address;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_aws::logs::CloudWatchLogs;
use hostler_aws::signed_call::SignedCalls;
use hostler_core::codes::ExitCode;
use hostler_core::ids::InstanceId;
use hostler_core::logs::lag::{LOGS_REPORT_VERSION, LogsReport, Totals};
use hostler_core::logs::placeholders::Names;
use hostler_core::logs::redact::Redactor;
use hostler_core::logs::settings::LogSettings;
use hostler_core::machine::State;
use hostler_host::clock;
use hostler_host::tail::{Changes, Outgoing, Tail, Ticket};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;
use crate::setup::Setup;
use delivery::{Delivery, Sent};

/// Requests at a time. More would not be faster on a small host, and each holds a body.
const REQUESTS: usize = 4;

/// Time between two looks however much the kernel tells.
const LOOK: Duration = Duration::from_millis(100);

/// Sources in a report. Prevents: an answer that does not fit through the door.
const MOST_REPORTED: usize = 2000;

/// What can be asked of the task.
enum Request {
    Report(oneshot::Sender<LogsReport>),
    /// Send everything that is there, within the time.
    Flush(Instant, oneshot::Sender<()>),
}

/// The way to the shipping. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ShippingHandle(mpsc::Sender<Request>);

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Report(_) => "Report",
            Self::Flush(..) => "Flush",
        })
    }
}

impl ShippingHandle {
    /// How far everything is; `None` when the shipping has ended.
    pub async fn report(&self) -> Option<LogsReport> {
        let (answer, report) = oneshot::channel();
        self.0.send(Request::Report(answer)).await.ok()?;
        report.await.ok()
    }
}

/// The task, for the daemon.
#[derive(Debug)]
pub struct Shipping {
    handle: ShippingHandle,
    task: JoinHandle<()>,
    flush: Duration,
}

impl Shipping {
    /// Starts it, if the configuration has a section `logs`.
    ///
    /// # Errors
    /// A usage failure for a source that cannot be followed, and when it is not known where AWS is.
    pub async fn start(
        setup: &Setup,
        instance: &InstanceId,
        mut state: watch::Receiver<Arc<State>>,
    ) -> Result<Option<Self>, Failure> {
        let Some(settings) = &setup.settings.logs else { return Ok(None) };
        let usage = |error: anyhow::Error| Failure::new(ExitCode::Usage, error);
        let clients = setup.stores.clients()?;
        let calls = SignedCalls::of_clients(&clients).await.context("logs cannot be shipped").map_err(usage)?;
        let redactor = Redactor::new(&settings.redact, &[]).context("logs: redact").map_err(usage)?;
        let directory = setup.layout.state();
        let mut tail = Tail::open(directory, redactor, settings.deleted_bytes)
            .with_context(|| format!("cannot open the logs' positions in {}", directory.display()))?;
        if !settings.compress {
            tail.do_not_compress();
        }
        let names = sources::host_names(instance);
        let wake = Arc::new(Notify::new());
        sources::follow_configured(&mut tail, setup, settings, &names, &wake)?;
        let changes = tail.changes()?;
        log::info!(files = settings.files.len(), journals = settings.journal.len(); "logs are shipped");
        // The groups that are there already.
        state.mark_changed();
        let (sender, requests) = mpsc::channel(8);
        let task = Task {
            setup: setup.clone(),
            settings: settings.clone(),
            names,
            state,
            requests,
            wake,
            changes,
            delivery: Delivery::new(CloudWatchLogs::new(calls)),
            sending: JoinSet::new(),
            looked: Instant::now(),
            flushing: None,
        };
        let flush = Duration::from_secs(settings.flush_seconds);
        Ok(Some(Self { handle: ShippingHandle(sender), task: tokio::spawn(task.run(tail)), flush }))
    }

    /// The way to it.
    pub fn handle(&self) -> ShippingHandle {
        self.handle.clone()
    }

    /// Ships what is there, within the configured bound, and ends. What is not shipped by then is shipped by the next start.
    pub async fn finish(self) {
        let (done, finished) = oneshot::channel();
        let deadline = Instant::now() + self.flush;
        if self.handle.0.send(Request::Flush(deadline, done)).await.is_ok() {
            // Also when the task ended in the middle.
            let _ = finished.await;
        }
        if let Err(error) = self.task.await {
            log::error!(error:%; "shipping logs ended early");
        }
    }
}

struct Task {
    setup: Setup,
    settings: LogSettings,
    names: Names,
    state: watch::Receiver<Arc<State>>,
    requests: mpsc::Receiver<Request>,
    /// Told by journals.
    wake: Arc<Notify>,
    changes: Option<Changes>,
    delivery: Delivery,
    sending: JoinSet<(Ticket, Sent)>,
    looked: Instant,
    flushing: Option<(Instant, oneshot::Sender<()>)>,
}

impl Task {
    async fn run(mut self, tail: Tail) {
        let mut tail = Some(tail);
        while let Some(had) = tail.take() {
            let had = self.follow_deployments(had);
            let Some(had) = self.send_what_is_due(had).await else { return };
            if self.is_over(&had) {
                self.sending.shutdown().await;
                had.close(clock::now_ms());
                if let Some((_, done)) = self.flushing.take() {
                    // Nobody waits any more, perhaps.
                    let _ = done.send(());
                }
                return;
            }
            tail = Some(self.wait(had).await);
        }
    }

    fn is_over(&self, tail: &Tail) -> bool {
        let Some((deadline, _)) = &self.flushing else { return false };
        if Instant::now() >= *deadline {
            log::warn!("not all logs were shipped in time; the next start goes on");
            return true;
        }
        tail.is_empty() && self.sending.is_empty()
    }

    /// The logs of groups that have come up since.
    fn follow_deployments(&mut self, mut tail: Tail) -> Tail {
        if self.state.has_changed().unwrap_or(false) {
            let state = Arc::clone(&self.state.borrow_and_update());
            sources::follow_deployments(&mut tail, &self.setup, &self.settings, &self.names, &state);
        }
        tail
    }

    /// Looks at the files and fills the places for requests. Files are read on a thread of their own.
    async fn send_what_is_due(&mut self, mut tail: Tail) -> Option<Tail> {
        loop {
            let held = self.delivery.held();
            let has_place = self.sending.len() < REQUESTS;
            let worked = tokio::task::spawn_blocking(move || {
                let now = clock::now_ms();
                tail.look(now);
                tail.sync(now);
                let next = if has_place { tail.next(now, |ticket| held.contains(ticket)) } else { None };
                (tail, next)
            });
            self.looked = Instant::now();
            let (returned, next) = match worked.await {
                Ok(worked) => worked,
                Err(error) => {
                    log::error!(error:%; "a fault in hostler: logs are not shipped any more");
                    return None;
                }
            };
            tail = returned;
            match next {
                Some(outgoing) => self.send(outgoing),
                None => return Some(tail),
            }
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        let service = self.delivery.service();
        self.delivery.begins(&outgoing);
        self.sending.spawn(async move {
            let ticket = outgoing.ticket.clone();
            (ticket, delivery::send(&service, outgoing).await)
        });
    }

    /// Waits for something to do.
    async fn wait(&mut self, mut tail: Tail) -> Tail {
        let held = self.delivery.held();
        let mut due = tail.watch_due_ms();
        if self.sending.len() < REQUESTS {
            due = due.min(tail.batch_due_ms(|ticket| held.contains(ticket)).unwrap_or(u64::MAX));
        }
        let now = clock::now_ms();
        let mut until = Instant::now() + Duration::from_millis(due.saturating_sub(now).min(60_000));
        until = until.min(self.delivery.next_try().unwrap_or(until));
        if let Some((deadline, _)) = &self.flushing {
            // The last lines of files may still be without their end.
            until = until.min(*deadline).min(Instant::now() + LOOK);
        }
        let quiet_until = self.looked + LOOK;
        tokio::select! {
            Some(done) = self.sending.join_next(), if !self.sending.is_empty() => match done {
                Ok((ticket, sent)) => self.delivery.ended(&mut tail, &ticket, sent),
                Err(error) => log::error!(error:%; "a request to CloudWatch Logs ended early"),
            },
            () = changed(self.changes.as_ref(), quiet_until) => {}
            () = self.wake.notified() => {}
            () = sleep_until(until) => {}
            Some(request) = self.requests.recv() => match request {
                // One that does not wait for the answer any more.
                Request::Report(answer) => { let _ = answer.send(self.report(&tail)); }
                Request::Flush(deadline, done) => {
                    self.flushing = Some((deadline, done));
                    self.delivery.forget_waits();
                    tail.flush(clock::now_ms());
                }
            },
            changed = self.state.changed() => {
                // The engine has ended; there are no new deployments, and the end of the shipping comes.
                if changed.is_err() {
                    sleep_until(until.min(quiet_until + LOOK)).await;
                } else {
                    self.state.mark_changed();
                }
            }
        }
        tail
    }

    fn report(&self, tail: &Tail) -> LogsReport {
        let mut sources = tail.report(clock::now_ms());
        if sources.len() > MOST_REPORTED {
            sources.sort_by_key(|source| std::cmp::Reverse(source.lag_bytes));
            sources.truncate(MOST_REPORTED);
        }
        let losses = tail.losses();
        let totals = Totals {
            lost_bytes: losses.lost_bytes,
            too_old_events: losses.too_old_events,
            refused_events: losses.refused_events,
            ..self.delivery.totals()
        };
        LogsReport { version: LOGS_REPORT_VERSION, sources, totals }
    }
}

/// Until the kernel tells of a change, but not before a time: what changes all the time is looked at now and then.
async fn changed(changes: Option<&Changes>, not_before: Instant) {
    sleep_until(not_before).await;
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// Which streams wait, by their ticket.
type Waits = BTreeMap<Ticket, delivery::Wait>;
