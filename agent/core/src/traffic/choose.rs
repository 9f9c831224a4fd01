//! Whether the configured way fits the Auto Scaling group, and the alternatives.

use super::settings::{TrafficMode, TrafficSettings};

/// Facts about an Auto Scaling group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// Its name.
    pub name: String,
    /// The least number of instances.
    pub min: u64,
    /// The most.
    pub max: u64,
    /// The desired capacity.
    pub desired: u64,
    /// Whether it replaces instances that its load balancers report as unhealthy.
    pub elb_health_checks: bool,
    /// Whether its process Launch is suspended.
    pub launch_suspended: bool,
    /// ARNs of its target groups.
    pub target_groups: Vec<String>,
    /// Names of its classic load balancers.
    pub classic_load_balancers: Vec<String>,
    /// Identifiers of its other traffic sources, such as VPC Lattice's.
    pub other_sources: Vec<String>,
}

/// How the host is taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By Standby.
    Standby {
        /// Whether the group's desired capacity is lowered by one.
        lowers_desired_capacity: bool,
    },
    /// By leaving these target groups, as far as the host is in them.
    TargetGroups(Vec<String>),
    /// It stays; only the status checks are suppressed.
    InPlace,
    /// Not at all.
    Nothing,
}

/// Why the configured way does not fit the group, and the alternatives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct Misfit {
    /// The problem.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

fn misfit(problem: String, remedy: impl Into<String>) -> Misfit {
    Misfit { problem, remedy: remedy.into() }
}

/// The way out of service. `group` is the Auto Scaling group; `None` for an instance without one.
///
/// # Errors
/// When the configured way does not fit the group.
pub fn choose(settings: &TrafficSettings, group: Option<&GroupFacts>) -> Result<Way, Misfit> {
    if let Some(group) = group {
        fits(settings, group)?;
    }
    let otherwise = if settings.suppress_status_checks { Way::InPlace } else { Way::Nothing };
    Ok(match (settings.mode, group) {
        (TrafficMode::None, _) => otherwise,
        (TrafficMode::Standby, Some(_)) => Way::Standby { lowers_desired_capacity: !settings.surge },
        (TrafficMode::TargetGroups, _) if !settings.target_groups.is_empty() => {
            Way::TargetGroups(settings.target_groups.clone())
        }
        (TrafficMode::TargetGroups, Some(group)) => Way::TargetGroups(group.target_groups.clone()),
        (TrafficMode::Standby | TrafficMode::TargetGroups, None) => otherwise,
    })
}

/// Checks that the configured way fits this group.
///
/// # Errors
/// When it does not; the error names the alternatives.
pub fn fits(settings: &TrafficSettings, group: &GroupFacts) -> Result<(), Misfit> {
    let GroupFacts { name, min, max, desired, .. } = group;
    match settings.mode {
        TrafficMode::None => Ok(()),
        TrafficMode::Standby if group.launch_suspended => Err(misfit(
            format!("the process Launch of {name} is suspended, and a host cannot leave Standby then"),
            "resume it, or deploy with traffic: mode: target_groups",
        )),
        TrafficMode::Standby if settings.surge && desired >= max => Err(misfit(
            format!("{name} has a desired capacity of {desired} and a maximum of {max}: there is no room for a surge"),
            "raise the maximum, or lower the desired capacity",
        )),
        TrafficMode::Standby if !settings.surge && desired <= min => Err(misfit(
            format!(
                "{name} has a desired capacity of {desired} and a minimum of {min}: a host that goes into Standby would lower \
                 it below the minimum"
            ),
            instead(group),
        )),
        TrafficMode::Standby => Ok(()),
        TrafficMode::TargetGroups if !group.classic_load_balancers.is_empty() => Err(misfit(
            format!(
                "{name} has classic load balancers ({}), which traffic: mode: target_groups does not know",
                group.classic_load_balancers.join(", ")
            ),
            "use traffic: mode: standby, or move to target groups",
        )),
        TrafficMode::TargetGroups if !group.other_sources.is_empty() => Err(misfit(
            format!("{name} has traffic from what are no target groups ({})", group.other_sources.join(", ")),
            "use traffic: mode: standby",
        )),
        TrafficMode::TargetGroups if settings.target_groups.is_empty() && group.target_groups.is_empty() => {
            Err(misfit(
                format!("{name} has no target groups"),
                "name them in traffic: target_groups, or use traffic: mode: none",
            ))
        }
        TrafficMode::TargetGroups if group.elb_health_checks && !settings.despite_elb_health_checks => Err(misfit(
            format!("{name} has load balancer health checks and may replace a host that left its target groups"),
            "set traffic: despite_elb_health_checks: true if you know that yours does not, or use traffic: mode: standby",
        )),
        TrafficMode::TargetGroups => Ok(()),
    }
}

fn instead(group: &GroupFacts) -> String {
    let opt_in = if group.elb_health_checks { " with despite_elb_health_checks: true" } else { "" };
    format!(
        "raise the desired capacity and the maximum by one, or lower the minimum; or set traffic: surge: true, for which the \
         group launches another host; or traffic: mode: target_groups{opt_in}"
    )
}

/// The problem of the most common set-up, for any configuration: with load balancer health checks and the desired
/// capacity at the minimum, neither Standby nor target groups fit.
pub fn common_misfit(group: &GroupFacts) -> Option<Misfit> {
    let GroupFacts { name, min, desired, .. } = group;
    (group.elb_health_checks && desired <= min).then(|| {
        misfit(
            format!(
                "{name} has load balancer health checks and its desired capacity is its minimum ({min}): its hosts cannot go \
                 into Standby, and one that leaves its target groups, or is unhealthy while it is deployed to, may be replaced"
            ),
            instead(group),
        )
    })
}
