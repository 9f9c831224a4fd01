//! Where a file is expected, opening anything else never blocks, and the error names the path and its kind.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use nix::sys::stat::Mode;

use crate::support::eventually;
use crate::support::host::{Ended, Host, PATIENCE};

/// The program's output, within its time.
fn said(host: &Host, arguments: &[&str]) -> String {
    let mut command = host.command(arguments);
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
    command.env("AWS_SECRET_ACCESS_KEY", "none");
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(&format!("the end of {arguments:?}"), PATIENCE, || match running.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err("it runs".to_owned()),
        })
    }));
    if ended.is_err() {
        running.kill().unwrap();
    }
    let output = running.wait_with_output().unwrap();
    // A deployment that fails says so on standard output, in its progress.
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(ended.is_ok_and(|status| !status.success()), "{arguments:?}: {text}");
    text
}

fn pipe(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
}

#[test]
fn pipes_where_files_are_named_are_refused_by_name() {
    let host = Host::new();
    let path = host.path("pipe");
    pipe(&path);
    let bundle = host.path("bundle");
    fs::create_dir(&bundle).unwrap();
    fs::write(bundle.join("appspec.yml"), "version: 0.0\nos: linux\n").unwrap();
    let (pipe, bundle) = (path.to_str().unwrap(), bundle.to_str().unwrap());
    let store = host.store();
    let store = store.to_str().unwrap();
    host.ok(&["push", bundle, store]);
    for arguments in [
        &["validate", pipe][..],
        &["plan", pipe],
        &["deploy", pipe],
        &["deploy", bundle, "--release", pipe],
        &["release", store, "sha256:", "--key", pipe],
        &["plan", bundle, "--config", pipe],
    ] {
        let text = said(&host, arguments);
        assert!(
            text.contains(pipe) && text.contains("it is a named pipe, not a regular file"),
            "{arguments:?}: {text}"
        );
    }
    let device = said(&host, &["validate", "/dev/zero"]);
    assert!(device.contains("/dev/zero") && device.contains("a character device"), "{device}");
}

#[test]
fn pipes_in_a_directory_bundle_are_refused_by_name() {
    let host = Host::new();
    for name in ["appspec.yml", "source"] {
        let bundle = host.path(format!("bundle-{name}"));
        pipe(&bundle.join(name));
        if name != "appspec.yml" {
            fs::write(bundle.join("appspec.yml"), "version: 0.0\nos: linux\n").unwrap();
        }
        let (bundle, store) = (bundle.to_str().unwrap(), host.store());
        for arguments in [&["plan", bundle][..], &["deploy", bundle], &["push", bundle, store.to_str().unwrap()]] {
            let text = said(&host, arguments);
            assert!(text.contains(name) && text.contains("fifo"), "{arguments:?}: {text}");
        }
    }
}

#[test]
fn pipes_that_the_configuration_leads_to_are_refused_by_name() {
    let logs =
        |key: &str| format!("instance_id: i-1\naws: {{region: us-east-1}}\nlogs:\n  agent: false\n  {key}: [PIPE]\n");
    for (configuration, arguments) in [
        (logs("awslogs_config"), &["run"][..]),
        (logs("redact_values_from"), &["run"]),
        ("aws: {region: us-east-1, ca_bundle: PIPE}\n".to_owned(), &["push", "BUNDLE", "s3://bucket/prefix"]),
        ("codedeploy: {enabled: true, agent_config: PIPE}\n".to_owned(), &["run"]),
    ] {
        let host = Host::new();
        let path = host.path("pipe");
        pipe(&path);
        // Paths below the root prefix are shown without it.
        pipe(&host.at(path.strip_prefix("/").unwrap().to_str().unwrap()));
        fs::create_dir(host.path("bundle")).unwrap();
        fs::write(host.path("bundle/appspec.yml"), "version: 0.0\nos: linux\n").unwrap();
        host.configure(&configuration.replace("PIPE", path.to_str().unwrap()));
        let bundle = host.path("bundle").display().to_string();
        let arguments: Vec<&str> =
            arguments.iter().map(|argument| if *argument == "BUNDLE" { bundle.as_str() } else { argument }).collect();
        let text = said(&host, &arguments);
        let named = text.contains(path.to_str().unwrap());
        assert!(named && text.contains("it is a named pipe, not a regular file"), "{configuration}: {text}");
    }
    for name in ["etc/hostler/config.yaml", "etc/hostler/config.d/a.yaml"] {
        let host = Host::new();
        pipe(&host.at(name));
        let text = said(&host, &["run"]);
        assert!(text.contains(name) && text.contains("it is a named pipe, not a regular file"), "{text}");
    }
}

#[test]
fn a_configuration_that_is_too_long_is_refused_before_it_is_read_whole() {
    let host = Host::new();
    host.configure("");
    // A hole takes no disk space, and would take all memory.
    fs::File::options().write(true).open(host.at("etc/hostler/config.yaml")).unwrap().set_len(1 << 40).unwrap();
    let text = said(&host, &["run"]);
    assert!(text.contains("config.yaml") && text.contains("it has more than 1048576 bytes"), "{text}");
}

/// The null device is an empty file: a link to it masks a drop-in, and as the named file it is an empty configuration.
/// A pipe that a shell makes of `<(...)` is read.
#[test]
fn what_is_masked_is_empty_and_the_pipe_of_a_shell_is_a_configuration() {
    let host = Host::new();
    host.configure("poll: 7s\n");
    let masked = host.at("etc/hostler/config.d/50-masked.yaml");
    fs::create_dir_all(masked.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/null", &masked).unwrap();
    host.run(&["resume"]).with_code(3);
    host.run(&["resume", "--config", "/dev/null"]).with_code(3);
    let mut wrong = host.command(&["resume", "--config", "/dev/stdin"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"pol: 7s\n").unwrap();
    drop(writer);
    wrong.stdin(reader);
    Ended::of(wrong).with_code(2).saying(&["/dev/stdin", "pol", "poll"]);
}
