//! Ships logs to CloudWatch Logs: one task, which owns the followed sources and a few requests at a time.
//!
//! The task reads the files whatever happens to the requests. A stream that has to wait keeps no request, no body and
//! no memory: its batch is built again when its time has come.

mod delivery;
mod flush;
mod handle;
mod metrics;
mod sources;

pub use handle::ShippingHandle;
pub use metrics::Metrics;
pub use sources::ip_address;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hostler_aws::logs::CloudWatchLogs;
use hostler_aws::signed_call::SignedCalls;
use hostler_core::codes::ExitCode;
use hostler_core::ids::InstanceId;
use hostler_core::logs::lag::{LOGS_REPORT_VERSION, LogsReport, LogsSummary, Totals};
use hostler_core::logs::placeholders::Names;
use hostler_core::logs::settings::LogSettings;
use hostler_core::machine::State;
use hostler_host::clock;
use hostler_host::log_follow::{Changes, Losses, Outgoing, Tail, Ticket};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;
use crate::setup::{Setup, SetupWatch};
use crate::tasks::{Restarts, caught};
use delivery::{Delivery, Sent};
use flush::Flushes;
use handle::Request;

/// The least time between two looks, however often the kernel reports changes.
const LOOK: Duration = Duration::from_millis(100);

/// The task, for the daemon.
#[derive(Debug)]
pub struct Shipping {
    handle: ShippingHandle,
    task: JoinHandle<()>,
}

/// Checks that logs can be shipped as the configuration says.
///
/// # Errors
/// A usage failure that names a source that cannot be followed, or a redaction that cannot be applied.
pub fn check(setup: &Setup) -> Result<(), Failure> {
    let Some(settings) = &setup.settings.logs else { return Ok(()) };
    sources::redaction(setup, settings)?;
    sources::files(setup, settings, &Names::default()).map(|_| ())
}

impl Shipping {
    /// Starts the shipping, if the configuration has a section `logs`.
    ///
    /// # Errors
    /// A usage failure for a source that cannot be followed, and when the AWS region is unknown.
    pub async fn start(
        setup_watch: &SetupWatch,
        instance: &InstanceId,
        mut state: watch::Receiver<Arc<State>>,
    ) -> Result<Option<Self>, Failure> {
        let setup = setup_watch.now();
        let Some(settings) = setup.settings.logs.clone() else { return Ok(None) };
        let delivery = Delivery::new(service(&setup).await?);
        let names = sources::host_names(instance);
        let wake = Arc::new(Notify::new());
        let tail = sources::open(&setup, &settings, &names, &wake)?;
        let changes = tail.changes()?;
        log::info!(files = settings.files.len(), journals = settings.journal.len(); "logs are shipped: {} patterns of files, {} parts of the journal, and the agent's own", settings.files.len(), settings.journal.len());
        // Follows the existing groups too.
        state.mark_changed();
        let (sender, requests) = mpsc::channel(8);
        let (shown, summary) = watch::channel(LogsSummary::default());
        let task = Task {
            setup_watch: setup_watch.clone(),
            setup,
            settings,
            names,
            state,
            requests,
            wake,
            changes,
            delivery,
            sending: JoinSet::new(),
            looked: Instant::now(),
            flushes: Flushes::default(),
            finishing: None,
            lost_before: Losses::default(),
            shown,
        };
        let handle = ShippingHandle { requests: sender, summary, setup_watch: setup_watch.clone() };
        Ok(Some(Self { handle, task: tokio::spawn(task.keep(tail)) }))
    }

    /// A handle to it.
    pub fn handle(&self) -> ShippingHandle {
        self.handle.clone()
    }

    /// Ships the present lines, within the configured bound, and ends. The next start ships the rest.
    pub async fn finish(self) {
        let (done, finished) = oneshot::channel();
        let deadline = Instant::now() + self.handle.most();
        if self.handle.requests.send(Request::Finish(deadline, done)).await.is_ok() {
            // This also returns if the task ended early.
            let _ = finished.await;
        }
        if let Err(error) = self.task.await {
            log::error!(error:%; "shipping logs ended early: {error}");
        }
    }
}

/// The client of CloudWatch Logs.
async fn service(setup: &Setup) -> Result<CloudWatchLogs, Failure> {
    let clients = setup.stores.clients()?;
    let calls = SignedCalls::of_clients(&clients).await.context("logs cannot be shipped");
    Ok(CloudWatchLogs::new(calls.map_err(|error| Failure::new(ExitCode::Usage, error))?))
}

struct Task {
    setup_watch: SetupWatch,
    /// The setup of the current sources; the setup in force may be newer.
    setup: Arc<Setup>,
    settings: LogSettings,
    names: Names,
    state: watch::Receiver<Arc<State>>,
    requests: mpsc::Receiver<Request>,
    /// Notified by journals.
    wake: Arc<Notify>,
    changes: Option<Changes>,
    delivery: Delivery,
    sending: JoinSet<(Ticket, Sent)>,
    looked: Instant,
    flushes: Flushes,
    finishing: Option<(Instant, oneshot::Sender<()>)>,
    /// The losses from before the last reload.
    lost_before: Losses,
    shown: watch::Sender<LogsSummary>,
}

impl Task {
    /// Ships until the end. After a panic, waits and begins again from the stored positions.
    async fn keep(mut self, tail: Tail) {
        let mut restarts = Restarts::new("logs");
        let mut tail = Some(tail);
        while let Err(panicked) = caught(self.run(tail.take())).await {
            self.sending.shutdown().await;
            self.delivery.forget_waits();
            self.flushes = Flushes::default();
            let until = Instant::now() + restarts.after(&panicked);
            if self.finishing.take().is_some() || !self.rest(until).await {
                return;
            }
        }
    }

    /// Waits before it begins again. Requests meanwhile are answered as if nothing was pending. Returns false at the
    /// end.
    async fn rest(&mut self, until: Instant) -> bool {
        loop {
            tokio::select! {
                () = sleep_until(until) => return true,
                request = self.requests.recv() => match request {
                    Some(Request::Finish(..)) | None => return false,
                    Some(Request::Report(_) | Request::Flush(..)) => {}
                }
            }
        }
    }

    /// Opens the sources again from the stored positions.
    fn begin_anew(&mut self) -> Option<Tail> {
        let opened = sources::open(&self.setup, &self.settings, &self.names, &self.wake)
            .and_then(|tail| Ok((tail.changes()?, tail)))
            .inspect_err(|failure| log::error!("logs are not shipped any more: {}", failure.one_line()));
        let (changes, tail) = opened.ok()?;
        self.changes = changes;
        self.state.mark_changed();
        Some(tail)
    }

    async fn run(&mut self, tail: Option<Tail>) {
        let mut tail = tail.or_else(|| self.begin_anew());
        while let Some(had) = tail.take() {
            let Some(had) = self.renew(had).await else { return };
            let had = self.follow_deployments(had);
            let Some(mut had) = self.send_what_is_due(had).await else { return };
            if self.flushes.answer(&had) && self.finishing.is_none() {
                had.gather_again();
            }
            if self.is_over(&had) {
                self.sending.shutdown().await;
                had.close(clock::now_ms());
                if let Some((_, done)) = self.finishing.take() {
                    // The caller may be gone.
                    let _ = done.send(());
                }
                return;
            }
            self.show(&had);
            tail = Some(self.wait(had).await);
        }
    }

    fn is_over(&self, tail: &Tail) -> bool {
        let Some((deadline, _)) = &self.finishing else { return false };
        if Instant::now() >= *deadline {
            log::warn!("not all logs were shipped in time; the next start goes on");
            return true;
        }
        tail.is_empty() && self.sending.is_empty()
    }

    /// The configuration in force, if it differs from the current one in what concerns logs.
    fn reloaded(&self) -> Option<(Arc<Setup>, LogSettings)> {
        let setup = self.setup_watch.now();
        let settings = setup.settings.logs.clone()?;
        let is_same = settings == self.settings
            && setup.settings.aws == self.setup.settings.aws
            && setup.settings.unsafe_paths == self.setup.settings.unsafe_paths;
        // A caller that waits, waits for the sources as they are followed now.
        let is_awaited = self.finishing.is_some() || self.flushes.next_deadline().is_some();
        (!is_same && !is_awaited).then_some((setup, settings))
    }

    /// Applies a changed configuration, once no request is out. It is a new start from the stored positions.
    async fn renew(&mut self, tail: Tail) -> Option<Tail> {
        let Some((setup, settings)) = self.reloaded().filter(|_| self.sending.is_empty()) else { return Some(tail) };
        match service(&setup).await {
            Ok(service) => self.delivery.use_service(service),
            Err(failure) => log::error!("logs go on to where they went before: {}", failure.one_line()),
        }
        self.lost_before = self.lost_before.and(tail.losses());
        tail.close(clock::now_ms());
        (self.setup, self.settings) = (setup, settings);
        self.begin_anew()
    }

    /// Whether another request may be sent.
    fn has_place(&self) -> bool {
        self.sending.len() < self.setup.limits.log_requests && self.reloaded().is_none()
    }

    /// Follows the logs of groups that are new since.
    fn follow_deployments(&mut self, mut tail: Tail) -> Tail {
        if self.state.has_changed().unwrap_or(false) {
            let state = Arc::clone(&self.state.borrow_and_update());
            sources::follow_deployments(&mut tail, &self.setup, &self.settings, &self.names, &state);
        }
        tail
    }

    /// Reads the files and fills the free places for requests. A separate thread reads the files.
    async fn send_what_is_due(&mut self, mut tail: Tail) -> Option<Tail> {
        loop {
            let held = self.delivery.held();
            let has_place = self.has_place();
            let worked = tokio::task::spawn_blocking(move || {
                let now = clock::now_ms();
                tail.look(now);
                tail.sync(now);
                let next = if has_place { tail.next(now, |ticket| held.contains(ticket)) } else { None };
                (tail, next)
            });
            self.looked = Instant::now();
            let (returned, next) = match worked.await.map_err(JoinError::try_into_panic) {
                Ok(worked) => worked,
                Err(Ok(payload)) => std::panic::resume_unwind(payload),
                Err(Err(error)) => {
                    log::error!(error:%; "logs are not shipped any more: {error}");
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

    /// Waits for the next event.
    async fn wait(&mut self, mut tail: Tail) -> Tail {
        let held = self.delivery.held();
        let mut due = tail.watch_due_ms();
        if self.has_place() {
            due = due.min(tail.batch_due_ms(|ticket| held.contains(ticket)).unwrap_or(u64::MAX));
        }
        let now = clock::now_ms();
        let mut until = Instant::now() + Duration::from_millis(due.saturating_sub(now).min(60_000));
        until = until.min(self.delivery.next_try().unwrap_or(until));
        let deadline = self.finishing.as_ref().map(|(deadline, _)| *deadline).or_else(|| self.flushes.next_deadline());
        if let Some(deadline) = deadline {
            // The last line of a file may still lack its line end.
            until = until.min(deadline).min(Instant::now() + LOOK);
        }
        let quiet_until = self.looked + LOOK;
        tokio::select! {
            Some(done) = self.sending.join_next(), if !self.sending.is_empty() => match done {
                Ok((ticket, sent)) => self.delivery.ended(&mut tail, &ticket, sent),
                Err(error) => log::error!(error:%; "a request to CloudWatch Logs ended early: {error}"),
            },
            () = changed(self.changes.as_ref(), quiet_until) => {}
            () = self.wake.notified() => {}
            () = self.setup_watch.changed() => {}
            () = sleep_until(until) => {}
            Some(request) = self.requests.recv() => match request {
                // The caller may be gone.
                Request::Report(answer) => { let _ = answer.send(self.report(&tail)); }
                Request::Flush(deadline, done) => {
                    self.delivery.forget_waits();
                    self.flushes.begin(&mut tail, deadline, done);
                }
                Request::Finish(deadline, done) => {
                    self.finishing = Some((deadline, done));
                    self.delivery.forget_waits();
                    tail.flush(clock::now_ms());
                }
            },
            changed = self.state.changed() => {
                // The engine has ended: there are no more deployments, and the shipping will end soon.
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
        let most = self.setup.limits.log_reported_sources;
        if sources.len() > most {
            sources.sort_by_key(|source| std::cmp::Reverse(source.lag_bytes));
            sources.truncate(most);
        }
        LogsReport { version: LOGS_REPORT_VERSION, sources, totals: self.totals(tail) }
    }

    fn totals(&self, tail: &Tail) -> Totals {
        let losses = self.lost_before.and(tail.losses());
        Totals {
            lost_bytes: losses.lost_bytes,
            too_old_events: losses.too_old_events,
            refused_events: losses.refused_events,
            ..self.delivery.totals()
        }
    }

    fn show(&self, tail: &Tail) {
        let summary = tail.summary(self.totals(tail));
        self.shown.send_if_modified(|shown| {
            let is_new = *shown != summary;
            *shown = summary;
            is_new
        });
    }
}

/// Waits for a change from the kernel, but at least until a time: files that change constantly are read now and then.
async fn changed(changes: Option<&Changes>, not_before: Instant) {
    sleep_until(not_before).await;
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}
