//! Links below a destination in the CodeDeploy agent's place: links made by hooks are replaced, an operator's are
//! followed where the path rule allows it.

use std::os::unix::fs::{lchown, symlink};

use super::local::local;
use super::migrate::migrate;
use super::takeover::left_by_the_agent;
use super::*;
use crate::shared_storage::{assert_links_storage, assert_runs, link_by_hand, revision, shared};
use crate::support::host::{root_or_skip, write};

/// A revision with a directory at the operator's link, and no hook that makes one.
fn with_storage(host: &Host, version: &str) -> Bundle {
    Bundle::new(host, version).app().content(&format!("app/storage/of-{version}"), version)
}

pub fn in_bucket(service: &CommandService, bundle: &Path, deployment: &str) -> Value {
    let key = format!("{deployment}.tgz");
    put(service, &key, bundle);
    specification(deployment, "web", s3(&key, "tgz"))
}

#[test]
fn what_a_hook_links_makes_way() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    for (version, deployment) in [("v1", "d-FIRST0001"), ("v2", "d-SECOND002"), ("v3", "d-THIRD0003")] {
        let bundle = revision(&host, version).all_hooks().write();
        service.deploy_to_the_end(&in_bucket(&service, &bundle, deployment), &IN_PLACE);
        assert_runs(&host, version);
    }
}

#[test]
fn what_a_hook_of_the_agents_last_revision_linked_makes_way() {
    let (host, service) = served();
    left_by_the_agent(&host);
    let cleanup = deployment_root(&host, "deployment-instructions/0000-web-cleanup");
    let listed = std::fs::read_to_string(&cleanup).unwrap();
    write(&cleanup, format!("{listed}/srv/app/storage\n/srv/app/storage/upload\n"));
    symlink(shared(&host), host.at("srv/app/storage")).unwrap();
    let _daemon = daemon(&host);
    let bundle = revision(&host, "v1").write();
    service.deploy_to_the_end(&in_bucket(&service, &bundle, "d-FIRST0001"), &IN_PLACE);
    assert_runs(&host, "v1");
}

#[test]
fn what_a_hook_links_makes_way_for_a_local_deployment() {
    let host = Host::new();
    for version in ["v1", "v2", "v3"] {
        let bundle = host.at("bundles").join(version);
        std::fs::create_dir_all(host.at("bundles")).unwrap();
        std::fs::rename(revision(&host, version).write(), &bundle).unwrap();
        local(&host, &["-l", bundle.to_str().unwrap()]).with_code(0);
        assert_runs(&host, version);
    }
}

#[test]
fn a_link_that_was_there_before_is_followed() {
    let (host, service) = served();
    link_by_hand(&host);
    let _daemon = daemon(&host);
    for (version, deployment) in [("v1", "d-FIRST0001"), ("v2", "d-SECOND002")] {
        let bundle = with_storage(&host, version).write();
        service.deploy_to_the_end(&in_bucket(&service, &bundle, deployment), &IN_PLACE);
        assert_links_storage(&host, version);
        assert!(shared(&host).join(format!("of-{version}")).exists() && shared(&host).join("upload").exists());
    }
    assert!(!shared(&host).join("of-v1").exists(), "what was put behind the link is cleaned up behind it");
    // A bundle without the directory leaves the operator's link.
    let bundle = Bundle::new(&host, "v3").app().write();
    service.deploy_to_the_end(&in_bucket(&service, &bundle, "d-THIRD0003"), &IN_PLACE);
    assert_links_storage(&host, "v3");
    assert!(!shared(&host).join("of-v2").exists() && shared(&host).join("upload").exists());
}

#[test]
fn a_link_that_another_user_could_turn_elsewhere_is_refused_by_download_bundle() {
    if !root_or_skip("only root may give links away") {
        return;
    }
    let (host, service) = served();
    let storage = host.at("srv/app/storage");
    link_by_hand(&host);
    lchown(&storage, Some(33), None).unwrap();
    let _daemon = daemon(&host);
    let bundle = with_storage(&host, "v1").all_hooks().write();
    service.deploy(&in_bucket(&service, &bundle, "d-FIRST0001"), &IN_PLACE);
    let report = service.report_of("d-FIRST0001", "DownloadBundle");
    let said = report.diagnostics.to_string();
    assert_eq!(report.status, "Failed", "{said}");
    assert!(said.contains("user 33 owns") && said.contains("chown -h root"), "{said}");
    assert!(!shared(&host).join("of-v1").exists());
    // The hint's remedy: the link becomes root's.
    lchown(&storage, Some(0), None).unwrap();
    let bundle = with_storage(&host, "v1").write();
    service.deploy_to_the_end(&in_bucket(&service, &bundle, "d-THIRD0003"), &IN_PLACE);
    assert!(shared(&host).join("of-v1").exists());
    // Or the appspec says that BeforeInstall repairs it.
    lchown(&storage, Some(33), None).unwrap();
    let unlink = format!("rm -f {}", storage.display());
    let bundle = with_storage(&host, "v2")
        .hook("BeforeInstall", &unlink)
        .extension("  install: {recheck_after: BeforeInstall}\n");
    service.deploy_to_the_end(&in_bucket(&service, &bundle.write(), "d-SECOND002"), &IN_PLACE);
    assert!(storage.join("of-v2").exists() && !shared(&host).join("of-v2").exists());
}

#[test]
fn a_migration_names_the_links_below_destinations() {
    let (host, _service) = served();
    left_by_the_agent(&host);
    let archive = deployment_root(&host, "0000-web/d-OLDAGENT1/deployment-archive");
    write(&archive.join("app/storage/seed"), "");
    write(&archive.join("app/theirs/seed"), "");
    link_by_hand(&host);
    symlink("/nowhere", host.at("srv/app/theirs")).unwrap();
    migrate(&host, &[]).with_code(0).saying(&[
        "link /srv/app/storage -> ../../mnt/efs/storage below a destination: it is followed",
        "link /srv/app/theirs -> /nowhere below a destination: deployments through it are REFUSED",
    ]);
    let document = migrate(&host, &["--json"]).with_code(0).json();
    let links = document["groups"][0]["links"].as_array().unwrap();
    assert_eq!((links.len(), &links[0]["path"]), (2, &"/srv/app/storage".into()), "{document}");
    assert!(links[0]["refused"].is_null() && links[1]["refused"].is_string(), "{document}");
}
