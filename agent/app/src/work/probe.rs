//! The effect Probe: the health checks hold a deployment until they pass or fail.

use std::time::Duration;

use hostler_core::health::{self, Gate, SaidAnswers};
use hostler_core::machine::Progress;
use hostler_core::machine::checks::ProbePhase;
use hostler_core::machine::event::WorkFailure;

use crate::failure::fail;
use crate::health::{Checkup, Start};
use crate::ports::Job;
use crate::setup::Setup;
use crate::work::HostWorker;

/// How often the clock is read when no answer comes.
const TICK: Duration = Duration::from_secs(1);

/// Runs the checks until the phase is over. After a crash the phase begins anew: a deadline that passed while no check
/// ran proves nothing.
pub async fn probe(worker: &HostWorker, setup: &Setup, job: &Job, phase: ProbePhase) -> Result<(), WorkFailure> {
    let (deployment, key) = (&job.deployment, &job.group.key);
    let start = match phase {
        ProbePhase::Validate => Start::Unknown,
        ProbePhase::Bake { .. } => Start::Healthy,
    };
    let mut checkup = Checkup::begin(setup, key, &deployment.health, deployment.archive(), start);
    let (began, mut said) = (checkup.now_ms(), SaidAnswers::default());
    loop {
        let now = checkup.now_ms();
        let gate = match phase {
            ProbePhase::Validate => health::validate(checkup.trackers(), now),
            ProbePhase::Bake { seconds } => health::bake(checkup.trackers(), began + seconds * 1000, now),
        };
        worker.health_watch.put(key, checkup.report());
        said.news(checkup.trackers()).into_iter().for_each(|message| tell(job, message));
        match gate {
            Gate::Passed => return Ok(()),
            Gate::Failed(why) => return Err(fail(why)),
            Gate::Waiting => checkup.next(TICK).await,
        }
    }
}

/// Tells the users who watch, and the log.
fn tell(job: &Job, message: String) {
    let (id, key) = (&job.deployment.id, &job.group.key);
    log::info!(deployment = id.as_str(); "{id} of {key}: {message}");
    // There may be no watcher.
    let _ = job.watchers.send(Progress::HealthCheck { deployment: id.clone(), message });
}
