//! When this host tells its Auto Scaling group that it is unhealthy, which replaces it at once and without a limit of its
//! own (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/health-checks-overview.html>). So that a fault of all hosts does
//! not end all of them, at most one of a deployment group does so at a time: the one that the claim in the store names.

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;

/// The current version of [`Claim`].
pub const CLAIM_VERSION: u32 = 1;

/// Most bytes of a claim that is read. Prevents: an arbitrary object in memory.
pub const CLAIM_BYTES: usize = 4 << 10;

/// The document in the store: who may report itself. It has no time limit; whoever holds it gives it back or is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Version of this document.
    pub version: u32,
    /// Who holds it.
    pub instance: InstanceId,
    /// Random, so that no two claims have the same bytes.
    pub nonce: u64,
    /// When it was made, milliseconds since 1970, by the holder's clock.
    pub claimed_ms: u64,
}

/// What a host wants with the claim; `machine::replacement` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To be replaced.
    Report,
    /// What it has it keeps, and nothing else: not enough is known, or the host is about to change.
    Keep,
    /// Not to hold up anybody.
    GiveBack,
}

/// Whose the claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody's.
    Nobody,
    /// This host's.
    Own,
    /// Another host's.
    Other,
}

/// What the Auto Scaling group says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is terminated, or in no group: the proof that whatever it claimed has no holder any more.
    Gone,
    /// The group takes it for unhealthy.
    Unhealthy,
    /// In service, and healthy for all that the group knows.
    InService,
    /// A member, healthy for all that the group knows, and not in service.
    Elsewhere,
}

impl Standing {
    /// From a member's `LifecycleState` and whether its `HealthStatus` is healthy; `None` is no member.
    pub fn read(member: Option<(&str, bool)>) -> Self {
        match member {
            None | Some(("Terminated" | "Warmed:Terminated", _)) => Self::Gone,
            Some((_, false)) => Self::Unhealthy,
            Some(("InService", true)) => Self::InService,
            Some((_, true)) => Self::Elsewhere,
        }
    }
}

/// What is known in one turn; what nobody was asked for yet is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What this host wants.
    pub wish: Wish,
    /// Whether the claim may be this host's: after a start, and after a write whose answer did not come.
    pub may_be_own: bool,
    /// Whose the claim is.
    pub holder: Option<Holder>,
    /// How this host stands in its Auto Scaling group.
    pub own: Option<Standing>,
    /// How the other host does that holds the claim.
    pub other: Option<Standing>,
}

/// What is done next in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing more in this turn.
    Rest,
    /// Read the claim.
    Read,
    /// Ask the group for this host.
    AskForOwn,
    /// Ask the group for the other host that holds the claim.
    AskForOther,
    /// Make the claim, if there still is none.
    Claim,
    /// Put an own claim in the place of that of a host that is gone, if it is still the same.
    TakeOver,
    /// Tell the group that this host is unhealthy.
    Report,
    /// Delete the claim.
    Release,
}

/// Decides. Each step but the first rests on what the one before found out, in the same turn.
pub fn decide(look: &Look) -> Next {
    match (look.holder, look.wish) {
        (None, Wish::Report) => Next::Read,
        (None, Wish::GiveBack) if look.may_be_own => Next::Read,
        (Some(Holder::Own), Wish::GiveBack) => match look.own {
            None => Next::AskForOwn,
            // It is being replaced, whatever its checks say now: another one that is reported meanwhile would be a second.
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
