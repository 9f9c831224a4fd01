//! When this host reports itself to its Auto Scaling group as unhealthy. The group then replaces it at once, without a
//! limit of its own (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/health-checks-overview.html>). So that a
//! fault of all hosts does not end all of them, at most one host of a deployment group reports itself at a time: the
//! host that the claim in the store names.

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;

/// The current version of [`Claim`].
pub const CLAIM_VERSION: u32 = 1;

/// Most bytes of a claim that the agent reads. Prevents: an arbitrary object in memory.
pub const CLAIM_BYTES: usize = 4 << 10;

/// The claim's document in the store: the host that may report itself. It has no time limit; its holder gives it back
/// or is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Version of this document.
    pub version: u32,
    /// The host that holds it.
    pub instance: InstanceId,
    /// Random, so that no two claims have the same bytes.
    pub nonce: u64,
    /// When it was made, milliseconds since 1970, by the holder's clock.
    pub claimed_ms: u64,
}

/// What a host wants with the claim; `machine::replacement` decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To be replaced.
    Report,
    /// To keep the claim that it has, and no more: too little is known, or the host is about to change.
    Keep,
    /// To hold up no other host.
    GiveBack,
}

/// The holder of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// There is no claim.
    Nobody,
    /// This host.
    Own,
    /// Another host.
    Other,
}

/// An instance's status in the Auto Scaling group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is terminated, or in no group: the proof that its claim has no holder any more.
    Gone,
    /// The group considers it unhealthy.
    Unhealthy,
    /// In service, and healthy as far as the group knows.
    InService,
    /// A member that is healthy as far as the group knows, and not in service.
    Elsewhere,
}

impl Standing {
    /// Reads a member's `LifecycleState` and whether its `HealthStatus` is healthy; `None` is no member.
    pub fn read(member: Option<(&str, bool)>) -> Self {
        match member {
            None | Some(("Terminated" | "Warmed:Terminated", _)) => Self::Gone,
            Some((_, false)) => Self::Unhealthy,
            Some(("InService", true)) => Self::InService,
            Some((_, true)) => Self::Elsewhere,
        }
    }
}

/// Facts known in one turn; `None` for those not asked for yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What this host wants.
    pub wish: Wish,
    /// Whether the claim may be this host's: after a start, and after a write without an answer.
    pub may_be_own: bool,
    /// The holder of the claim.
    pub holder: Option<Holder>,
    /// This host's status in its Auto Scaling group.
    pub own: Option<Standing>,
    /// The status of the other host that holds the claim.
    pub other: Option<Standing>,
}

/// The next action of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing more in this turn.
    Rest,
    /// Read the claim.
    Read,
    /// Ask the group about this host.
    AskForOwn,
    /// Ask the group about the other host, which holds the claim.
    AskForOther,
    /// Make the claim, if there is still none.
    Claim,
    /// Replace the claim of a host that is gone with one of this host, if it has not changed.
    TakeOver,
    /// Report this host to the group as unhealthy.
    Report,
    /// Delete the claim.
    Release,
}

/// Decides. Each step after the first uses the result of the one before, in the same turn.
pub fn decide(look: &Look) -> Next {
    match (look.holder, look.wish) {
        (None, Wish::Report) => Next::Read,
        (None, Wish::GiveBack) if look.may_be_own => Next::Read,
        (Some(Holder::Own), Wish::GiveBack) => match look.own {
            None => Next::AskForOwn,
            // It is being replaced, whatever its checks say now. Reporting another host meanwhile would be a second
            // replacement.
            Some(Standing::Unhealthy) => Next::Rest,
            Some(_) => Next::Release,
        },
        (Some(holder), Wish::Report) => match (look.own, holder) {
            (None, _) => Next::AskForOwn,
            (Some(Standing::InService), Holder::Own) => Next::Report,
            (Some(Standing::InService), Holder::Nobody) => Next::Claim,
            (Some(Standing::InService), Holder::Other) => match look.other {
                None => Next::AskForOther,
                Some(Standing::Gone) => Next::TakeOver,
                Some(_) => Next::Rest,
            },
            (Some(_), _) => Next::Rest,
        },
        _ => Next::Rest,
    }
}

#[cfg(test)]
mod tests;
