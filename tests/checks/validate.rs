//! `hostler validate`.

use std::fs;

use super::{GOOD, SCRIPT, host_with_good};
use crate::support::golden;
use crate::support::host::{Host, tree_with_times};
use crate::support::skip;

/// Runs `validate` on a path of the host, compares its output with the golden text, and returns the exit code.
fn validated(host: &Host, name: &str, arguments: &[&str]) -> Option<i32> {
    let output = host.hostler(&[&["validate"], arguments].concat());
    golden(&format!("validate/{name}.txt"), &host.plain(&format!("{}{}", output.out, output.err)));
    output.code
}

#[test]
fn a_good_bundle_in_every_form() {
    let host = host_with_good();
    assert_eq!(validated(&host, "good-directory", &["good"]), Some(0));
    assert_eq!(validated(&host, "good-denied", &["good", "--deny-warnings"]), Some(0));
    for form in ["tar", "tgz", "tar.zst", "zip"] {
        let pushed = host.hostler(&["push", "good", "store", "--type", form, "--json"]).with_code(0).json();
        let location = pushed["location"].as_str().unwrap().trim_start_matches("file://");
        // The name says nothing about the form.
        let output = host.hostler(&["validate", location]).with_code(0);
        assert!(output.out.ends_with("may be deployed (0 errors, 0 warnings)\n"), "{form}: {}", output.out);
    }
}

#[test]
fn an_appspec_alone() {
    let host = host_with_good();
    assert_eq!(validated(&host, "appspec-alone", &["good/appspec.yml"]), Some(0));
    host.write("json/appspec.json", r#"{"version": 0.0, "os": "linux", "files": []}"#);
    let output = host.hostler(&["validate", "json/appspec.json"]).with_code(0);
    assert!(output.out.starts_with("appspec "), "{}", output.out);
}

#[test]
fn a_file_in_the_place_of_a_configuration_is_one_also_without_keys() {
    let host = Host::new();
    host.write("root/etc/hostler/more.yaml", "# Settings are one key a line.\n");
    for empty in ["root/etc/hostler/config.yaml", "etc/config.yaml", "etc/config.d/10-more.yml"] {
        host.write(empty, "# Settings are one key a line.\n#poll: 60s\n");
    }
    host.write("config-empty.yaml", "");
    let places = ["root/etc/hostler/config.yaml", "root/etc/hostler/more.yaml", "etc/config.yaml"];
    for place in places.into_iter().chain(["etc/config.d/10-more.yml", "config-empty.yaml"]) {
        let output = host.hostler(&["validate", place]).with_code(0);
        assert_eq!(output.out, format!("configuration {place}: is valid (0 errors, 0 warnings)\n"));
    }
    // A wrong key is a configuration's there, and an appspec stays one wherever it lies.
    host.write("config.yaml", "pol: 60s\n");
    let output = host.hostler(&["validate", "config.yaml"]).with_code(1);
    assert!(output.out.contains("\nconfiguration config.yaml: must not be used"), "{}", output.out);
    host.write("config-app.yml", GOOD);
    let output = host.hostler(&["validate", "config-app.yml"]).with_code(0);
    assert!(output.out.starts_with("appspec config-app.yml"), "{}", output.out);
    host.write("appspec.yml", "# nothing yet\n");
    assert!(host.hostler(&["validate", "appspec.yml"]).with_code(1).out.contains("appspec appspec.yml"));
}

#[test]
fn files_with_the_setuid_bit_are_found_before_they_are_pushed() {
    use std::os::unix::fs::PermissionsExt;
    for mode in [0o4755, 0o2755] {
        let host = host_with_good();
        let page = host.path("good/site/index.html");
        fs::set_permissions(&page, fs::Permissions::from_mode(mode)).unwrap();
        for arguments in [&["validate", "good"][..], &["push", "good", "store"], &["plan", "good"]] {
            let output = host.hostler(arguments).with_code(1);
            let said = format!("{}{}", output.out, output.err);
            assert!(said.contains("site/index.html") && said.contains("setuid or setgid bit"), "{arguments:?}: {said}");
        }
        assert_eq!(tree_with_times(&host.path("store")).len(), 1, "nothing is stored");
    }
}

#[test]
fn everything_wrong_is_said_at_once() {
    let host = Host::new();
    let appspec = "\
version: 0.0
os: linux
files:
  - source: absent.txt
    destination: /srv/a
  - source: one/x.txt
    destination: /srv/b
  - source: two/x.txt
    destination: /srv/b
permissions:
  - object: /srv/b
    mode: \"9\"
hooks:
  AfterInstal:
    - location: hooks/after.sh
  ApplicationStart:
    - location: hooks/Start.sh
      timeout: soon
";
    host.bundle("bad", &[("appspec.yml", appspec), ("one/x.txt", "1"), ("two/x.txt", "2")]);
    assert_eq!(validated(&host, "syntax-errors", &["bad"]), Some(1));
    // The readable part is checked against the bundle: missing files and two sources for one place.
    let readable = appspec.replace("\"9\"", "\"0644\"").replace("soon", "60").replace("AfterInstal:", "AfterRestart:");
    host.bundle("bad", &[("appspec.yml", &readable), ("hooks/start.sh", "echo\n")]);
    assert_eq!(validated(&host, "several-errors", &["bad"]), Some(1));
    let output = host.hostler(&["validate", "bad", "--json"]).with_code(1).json();
    assert_eq!((output["version"].as_u64(), output["valid"].as_bool()), (Some(1), Some(false)));
    assert_eq!(output["errors"], 3);
    assert_eq!(output["problems"][0]["code"], "two_sources");
}

#[test]
fn misspelt_names_are_refused_by_every_verb() {
    let host = Host::new();
    let appspec = "version: 0.0\nos: linux\nhook:\n  AfterInstall:\n    - location: a.sh\n      timout: 5\n";
    host.bundle("slip", &[("appspec.yml", appspec), ("a.sh", SCRIPT)]);
    assert_eq!(validated(&host, "misspelt-key", &["slip"]), Some(1));
    for arguments in [&["push", "slip", "store"][..], &["plan", "slip"], &["deploy", "slip"]] {
        host.hostler(arguments).with_code(1).saying(&["misspelt-key", "write `hooks`"]);
    }
    host.bundle("slip", &[("appspec.yml", &appspec.replace("hook:", "hooks:").replace("AfterInstall", "AfterInstal"))]);
    assert_eq!(validated(&host, "misspelt-names", &["slip"]), Some(1));
    // What was put aside, or stands beside the right name, is meant as it is.
    let aside = "version: 0.0\nos: linux\n_hooks: {}\nhooks:\n  AfterInstall: [{location: a.sh}]\n  AfterInstall2: [{location: a.sh}]\n";
    host.bundle("slip", &[("appspec.yml", aside)]);
    host.hostler(&["validate", "slip"]).with_code(0).saying(&["0 errors, 2 warnings"]);
}

#[test]
fn warnings_count_only_when_denied() {
    let host = Host::new();
    let appspec = "\
version: 0.0
os: linux
files:
  - source: a.txt
    destination: srv
    overwrite: true
permissions:
  - object: /elsewhere
    mode: 0644
";
    host.bundle("odd", &[("appspec.yml", appspec), ("a.txt", "a")]);
    assert_eq!(validated(&host, "warnings", &["odd"]), Some(0));
    assert_eq!(validated(&host, "warnings-denied", &["odd", "--deny-warnings"]), Some(1));
    let pushed = host.hostler(&["push", "odd", "store"]).with_code(0);
    assert!(pushed.out.starts_with("sha256:") && pushed.out.lines().count() == 1, "{}", pushed.out);
    golden("validate/push-warnings.txt", &host.plain(&pushed.err));
    let quiet = host.hostler(&["-q", "push", "odd", "store"]).with_code(0);
    assert_eq!((quiet.out, quiet.err), (pushed.out, String::new()));
}

#[test]
fn what_this_host_lacks_is_shown_and_never_denied() {
    let host = Host::new();
    let appspec =
        "version: 0.0\nos: linux\nhooks:\n  AfterInstall:\n    - {location: run.sh, runas: nobody-has-this-name}\n";
    host.bundle("elsewhere", &[("appspec.yml", appspec), ("run.sh", "#!/no/such/interpreter\n")]);
    assert_eq!(validated(&host, "host-lacks", &["elsewhere"]), Some(0));
    host.hostler(&["validate", "elsewhere", "--deny-warnings"]).with_code(0);
}

#[test]
fn json_is_one_document_of_a_stable_form() {
    let host = host_with_good();
    golden("validate/good.json", &host.plain(&host.hostler(&["validate", "good", "--json"]).with_code(0).out));
    host.write("appspec.yml", GOOD.replace("pattern:", "note:"));
    let output = host.hostler(&["validate", "appspec.yml", "--json"]).with_code(0);
    golden("validate/warning.json", &output.out);
}

#[test]
fn a_configuration() {
    let host = Host::new();
    host.write("config.yaml", "groups:\n  - application: shop\n    group: web\n    channel: /srv/store\n");
    assert_eq!(validated(&host, "configuration-good", &["config.yaml"]), Some(0));
    host.write("config.yaml", "instance-id: i-1\npoll: fortnight\ngroups:\n  - aplication: shop\n    group: web\n");
    assert_eq!(validated(&host, "configuration-bad", &["config.yaml"]), Some(1));
}

#[test]
fn a_release_document() {
    let host = host_with_good();
    let revision = host.push("good");
    host.release_revision(&revision);
    let location = host.hostler_for_group(&["release", "store", &revision, "--json"]).with_code(0).json();
    let path = location["location"].as_str().unwrap().trim_start_matches("file://").to_owned();
    let output = host.hostler(&["validate", &path]).with_code(0);
    assert!(output.out.ends_with("is valid (0 errors, 0 warnings)\n"), "{}", output.out);
    let looked = format!("release 2 of shop/web: {}, unsigned\n", &revision["sha256:".len()..][..8]);
    assert!(output.out.starts_with(&looked), "{}", output.out);
    let whole = fs::read_to_string(&path).unwrap();
    host.write("release.json", whole.replace("payloadType", "payloadKind"));
    assert_eq!(validated(&host, "release-wrong-field", &["release.json"]), Some(1));
    host.write("release.json", &whole[..whole.len() / 2]);
    assert_eq!(validated(&host, "release-cut", &["release.json"]), Some(1));
}

#[test]
fn what_is_no_bundle() {
    let host = host_with_good();
    host.bundle("nested", &[("app/appspec.yml", GOOD)]);
    assert_eq!(validated(&host, "no-appspec", &["nested"]), Some(1));
    host.bundle("misspelt", &[("Appspec.yml", GOOD)]);
    assert_eq!(validated(&host, "misspelt-appspec", &["misspelt"]), Some(1));
    host.bundle("lengthened", &[("appspec.yml.txt", GOOD)]);
    assert_eq!(validated(&host, "appspec-with-ending", &["lengthened"]), Some(1));
    host.bundle("doubled", &[("app.zip", "an archive")]);
    assert_eq!(validated(&host, "archive-in-archive", &["doubled"]), Some(1));
    host.write("error.zip", "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>");
    assert_eq!(validated(&host, "document-of-an-error", &["error.zip"]), Some(1));
    let pushed = host.hostler(&["push", "good", "store", "--type", "zip", "--json"]).with_code(0).json();
    let bytes = fs::read(pushed["location"].as_str().unwrap().trim_start_matches("file://")).unwrap();
    host.write("cut.zip", &bytes[..bytes.len() - 30]);
    assert_eq!(validated(&host, "damaged-zip", &["cut.zip"]), Some(1));
    let pushed = host.hostler(&["push", "good", "store", "--json"]).with_code(0).json();
    let bytes = fs::read(pushed["location"].as_str().unwrap().trim_start_matches("file://")).unwrap();
    host.write("cut.tgz", &bytes[..bytes.len() - 30]);
    assert_eq!(validated(&host, "damaged-tgz", &["cut.tgz"]), Some(1));
    host.write("noise", [0xff, 0, 1, 2, 3]);
    assert_eq!(validated(&host, "noise", &["noise"]), Some(1));
    assert_eq!(validated(&host, "absent", &["absent"]), Some(5));
    nix::unistd::mkfifo(&host.path("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(validated(&host, "pipe", &["pipe"]), Some(1));
    assert!(
        tree_with_times(&host.path("tmp")).len() == 1,
        "nothing is left behind: {:?}",
        tree_with_times(&host.path("tmp"))
    );
}

#[test]
fn what_cannot_be_read() {
    if !nix::unistd::geteuid().is_root() {
        skip("becoming another user needs root");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let host = host_with_good();
    host.write("secret.yml", GOOD);
    fs::set_permissions(host.path("secret.yml"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = host.hostler_as_nobody(&["validate", "secret.yml"]).with_code(1);
    golden("validate/unreadable.txt", &host.plain(&output.err));
    fs::set_permissions(host.path("good/site/index.html"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = host.hostler_as_nobody(&["push", "good", "store"]).with_code(1);
    golden("validate/unreadable-in-bundle.txt", &host.plain(&output.err));
    assert_eq!(tree_with_times(&host.path("store")).len(), 1);
    assert!(host.write("good/hooks/after.sh", SCRIPT).exists());
}

#[test]
fn the_examples_are_good() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hooks-examples");
    let host = Host::new();
    let directories = fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let directories: Vec<_> = directories.collect();
    assert!(directories.len() > 2, "{directories:?}");
    for path in directories {
        let output = host.hostler(&["validate", path.to_str().unwrap(), "--deny-warnings"]);
        assert_eq!(output.code, Some(0), "{}{}", output.out, output.err);
    }
}
