//! From what a service says of this host to what is asked of it next. Nothing depends on having seen its answers: a lost
//! one, and an agent that died, are found out by looking.

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask for it.
    Ask,
    /// It is on its way.
    Wait,
    /// It is so.
    Done,
    /// It cannot come to be any more: the instance has left, or is being taken away.
    Gone,
}

/// On the way into Standby. `state` is the `LifecycleState`; `None` is an instance of no group.
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

/// What a load balancer says of one target
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html>).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetHealth {
    /// `initial`, `healthy`, `unhealthy`, `draining`, `unused`, `unavailable`, or a word of later versions.
    pub state: String,
    /// Its reason code; empty where there is none.
    pub reason: String,
    /// The reason in words; empty where there are none.
    pub description: String,
}

impl TargetHealth {
    /// A target that the group does not know.
    fn is_unknown(&self) -> bool {
        self.state == "unused" && self.reason == "Target.NotRegistered"
    }

    /// Whether it gets requests or would get them once it is healthy: neither unknown nor on its way out.
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

/// On the way back into a target group, until the load balancer finds it healthy.
pub fn registered(health: &TargetHealth) -> Next {
    match health.state.as_str() {
        _ if health.is_unknown() => Next::Ask,
        "healthy" => Next::Done,
        // No load balancer asks there, or health checks are off: nothing more will be said.
        "unused" | "unavailable" => Next::Done,
        _ => Next::Wait,
    }
}
