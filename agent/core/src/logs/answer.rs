//! The service's answer about the events of an accepted batch.

use serde::Deserialize;

/// Events of an accepted batch that the service did not keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Older than 14 days.
    pub too_old: usize,
    /// Older than the group keeps events.
    pub expired: usize,
    /// More than two hours ahead.
    pub too_new: usize,
}

impl Rejected {
    /// All of them.
    pub fn all(self) -> usize {
        self.too_old + self.expired + self.too_new
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Accepted {
    rejected_log_events_info: Option<RejectedInfo>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RejectedInfo {
    too_new_log_event_start_index: Option<usize>,
    too_old_log_event_end_index: Option<usize>,
    expired_log_event_end_index: Option<usize>,
}

/// Reads the answer to an accepted batch of this many events. An unreadable answer counts as accepted too: the service
/// said 200, and sending again would double the batch.
pub fn accepted(body: &[u8], events: usize) -> Rejected {
    let answer: Accepted = serde_json::from_slice(body).unwrap_or_default();
    let Some(info) = answer.rejected_log_events_info else { return Rejected::default() };
    // The ends are exclusive, the start is inclusive; an event that is both is older than 14 days.
    let too_old = info.too_old_log_event_end_index.unwrap_or(0).min(events);
    let expired = info.expired_log_event_end_index.unwrap_or(0).min(events).saturating_sub(too_old);
    let too_new = events - info.too_new_log_event_start_index.unwrap_or(events).min(events);
    Rejected { too_old, expired, too_new }
}
