//! Into the warm pool with the bundle, and out of it without another download.

use std::io::Read;
use std::time::Duration;

use super::*;
use crate::support::host::{Ended, Mount};
use crate::support::http_server::Request;
use crate::support::s3_front::Front;

/// A member whose channel is in a bucket.
struct Pooled {
    member: Member,
    bucket: Front,
}

impl Pooled {
    fn new(more: &str) -> Self {
        let pooled = Self { member: Member::new(""), bucket: Front::start() };
        pooled.member.host.configure(&format!(
            "{}{more}}}\ngroups: [{{application: shop, group: web, channel: 's3://own-bucket/st', poll: 1s, report: false}}]\n",
            AUTO_SCALING.trim_end_matches('}')
        ));
        pooled
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.member.host.command(arguments);
        self.member.aws(&mut command);
        command.env("AWS_ENDPOINT_URL_S3", self.bucket.server().url());
        command
    }

    fn daemon(&self) -> Running {
        self.member.host.start_command(self.command(&["run"]))
    }

    fn release(&self, bundle: Bundle) {
        let directory = bundle.write();
        let pushed = Ended::of(self.command(&["push", directory.to_str().unwrap(), "s3://own-bucket/st"]));
        let revision = pushed.with_code(0).out.trim().to_owned();
        Ended::of(self.command(&["release", "s3://own-bucket/st", &revision])).with_code(0);
    }

    /// Reads of packed bundles.
    fn downloads(&self) -> usize {
        self.bucket.objects().reads.iter().filter(|(key, _)| key.contains("/revisions/")).count()
    }
}

#[test]
fn the_bundle_is_brought_into_the_pool_and_not_fetched_again_out_of_it() {
    let pooled = Pooled::new("");
    let member = &pooled.member;
    pooled.release(member.bundle("v1").all_hooks());
    let before = pooled.downloads();
    member.moves("Warmed:Stopped", "Warmed:Pending:Wait");
    let daemon = pooled.daemon();
    member.comes_to("Warmed:Stopped", &daemon);
    daemon.says("shop/web has release 1 here");
    let fetched = pooled.downloads();
    assert!(fetched > before, "the bundle was fetched");
    assert_eq!(member.host.hook_lines(), Vec::<String>::new());
    assert!(!member.host.at("srv/app/version").exists(), "nothing was installed");
    // The instance was stopped meanwhile, so another daemon runs.
    daemon.kill();
    member.moves("InService", "Pending:Wait");
    let daemon = pooled.daemon();
    member.comes_to("InService", &daemon);
    assert_eq!(member.ran("v1 AfterAllowTraffic"), 1);
    assert_eq!(pooled.downloads(), fetched, "nothing was fetched again");
    assert_eq!(member.completed(), [pair("launch", "CONTINUE"), pair("launch", "CONTINUE")]);
}

#[test]
fn a_daemon_that_is_killed_on_the_way_into_the_pool_brings_the_bundle_all_the_same() {
    let pooled = Pooled::new("");
    let member = &pooled.member;
    pooled.release(member.bundle("v1").all_hooks());
    let bundle = |request: &Request| request.method == "GET" && request.path().contains("/revisions/");
    pooled.bucket.then(1, bundle, |reply| reply.after(Duration::from_secs(3600)));
    let before = pooled.downloads();
    member.moves("Warmed:Stopped", "Warmed:Pending:Wait");
    let daemon = pooled.daemon();
    eventually("the bundle is being fetched", PATIENCE, || {
        if pooled.downloads() > before { Ok(()) } else { Err(daemon.said()) }
    });
    daemon.kill();
    let again = pooled.daemon();
    member.comes_to("Warmed:Stopped", &again);
    again.says("shop/web has release 1 here");
    assert_eq!((member.host.hook_lines(), member.completed()), (vec![], vec![pair("launch", "CONTINUE")]));
}

#[test]
fn a_bundle_that_cannot_be_deployed_is_told_and_the_pool_is_filled() {
    let pooled = Pooled::new("");
    let member = &pooled.member;
    // A foreign directory is in the way of the bundle's file.
    fs::create_dir_all(member.host.at("srv/app")).unwrap();
    fs::write(member.host.at("srv/app/version"), "not ours").unwrap();
    pooled.release(member.bundle("v1").all_hooks());
    member.moves("Warmed:Stopped", "Warmed:Pending:Wait");
    let daemon = pooled.daemon();
    member.comes_to("Warmed:Stopped", &daemon);
    daemon.says("cannot deploy release 1 as this host is");
    daemon.says("srv/app/version");
    assert_eq!(member.completed(), [pair("launch", "CONTINUE")]);
    assert_eq!(fs::read_to_string(member.host.at("srv/app/version")).unwrap(), "not ours");
}

#[test]
fn a_store_that_is_away_holds_the_pool_up_until_the_deadline_and_no_longer() {
    // Two seconds, and the margin.
    let pooled = Pooled::new(", launch_timeout: 17s");
    let member = &pooled.member;
    pooled.release(member.bundle("v1").all_hooks());
    let any = |request: &Request| request.method == "GET";
    pooled.bucket.then(1000, any, |reply| reply.after(Duration::from_secs(3600)));
    member.moves("Warmed:Stopped", "Warmed:Pending:Wait");
    let daemon = pooled.daemon();
    member.comes_to("Warmed:Stopped", &daemon);
    daemon.says("not everything was fetched in time");
    assert!(member.group.change(|group| group.heartbeats["launch"]) > 0);
}

#[test]
fn a_full_disk_holds_the_pool_up_until_the_deadline_and_the_launch_comes_once_there_is_room() {
    // Four seconds, and the margin.
    let pooled = Pooled::new(", launch_timeout: 19s");
    let member = &pooled.member;
    let Some(disk) = Mount::tmpfs(&member.host.state(), 24 << 20) else { return };
    member.moves("InService", "InService");
    let daemon = pooled.daemon();
    daemon.says("hostler runs");
    let mut noise = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(3 << 20).read_to_end(&mut noise).unwrap();
    let filler = disk.leave_free(1 << 20);
    // The daemon is down during the release: the release must not be deployed before the pool.
    daemon.kill();
    pooled.release(member.bundle("v1").content("app/big", noise).all_hooks());
    member.moves("Warmed:Stopped", "Warmed:Pending:Wait");
    let daemon = pooled.daemon();
    daemon.says("the release is not here yet");
    member.comes_to("Warmed:Stopped", &daemon);
    assert_eq!((member.completed(), member.host.hook_lines()), (vec![pair("launch", "CONTINUE")], vec![]));
    fs::remove_file(filler).unwrap();
    member.moves("InService", "Pending:Wait");
    member.comes_to("InService", &daemon);
    assert_eq!(member.ran("v1 ApplicationStart"), 1);
}
