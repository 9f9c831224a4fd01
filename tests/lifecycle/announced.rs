//! EC2's announcements in the metadata service: rebalance recommendations and scheduled events.

use super::*;

/// A scheduled event this many seconds from now, as the metadata service writes it.
fn scheduled(code: &str, seconds: i64) -> String {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let at = at.strftime("%d %b %Y %H:%M:%S GMT");
    format!(
        "[{{\"NotBefore\": \"{at}\", \"Code\": \"{code}\", \"Description\": \"an event\", \
         \"EventId\": \"instance-event-0d59937288b749b32\", \"NotAfter\": \"{at}\", \"State\": \"active\"}}]"
    )
}

const RECOMMENDED: &str = "{\"noticeTime\": \"2026-11-20T08:22:00Z\"}";

fn announced(member: &Member) -> Vec<String> {
    let lifecycle = member.lifecycle();
    let notices = lifecycle["announced"].as_array().unwrap().iter();
    notices.map(|notice| notice["word"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_reboot_and_a_recommendation_are_shown_and_nothing_is_stopped() {
    let member = Member::new("");
    member.imds.change(|instance| {
        instance.scheduled = Some(scheduled("system-reboot", 30));
        instance.rebalance = Some(RECOMMENDED.to_owned());
    });
    let daemon = member.serves();
    daemon.says("EC2 announces system-reboot");
    assert_eq!(announced(&member), ["rebalance", "system-reboot"]);
    member.host.ok(&["status"]).saying(&["EC2 announces rebalance", "EC2 announces system-reboot at 20"]);
    // Another boot, as far as a test can have one: the notice is not repeated, and nothing was stopped.
    daemon.kill();
    let again = member.daemon();
    member.release("v2");
    member.hook_ran("v2 AfterAllowTraffic");
    assert!(!again.said().contains("EC2 announces"), "{}", again.said());
    assert_eq!((member.completed(), member.lifecycle()["entries"].as_u64()), (vec![], Some(0)));
}

#[test]
fn an_announced_stop_stops_the_application_once_and_in_time() {
    let member = Member::new("");
    let seen = member.host.path("deadline");
    let stop = format!("echo $HOSTLER_DEADLINE > {}", seen.display());
    member.host.release(&member.bundle("v1").hook("ApplicationStop", &stop).all_hooks().write(), &[]);
    member.moves("InService", "InService");
    let daemon = member.daemon();
    member.hook_ran("v1 AfterAllowTraffic");
    member.imds.change(|instance| instance.scheduled = Some(scheduled("instance-stop", 50)));
    member.hook_ran("v1 ApplicationStop");
    let left = || fs::read_to_string(&seen).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let left = eventually("the script's deadline", PATIENCE, || left().ok_or_else(|| "nothing".to_owned()));
    assert!((1..=35).contains(&left), "{left} seconds: the event's time, less a margin");
    // The instance comes back with the event still listed: it is known, and the application is not stopped twice.
    daemon.kill();
    let again = member.daemon();
    again.says("hostler runs");
    eventually("it has looked", PATIENCE, || {
        let asked = member.imds.requests().iter().filter(|(_, path)| path.ends_with("maintenance/scheduled")).count();
        if asked >= 3 { Ok(()) } else { Err(format!("{asked}")) }
    });
    assert_eq!((member.ran("v1 ApplicationStop"), member.completed()), (1, vec![]));
    assert_eq!(member.lifecycle()["instance_state"], "terminating");
}

#[test]
fn a_recommendation_drains_where_that_is_wished_and_the_host_serves_again_after_it() {
    let member = Member::new(", rebalance: drain");
    let _daemon = member.serves();
    member.imds.change(|instance| instance.rebalance = Some(RECOMMENDED.to_owned()));
    member.hook_ran("v1 ApplicationStop");
    member.host.status_when("it is stopped", |status| status["condition"] == "stopped");
    assert_eq!((member.completed(), member.group.state().as_str()), (vec![], "InService"));
    member.imds.change(|instance| instance.rebalance = None);
    eventually("it is deployed again", PATIENCE, || {
        if member.ran("v1 AfterAllowTraffic") == 2 { Ok(()) } else { Err(member.lifecycle().to_string()) }
    });
}

#[test]
fn a_recommendation_holds_new_deployments_where_that_is_wished() {
    let member = Member::new(", rebalance: hold");
    let daemon = member.serves();
    member.imds.change(|instance| instance.rebalance = Some(RECOMMENDED.to_owned()));
    daemon.says("the instance is held because EC2 recommends another");
    member.release("v2");
    // An operator at the keyboard may deploy, and no script of v2 has run before.
    member.host.ok(&["deploy", member.bundle("v3").all_hooks().write().to_str().unwrap()]);
    assert_eq!((member.ran("v3 AfterAllowTraffic"), member.ran("v2 BeforeInstall")), (1, 0));
    assert_eq!(member.ran("v1 ApplicationStop"), 1, "by v3");
    member.imds.change(|instance| instance.rebalance = None);
    member.hook_ran("v2 AfterAllowTraffic");
}

#[test]
fn an_answer_that_is_none_is_told_once_and_announces_nothing() {
    let member = Member::new(", rebalance: drain");
    member.imds.change(|instance| {
        instance.scheduled = Some("<html>Please log in</html>".to_owned());
        instance.rebalance = Some("{}".to_owned());
        instance.spot = Some("soon".to_owned());
    });
    let daemon = member.serves();
    daemon.says("cannot be read");
    assert_eq!(announced(&member), Vec::<String>::new());
    assert_eq!(daemon.said().matches("cannot be read").count(), 1, "{}", daemon.said());
}

#[test]
fn a_host_at_rest_asks_for_events_rarely() {
    let member = Member::new("");
    let _daemon = member.serves();
    let count = |path: &str| member.imds.requests().iter().filter(|(_, asked)| asked.ends_with(path)).count();
    let (targets, events) = ("target-lifecycle-state", "maintenance/scheduled");
    eventually(
        "many looks",
        PATIENCE,
        || if count(targets) >= 15 { Ok(()) } else { Err(format!("{}", count(targets))) },
    );
    assert!(count(events) * 6 <= count(targets), "{} of {}", count(events), count(targets));
}

#[test]
fn an_interruption_that_does_not_come_true_leaves_nothing_stopped() {
    let member = Member::new("");
    let daemon = member.serves();
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(700);
    // Its time is long over: the daemon was away, and EC2 removed the notice late.
    let notice = format!("{{\"action\": \"stop\", \"time\": \"{}\"}}", at.strftime("%Y-%m-%dT%H:%M:%SZ"));
    member.imds.change(|instance| instance.spot = Some(notice));
    member.hook_ran("v1 ApplicationStop");
    member.imds.change(|instance| instance.spot = None);
    daemon.says("EC2 did not take the instance away");
    eventually("it is deployed again", PATIENCE, || {
        if member.ran("v1 AfterAllowTraffic") == 2 { Ok(()) } else { Err(daemon.said()) }
    });
    assert_eq!((member.completed(), member.lifecycle()["instance_state"].as_str()), (vec![], Some("in_service")));
}
