//! All checks of one group, asked concurrently.

use std::sync::Arc;
use std::time::Duration;

use hostler_core::health::{Check, HealthReport, Probe, Tracker};
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_host::clock;
use hostler_host::probe::Prober;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::access::Way;
use crate::setup::Setup;
use crate::tasks::kept;

/// What the agent knows of an application when its checks begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing: it may have just been started.
    Unknown,
    /// It was healthy a moment ago.
    Healthy,
}

/// Checks that go on until this is dropped.
#[derive(Debug)]
pub struct Checkup {
    trackers: Vec<Tracker>,
    answers: mpsc::Receiver<(usize, Result<(), String>)>,
    began: Instant,
    began_ms: u64,
    _asking: JoinSet<()>,
}

/// A user who must reach the bundle to run the check.
#[derive(Debug, Clone)]
struct Entrance {
    user: String,
    way: Way,
}

impl Entrance {
    fn of(check: &Check, way: Way) -> Option<Self> {
        match &check.probe {
            Probe::Command { runas: Some(user), .. } => Some(Self { user: user.clone(), way }),
            _ => None,
        }
    }

    async fn open(&self) {
        // The check's own answer reports that it cannot be asked.
        if let Err(failure) = self.way.admit(Some(&self.user)).await {
            log::warn!("{}", failure.message);
        }
    }
}

impl Checkup {
    /// Begins the checks of an appspec, whose scripts are in the unpacked bundle of the deployment `bundle`, and the
    /// checks that the configuration adds for the group.
    pub fn begin(setup: &Setup, key: &GroupKey, appspec: &[Check], bundle: &DeploymentId, start: Start) -> Self {
        let archive = setup.layout.deployment(key, bundle).archive();
        let of_appspec = appspec.iter().map(|check| (check, Some(archive.as_path())));
        let of_host = setup.settings.health(key).iter().map(|check| (check, None));
        let (send, answers) = mpsc::channel(16);
        let (began, began_ms) = (Instant::now(), clock::now_ms());
        let (mut trackers, mut asking) = (Vec::new(), JoinSet::new());
        for (number, (check, archive)) in of_appspec.chain(of_host).enumerate() {
            trackers.push(match start {
                Start::Unknown => Tracker::new(check.clone(), began_ms),
                Start::Healthy => Tracker::healthy(check.clone(), began_ms),
            });
            let (prober, interval) = (Prober::new(check, archive), Duration::from_secs(check.interval_seconds));
            let (prober, send) = (Arc::new(prober), send.clone());
            let entrance = archive.and_then(|_| Entrance::of(check, Way::to(setup, key, bundle)));
            asking.spawn(kept("health check", move || {
                let (prober, send, entrance) = (Arc::clone(&prober), send.clone(), entrance.clone());
                async move {
                    if let Some(entrance) = entrance {
                        entrance.open().await;
                    }
                    while send.send((number, prober.ask().await)).await.is_ok() {
                        sleep(interval).await;
                    }
                }
            }));
        }
        Self { trackers, answers, began, began_ms, _asking: asking }
    }

    /// Waits at most `patience` for the next answer and counts it.
    pub async fn next(&mut self, patience: Duration) {
        let Ok(Some((number, answer))) = tokio::time::timeout(patience, self.answers.recv()).await else { return };
        let now = self.now_ms();
        if let Some(tracker) = self.trackers.get_mut(number) {
            tracker.observe(answer, now);
        }
    }

    /// Milliseconds since 1970 on a clock that does not jump while the checks go on.
    pub fn now_ms(&self) -> u64 {
        self.began_ms + u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The checks.
    pub fn trackers(&self) -> &[Tracker] {
        &self.trackers
    }

    /// Their results; `None` without checks.
    pub fn report(&self) -> Option<HealthReport> {
        HealthReport::new(&self.trackers)
    }
}
