//! How many revisions are kept if the CodeDeploy agent, the daemon and codedeploy-local deploy to the same group.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::local::{bundle, local};
use super::takeover::left_by_the_agent;
use super::*;
use crate::support::host::write;

/// The deployments with a directory, by name.
fn kept(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(deployment_root(host, "0000-web")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn keep_at_most(host: &Host, number: u32) {
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(":max_revisions: 5", &format!(":max_revisions: {number}"))).unwrap();
}

#[test]
fn the_agents_older_revisions_stay_as_its_own_would_and_never_one_more() {
    let (host, service) = served();
    left_by_the_agent(&host);
    let older = deployment_root(&host, "0000-web/d-OLDAGENT0");
    write(&older.join("logs/scripts.log"), "2025-12-31 00:00:00 LifecycleEvent - AfterInstall\n");
    let long_ago = SystemTime::now() - Duration::from_secs(24 * 3600);
    File::open(&older).unwrap().set_modified(long_ago).unwrap();
    keep_at_most(&host, 3);
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    assert_eq!(kept(&host), ["d-FIRST0001", "d-OLDAGENT0", "d-OLDAGENT1"]);
    assert!(older.join("logs/scripts.log").is_file());

    // During a deployment there are no more either.
    let seen = host.path("seen");
    let look = format!("ls {} > {}", deployment_root(&host, "0000-web").display(), seen.display());
    put(&service, "v2.tgz", &Bundle::new(&host, "v2").app().hook("BeforeInstall", &look).write());
    service.deploy_to_the_end(&specification("d-SECOND002", "web", s3("v2.tgz", "tgz")), &IN_PLACE);
    assert_eq!(std::fs::read_to_string(seen).unwrap(), "d-FIRST0001\nd-OLDAGENT1\nd-SECOND002\n");
    assert_eq!(kept(&host), ["d-FIRST0001", "d-OLDAGENT1", "d-SECOND002"]);
    service.deploy_to_the_end(&whole(&host, &service, "v3", "d-THIRD0003"), &IN_PLACE);
    assert_eq!(kept(&host), ["d-FIRST0001", "d-SECOND002", "d-THIRD0003"]);
}

#[test]
fn local_deployments_to_the_daemons_group_leave_its_revisions_and_it_leaves_theirs() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    for number in 1..=3 {
        let id = format!("d-DAEMON000{number}");
        service.deploy_to_the_end(&whole(&host, &service, &format!("v{number}"), &id), &IN_PLACE);
    }
    let locally = |version: &str| {
        let at = bundle(&host, version);
        local(&host, &["-l", at.to_str().unwrap(), "-g", "0000-web", "-b", "OVERWRITE"]).with_code(0);
    };
    locally("l1");
    let all = kept(&host);
    assert_eq!(all.len(), 4, "{all:?}");
    locally("l2");
    locally("l3");
    let all = kept(&host);
    assert!(all.len() == 5 && !all.contains(&"d-DAEMON0001".to_owned()), "the oldest goes: {all:?}");
    service.deploy_to_the_end(&whole(&host, &service, "v4", "d-DAEMON0004"), &IN_PLACE);
    let all = kept(&host);
    let locals = all.iter().filter(|name| name.ends_with("-local")).count();
    assert!(all.len() == 5 && locals >= 2, "{all:?}");
    assert!(all.contains(&"d-DAEMON0003".to_owned()), "the daemon's ledger has it in use: {all:?}");
    assert_eq!(host.version(), "v4");
}

#[test]
fn what_the_other_ledger_still_has_to_settle_is_not_deleted() {
    let (host, service) = served();
    keep_at_most(&host, 1);
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-DAEMON0001"), &IN_PLACE);
    let broken = host.at("bundles/broken");
    std::fs::create_dir_all(broken.parent().unwrap()).unwrap();
    std::fs::rename(Bundle::new(&host, "broken").app().hook("AfterInstall", "exit 1").write(), &broken).unwrap();
    local(&host, &["-l", broken.to_str().unwrap(), "-g", "0000-web", "-b", "OVERWRITE"]).with_code(1);
    let failed = kept(&host).into_iter().find(|name| name.ends_with("-local")).unwrap();
    let journal = deployment_root(&host, &format!("0000-web/{failed}/install-journal"));
    assert!(journal.is_dir());
    for number in 2..=4 {
        let id = format!("d-DAEMON000{number}");
        service.deploy_to_the_end(&whole(&host, &service, &format!("v{number}"), &id), &IN_PLACE);
        assert!(journal.is_dir(), "it says where the replaced files lie: {:?}", kept(&host));
    }
    assert!(kept(&host).len() <= 4, "{:?}", kept(&host));
    // Its own next deployment settles it.
    let good = bundle(&host, "good");
    local(&host, &["-l", good.to_str().unwrap(), "-g", "0000-web", "-b", "OVERWRITE"]).with_code(0);
    assert_eq!(host.version(), "good");
}
