//! From a service's answer about this host to the next request. Nothing depends on having seen earlier answers: the
//! agent finds out about a lost one, or about an agent that died, by looking.

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Request the change.
    Ask,
    /// The change is under way.
    Wait,
    /// The change is done.
    Done,
    /// The change is no longer possible: the instance has left, or is leaving.
    Gone,
}

/// On the way into Standby. `state` is the `LifecycleState`; `None` is an instance in no group.
pub fn in_standby(state: Option<&str>) -> Next {
    match state {
        Some("InService") => Next::Ask,
        Some("Standby") => Next::Done,
        Some("EnteringStandby" | "Pending" | "Pending:Wait" | "Pending:Proceed") => Next::Wait,
        _ => Next::Gone,
    }
}

/// On the way out of Standby, back into service.
pub fn out_of_standby(state: Option<&str>) -> Next {
    match state {
        Some("Standby") => Next::Ask,
        Some("InService") => Next::Done,
        Some("EnteringStandby" | "Pending" | "Pending:Wait" | "Pending:Proceed") => Next::Wait,
        _ => Next::Gone,
    }
}

/// A load balancer's report about one target
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html>).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetHealth {
    /// `initial`, `healthy`, `unhealthy`, `draining`, `unused`, `unavailable`, or a word of a later version.
    pub state: String,
    /// Its reason code; empty where there is none.
    pub reason: String,
    /// The reason in words; empty where there are none.
    pub description: String,
}

impl TargetHealth {
    /// Whether the group does not know the target.
    fn is_unknown(&self) -> bool {
        self.state == "unused" && self.reason == "Target.NotRegistered"
    }

    /// Whether it gets requests, or will once it is healthy: neither unknown nor leaving.
    pub fn is_registered(&self) -> bool {
        !self.is_unknown() && self.state != "draining"
    }
}

impl std::fmt::Display for TargetHealth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.state)?;
        match (self.reason.as_str(), self.description.as_str()) {
            ("", "") => Ok(()),
            (reason, "") => write!(f, " ({reason})"),
            (reason, description) => write!(f, " ({reason}: {description})"),
        }
    }
}

/// On the way out of a target group, until its connections have drained.
pub fn deregistered(health: &TargetHealth) -> Next {
    if health.is_unknown() {
        return Next::Done;
    }
    if health.is_registered() { Next::Ask } else { Next::Wait }
}

/// Until the connections of a target that was deregistered have drained.
pub fn drained(health: &TargetHealth) -> Next {
    if health.state == "draining" { Next::Wait } else { Next::Done }
}

/// On the way back into a target group, until the load balancer reports it as healthy.
pub fn registered(health: &TargetHealth) -> Next {
    match health.state.as_str() {
        _ if health.is_unknown() => Next::Ask,
        "healthy" => Next::Done,
        // No load balancer probes it, or health checks are off: no other answer will come.
        "unused" | "unavailable" => Next::Done,
        _ => Next::Wait,
    }
}
