//! EC2's announcements to an instance: spot interruption, rebalance recommendation, scheduled events
//! (docs/protocols/auto-scaling.md#announcements). Input: text of the metadata service. Output: notices.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::decide::MARGIN_MS;

/// How many milliseconds before EC2 stops the instance the agent begins to stop its applications.
pub const LEAD_MS: u64 = 600_000;

/// Notices that the agent reads. Prevents: an answer without end filling the ledger. EC2 has at most a few at a time.
const MOST_NOTICES: usize = 16;

/// Characters of a notice's id and word. Prevents: the same. EC2's have fewer than half as many.
const MOST_SIGNS: usize = 128;

/// An announcement of EC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its identifier, to remember handled notices. A notice that gets another time is a different one.
    pub id: String,
    /// What it means for the host.
    pub kind: NoticeKind,
    /// EC2's own word for it, such as `terminate`, `rebalance`, `system-reboot`.
    pub word: String,
    /// The earliest time, milliseconds since 1970; `None` if EC2 names none.
    pub at_ms: Option<u64>,
}

/// What a notice means for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// EC2 takes a spot instance back, at that time.
    Interruption,
    /// The risk of an interruption has grown.
    Rebalance,
    /// EC2 stops or retires the instance, at that time or later.
    Stop,
    /// EC2 restarts the instance. It is no termination: the applications start with the boot.
    Reboot,
    /// Maintenance that does not end the instance, and events unknown to this version.
    Other,
}

/// The configured reaction to a rebalance recommendation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rebalance {
    /// The agent shows it.
    #[default]
    Note,
    /// No new deployment begins.
    Hold,
    /// The applications are stopped.
    Drain,
}

impl Notice {
    /// Whether the host's applications must stop for it now.
    pub fn presses(&self, rebalance: Rebalance, now_ms: u64) -> bool {
        match self.kind {
            NoticeKind::Interruption => true,
            NoticeKind::Rebalance => rebalance == Rebalance::Drain,
            NoticeKind::Stop => self.at_ms.is_some_and(|at| now_ms.saturating_add(LEAD_MS) >= at),
            NoticeKind::Reboot | NoticeKind::Other => false,
        }
    }

    /// When the stopping must have ended, milliseconds since 1970; `None` for a scheduled event whose earliest time is
    /// over: EC2 may act at once or in hours.
    pub fn deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let deadline_ms = self.at_ms?.saturating_sub(MARGIN_MS);
        (self.kind == NoticeKind::Interruption || deadline_ms > now_ms).then_some(deadline_ms)
    }
}

/// `spot/instance-action`
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>).
#[derive(Debug, Deserialize)]
struct InstanceAction {
    action: String,
    time: Timestamp,
}

/// Reads `spot/instance-action`.
///
/// # Errors
/// The problem with the text.
pub fn interruption(text: &str) -> Result<Notice, String> {
    let found: InstanceAction = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let id = format!("spot-{}-{}", found.action, found.time);
    let at_ms = u64::try_from(found.time.as_millisecond()).ok();
    Ok(Notice { id: plain(&id), kind: NoticeKind::Interruption, word: plain(&found.action), at_ms })
}

/// `events/recommendations/rebalance`
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recommendation {
    notice_time: Timestamp,
}

/// Reads `events/recommendations/rebalance`.
///
/// # Errors
/// The problem with the text.
pub fn recommendation(text: &str) -> Result<Notice, String> {
    let found: Recommendation = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let id = format!("rebalance-{}", found.notice_time);
    Ok(Notice { id, kind: NoticeKind::Rebalance, word: "rebalance".to_owned(), at_ms: None })
}

/// One of `events/maintenance/scheduled`
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    not_before: Option<String>,
    code: String,
    event_id: String,
    state: Option<String>,
}

/// Reads `events/maintenance/scheduled`: the events that are still to come. Completed and canceled ones stay in EC2's
/// list for a while; this leaves them out.
///
/// # Errors
/// The problem with the text.
pub fn scheduled(text: &str) -> Result<Vec<Notice>, String> {
    let events: Vec<Event> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let active = events.into_iter().filter(|event| event.state.as_deref().is_none_or(|state| state == "active"));
    Ok(active.take(MOST_NOTICES).map(of_event).collect())
}

fn of_event(event: Event) -> Notice {
    let kind = match event.code.as_str() {
        "instance-stop" | "instance-retirement" => NoticeKind::Stop,
        "instance-reboot" | "system-reboot" => NoticeKind::Reboot,
        _ => NoticeKind::Other,
    };
    let at = event.not_before.unwrap_or_default();
    let id = plain(&format!("{}@{at}", event.event_id));
    Notice { id, kind, word: plain(&event.code), at_ms: time_ms(&at) }
}

/// The part of an external text that is safe to keep and show.
fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MOST_SIGNS).collect()
}

/// Reads `21 Jan 2019 09:00:43 GMT`. Milliseconds since 1970; `None` of another text.
fn time_ms(text: &str) -> Option<u64> {
    let time = DateTime::strptime("%d %b %Y %H:%M:%S GMT", text).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS's page.
    const SCHEDULED: &str = r#"[{"NotBefore": "21 Jan 2019 09:00:43 GMT", "Code": "system-reboot",
        "Description": "scheduled reboot", "EventId": "instance-event-0d59937288b749b32",
        "NotAfter": "21 Jan 2019 09:17:23 GMT", "State": "active"}]"#;

    fn event(code: &str, state: &str, at: &str) -> String {
        format!(r#"{{"Code": "{code}", "EventId": "e-1", "NotBefore": "{at}", "State": "{state}"}}"#)
    }

    fn only(code: &str) -> Notice {
        scheduled(&format!("[{}]", event(code, "active", "21 Jan 2019 09:00:43 GMT"))).unwrap().remove(0)
    }

    #[test]
    fn a_scheduled_event_is_read_as_the_metadata_service_writes_it() {
        let notices = scheduled(SCHEDULED).unwrap();
        let id = "instance-event-0d59937288b749b32@21 Jan 2019 09:00:43 GMT".to_owned();
        let (word, at_ms) = ("system-reboot".to_owned(), Some(1_548_061_243_000));
        assert_eq!(notices, [Notice { id, kind: NoticeKind::Reboot, word, at_ms }]);
        assert_eq!(time_ms("1 Mar 2027 00:00:00 GMT"), Some(1_803_859_200_000));
        for garbage in ["", "soon", "21 Jan 2019", "2019-01-21T09:00:43Z", "31 Feb 2019 09:00:43 GMT"] {
            assert_eq!(time_ms(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn only_active_events_are_still_to_come() {
        let at = "21 Jan 2019 09:00:43 GMT";
        let list = format!(
            "[{}, {}, {}]",
            event("instance-stop", "completed", at),
            event("instance-stop", "canceled", at),
            event("instance-stop", "active", at)
        );
        assert_eq!(scheduled(&list).unwrap().len(), 1);
        assert_eq!(scheduled("[]"), Ok(Vec::new()));
        for garbage in ["", "{}", "<html>", "[1]", "[{\"Code\": \"instance-stop\"}]"] {
            assert!(scheduled(garbage).is_err(), "{garbage}");
        }
        let many = vec![event("system-maintenance", "active", at); 100].join(",");
        assert_eq!(scheduled(&format!("[{many}]")).unwrap().len(), MOST_NOTICES);
    }

    #[test]
    fn a_code_says_whether_the_applications_are_stopped() {
        let at = 1_548_061_243_000;
        for code in ["instance-stop", "instance-retirement"] {
            let notice = only(code);
            assert!(!notice.presses(Rebalance::Note, at - LEAD_MS - 1), "{code}: two weeks before");
            assert!(notice.presses(Rebalance::Note, at - LEAD_MS), "{code}");
            assert_eq!(notice.deadline_ms(at - LEAD_MS), Some(at - MARGIN_MS));
            assert_eq!(notice.deadline_ms(at), None, "EC2 is late: the scripts have their own time");
        }
        for code in ["instance-reboot", "system-reboot", "system-maintenance", "of-the-future"] {
            assert!(!only(code).presses(Rebalance::Drain, at + 1), "{code} is no termination");
        }
        let undated = scheduled(&format!("[{}]", event("instance-stop", "active", "soon"))).unwrap();
        assert!(!undated[0].presses(Rebalance::Note, at), "it is not known when");
    }

    #[test]
    fn an_interruption_presses_and_a_recommendation_only_where_that_is_wished() {
        let spot = interruption(r#"{"action": "terminate", "time": "2017-09-18T08:22:00Z"}"#).unwrap();
        assert_eq!((spot.id.as_str(), spot.at_ms), ("spot-terminate-2017-09-18T08:22:00Z", Some(1_505_722_920_000)));
        assert!(spot.presses(Rebalance::Note, 0));
        assert_eq!(
            spot.deadline_ms(u64::MAX),
            Some(1_505_722_920_000 - MARGIN_MS),
            "it is EC2's, also when it is over"
        );
        let rebalance = recommendation(r#"{"noticeTime": "2020-10-27T08:22:00Z"}"#).unwrap();
        assert_eq!((rebalance.id.as_str(), rebalance.at_ms), ("rebalance-2020-10-27T08:22:00Z", None));
        let presses = |wish| rebalance.presses(wish, 0);
        assert!(presses(Rebalance::Drain) && !presses(Rebalance::Hold) && !presses(Rebalance::Note));
        assert!(interruption("{}").is_err() && recommendation("null").is_err());
    }

    #[test]
    fn what_is_kept_of_a_notice_is_short_and_plain() {
        let endless = event(&format!("\\u001b[31m{}", "x".repeat(60_000)), "active", "21 Jan 2019 09:00:43 GMT");
        let notice = scheduled(&format!("[{endless}]")).unwrap().remove(0);
        assert_eq!((notice.word.len(), notice.kind), (MOST_SIGNS, NoticeKind::Other));
        assert!(notice.word.starts_with("[31mxxx"), "{}", notice.word);
        let spot = interruption(&format!(r#"{{"action": "{}", "time": "2017-09-18T08:22:00Z"}}"#, "y".repeat(9999)));
        assert!(spot.unwrap().id.len() <= MOST_SIGNS);
    }

    #[test]
    fn an_event_that_was_given_another_time_is_another_one() {
        let ids: Vec<String> = ["21 Jan 2019 09:00:43 GMT", "22 Jan 2019 09:00:43 GMT"]
            .iter()
            .map(|at| scheduled(&format!("[{}]", event("instance-stop", "active", at))).unwrap().remove(0).id)
            .collect();
        assert_ne!(ids[0], ids[1]);
    }
}
