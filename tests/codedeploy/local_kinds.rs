//! `codedeploy-local` with every kind of bundle, and its behaviours for existing files.

use super::local::{bundle, local};
use super::*;
use crate::support::host::write;
use crate::support::skip;

/// Packs a directory's contents into a file in the directory's parent, with the given command.
fn packed(directory: &Path, name: &str, tool: &[&str], what: &str) -> PathBuf {
    let at = directory.parent().unwrap().join(name);
    let inside = if what == "." { directory.to_owned() } else { directory.parent().unwrap().to_owned() };
    let done = Command::new(tool[0]).args(&tool[1..]).arg(&at).arg(what).current_dir(inside).status().unwrap();
    assert!(done.success(), "{tool:?}");
    at
}

#[test]
fn every_type_of_bundle_is_deployed() {
    if Command::new("zip").arg("-v").output().is_err() {
        skip("zip is missing");
        return;
    }
    let kinds: [(&str, &[&str], &str); 6] = [
        ("directory", &[], ""),
        ("tar", &["tar", "-cf"], "."),
        ("tgz", &["tar", "-czf"], "."),
        ("zip", &["zip", "-qr"], "."),
        // A single directory at the top is stripped.
        ("zip", &["zip", "-qr"], "v1"),
        ("tgz", &["tar", "-czf"], "v1"),
    ];
    for (kind, tool, what) in kinds {
        let host = Host::new();
        let v1 = bundle(&host, "v1");
        let at = if kind == "directory" { v1.clone() } else { packed(&v1, &format!("packed.{kind}"), tool, what) };
        local(&host, &["-l", at.to_str().unwrap(), "-t", kind, "-g", "own-group"]).with_code(0);
        assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"), "{kind} {what}");
        assert_eq!(host.version(), "v1", "{kind} {what}");
        let deployments: Vec<_> = std::fs::read_dir(deployment_root(&host, "own-group")).unwrap().flatten().collect();
        let [deployment] = deployments.as_slice() else { panic!("{deployments:?}") };
        assert!(deployment.path().join("deployment-archive/hooks/AfterInstall-1.sh").is_file(), "{kind} {what}");
    }
}

#[test]
fn an_object_in_s3_and_a_version_of_it_are_deployed() {
    let (host, service) = served();
    let etag = put(&service, "app.tgz", &Bundle::new(&host, "v1").app().all_hooks().write());
    put(&service, "app.tgz?versionId=7", &Bundle::new(&host, "v2").app().all_hooks().write());
    let newest = format!("s3://bundles/app.tgz?etag={etag}");
    local(&host, &["-l", &newest, "-t", "tgz"]).with_code(0);
    assert_eq!(host.hook_lines(), hook_lines_of(None, "v1"));
    host.clear_hook_lines();
    local(&host, &["-l", "s3://bundles/app.tgz?versionId=7", "-t", "tgz"]).with_code(0);
    assert_eq!(host.hook_lines(), hook_lines_of(Some("v1"), "v2"));
    local(&host, &["-l", "s3://bundles/app.tgz?etag=other", "-t", "tgz"]).with_code(1).saying(&["ETag"]);
    assert_eq!(host.version(), "v2");
}

#[test]
fn the_appspec_says_what_becomes_of_files_that_exist_and_wins_over_the_command_line() {
    for (word, option, code, expected) in [
        ("DISALLOW", "OVERWRITE", 1, "foreign"),
        ("OVERWRITE", "DISALLOW", 0, "v1"),
        ("RETAIN", "DISALLOW", 0, "foreign"),
    ] {
        let host = Host::new();
        let v1 = bundle(&host, "v1");
        let appspec = std::fs::read_to_string(v1.join("appspec.yml")).unwrap();
        write(
            &v1.join("appspec.yml"),
            appspec.replace("os: linux", &format!("os: linux\nfile_exists_behavior: {word}")),
        );
        write(&host.at("srv/app/version"), "foreign\n");
        local(&host, &["-l", v1.to_str().unwrap(), "-b", option]).with_code(code);
        assert_eq!(host.version(), expected, "{word}");
    }
}
