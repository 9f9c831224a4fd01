use super::*;

fn with(change: impl FnOnce(&mut serde_json::Value)) -> Result<Specification, String> {
    let mut value = serde_json::json!({
        "DeploymentId": "d-ABCDEF123",
        "DeploymentGroupId": "9e0a1b2c-0000-4444-8888-aaaaaaaaaaaa",
        "DeploymentGroupName": "prod",
        "ApplicationName": "shop",
        "Revision": {"RevisionType": "S3", "S3Revision": {"Bucket": "b", "Key": "k", "BundleType": "tgz"}},
    });
    change(&mut value);
    Specification::parse(&value.to_string()).map_err(|e| e.to_string())
}

#[test]
fn the_least_that_a_specification_says() {
    let found = with(|_| {}).unwrap();
    assert_eq!(found.deployment.as_str(), "d-ABCDEF123");
    assert_eq!(found.group.id(), "9e0a1b2c-0000-4444-8888-aaaaaaaaaaaa");
    assert_eq!(found.group.to_string(), "shop/prod");
    assert_eq!(found.revision.to_string(), "s3://b/k");
    assert_eq!(found.file_exists_behavior, FileExistsBehavior::Disallow);
    assert!(!found.blue_green_rollback && found.appspec_name.is_none() && found.github_token.is_none());
}

#[test]
fn every_required_field_is_named_when_it_is_missing_null_or_empty() {
    for field in ["DeploymentId", "DeploymentGroupId", "DeploymentGroupName", "ApplicationName"] {
        for value in [serde_json::Value::Null, serde_json::Value::from("")] {
            let error = with(|v| v[field] = value.clone()).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }
    assert!(with(|v| v["Revision"] = serde_json::Value::Null).unwrap_err().contains("no Revision"));
    for field in ["Bucket", "Key", "BundleType"] {
        let error = with(|v| v["Revision"]["S3Revision"][field] = serde_json::Value::Null).unwrap_err();
        assert!(error.contains(&format!("S3Revision.{field}")), "{error}");
    }
    assert!(with(|v| v["Revision"]["RevisionType"] = "SVN".into()).unwrap_err().contains("SVN"));
    assert!(with(|v| v["Revision"]["RevisionType"] = "GitHub".into()).unwrap_err().contains("not the object"));
    assert!(with(|v| v["Revision"]["S3Revision"]["BundleType"] = "rar".into()).unwrap_err().contains("rar"));
}

#[test]
fn fields_that_nobody_knows_are_left_out() {
    let found = with(|v| {
        v["Novelty"] = serde_json::json!({"a": [1, null]});
        v["AllPossibleLifecycleEvents"] = serde_json::json!(["ApplicationStop"]);
        v["Revision"]["S3Revision"]["Novelty"] = 1.into();
    });
    assert_eq!(found.unwrap(), with(|_| {}).unwrap());
}

#[test]
fn names_may_begin_with_a_dot_and_stay_one_part_of_a_path() {
    let found = with(|v| {
        v["ApplicationName"] = ".net-shop".into();
        v["DeploymentGroupName"] = ".prod".into();
    });
    assert_eq!(found.unwrap().group.to_string(), ".net-shop/.prod");
    for bad in [".", "..", "a/b"] {
        assert!(with(|v| v["ApplicationName"] = bad.into()).unwrap_err().contains("ApplicationName"), "{bad}");
        let github = |v: &mut serde_json::Value| {
            v["Revision"] = serde_json::json!({"RevisionType": "GitHub", "GitHubRevision":
                {"Account": "a", "Repository": bad, "CommitId": "c"}});
        };
        assert!(with(github).unwrap_err().contains("Repository"), "{bad}");
    }
    let of_github = with(|v| {
        v["Revision"] = serde_json::json!({"RevisionType": "GitHub", "GitHubRevision":
            {"Account": "a", "Repository": ".github", "CommitId": "c"}});
    });
    assert_eq!(of_github.unwrap().revision.to_string(), "https://github.com/a/.github/commit/c");
}

#[test]
fn an_arn_is_cut_to_the_deployments_id() {
    let arn = "arn:aws:codedeploy:eu-west-1:1:deployment/d-X";
    assert_eq!(with(|v| v["DeploymentId"] = arn.into()).unwrap().deployment.as_str(), "d-X");
}

#[test]
fn an_id_that_is_no_path_component_is_refused() {
    for field in ["DeploymentId", "DeploymentGroupId"] {
        for bad in ["..", "a/b", "../../etc", "a\nb"] {
            assert!(with(|v| v[field] = bad.into()).is_err(), "{field} {bad:?}");
        }
    }
}

#[test]
fn version_and_etag_are_read_and_the_etag_loses_its_quotes() {
    let found = with(|v| {
        v["Revision"]["S3Revision"]["Version"] = "v1".into();
        v["Revision"]["S3Revision"]["ETag"] = "\"abc\"".into();
    });
    let RevisionLocation::S3 { version, etag, .. } = found.unwrap().revision else { panic!("not S3") };
    assert_eq!((version.as_deref(), etag.as_deref()), (Some("v1"), Some("abc")));
}

#[test]
fn github_comes_with_and_without_a_token_that_is_never_shown() {
    let github = |token: Option<&str>, bundle_type: Option<&str>, commit: &str| {
        with(|v| {
            v["Revision"] = serde_json::json!({"RevisionType": "GitHub", "GitHubRevision":
                {"Account": "a", "Repository": "r", "CommitId": commit, "Anonymous": token.is_none(),
                 "BundleType": bundle_type}});
            v["GitHubAccessToken"] = token.into();
        })
    };
    let found = github(Some("s3cret"), None, "c0ffee").unwrap();
    assert!(!format!("{found:?}").contains("s3cret"));
    assert_eq!(found.github_token.unwrap().reveal(), "s3cret");
    assert!(matches!(found.revision, RevisionLocation::GitHub { private: true, bundle_type: BundleType::Tgz, .. }));
    let found = github(None, Some("zip"), "c0ffee").unwrap().revision;
    assert!(matches!(found, RevisionLocation::GitHub { private: false, bundle_type: BundleType::Zip, .. }));
    assert!(github(None, Some("tgz"), "c").unwrap_err().contains("tgz"));
    assert!(github(None, None, "../../user").unwrap_err().contains("CommitId"));
    let broken = Specification::parse("{\"GitHubAccessToken\": \"s3cret\", \"Revision\": 7}").unwrap_err();
    assert!(!broken.to_string().contains("s3cret"), "{broken}");
}

#[test]
fn a_token_is_used_wherever_there_is_one_whatever_anonymous_says() {
    let read = |access: Option<&str>, oauth: Option<&str>, anonymous: serde_json::Value| {
        with(|v| {
            v["Revision"] = serde_json::json!({"RevisionType": "GitHub", "GitHubRevision":
                {"Account": "a", "Repository": "r", "CommitId": "c", "Anonymous": anonymous, "OAuthToken": oauth}});
            v["GitHubAccessToken"] = access.into();
        })
    };
    for anonymous in [serde_json::Value::Null, true.into(), false.into(), "false".into()] {
        for (access, oauth, expected) in [
            (Some("T1"), None, "T1"),
            (Some("T1"), Some("T2"), "T1"),
            (None, Some("T2"), "T2"),
            (Some(""), Some("T2"), "T2"),
        ] {
            let found = read(access, oauth, anonymous.clone()).unwrap();
            assert_eq!(found.github_token.unwrap().reveal(), expected, "{anonymous}");
            assert!(matches!(found.revision, RevisionLocation::GitHub { private: true, .. }), "{anonymous}");
        }
    }
    for anonymous in [serde_json::Value::Null, true.into()] {
        let found = read(None, Some(""), anonymous).unwrap();
        assert!(matches!(found.revision, RevisionLocation::GitHub { private: false, .. }));
        assert_eq!(found.github_token, None);
    }
    let error = read(None, None, false.into()).unwrap_err();
    assert!(error.contains("not Anonymous") && error.contains("OAuthToken"), "{error}");
}

#[test]
fn local_files_and_directories_are_absolute() {
    let local = |kind: &str, path: &str| {
        with(|v| {
            v["Revision"] = serde_json::json!({"RevisionType": kind,
                "LocalRevision": {"Location": path, "BundleType": "zip"}});
        })
    };
    let file = RevisionLocation::Local { path: "/b.zip".into(), bundle_type: BundleType::Zip };
    assert_eq!(local("Local File", "/b.zip").unwrap().revision, file);
    let directory = RevisionLocation::Local { path: "/b".into(), bundle_type: BundleType::Directory };
    assert_eq!(local("Local Directory", "/b").unwrap().revision, directory);
    assert!(local("Local File", "b.zip").unwrap_err().contains("absolute"));
}

#[test]
fn the_overrides_are_read() {
    let found = with(|v| {
        v["AgentActionOverrides"] = serde_json::json!({"AgentOverrides": {"FileExistsBehavior": "retain"}});
        v["AppSpecFilename"] = "deploy/app.yml".into();
        v["DeploymentCreator"] = "codeDeployRollback".into();
        v["DeploymentType"] = "BLUE_GREEN".into();
        v["ReuseArchiveFromDeploymentId"] = "d-OLD1".into();
        v["AllPossibleLifecycleEvents"] = serde_json::json!(["Install"]);
    });
    let found = found.unwrap();
    assert_eq!(found.file_exists_behavior, FileExistsBehavior::Retain);
    assert_eq!(found.appspec_name.as_deref(), Some("deploy/app.yml"));
    assert!(found.blue_green_rollback);
    assert_eq!(found.reuse_archive_from.unwrap().as_str(), "d-OLD1");
    let word = serde_json::json!({"AgentOverrides": {"FileExistsBehavior": "KEEP"}});
    assert!(with(|v| v["AgentActionOverrides"] = word).unwrap_err().contains("KEEP"));
    for odd in ["../x", "d-lower", "d-", &format!("d-{}", "A".repeat(70))] {
        assert_eq!(with(|v| v["ReuseArchiveFromDeploymentId"] = odd.into()).unwrap().reuse_archive_from, None, "{odd}");
    }
}

#[test]
fn the_appspecs_name_stays_in_the_bundle() {
    let name = |name: &str| with(|v| v["AppSpecFilename"] = name.into()).map(|found| found.appspec_name);
    assert_eq!(name("./deploy/appspec.yml").unwrap().as_deref(), Some("deploy/appspec.yml"));
    assert_eq!(name("./appspec.yml").unwrap(), None);
    for bad in ["/etc/passwd", "../appspec.yml", "a/../../b", "..", "/"] {
        let error = name(bad).unwrap_err();
        assert!(error.contains("AppSpecFilename") && error.contains(bad), "{bad}: {error}");
    }
}

#[test]
fn an_execution_that_names_another_deployment_is_told() {
    let found = with(|v| v["DeploymentId"] = "d-1D8CF5842".into()).unwrap();
    let arn = "arn:aws:codedeploy:eu-west-1:123456789012:deployment/d-1D8CF5842";
    // Without a deployment in it there is nothing to compare.
    for good in ["arn/of/d-1D8CF5842/0", arn, "a/b/c/d", "", "x/y/d-/z", "a/d-lower/b/c"] {
        assert_eq!(found.check_execution(good), Ok(()), "{good}");
    }
    let error = found.check_execution("arn/of/d-OTHER0001/0").unwrap_err().to_string();
    assert!(error.contains("d-1D8CF5842") && error.contains("d-OTHER0001"), "{error}");
}
