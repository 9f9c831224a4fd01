//! What an answer of the service means for a batch.

use serde::Deserialize;

/// What to do after an answer, or after none came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken, but for the events that are counted here.
    Accepted(Rejected),
    /// Send it again after a while; nothing is known to be wrong with it.
    Again,
    /// As [`Verdict::Again`], and the service asked for fewer requests.
    Slower,
    /// The group or the stream does not exist.
    Missing,
    /// This host may not do it, or its credentials or clock are wrong: try seldom, say it aloud.
    Denied,
    /// There is something in it that the service does not take.
    Refused,
}

/// Events of a batch that was accepted and that the service did not keep.
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

/// Reads the answer to a batch of so many events that was taken. An answer that cannot be read is one, too: the service
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

/// What an error answer means, by its status and the error's name without its namespace.
pub fn refused(status: u16, error: &str) -> Verdict {
    match error {
        // Never sent by today's service, still in its model: the batch is there.
        "DataAlreadyAcceptedException" => Verdict::Accepted(Rejected::default()),
        "ResourceNotFoundException" => Verdict::Missing,
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "LimitExceededException" => Verdict::Slower,
        "InvalidParameterException" | "SerializationException" | "ValidationException" | "InvalidParameterValue" => {
            Verdict::Refused
        }
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "IncompleteSignature"
        | "OptInRequired"
        | "InvalidAccessKeyId" => Verdict::Denied,
        // A fresh token or a corrected clock is taken with the next try.
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" | "RequestTimeTooSkewed" => Verdict::Again,
        _ => match status {
            429 => Verdict::Slower,
            413 => Verdict::Refused,
            401 | 403 => Verdict::Denied,
            // A proxy's or a broken answer: nothing is known to be wrong with the batch.
            _ => Verdict::Again,
        },
    }
}
