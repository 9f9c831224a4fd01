//! The configuration of traffic.

/// How a group's deployments take this host out of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficSettings {
    /// The way out of service.
    pub mode: TrafficMode,
    /// Standby without lowering the desired capacity: the Auto Scaling group launches another host meanwhile.
    pub surge: bool,
    /// ARNs of the target groups; without any, those of the Auto Scaling group.
    pub target_groups: Vec<String>,
    /// Leave target groups even if the Auto Scaling group replaces hosts that its load balancers report as unhealthy.
    pub despite_elb_health_checks: bool,
    /// Suppress EC2's application status checks meanwhile.
    pub suppress_status_checks: bool,
    /// Seconds until the host must be in service again, from the request.
    pub timeout_seconds: u64,
}

impl TrafficSettings {
    /// Whether deployments call AWS at all.
    pub fn acts(&self) -> bool {
        self.mode != TrafficMode::None || self.suppress_status_checks
    }
}

impl Default for TrafficSettings {
    fn default() -> Self {
        Self {
            mode: TrafficMode::None,
            surge: false,
            target_groups: Vec::new(),
            despite_elb_health_checks: false,
            suppress_status_checks: false,
            timeout_seconds: 600,
        }
    }
}

/// How a host is taken out of service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrafficMode {
    /// Only by the deployment's own scripts.
    #[default]
    None,
    /// Standby of the Auto Scaling group, which takes it out of every load balancer.
    Standby,
    /// Out of its target groups, one by one.
    TargetGroups,
}
