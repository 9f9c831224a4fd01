//! Every type of revision, and bundles that cannot be deployed.

use serde_json::json;

use super::*;
use crate::support::host::write;
use crate::support::skip;

const EVENTS: [&str; 3] = ["DownloadBundle", "Install", "AfterInstall"];

#[test]
fn an_object_with_its_etag_is_deployed_and_another_one_is_not() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let etag = put(&service, "v1.tgz", &Bundle::new(&host, "v1").app().hook("AfterInstall", "env").write());
    let revision = |etag: &str| {
        json!({"RevisionType": "S3", "S3Revision":
            {"Bucket": "bundles", "Key": "v1.tgz", "BundleType": "tgz", "ETag": etag}})
    };
    service.deploy_to_the_end(&specification("d-ETAG00001", "web", revision(&etag)), &EVENTS);
    let log = std::fs::read_to_string(deployment_root(&host, "0000-web/d-ETAG00001/logs/scripts.log")).unwrap();
    for line in [
        "LIFECYCLE_EVENT=AfterInstall",
        "DEPLOYMENT_ID=d-ETAG00001",
        "APPLICATION_NAME=shop",
        "DEPLOYMENT_GROUP_NAME=web",
        "DEPLOYMENT_GROUP_ID=0000-web",
        "BUNDLE_BUCKET=bundles",
        "BUNDLE_KEY=v1.tgz",
        &format!("BUNDLE_ETAG={etag}"),
    ] {
        assert!(log.contains(&format!("[stdout]{line}\n")), "{line} is not in\n{log}");
    }
    assert!(!log.contains("AWS_") && !log.contains("secret"), "{log}");
    service.deploy(&specification("d-ETAG00002", "web", revision("another")), &EVENTS);
    let report = service.report_of("d-ETAG00002", "DownloadBundle");
    assert_eq!((report.status.as_str(), &report.diagnostics["error_code"]), ("Failed", &5.into()));
    assert!(report.diagnostics["message"].as_str().unwrap().contains("ETag"), "{report:?}");
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_commit_on_github_is_deployed_with_and_without_a_token_that_nobody_sees() {
    let (host, service) = served();
    let running = daemon(&host);
    put(&service, "github", &Bundle::new(&host, "v1").app().hook("AfterInstall", "env").write());
    let github = |account: &str, anonymous: bool| {
        json!({"RevisionType": "GitHub", "GitHubRevision":
            {"Account": account, "Repository": "r", "CommitId": "c0ffee", "Anonymous": anonymous}})
    };
    service.deploy_to_the_end(&specification("d-GITHUB001", "web", github("public", true)), &EVENTS);
    let mut private = specification("d-GITHUB002", "web", github("private", false));
    private["GitHubAccessToken"] = "s3cret-token".into();
    service.deploy_to_the_end(&private, &EVENTS);
    assert_eq!(
        service.github(),
        [
            ("/repos/public/r/tarball/c0ffee", ""),
            ("/archive/public/r/tarball/c0ffee", ""),
            ("/repos/private/r/tarball/c0ffee", "token s3cret-token"),
            ("/archive/private/r/tarball/c0ffee", ""),
        ]
        .map(|(path, authorization)| (path.to_owned(), authorization.to_owned()))
    );
    let log = std::fs::read_to_string(deployment_root(&host, "0000-web/d-GITHUB002/logs/scripts.log")).unwrap();
    assert!(log.contains("[stdout]BUNDLE_COMMIT=c0ffee\n"), "{log}");
    stop(&host, &service);
    let said = running.end().with_code(0);
    assert!(!format!("{said:?}").contains("s3cret"), "{said:?}");
    let found = Command::new("grep").args(["-r", "s3cret-token"]).arg(host.root()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the token is in no file");
}

/// A specification as the service may write it: the tokens in its two places, the value of `Anonymous`, and the token
/// sent to GitHub; `None` if it is refused before any request to GitHub.
type TokenRow = (Option<&'static str>, Option<&'static str>, Value, Option<&'static str>);

#[test]
fn a_token_that_the_specification_holds_is_sent_whatever_anonymous_says() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    put(&service, "github", &Bundle::new(&host, "v1").app().write());
    let token = Some("s3cret-token");
    let rows: [TokenRow; 7] = [
        (token, None, Value::Null, Some("token s3cret-token")),
        (token, None, true.into(), Some("token s3cret-token")),
        (token, Some("another"), false.into(), Some("token s3cret-token")),
        (token, None, false.into(), Some("token s3cret-token")),
        (None, token, false.into(), Some("token s3cret-token")),
        (None, None, Value::Null, Some("")),
        (None, None, false.into(), None),
    ];
    for (number, (access, oauth, anonymous, asked)) in rows.into_iter().enumerate() {
        let id = format!("d-TOKEN{number:04}");
        let mut revision = json!({"RevisionType": "GitHub", "GitHubRevision":
            {"Account": "private", "Repository": "r", "CommitId": format!("c{number}")}});
        for (name, value) in [("Anonymous", anonymous), ("OAuthToken", oauth.into())] {
            if !value.is_null() {
                revision["GitHubRevision"][name] = value;
            }
        }
        let mut specification = specification(&id, "web", revision);
        if let Some(access) = access {
            specification["GitHubAccessToken"] = access.into();
        }
        service.deploy(&specification, &["DownloadBundle"]);
        let report = service.report_of(&id, "DownloadBundle");
        let path = format!("/repos/private/r/tarball/c{number}");
        let sent: Vec<_> = service.github().into_iter().filter(|(at, _)| *at == path).map(|(_, sent)| sent).collect();
        let said = report.diagnostics["message"].as_str().unwrap();
        match asked {
            Some("") => assert!(said.contains("is the repository private"), "row {number}: {said}"),
            Some(_) => assert_eq!(report.status, "Succeeded", "row {number}: {said}"),
            None => assert!(said.contains("not Anonymous"), "row {number}: {said}"),
        }
        assert!(sent.iter().all(|sent| Some(sent.as_str()) == asked), "row {number}: {sent:?}");
        assert_eq!(sent.is_empty(), asked.is_none(), "row {number}: {sent:?}");
    }
}

#[test]
fn github_is_reached_by_the_configured_certificates() {
    let (host, service) = served();
    service.write_config_with_github_over_tls(&host.root());
    let running = daemon(&host);
    put(&service, "github", &Bundle::new(&host, "v1").app().write());
    let revision = json!({"RevisionType": "GitHub", "GitHubRevision":
        {"Account": "public", "Repository": "r", "CommitId": "c0ffee", "Anonymous": true}});
    service.deploy_to_the_end(&specification("d-GITHUB001", "web", revision), &["DownloadBundle", "Install"]);
    assert_eq!((host.version().as_str(), service.github().len()), ("v1", 2), "{}", running.said());
}

#[test]
fn a_file_and_a_directory_of_the_host_are_deployed() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let bundle = Bundle::new(&host, "v1").app().hook("AfterInstall", "").write();
    let on_host = |name: &str| host.at("var/bundles").join(name);
    std::fs::create_dir_all(host.at("var/bundles")).unwrap();
    std::fs::rename(&bundle, on_host("directory")).unwrap();
    let packed = on_host("file.tar");
    assert!(
        Command::new("tar")
            .arg("-cf")
            .arg(&packed)
            .arg("-C")
            .arg(on_host("directory"))
            .arg(".")
            .status()
            .unwrap()
            .success()
    );
    let local = |kind: &str, name: &str, bundle_type: &str| {
        json!({"RevisionType": kind,
            "LocalRevision": {"Location": format!("/var/bundles/{name}"), "BundleType": bundle_type}})
    };
    service.deploy_to_the_end(
        &specification("d-LOCAL0001", "web", local("Local Directory", "directory", "directory")),
        &EVENTS,
    );
    assert_eq!(host.version(), "v1");
    service.deploy_to_the_end(&specification("d-LOCAL0002", "web", local("Local File", "file.tar", "tar")), &EVENTS);
    assert!(packed.is_file(), "the file itself stays");
}

#[test]
fn an_earlier_deployments_bundle_is_used_again() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &EVENTS);
    let mut again = specification("d-RESTART01", "web", s3("gone.tgz", "tgz"));
    again["ReuseArchiveFromDeploymentId"] = "d-FIRST0001".into();
    service.deploy_to_the_end(&again, &EVENTS);
    let message = |deployment: &str| service.report_of(deployment, "DownloadBundle").diagnostics["message"].clone();
    assert_eq!(message("d-FIRST0001"), "Succeeded: ");
    assert_eq!(message("d-RESTART01"), "Succeeded: the bundle of d-FIRST0001 is used again");
    // If the other deployment is not here, or is the deployment itself, the bundle is downloaded.
    for (version, deployment, other) in [
        ("v2", "d-SECOND002", "d-NEVERHERE"),
        ("v3", "d-ITSELF003", "d-ITSELF003"),
        ("v4", "d-ODD000004", "../d-FIRST"),
    ] {
        let mut asked = whole(&host, &service, version, deployment);
        asked["ReuseArchiveFromDeploymentId"] = other.into();
        service.deploy_to_the_end(&asked, &EVENTS);
    }
    assert_eq!(host.version(), "v4");
    assert_eq!(message("d-SECOND002"), "Succeeded: the bundle was downloaded");
    assert_eq!(message("d-ITSELF003"), "Succeeded: ");
}

/// A deployment of mode RESTART of the CodeDeploy agent 2.1 differs from others only in the source of its bundle.
#[test]
fn a_restart_runs_the_events_of_any_other_deployment() {
    let (host, service) = served();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    host.clear_hook_lines();
    let mut restart = specification("d-RESTART01", "web", s3("gone.tgz", "tgz"));
    restart["DeploymentMode"] = "RESTART".into();
    restart["ReuseArchiveFromDeploymentId"] = "d-FIRST0001".into();
    service.deploy_to_the_end(&restart, &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v1"));
    assert_eq!(host.version(), "v1");
    let report = service.report_of("d-RESTART01", "DownloadBundle");
    assert_eq!(report.diagnostics["message"], "Succeeded: the bundle of d-FIRST0001 is used again");
    running.says("the bundle of an earlier deployment in");
    // The bundle is its own: the first one may be deleted, and the next deployment stops the application.
    std::fs::remove_dir_all(deployment_root(&host, "0000-web/d-FIRST0001")).unwrap();
    host.clear_hook_lines();
    service.deploy_to_the_end(&whole(&host, &service, "v2", "d-SECOND002"), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    // If the configuration turns it off, the bundle is downloaded, which fails here.
    let agent = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&agent).unwrap_or_default();
    running.kill();
    write(&agent, format!("{text}\n:enable_archive_reuse: no\n"));
    let _running = daemon(&host);
    let mut refused = specification("d-RESTART02", "web", s3("gone.tgz", "tgz"));
    refused["ReuseArchiveFromDeploymentId"] = "d-SECOND002".into();
    service.deploy(&refused, &["DownloadBundle"]);
    assert_eq!(service.report_of("d-RESTART02", "DownloadBundle").status, "Failed");
}

#[test]
fn faults_of_events_that_nobody_calls_keep_no_deployment_from_working() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    let bundle = Bundle::new(&host, "v1").app().all_hooks().hook("Deploy", "").write();
    std::fs::remove_file(bundle.join("hooks/Deploy-1.sh")).unwrap();
    let appspec = std::fs::read_to_string(bundle.join("appspec.yml")).unwrap();
    let more =
        "  AfterDeploy: run.sh\n  BeforeDeploy:\n    - location: ../x.sh\n    - location: x.sh\n      timeout: soon\n";
    write(&bundle.join("appspec.yml"), format!("{appspec}{more}"));
    put(&service, "v1.tgz", &bundle);
    service.deploy_to_the_end(&specification("d-UNKNOWN03", "web", s3("v1.tgz", "tgz")), &IN_PLACE);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
    // Typos stay visible, also in deployments from a channel or by a command.
    let warnings = ["unknown-event", "script-absent", "wrong-type", "invalid-timeout", "leaves-bundle"]
        .map(|code| format!("warning[{code}]"));
    let warnings: Vec<&str> = warnings.iter().map(String::as_str).collect();
    let by_hand = Host::new();
    by_hand.run(&["validate", bundle.to_str().unwrap()]).with_code(0).saying(&warnings);
    by_hand.deploy(&bundle, &[]).with_code(0).saying(&["`Deploy` is not a lifecycle event", "hooks/Deploy-1.sh"]);
    assert_eq!(by_hand.version(), "v1");
}

#[test]
fn a_bundle_that_cannot_be_deployed_does_not_stop_the_application() {
    let (host, service) = served();
    let running = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    host.clear_hook_lines();
    put(&service, "bad.tgz", &Bundle::new(&host, "bad").files("missing", "/srv/app").all_hooks().write());
    let events = ["ApplicationStop", "DownloadBundle", "Install"];
    service.deploy(&specification("d-BAD000002", "web", s3("bad.tgz", "tgz")), &events);
    let report = service.report_of("d-BAD000002", "DownloadBundle");
    assert_eq!(report.status, "Failed");
    assert!(report.diagnostics["message"].as_str().unwrap().contains("missing"), "{report:?}");
    let stop = service.report_of("d-BAD000002", "ApplicationStop");
    assert!(stop.diagnostics["message"].as_str().unwrap().contains("left out"), "{stop:?}");
    assert!(host.hook_lines().is_empty(), "{}", running.said());
    assert_eq!(host.version(), "v1");
}

#[test]
fn a_refused_conflict_leaves_the_old_release_where_it_is() {
    let (host, service) = served();
    let _daemon = daemon(&host);
    service.deploy_to_the_end(&whole(&host, &service, "v1", "d-FIRST0001"), &IN_PLACE);
    std::fs::write(host.at("srv/app/foreign"), "not ours\n").unwrap();
    let bundle = Bundle::new(&host, "v2").app().content("app/foreign", "from the bundle\n").write();
    put(&service, "v2.tgz", &bundle);
    let mut conflict = specification("d-CONFLICT2", "web", s3("v2.tgz", "tgz"));
    service.deploy(&conflict, &["DownloadBundle", "Install"]);
    let report = service.report_of("d-CONFLICT2", "Install");
    assert_eq!((report.status.as_str(), &report.diagnostics["error_code"]), ("Failed", &5.into()));
    assert_eq!(host.version(), "v1");
    assert!(host.at("srv/app/only-v1").exists());
    let foreign = || std::fs::read_to_string(host.at("srv/app/foreign")).unwrap();
    for (id, word, expected) in
        [("d-RETAIN003", "RETAIN", "not ours\n"), ("d-OVERWRIT4", "OVERWRITE", "from the bundle\n")]
    {
        conflict["DeploymentId"] = id.into();
        conflict["AgentActionOverrides"] = json!({"AgentOverrides": {"FileExistsBehavior": word}});
        service.deploy_to_the_end(&conflict, &["DownloadBundle", "Install"]);
        assert_eq!(foreign(), expected, "{word}");
    }
    assert_eq!(host.version(), "v2");
}

#[test]
fn every_type_of_bundle_comes_from_the_service() {
    if Command::new("zip").arg("-v").output().is_err() {
        skip("zip is missing");
        return;
    }
    let (host, service) = served();
    let _daemon = daemon(&host);
    // The packing, and the type in the specification: the content decides.
    let kinds: [(&str, &[&str], &str); 5] = [
        ("tar", &["tar", "-cf"], "tar"),
        ("tgz", &["tar", "-czf"], "tgz"),
        ("zip", &["zip", "-qr"], "zip"),
        ("gzip", &["tar", "-czf"], "tar"),
        ("plain", &["tar", "-cf"], "tgz"),
    ];
    for (number, (name, tool, bundle_type)) in kinds.into_iter().enumerate() {
        let bundle = Bundle::new(&host, name).app().hook("AfterInstall", "").write();
        let packed = host.path(format!("packed-{name}"));
        let done = Command::new(tool[0]).args(&tool[1..]).arg(&packed).arg(".").current_dir(bundle).status().unwrap();
        assert!(done.success());
        let packed = if packed.exists() { packed } else { packed.with_extension("zip") };
        service.put_object(name, std::fs::read(packed).unwrap());
        let id = format!("d-TYPE{number:05}");
        service.deploy_to_the_end(&specification(&id, "web", s3(name, bundle_type)), &EVENTS);
        assert_eq!(host.version(), format!("{name}"));
    }
}

#[test]
fn as_many_revisions_stay_as_codedeployagent_yml_says() {
    let (host, service) = served();
    let path = host.at("etc/codedeploy-agent/conf/codedeployagent.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(":max_revisions: 5", ":max_revisions: 2")).unwrap();
    let _daemon = daemon(&host);
    let kept = || {
        let entries = std::fs::read_dir(deployment_root(&host, "0000-web")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    for number in 1..=4 {
        let id = format!("d-KEPT{number:05}");
        service.deploy_to_the_end(&whole(&host, &service, &format!("v{number}"), &id), &IN_PLACE);
    }
    assert_eq!(kept(), ["d-KEPT00003", "d-KEPT00004"]);
    // The revision on the host stays, however many fail after it.
    put(&service, "bad.tgz", &Bundle::new(&host, "bad").app().hook("BeforeInstall", "exit 1").write());
    for number in 5..=7 {
        let id = format!("d-KEPT{number:05}");
        service.deploy(&specification(&id, "web", s3("bad.tgz", "tgz")), &["DownloadBundle", "BeforeInstall"]);
        assert_eq!(service.report_of(&id, "BeforeInstall").status, "Failed");
    }
    assert!(kept().contains(&"d-KEPT00004".to_owned()), "{:?}", kept());
}
