//! What `history` and `logs` show of what was done, and under which words.

use std::fs;

use crate::support::eventually;
use crate::support::host::{Bundle, Ended, Gate, Host, PATIENCE, own_user};

/// A host on which v1 was deployed, and v2 failed in ValidateService and was rolled back; the ids of the three.
fn rolled_back() -> (Host, [String; 3]) {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().hook("ApplicationStart", "echo v1 starts").write(), &[]).with_code(0);
    let bad = Bundle::new(&host, "v2").app().hook("ApplicationStart", "echo v2 starts");
    host.deploy(&bad.hook("ValidateService", "echo v2 is ill >&2; exit 3").write(), &[]).with_code(1);
    let status = host.status();
    let ids = [&status["last_good"]["archive"], &status["failed"]["id"], &status["last"]["id"]];
    let ids = ids.map(|id| id.as_str().unwrap_or_else(|| panic!("{status:#}")).to_owned());
    (host, ids)
}

#[test]
fn deployments_rollbacks_and_removals_are_called_so_everywhere() {
    let (host, [first, failed, automatic]) = rolled_back();
    host.deploy(&Bundle::new(&host, "v3").app().write(), &[]).with_code(0);
    let third = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let back = host.ok(&["rollback"]).saying(&[" of shop/web to the revision of "]);
    let by_hand = host.status()["last"].clone();
    let id = by_hand["id"].as_str().unwrap();
    assert!(back.out.starts_with(&format!("rollback {id} of shop/web to the revision of {first}: ")), "{}", back.out);
    assert_eq!(by_hand["purpose"], "rollback_by_hand");
    host.ok(&["status"]).saying(&[&format!("last:      rollback {id} (user {}) succeeded at ", own_user())]);
    // Once more there is nothing older, and the one that was left is not taken up again.
    host.run(&["rollback"]).with_code(3).saying(&[
        "the one of",
        "is installed",
        &format!("--to returns to them: {third}"),
    ]);
    let removed = host.ok(&["remove"]);
    let last = host.status()["last"].clone();
    let removal = last["id"].as_str().unwrap();
    assert!(removed.out.starts_with(&format!("removal {removal} of shop/web: ")), "{}", removed.out);
    host.ok(&["status"]).saying(&[&format!("last:      removal {removal} (user root) succeeded at ")]);

    let table = host.ok(&["history"]).out;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let shown: Vec<Vec<&str>> =
        rows.iter().map(|row| row.iter().filter(|cell| !cell.is_empty()).copied().collect()).collect();
    let told: Vec<_> = shown.iter().map(|row| (row[1], row[2], row[3], row[5], row[7])).collect();
    let root = "user root";
    assert_eq!(
        told,
        [
            (first.as_str(), "deployment", "shop/web", "succeeded", root),
            (failed.as_str(), "deployment", "shop/web", "failed in ValidateService", root),
            (automatic.as_str(), "rollback", "shop/web", "succeeded", &format!("failure of {failed}")),
            (third.as_str(), "deployment", "shop/web", "succeeded", root),
            (id, "rollback", "shop/web", "succeeded", root),
            (removal, "removal", "shop/web", "succeeded", root),
        ],
        "{table}"
    );
    assert!(shown.iter().all(|row| row[6].ends_with(" s") && row[0].len() == "2026-11-30 18:20:18+00:00".len()));
    let events = host.ok(&["history", "--events"]);
    events.saying(&[
        &format!("{removal} removal of shop/web started by user root"),
        &format!("{id} rollback of shop/web"),
    ]);
    let purposes: Vec<_> =
        host.history().iter().filter_map(|record| record["purpose"].as_str().map(str::to_owned)).collect();
    assert_eq!(purposes, ["by_hand", "by_hand", "rollback", "by_hand", "rollback_by_hand", "removal"]);
}

#[test]
fn history_shows_the_deployments_of_a_group_the_newest_and_the_events_of_one() {
    let host = Host::new();
    host.ok(&["history"]).saying(&["nothing was done on this host yet"]);
    host.deploy(&Bundle::new(&host, "v1").app().write(), &[]).with_code(0);
    let first = host.status()["installed"]["deployment"].as_str().unwrap().to_owned();
    let other = Bundle::new(&host, "other").content("x", "").files("x", "/srv/other").write();
    let jobs = ["--application", "shop", "--group", "jobs"];
    host.deploy(&other, &jobs).with_code(0);
    host.deploy(&Bundle::new(&host, "v2").app().write(), &[]).with_code(0);
    let lines = |arguments: &[&str]| host.ok(&[&["history"][..], arguments].concat()).out.lines().count();
    assert_eq!((lines(&[]), lines(&["-n", "2"]), lines(&["--group", "web"]), lines(&jobs)), (3, 2, 2, 1));
    assert_eq!(lines(&["--group", "web", "-n", "1"]), 1);
    host.run(&["history", "--group", "nope"]).with_code(5).saying(&["it has shop/jobs, shop/web"]);
    let events = host.ok(&["history", "--deployment", &first]).out;
    assert!(events.contains("Install: succeeded") && events.lines().count() > 3, "{events}");
    assert!(events.lines().all(|line| line.contains(&first)), "{events}");
    host.run(&["history", "--deployment", "d-NOBODY"]).with_code(5).saying(&["no deployment d-NOBODY"]);
    // As JSON the records themselves are chosen, and all of them without a choice.
    let records = host.ok(&["history", "--json", "--deployment", &first]).out;
    let all = host.ok(&["history", "--json"]).out;
    assert!(records.lines().count() > 3 && records.lines().all(|line| all.lines().any(|other| other == line)));
    let file = host.state().join("history.ndjson");
    assert_eq!(all, fs::read_to_string(&file).unwrap());
    // A line that is no record is told, and the deployments are shown as before.
    fs::write(&file, format!("{all}garbage\n")).unwrap();
    for arguments in [&["history"][..], &["history", "-n", "1", "--events"], &["history", "--group", "web"]] {
        host.ok(arguments).saying(&["warning: the history has 1 unreadable line: `hostler history --verify`"]);
    }
    let events = host.ok(&["history", "--events"]);
    assert!(events.out.contains("(not a record: ") && !events.err.contains("unreadable"), "{events:?}");
}

#[test]
fn logs_show_why_a_deployment_failed_and_whose_output_it_is() {
    let (host, [first, failed, automatic]) = rolled_back();
    let shown = host.ok(&["logs"]);
    assert!(shown.out.contains("[stderr] v2 is ill") && !shown.out.contains("v1 starts"), "{}", shown.out);
    let of = format!("output of deployment {failed} of shop/web (user {}), started ", own_user());
    let then = format!(", failed in ValidateService; `hostler logs {automatic}` shows the rollback's\n");
    assert!(shown.err.starts_with(&of) && shown.err.ends_with(&then), "{}", shown.err);
    let rollback = host.ok(&["logs", &automatic]);
    assert!(rollback.out.contains("[stdout] v1 starts"), "{rollback:?}");
    assert!(rollback.err.starts_with(&format!("output of rollback {automatic} of shop/web")), "{rollback:?}");
    // The zone is as in the history.
    let zone = |text: &str| text.get(19..25).map(str::to_owned);
    assert_eq!(zone(&shown.out), zone(&host.ok(&["history"]).out), "{}", shown.out);

    let last = host.ok(&["logs", "-n", "1"]).out;
    assert!(last.lines().count() == 1 && last.contains("v2 is ill"), "{last}");
    let event = host.ok(&["logs", "--event", "ApplicationStart"]).out;
    assert!(event.contains("[stdout] v2 starts") && !event.contains("v2 is ill"), "{event}");
    host.ok(&["logs", "--event", "AfterInstall"]).saying(&[&format!("no script of AfterInstall has run in {failed}")]);
    let json = host.ok(&["logs", "--json", "-n", "1"]).json();
    let told = (&json["deployment"], &json["event"], &json["stream"], &json["text"]);
    assert_eq!(
        told,
        (&failed.as_str().into(), &"ValidateService".into(), &"stderr".into(), &"v2 is ill".into()),
        "{json}"
    );
    assert!(json["script"].as_str().is_some_and(|script| script.contains("ValidateService")), "{json}");
    host.run(&["logs", "--group", "nope", "--application", "shop"]).with_code(5).saying(&["it has shop/web"]);
    assert!(host.ok(&["logs", &first]).out.contains("v1 starts"));
}

#[test]
fn a_deployment_that_failed_before_any_script_says_so() {
    let host = Host::new();
    let unfit =
        host.write("unfit/appspec.yml", "version: 0.0\nos: linux\nfiles:\n  - {source: absent, destination: /srv}\n");
    host.deploy(unfit.parent().unwrap(), &[]).with_code(1);
    host.run(&["logs"]).with_code(5).saying(&["failed before any script ran: DownloadBundle: ", "hostler status"]);
    host.deploy(&Bundle::new(&host, "plain").content("x", "").files("x", "/srv/other").write(), &[]).with_code(0);
    host.run(&["logs"]).with_code(5).saying(&["has no output: it ran no script"]);
}

#[test]
fn following_goes_on_through_the_rollback_and_says_what_it_waits_for() {
    let host = Host::new();
    host.deploy(&Bundle::new(&host, "v1").app().hook("ApplicationStart", "echo v1 starts").write(), &[]).with_code(0);
    let gate = host.path("gate");
    let waits = format!("echo v2 waits; until [ -e {} ]; do sleep 0.02; done; exit 3", gate.display());
    let bad = Bundle::new(&host, "v2").app().hook("ValidateService", &waits).write();
    let deploys = host.start(&["deploy", bad.to_str().unwrap()]);
    host.status_when("the script runs", |status| status["active"]["event"] == "ValidateService");
    let following = host.start(&["logs", "-f"]);
    following.says("v2 waits");
    fs::write(&gate, "").unwrap();
    let Ended { out, err, .. } = following.end().with_code(0);
    deploys.end().with_code(1);
    assert!(out.find("v2 waits").unwrap() < out.rfind("[stdout] v1 starts").unwrap(), "{out}");
    let told: Vec<&str> =
        ["is followed until it ends", "failed in ValidateService", "output of rollback d-", " ended at "]
            .into_iter()
            .filter(|said| !err.contains(said))
            .collect();
    assert!(told.is_empty(), "{told:?} is missing in {err}");
}

#[test]
fn following_ends_where_no_agent_works_on_the_deployment() {
    let host = Host::new();
    let gate = Gate::new(&host, "start");
    let bundle = Bundle::new(&host, "v1").app().hook("ApplicationStart", &format!("echo v1 waits; {}", gate.wait()));
    let deploys = host.start(&["deploy", bundle.write().to_str().unwrap()]);
    host.status_when("the script runs", |status| status["active"]["event"] == "ApplicationStart");
    eventually("its output is in the log", PATIENCE, || {
        let shown = host.run(&["logs"]);
        if shown.out.contains("v1 waits") { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    deploys.kill();
    let followed = host.ok(&["logs", "-f"]);
    gate.open();
    assert!(followed.out.contains("[stdout] v1 waits") && !followed.err.contains("followed"), "{followed:?}");
    followed.saying(&[" is interrupted in ApplicationStart: no agent runs, and the next one goes on with it"]);
    host.ok(&["run", "--once"]);
    assert_eq!(host.status()["condition"], "good");
}
