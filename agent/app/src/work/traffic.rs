//! The effect Traffic: takes the host out of service and puts it back. Each call depends on the services' view of the
//! host, so an effect that is restarted after a crash, or whose answers were lost, continues where it was.

mod patience;
mod standby;
mod target_groups;

use std::sync::Arc;
use std::time::Duration;

use hostler_aws::asg::AutoScaling;
use hostler_aws::clients::Clients;
use hostler_aws::ec2::StatusChecks;
use hostler_aws::elb::LoadBalancing;
use hostler_core::ids::InstanceId;
use hostler_core::lifecycle::LifecycleState;
use hostler_core::machine::event::{TrafficFound, WorkFailure};
use hostler_core::machine::state::Purpose;
use hostler_core::traffic::{
    GroupFacts, Place, SUPPRESSION_SECONDS, TrafficMode, TrafficSettings, Way, Withdrawal, choose,
};

use crate::failure::fail;
use crate::ports::Job;
use crate::setup::Setup;
use patience::Patience;

/// How long a request is repeated before it counts as unanswered.
const QUESTION: Duration = Duration::from_secs(60);

/// The AWS services that one host needs for its traffic.
struct Services {
    clients: Arc<Clients>,
    instance: InstanceId,
}

/// The group and load balancers in which a host serves.
struct Surroundings {
    /// Its Auto Scaling group; `None` for a host outside of one.
    group: Option<GroupFacts>,
    way: Way,
}

impl Services {
    fn new(setup: &Setup, instance: &InstanceId) -> Result<Self, WorkFailure> {
        let clients = setup.stores.clients().map_err(|failure| fail(failure.one_line()))?;
        Ok(Self { clients, instance: instance.clone() })
    }

    async fn group(&self) -> AutoScaling {
        AutoScaling::of_clients(&self.clients).await
    }

    async fn load_balancing(&self) -> Result<LoadBalancing, WorkFailure> {
        LoadBalancing::of_clients(&self.clients).await.map_err(|e| WorkFailure::from(&e))
    }

    async fn status_checks(&self) -> Result<StatusChecks, WorkFailure> {
        StatusChecks::of_clients(&self.clients).await.map_err(|e| WorkFailure::from(&e))
    }

    async fn suppress_status_checks(&self) -> Result<(), WorkFailure> {
        let checks = self.status_checks().await?;
        let patience = Patience::new("the suppression of its application status checks", QUESTION);
        patience.ask(|| checks.suppress(self.instance.as_str(), SUPPRESSION_SECONDS)).await
    }

    async fn resume_status_checks(&self) -> Result<(), WorkFailure> {
        let checks = self.status_checks().await?;
        let patience = Patience::new("the end of that suppression", QUESTION);
        patience.ask(|| checks.resume(self.instance.as_str())).await
    }

    /// How the host would be taken out now; or the reason why there is nothing to take it out of.
    async fn surroundings(&self, settings: &TrafficSettings) -> Result<Result<Surroundings, String>, WorkFailure> {
        let group = self.group().await;
        let patience = Patience::new("where this host is in its Auto Scaling group", QUESTION);
        let member = patience.ask(|| group.describe(self.instance.as_str())).await?;
        let Some(member) = member else {
            let way = choose(settings, None).map_err(fail)?;
            return Ok(match way {
                Way::Nothing => Err("this host is in no Auto Scaling group".to_owned()),
                way => Ok(Surroundings { group: None, way }),
            });
        };
        if LifecycleState::read(&member.state) != LifecycleState::InService {
            return Ok(Err(format!("this host is not in service in {} ({})", member.group, member.state)));
        }
        let patience = Patience::new("what the Auto Scaling group is like", QUESTION);
        let facts = patience.ask(|| group.facts(&member.group)).await?;
        let way = choose(settings, Some(&facts)).map_err(fail)?;
        Ok(Ok(Surroundings { group: Some(facts), way }))
    }
}

/// Whether the deployment takes the host out of service. If the configured way is not possible, the deployment is
/// refused here, while the old revision serves; a rollback and a removal continue without it.
pub async fn check(setup: &Setup, instance: &InstanceId, job: &Job) -> Result<bool, WorkFailure> {
    let settings = setup.settings.traffic(&job.group.key);
    let request = &job.deployment.request;
    if !settings.acts() || matches!(request.purpose, Purpose::Stop(_) | Purpose::Commanded) {
        return Ok(false);
    }
    if !may_go_on_without(job) && job.withdrawal.is_none() {
        let services = Services::new(setup, instance)?;
        services.surroundings(&settings).await.map_err(|failure| taken_out(&failure))?.ok();
    }
    Ok(true)
}

fn taken_out(failure: &WorkFailure) -> WorkFailure {
    fail(format!("this host cannot be taken out of service: {}", failure.message))
}

/// Restoring the last good revision, or removing one, matters more than doing it without failed requests.
fn may_go_on_without(job: &Job) -> bool {
    let purpose = &job.deployment.request.purpose;
    purpose.is_rollback() || *purpose == Purpose::Remove
}

/// Finds the services to take the host out of.
pub async fn look(setup: &Setup, instance: &InstanceId, job: &Job) -> Result<TrafficFound, WorkFailure> {
    let nothing = |warnings| TrafficFound { place: None, suppresses_status_checks: false, warnings };
    if let Some(withdrawal) = &job.withdrawal {
        return Ok(nothing(vec![format!("this host is out of service already: {withdrawal}")]));
    }
    match find(setup, instance, job).await {
        Ok(found) => Ok(found),
        Err(failure) if may_go_on_without(job) => {
            Ok(nothing(vec![format!("the host stays in service: {}", failure.message)]))
        }
        Err(failure) => Err(taken_out(&failure)),
    }
}

async fn find(setup: &Setup, instance: &InstanceId, job: &Job) -> Result<TrafficFound, WorkFailure> {
    let settings = setup.settings.traffic(&job.group.key);
    let services = Services::new(setup, instance)?;
    let nothing = || TrafficFound { place: None, suppresses_status_checks: false, warnings: Vec::new() };
    let found = match services.surroundings(&settings).await? {
        Ok(found) => found,
        Err(why) => {
            log::info!(deployment = job.deployment.id.as_str(); "{}: the host stays in service: {why}", job.deployment.id);
            return Ok(nothing());
        }
    };
    let place = match (found.way, found.group) {
        (Way::Nothing, _) => None,
        (Way::InPlace, _) => Some(Place::InPlace),
        (Way::Standby { lowers_desired_capacity }, group) => {
            group.map(|group| Place::Standby { auto_scaling_group: group.name, lowers_desired_capacity })
        }
        (Way::TargetGroups(arns), _) => {
            let targets = target_groups::registrations(&services, &arns).await?;
            match (targets.is_empty(), settings.suppress_status_checks) {
                (false, _) => Some(Place::Targets { targets }),
                (true, true) => Some(Place::InPlace),
                (true, false) => None,
            }
        }
    };
    let unregistered = settings.mode == TrafficMode::TargetGroups && !matches!(place, Some(Place::Targets { .. }));
    let warnings = if unregistered { vec!["this host is in none of its target groups".to_owned()] } else { Vec::new() };
    Ok(TrafficFound { place, suppresses_status_checks: settings.suppress_status_checks, warnings })
}

/// Takes the host out of the services in the journal.
pub async fn block(setup: &Setup, instance: &InstanceId, job: &Job) -> Result<Vec<String>, WorkFailure> {
    let Some(withdrawal) = &job.withdrawal else { return Ok(Vec::new()) };
    match take_out(setup, instance, withdrawal).await {
        Ok(()) => {
            log::info!(deployment = job.deployment.id.as_str(); "{}: the host is out of service: {withdrawal}", job.deployment.id);
            Ok(Vec::new())
        }
        Err(failure) if may_go_on_without(job) => {
            Ok(vec![format!("the host may still be in service: {}", failure.message)])
        }
        Err(failure) => Err(taken_out(&failure)),
    }
}

async fn take_out(setup: &Setup, instance: &InstanceId, withdrawal: &Withdrawal) -> Result<(), WorkFailure> {
    let services = Services::new(setup, instance)?;
    if withdrawal.suppresses_status_checks {
        services.suppress_status_checks().await?;
    }
    match &withdrawal.place {
        Place::Standby { auto_scaling_group, lowers_desired_capacity } => {
            standby::enter(&services, auto_scaling_group, *lowers_desired_capacity).await
        }
        Place::Targets { targets } => target_groups::leave(&services, targets).await,
        Place::InPlace => Ok(()),
    }
}

/// Puts the host back into the services in the journal; returns warnings for people.
pub async fn allow(
    setup: &Setup,
    instance: &InstanceId,
    withdrawal: Option<&Withdrawal>,
) -> Result<Vec<String>, WorkFailure> {
    let Some(withdrawal) = withdrawal else { return Ok(Vec::new()) };
    let services = Services::new(setup, instance)?;
    let patience = Duration::from_secs(setup.settings.traffic(&withdrawal.group).timeout_seconds);
    let mut warnings = match &withdrawal.place {
        Place::Standby { auto_scaling_group, .. } => standby::leave(&services, auto_scaling_group, patience).await,
        Place::Targets { targets } => target_groups::enter(&services, targets, patience).await,
        Place::InPlace => Ok(Vec::new()),
    }
    .map_err(|failure| fail(format!("this host cannot be put back into service: {}", failure.message)))?;
    if withdrawal.suppresses_status_checks
        && let Err(failure) = services.resume_status_checks().await
    {
        let most = SUPPRESSION_SECONDS / 60;
        let why = failure.message;
        warnings.push(format!("the application status checks stay suppressed for {most} minutes at most: {why}"));
    }
    log::info!(deployment = withdrawal.deployment.as_str(); "{}: the host is back in service; before: {withdrawal}", withdrawal.deployment);
    Ok(warnings)
}
