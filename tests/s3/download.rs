//! Bundles from S3: interruptions, resumed downloads, and parts that are not fetched again.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::{S3Host, noise, store};
use crate::support::host::PATIENCE;
use crate::support::http_server::{Reply, Request};
use crate::support::s3_front::{Front, error};
use crate::support::{eventually, tool_or_skip};

const MIB: usize = 1 << 20;
/// Three parts, and a short one with the zip's overhead.
const BUNDLE: usize = 24 * MIB;

fn reads_bundle(request: &Request) -> bool {
    request.method == "GET" && request.path().contains("/revisions/") && !request.header("range").is_empty()
}

/// A host with a released bundle of four parts, put into the bucket behind the server's back in one piece.
fn released(front: &Front) -> S3Host {
    let host = S3Host::of(front);
    publish(front, &host, "v1", BUNDLE);
    host
}

fn publish(front: &Front, host: &S3Host, version: &str, bytes: usize) {
    let bundle = host.bundle(version).content("app/big", noise(bytes, 1)).write();
    // moto tests uploads in parts.
    let local = host.host.store();
    let pushed = host.ok(&["push", bundle.to_str().unwrap(), local.to_str().unwrap(), "-t", "zip"]);
    let hex = pushed.out.trim().strip_prefix("sha256:").unwrap();
    front.put(&format!("st/revisions/{hex}"), std::fs::read(local.join("revisions").join(hex)).unwrap());
    host.ok(&["release", &store(), hex]);
}

#[test]
fn a_download_survives_what_a_network_does() {
    let front = Front::start();
    let host = released(&front);
    front.instead(2, reads_bundle, error(503, "SlowDown", "Please reduce your request rate."));
    front.instead(1, reads_bundle, Reply::new(500, "<html>oh</html>"));
    front.then(1, reads_bundle, |reply| reply.reset_after(3 * MIB));
    front.then(1, reads_bundle, |reply| reply.cut_after(MIB + 1));
    front.then(1, reads_bundle, |reply| reply.claims_length(5).cut_after(5));
    front.then(1, reads_bundle, |reply| reply.slowly(256 << 10, Duration::from_millis(5)));
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
    assert_eq!(std::fs::read(host.host.at("srv/app/big")).unwrap(), noise(BUNDLE, 1));
    // An interrupted range continued where it broke: its second request does not begin where the first did.
    let reads = front.objects().reads.clone();
    assert!(reads.iter().any(|(_, from)| from % (8 * MIB as u64) != 0), "{reads:?}");
}

#[test]
fn an_agent_that_is_killed_goes_on_where_it_was() {
    let front = Front::start();
    let host = released(&front);
    // Two parts arrive, the others do not end.
    let held = |request: &Request| {
        reads_bundle(request)
            && !["bytes=0-", "bytes=8388608-"].iter().any(|first| request.header("range").starts_with(first))
    };
    front.then(1000, held, |reply| reply.slowly(1, Duration::from_secs(5)));
    let before = front.objects().reads.len();
    let running = host.start_once();
    let bundles = || -> Option<String> {
        let groups = std::fs::read_dir(host.host.state().join("deployment-root")).ok()?;
        let mut notes = groups
            .flatten()
            .flat_map(|group| std::fs::read_dir(group.path().join("bundles")).into_iter().flatten().flatten());
        let note = notes.find(|entry| entry.path().extension().is_some_and(|e| e == "parts"))?;
        std::fs::read_to_string(note.path()).ok()
    };
    eventually("two parts are noted", PATIENCE, || {
        let note = bundles().unwrap_or_default();
        if note.lines().count() == 3 { Ok(()) } else { Err(format!("{note}\n{}", running.said())) }
    });
    running.kill();
    front.forget_faults();
    let first = front.objects().reads[before..].to_vec();
    assert!(first.len() > 2, "{first:?}");
    let before = front.objects().reads.len();
    let sent = front.server().body_bytes_sent();
    host.once().with_code(0).saying(&["taken up again", "succeeded"]);
    assert_eq!(host.version(), "v1");
    let second = front.objects().reads[before..].to_vec();
    let bundle: Vec<_> = second.iter().filter(|(key, _)| key.contains("/revisions/")).collect();
    assert!(!bundle.is_empty() && bundle.iter().all(|(_, from)| *from >= 16 * MIB as u64), "{bundle:?}");
    let moved = front.server().body_bytes_sent() - sent;
    assert!(moved < 9 * MIB as u64, "{moved} bytes of 24 MiB, 16 of which were here");
    assert!(bundles().is_none(), "nothing is left of it");
}

#[test]
fn a_note_that_lies_costs_a_second_fetch_and_nothing_else() {
    let front = Front::start();
    let host = released(&front);
    front.instead(1000, reads_bundle, error(403, "AccessDenied", "Access Denied"));
    host.once().with_code(1).saying(&["s3:GetObject"]);
    front.forget_faults();
    // As after a power cut: recorded as fetched but not written.
    let group = host.host.state().join("deployment-root/shop~web/bundles");
    let note = std::fs::read_dir(group).unwrap().flatten().find(|e| e.path().extension().is_some_and(|e| e == "parts"));
    let note = note.expect("a note").path();
    let text = std::fs::read_to_string(&note).unwrap();
    std::fs::write(&note, format!("{text}0\n1\n2\n")).unwrap();
    host.ok(&["resume"]);
    host.once().with_code(0);
    assert_eq!(std::fs::read(host.host.at("srv/app/big")).unwrap(), noise(BUNDLE, 1));
}

#[test]
fn an_object_that_is_replaced_meanwhile_or_is_another_one_is_refused() {
    let front = Front::start();
    let host = released(&front);
    let key = front.objects().keys().into_iter().find(|key| key.contains("revisions")).unwrap();
    let good = front.get(&key).unwrap();
    let other = {
        let mut other = good.clone();
        other[1000] ^= 1;
        other
    };
    let (replaced, changed) = (other.clone(), key.clone());
    front.act(1, reads_bundle, move |objects, request| {
        let reply = objects.serve(request);
        objects.put(&changed, replaced.clone());
        reply
    });
    host.once().with_code(6).saying(&["replaced while it was fetched", "DownloadBundle"]);
    assert_eq!(host.version(), "");
    // It was another bundle from the beginning.
    host.ok(&["resume"]);
    host.once().with_code(6).saying(&["its digest is"]);
    front.put(&key, &good[1..]);
    host.ok(&["resume"]);
    host.once().with_code(6).saying(&["bytes and should have"]);
    front.put(&key, good);
    host.ok(&["resume"]);
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_bundle_that_is_here_is_not_fetched_again() {
    let front = Front::start();
    let host = S3Host::of(&front);
    publish(&front, &host, "v1", 1000);
    host.once().with_code(0);
    let revision = host.host.status()["installed"]["revision"]["digest"].as_str().unwrap().to_owned();
    host.ok(&["release", &store(), &revision]);
    let before = front.objects().reads.len();
    host.once().with_code(0).saying(&["release 2", "succeeded"]);
    let bundle = |(key, _): &&(String, u64)| key.contains("revisions");
    let reads = front.objects().reads[before..].to_vec();
    assert_eq!(reads.iter().filter(bundle).count(), 0, "{reads:?}");

    // A bundle that is still unpacked is not fetched again either, when another one is the kept one.
    publish(&front, &host, "v2", 1000);
    host.once().with_code(0);
    host.ok(&["release", &store(), &revision]);
    let before = front.objects().reads.len();
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
    let reads = front.objects().reads[before..].to_vec();
    assert_eq!(reads.iter().filter(bundle).count(), 0, "{reads:?}");
    // But once a user has changed it, it is no longer the release's.
    host.host.configure("groups: [{application: shop, group: web, keep_bundle: false}]\n");
    publish(&front, &host, "v3", 1000);
    host.once().with_code(0);
    for entry in std::fs::read_dir(host.host.state().join("deployment-root/shop~web")).unwrap().flatten() {
        let unpacked = entry.path().join("deployment-archive/app/version");
        if unpacked.exists() {
            std::fs::write(unpacked, "changed by hand\n").unwrap();
        }
    }
    host.ok(&["release", &store(), &revision]);
    let before = front.objects().reads.len();
    host.once().with_code(0);
    assert_eq!(host.version(), "v1");
    let reads = front.objects().reads[before..].to_vec();
    assert!(reads.iter().filter(bundle).count() > 0, "neither packed nor untouched");
}

/// A bundle of many files; one of them has this content.
fn many_files(host: &S3Host, version: &str, changed: &[u8]) -> std::path::PathBuf {
    let mut bundle = host.bundle(version);
    for number in 0..20 {
        bundle = bundle.content(&format!("app/data/{number}"), noise(MIB / 2, number + 1));
    }
    bundle.content("app/data/changed", changed).write()
}

/// Bytes of the bundle sent for a deployment.
fn moved(front: &Front, host: &S3Host, location: &str) -> u64 {
    let sent = front.server().body_bytes_sent();
    host.ok(&["release", &store(), location]);
    let released = front.server().body_bytes_sent();
    host.once().with_code(0);
    assert!(released - sent > 0);
    front.server().body_bytes_sent() - released
}

#[test]
fn of_a_zip_only_what_the_kept_one_lacks_is_fetched() {
    if !tool_or_skip("zip") {
        return;
    }
    let front = Front::start();
    let host = S3Host::of(&front);
    let place = |name: &str| format!("s3://own-bucket/{name}");
    let mut sizes = Vec::new();
    // Packed by `push`, and by zip as in build jobs, which stores times.
    for (version, changed, by_push) in [("v1", 1, true), ("v2", 2, true), ("v3", 3, false), ("v4", 4, false)] {
        let directory = many_files(&host, version, &noise(100_000, changed + 100));
        let zip = host.host.path(format!("{version}.zip"));
        if by_push {
            let local = host.host.store();
            let pushed = host.ok(&["push", directory.to_str().unwrap(), local.to_str().unwrap(), "-t", "zip"]);
            let hex = pushed.out.trim().strip_prefix("sha256:").unwrap();
            std::fs::copy(local.join("revisions").join(hex), &zip).unwrap();
        } else {
            let mut command = std::process::Command::new("zip");
            let packed = command.args(["-q", "-r"]).arg(&zip).arg(".").current_dir(&directory).status();
            assert!(packed.unwrap().success());
        }
        front.put(&format!("{version}.zip"), std::fs::read(&zip).unwrap());
        sizes.push((moved(&front, &host, &place(&format!("{version}.zip"))), std::fs::metadata(&zip).unwrap().len()));
        assert_eq!(host.version(), version);
        assert_eq!(std::fs::read(host.host.at("srv/app/data/changed")).unwrap(), noise(100_000, changed + 100));
    }
    let share = |at: usize| sizes[at].0 as f64 / sizes[at].1 as f64;
    assert!(share(0) > 0.99, "{sizes:?}");
    assert!(share(1) < 0.06, "one of 21 files, and the table of contents: {sizes:?}");
    // All times differ, so all headers are fetched, and only data is copied.
    assert!(share(3) < 0.2, "{sizes:?}");
}

#[test]
fn a_kept_bundle_that_misleads_costs_a_whole_fetch_and_nothing_else() {
    let front = Front::start();
    let host = S3Host::of(&front);
    let zip_of = |version: &str, changed: u64| {
        let directory = many_files(&host, version, &noise(100_000, changed));
        let local = host.host.store();
        let pushed = host.ok(&["push", directory.to_str().unwrap(), local.to_str().unwrap(), "-t", "zip"]);
        std::fs::read(local.join("revisions").join(pushed.out.trim().strip_prefix("sha256:").unwrap())).unwrap()
    };
    front.put("v1.zip", zip_of("v1", 50));
    moved(&front, &host, "s3://own-bucket/v1.zip");
    // One bit of a shared entry differs on this disk.
    let kept = std::fs::read_dir(host.host.state().join("deployment-root/shop~web/bundles")).unwrap().next().unwrap();
    let kept = kept.unwrap().path();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&kept), mode(kept.parent().unwrap())), (0o600, 0o700), "a packed bundle is for the agent alone");
    let mut bytes = std::fs::read(&kept).unwrap();
    bytes[3 * MIB] ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let second = zip_of("v2", 51);
    front.put("v2.zip", second.clone());
    assert!(moved(&front, &host, "s3://own-bucket/v2.zip") > second.len() as u64);
    assert_eq!(host.version(), "v2");
}

/// A rebuild that is killed begins again: it fetches only the missing parts again, never the whole.
#[test]
fn a_rebuild_that_is_killed_moves_no_more_than_the_difference_again() {
    let front = Front::start();
    let host = S3Host::of(&front);
    let zip_of = |version: &str, changed: u64| {
        let directory = many_files(&host, version, &noise(2 * MIB, changed));
        let local = host.host.store();
        let pushed = host.ok(&["push", directory.to_str().unwrap(), local.to_str().unwrap(), "-t", "zip"]);
        std::fs::read(local.join("revisions").join(pushed.out.trim().strip_prefix("sha256:").unwrap())).unwrap()
    };
    front.put("v1.zip", zip_of("v1", 50));
    moved(&front, &host, "s3://own-bucket/v1.zip");
    let second = zip_of("v2", 51);
    front.put("v2.zip", second.clone());
    host.ok(&["release", &store(), "s3://own-bucket/v2.zip"]);
    let reads = |front: &Front| front.objects().reads.iter().filter(|(key, _)| key == "v2.zip").count();
    let before = reads(&front);
    // The table of contents arrives, and then the missing parts, a byte now and then.
    let table = second.len() as u64 - (128 << 10);
    let held = move |request: &Request| {
        let from =
            request.header("range").strip_prefix("bytes=").and_then(|range| range.split('-').next()?.parse().ok());
        request.method == "GET" && request.path().ends_with("/v2.zip") && from.is_some_and(|from: u64| from < table)
    };
    front.then(1000, held, |reply| reply.slowly(1000, Duration::from_secs(5)));
    for _ in 0..2 {
        let asked = reads(&front);
        let running = host.start_once();
        eventually("what is missing is asked for", PATIENCE, || match reads(&front) - asked {
            0 | 1 => Err(running.said()),
            _ => Ok(()),
        });
        running.kill();
    }
    assert!(reads(&front) - before >= 4, "twice the table and what is missing");
    front.forget_faults();
    let sent = front.server().body_bytes_sent();
    host.once().with_code(0);
    let moved = front.server().body_bytes_sent() - sent;
    assert!(moved < 3 * MIB as u64, "{moved} bytes of {}, 2 MiB of which are new", second.len());
    assert_eq!(host.version(), "v2");
}
