use super::*;
use crate::appspec::diagnose::render;
use crate::appspec::spec::FileExistsBehavior;
use crate::event_order::LifecycleEvent;
use crate::golden::assert_golden;
use crate::ids::GroupKey;
use crate::limits::Limits;
use crate::machine::state::RollbackPolicy;
use crate::path_rule::UnsafePaths;

fn read_one(text: &str) -> Result<settings::Settings, String> {
    let files = [("config.yaml".to_owned(), text.to_owned())];
    read(&files, &Limits::default()).map_err(|wrong| render(&wrong, text))
}

#[test]
fn no_configuration_at_all_is_the_defaults() {
    assert_eq!(read(&[], &Limits::default()).unwrap(), settings::Settings::default());
    assert_eq!(read_one("# nothing but a comment\n").unwrap(), settings::Settings::default());
}

#[test]
fn every_key_is_read() {
    let text = "\
instance_id: i-1
poll: 5m
groups:
  - application: web
    group: prod
    channel: file:///srv/channel
    poll: 10s
    ignore_application_stop_failures: true
    cleanup: false
    file_exists_behavior: OVERWRITE
    rollback: false
    max_revisions: 7
    max_revision_bytes: 1000000
    keep_bundle: false
  - {application: web, group: test, rollback: [ValidateService]}
hooks: {inherit_environment: true, working_directory: /opt/codedeploy-agent, bundle_access: everyone}
";
    let settings = read_one(text).unwrap();
    assert_eq!(settings.instance_id.unwrap().as_str(), "i-1");
    let prod = &settings.groups[0];
    assert_eq!((prod.channel.as_deref(), prod.poll_seconds), (Some("file:///srv/channel"), 10));
    assert!(prod.policy.ignore_application_stop_failures && !prod.policy.cleanup);
    assert_eq!(prod.policy.rollback, RollbackPolicy::Never);
    assert_eq!(prod.policy.max_revision_bytes, Some(1_000_000));
    assert!(!prod.policy.keep_bundle);
    let test = &settings.groups[1];
    assert!(test.policy.keep_bundle);
    assert_eq!(test.policy.rollback, RollbackPolicy::Events(vec![LifecycleEvent::ValidateService]));
    assert_eq!(prod.policy.file_exists_behavior, FileExistsBehavior::Overwrite);
    assert_eq!(prod.policy.max_revisions, 7);
    assert_eq!(settings.groups[1].poll_seconds, 300, "the poll at the top is the default of all groups");
    assert!(settings.hooks.inherit_environment);
    assert_eq!(settings.hooks.bundle_access, Some(settings::BundleAccess::Everyone));
    assert_eq!(settings.hooks.working_directory.unwrap(), std::path::Path::new("/opt/codedeploy-agent"));
}

#[test]
fn values_are_written_as_in_an_appspec() {
    let text = "\
groups:
  - application: web
    group: prod
    max_revision_bytes: 2G
    bake_time: 1h30m
    cleanup: no
    report: \"false\"
    health: [{tcp: 'localhost:80', interval: 1d, timeout: 090s}]
downloads: {max_bytes_per_second: 50M}
logs: {deleted_bytes: 2GiB, compress: No, agent: off, deployments: \"true\"}
";
    let settings = read_one(text).unwrap();
    let group = &settings.groups[0];
    assert_eq!((group.policy.max_revision_bytes, group.policy.bake_seconds), (Some(2 << 30), 5400));
    assert!(!group.policy.cleanup && !group.report);
    assert_eq!((group.health[0].interval_seconds, group.health[0].timeout_seconds), (86_400, 90));
    assert_eq!(settings.downloads.max_bytes_per_second, Some(50 << 20));
    let logs = settings.logs.unwrap();
    assert_eq!((logs.deleted_bytes, logs.compress, logs.agent), (2 << 30, false, None));
    assert!(logs.deployments.is_some());
}

#[test]
fn a_target_that_is_on_again_has_the_usual_names() {
    let files = ["logs: {agent: false}", "logs: {agent: true, metrics: {retention_in_days: 7}}"];
    let files = files.map(|text| (text.to_owned(), text.to_owned()));
    let logs = read(&files, &Limits::default()).unwrap().logs.unwrap();
    assert_eq!(logs.agent.unwrap().log_group_name, "/hostler/agent");
    assert_eq!(logs.metrics.unwrap().log_group_name, "/hostler/metrics");
}

#[test]
fn a_group_without_an_interval_has_the_one_at_the_top() {
    let group = |name: &str| GroupKey::new("web".parse().unwrap(), name.parse().unwrap());
    let mut settings = read_one("groups: [{application: web, group: own, poll: 10s}]\npoll: 5m\n").unwrap();
    assert_eq!(settings.group_mut(group("own")).poll_seconds, 10);
    assert_eq!(settings.group_mut(group("other")).poll_seconds, 300);
    assert_eq!(settings.groups.len(), 2, "a group that was not configured is added");
    assert_eq!(settings::GroupSettings::new(group("new")).poll_seconds, settings::DEFAULT_POLL_SECONDS);
}

#[test]
fn a_later_file_wins_value_by_value() {
    let first = "groups: [{application: web, group: prod, channel: /a, max_revisions: 3}]";
    let second = "groups: [{application: web, group: prod, channel: /b}]";
    let files = [("a".to_owned(), first.to_owned()), ("b".to_owned(), second.to_owned())];
    let settings = read(&files, &Limits::default()).unwrap();
    assert_eq!(settings.groups.len(), 1);
    assert_eq!(settings.groups[0].channel.as_deref(), Some("/b"));
    assert_eq!(settings.groups[0].policy.max_revisions, 3);
}

#[test]
fn everything_that_is_wrong_is_shown_with_its_place_and_what_to_do() {
    let text = "\
instance: i-1
groups:
  - application: web
    chanel: /a
  - application: web/x
    group: prod
    poll: soon
    cleanup: maybe
    max_revisions: 1
    rollback: [ValidateServices]
    file_exists_behavior: overwrite
hooks: [a]
";
    assert_golden("configuration", &read_one(text).unwrap_err().to_string());
}

#[test]
fn a_channel_is_no_relative_path() {
    let group = |channel: &str| format!("groups: [{{application: a, group: g, channel: '{channel}'}}]");
    for relative in ["my-bucket/deploy", "store", "./store", "s3:/my-bucket/deploy"] {
        let said = read_one(&group(relative)).unwrap_err();
        assert!(said.contains("must be s3://BUCKET/PREFIX, file:///DIR or an absolute path"), "{relative}: {said}");
    }
    for (address, said) in [
        ("s3://My_Bucket/x", "has no valid bucket name"),
        ("s3://my-bucket/x?versionId=1", "names a version"),
        ("https://my-bucket/x", "other addresses are not stores"),
        ("file://srv", "other addresses are not stores"),
    ] {
        let refused = read_one(&group(address)).unwrap_err();
        assert!(refused.contains(said), "{address}: {refused}");
    }
    for good in ["s3://my-bucket/deploy", "s3://my-bucket", "file:///srv/channel", "/srv/channel"] {
        assert_eq!(read_one(&group(good)).unwrap().groups[0].channel.as_deref(), Some(good));
    }
}

#[test]
fn a_configuration_is_told_from_an_appspec() {
    let limits = Limits::default();
    assert!(looks_like_configuration("poll: 5s", &limits));
    assert!(looks_like_configuration("hooks: {inherit_environment: true}", &limits));
    assert!(!looks_like_configuration("version: 0.0\nos: linux\nhooks: {}", &limits));
    assert!(!looks_like_configuration("[", &limits));
}

#[test]
fn health_checks_and_their_listener_are_read() {
    let text = "\
health_listener: 127.0.0.1:8645
groups:
  - application: web
    group: prod
    bake_time: 2m
    health:
      - {http: {url: 'https://127.0.0.1/', tls_name: web.example, headers: {Host: web.example}}, interval: 10s, grace: 1m}
      - process: {name: nginx}
";
    let settings = read_one(text).unwrap();
    assert_eq!(settings.health_listener, Some("127.0.0.1:8645".parse().unwrap()));
    let group = &settings.groups[0];
    assert_eq!(group.policy.bake_seconds, 120);
    let [http, process] = settings.health(&group.key) else { panic!("{group:?}") };
    assert_eq!((http.interval_seconds, http.grace_seconds, http.deadline_seconds), (10, 60, 300));
    assert_eq!(process.probe.target(), "nginx");
    let wrong = "groups: [{application: a, group: b, health: [{command: {location: check.sh}}, {tcp: x}, {http: {url: 'http://x', tls_name: y}}]}]\nhealth_listener: 8080\n";
    let said = read_one(wrong).unwrap_err();
    for part in
        ["must be an absolute path", "must be host:port", "only for an address with https://", "health_listener"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn how_aws_is_reached_is_read_and_merged() {
    let first = "\
aws:
  region: eu-west-1
  endpoint_url: https://vpce.example
  use_fips_endpoint: true
  use_dualstack_endpoint: false
  ca_bundle: /etc/ssl/own.pem
  proxy: http://user:secret@proxy:3128
  no_proxy: [.internal, 10.0.0.0/8]
  s3: {endpoint_url: 'http://127.0.0.1:9000', addressing_style: path, proxy: direct}
downloads: {max_bytes_per_second: 20000000}
";
    let second = "aws: {region: eu-west-2, s3: {addressing_style: virtual}}";
    let files = [("a".to_owned(), first.to_owned()), ("b".to_owned(), second.to_owned())];
    let settings = read(&files, &Limits::default()).unwrap();
    let aws = settings.aws;
    assert_eq!(aws.region.as_deref(), Some("eu-west-2"));
    assert_eq!(aws.endpoint_url.as_deref(), Some("https://vpce.example"));
    assert_eq!((aws.use_fips_endpoint, aws.use_dualstack_endpoint), (Some(true), Some(false)));
    assert_eq!(aws.ca_bundle.unwrap(), std::path::Path::new("/etc/ssl/own.pem"));
    assert_eq!(aws.proxy, Some(settings::Proxy::Url("http://user:secret@proxy:3128".to_owned())));
    assert_eq!(aws.no_proxy, [".internal", "10.0.0.0/8"]);
    assert_eq!(aws.s3.endpoint_url.as_deref(), Some("http://127.0.0.1:9000"));
    assert_eq!(aws.s3.addressing_style, settings::AddressingStyle::Virtual);
    assert_eq!(aws.s3.proxy, Some(settings::Proxy::Direct));
    assert_eq!(settings.downloads.max_bytes_per_second, Some(20_000_000));
}

#[test]
fn what_is_wrong_about_aws_is_shown_with_its_place() {
    let text = "\
aws:
  region: eu west
  endpoint: https://x
  endpoint_url: ftp://x
  use_fips_endpoint: 1
  ca_bundle: own.pem
  proxy: socks5://proxy
  no_proxy: .internal
  s3: {path_style: true, addressing_style: dns}
downloads: {max_bytes_per_second: 0}
";
    assert_golden("configuration_aws", &read_one(text).unwrap_err().to_string());
}

#[test]
fn how_the_auto_scaling_group_is_obeyed_is_read() {
    let text = "\
auto_scaling:
  launch_hooks: [hostler-launch]
  terminate_hooks: [hostler/terminate]
  launch_timeout: 20m
  without_release: wait
  abandon_failed_shutdown: true
  rebalance: drain
  set_instance_health_after: 15m
";
    let found = read_one(text).unwrap().auto_scaling.unwrap();
    assert_eq!(
        (found.launch_hooks, found.terminate_hooks),
        (vec!["hostler-launch".into()], vec!["hostler/terminate".into()])
    );
    assert_eq!((found.launch_timeout_seconds, found.poll_seconds, found.abandon_failed_shutdown), (1200, 5, true));
    assert_eq!(found.without_release, crate::lifecycle::WithoutRelease::Wait);
    assert_eq!(found.rebalance, crate::lifecycle::Rebalance::Drain);
    assert_eq!(found.set_instance_health_after_seconds, Some(900));
    let silent = read_one("auto_scaling: {}").unwrap().auto_scaling.unwrap();
    assert_eq!(silent.set_instance_health_after_seconds, None, "off where nothing is said");
    assert_eq!(silent.rebalance, crate::lifecycle::Rebalance::Note);
    assert_eq!(read_one("poll: 5s").unwrap().auto_scaling, None, "off where nothing is said");
    let said = read_one("auto_scaling: {launch_hooks: [a b], without_release: maybe, rebalance: yes, hooks: []}");
    let said = said.unwrap_err();
    let words = ["must be continue, wait or abandon, not `maybe`", "must be note, hold or drain, not `yes`"];
    for part in
        words.into_iter().chain(["must be the name of a lifecycle hook", "`hooks` is not a key of `auto_scaling`"])
    {
        assert!(said.contains(part), "{part}: {said}");
    }
}

const KEY: &str = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

#[test]
fn signing_policies_are_read_on_one_line_or_as_pem_and_merged() {
    let pem = KEY.parse::<crate::release::PublicKey>().unwrap().to_pem().replace('\n', "\n      ");
    let first = format!("signatures:\n  channel:\n    keys:\n    - |\n      {pem}\n  cli: {{keys: [{KEY}]}}\n");
    let files = [("a".to_owned(), first), ("b".to_owned(), "signatures: {channel: {version: 3}}".to_owned())];
    let settings = read(&files, &Limits::default()).unwrap();
    let (channel, cli) = (settings.signatures.channel.unwrap(), settings.signatures.cli.unwrap());
    assert_eq!((channel.version, channel.threshold, &channel.keys), (3, 1, &cli.keys));
    let floor = read_one("groups: [{application: web, group: prod, minimum_sequence: 40}]").unwrap();
    assert_eq!(floor.groups[0].minimum_sequence, Some(40));
}

#[test]
fn a_signing_policy_that_would_guard_nothing_is_refused() {
    for (text, expected) in [
        ("signatures: {channel: {threshold: 1}}".to_owned(), "keys are missing"),
        ("signatures: {cli: {keys: []}}".to_owned(), "keys are 0"),
        (format!("signatures: {{channel: {{threshold: 2, keys: [{KEY}]}}}}"), "threshold is 2"),
        (format!("signatures: {{channel: {{threshold: 0, keys: [{KEY}]}}}}"), "threshold is 0"),
        (format!("signatures: {{channel: {{keys: [{KEY}, {KEY}]}}}}"), "twice"),
        ("signatures: {channel: {keys: [MCow]}}".to_owned(), "not an Ed25519 or P-256"),
        (format!("signatures: {{chanel: {{keys: [{KEY}]}}}}"), "did you mean `channel`"),
        (format!("signatures: {{codedeploy: {{keys: [{KEY}]}}}}"), "codedeploy"),
    ] {
        let wrong = read_one(&text).unwrap_err();
        assert!(wrong.contains(expected), "{text}: {wrong}");
    }
}

#[test]
fn what_is_done_about_unsafe_paths_is_read() {
    for (text, expected) in [
        ("poll: 5s", UnsafePaths::Refuse),
        ("unsafe_paths: refuse", UnsafePaths::Refuse),
        ("unsafe_paths: warn", UnsafePaths::Warn),
    ] {
        assert_eq!(read_one(text).unwrap().unsafe_paths, expected, "{text}");
    }
    let files = ["unsafe_paths: warn", "unsafe_paths: refuse"].map(|text| (text.to_owned(), text.to_owned()));
    assert_eq!(read(&files, &Limits::default()).unwrap().unsafe_paths, UnsafePaths::Refuse, "the later file wins");
    for (text, words) in [
        ("unsafe_paths: ignore", "config.yaml:1:15"),
        ("unsafe_paths: ignore", "must be refuse or warn, not `ignore`"),
        ("unsafe_path: warn", "did you mean `unsafe_paths`"),
    ] {
        let error = read_one(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn how_codedeploy_is_followed_is_read() {
    let text = "\
codedeploy:
  enabled: true
  agent_config: /etc/other.yml
  running_agent: refuse
  changed_signer: refuse
  signer_authorities: /etc/pki/signers.pem
  github_api: https://github.example.com/api/v3/
";
    let found = read_one(text).unwrap().codedeploy;
    assert_eq!(
        found,
        settings::CodeDeploySettings {
            enabled: true,
            agent_config: "/etc/other.yml".into(),
            running_agent: settings::RunningAgent::Refuse,
            changed_signer: settings::ChangedSigner::Refuse,
            signer_authorities: Some("/etc/pki/signers.pem".into()),
            github_api: "https://github.example.com/api/v3".to_owned(),
        }
    );
    assert!(!read_one("poll: 5s").unwrap().codedeploy.enabled);
    for (text, words) in [
        ("codedeploy: {running_agent: kill}", "must be wait or refuse, not `kill`"),
        ("codedeploy: {changed_signer: ask}", "must be report or refuse, not `ask`"),
        ("codedeploy: {agent_config: x.yml}", "must be an absolute path, not `x.yml`"),
        ("codedeploy: {github_api: \"http://github.example.com\"}", "must be an address that begins with https://"),
        ("codedeploy: {enable: true}", "did you mean `enabled`"),
    ] {
        let error = read_one(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn the_logs_section_is_read() {
    let text = "\
logs:
  deployments: {log_group_name: '/d/{application}'}
  agent: false
  flush: 30s
  compress: false
  retention_in_days: 30
  redact: ['password=\\S+']
  redact_values_from: [/etc/app/db-password]
  awslogs_config: /etc/awslogs/awslogs.conf
  files:
    - file: /var/log/app/*.log
      exclude: [debug.log]
      log_group_name: /app
      log_stream_name: '{instance_id}/{file_name}'
      datetime_format: '%Y-%m-%d %H:%M:%S'
      multi_line_start_pattern: '{datetime_format}'
      initial_position: end_of_file
      retention_in_days: 7
  journal:
    - {units: [nginx.service], priority: warning, matches: [SYSLOG_IDENTIFIER=nginx], log_group_name: /journal}
";
    let logs = read_one(text).unwrap().logs.unwrap();
    assert_eq!((logs.agent, logs.flush_seconds, logs.compress), (None, 30, false));
    assert_eq!(logs.redact_values_from, [std::path::PathBuf::from("/etc/app/db-password")]);
    let deployments = logs.deployments.unwrap();
    assert_eq!(
        (deployments.log_group_name.as_str(), deployments.group.retention_in_days),
        ("/d/{application}", Some(30))
    );
    assert_eq!(deployments.log_stream_name, "{instance_id}/{deployment_id}");
    let [file] = logs.files.as_slice() else { panic!("{:?}", logs.files) };
    assert_eq!((file.target.group.retention_in_days, file.exclude.len(), file.gather_ms), (Some(7), 1, 1000));
    let [journal] = logs.journal.as_slice() else { panic!("{:?}", logs.journal) };
    assert_eq!(
        (journal.target.log_stream_name.as_str(), journal.target.group.retention_in_days),
        ("{instance_id}", Some(30))
    );
    assert!(read_one("logs:\n").unwrap().logs.unwrap().agent.is_some(), "the section alone turns it on");
    assert!(read_one("poll: 5s\n").unwrap().logs.is_none());
}

#[test]
fn everything_that_is_wrong_with_logs_is_shown() {
    let text = "\
logs:
  agents: {}
  deployments: {log_stream_name: '{file_name}'}
  retention_in_days: 31
  redact: ['(']
  files:
    - {file: relative.log, log_group_name: /a}
    - {file: /a.log}
    - {file: /b.log, log_group_name: /b, encoding: klingon, time_zone: CET}
    - {file: /c.log, log_group_name: /c, multi_line_start_pattern: '{datetime_format}'}
  journal:
    - {log_group_name: /j, matches: [--flush], priority: loud}
";
    assert_golden("configuration_logs", &read_one(text).unwrap_err().to_string());
}

#[test]
fn traffic_is_read_for_each_group_and_what_does_not_fit_together_is_refused() {
    use crate::traffic::{TrafficMode, TrafficSettings};
    let arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/0123456789abcdef";
    let of = |text: &str| {
        let text = format!("groups: [{{application: a, group: g, traffic: {{{text}}}}}]");
        let files = [("config.yaml".to_owned(), text)];
        let read = read(&files, &Limits::default());
        read.map(|settings| settings.groups[0].traffic.clone())
            .map_err(|found| found.iter().map(|d| format!("{} {:?}\n", d.message, d.help)).collect::<String>())
    };
    let standby =
        TrafficSettings { mode: TrafficMode::Standby, surge: true, timeout_seconds: 300, ..Default::default() };
    assert_eq!(of("mode: standby, surge: true, timeout: 5m"), Ok(standby));
    let targets = TrafficSettings {
        mode: TrafficMode::TargetGroups,
        target_groups: vec![arn.to_owned()],
        despite_elb_health_checks: true,
        suppress_status_checks: true,
        ..Default::default()
    };
    let written = format!(
        "mode: target_groups, target_groups: ['{arn}'], despite_elb_health_checks: true, suppress_status_checks: true"
    );
    assert_eq!(of(&written), Ok(targets));
    assert_eq!(of("mode: target_groups, target_groups: auto").map(|found| found.target_groups), Ok(vec![]));
    assert_eq!(of(""), Ok(TrafficSettings::default()));
    for (text, words) in [
        ("mode: drain", "must be none, standby or target_groups, not `drain`"),
        ("mode: stanby", "did you mean `standby`?"),
        ("surge: true", "surge is only for mode: standby"),
        ("mode: standby, despite_elb_health_checks: true", "only for mode: target_groups"),
        ("mode: target_groups, target_groups: [my-classic-elb]", "classic ones are not supported"),
        ("mode: target_groups, target_groups: ['arn:aws:s3:::bucket']", "must be the ARN of a target group"),
        ("mode: target_groups, target_groups: yes-please", "auto or a list of ARNs"),
        ("mod: standby", "did you mean `mode`?"),
        ("timeout: soon", "must be a duration"),
    ] {
        let problem = of(text).unwrap_err();
        assert!(problem.contains(words), "{text}: {problem}");
    }
}

#[test]
fn no_message_shows_the_password_or_the_signature_of_an_address() {
    for text in [
        "aws: {proxy: 'socks://me:secret@proxy:1'}",
        "aws: {proxy: 'me:secret@proxy:1'}",
        "aws: {endpoint_url: 'ftp://me:secret@host/'}",
        "codedeploy: {github_api: 'http://me:secret@host/'}",
        "signals: {wait_condition: 'ftp://host/handle?Signature=secret'}",
    ] {
        let said = read_one(text).unwrap_err();
        assert!(!said.contains("secret") && said.contains("error"), "{said}");
    }
}

#[test]
fn one_file_names_a_group_once_and_a_later_file_adds_to_it() {
    let entry = |channel: &str| format!("  - {{application: a, group: b, channel: {channel}}}\n");
    let twice = format!("groups:\n{}{}", entry("/srv/one"), entry("/srv/two"));
    let wrong = read(&[("config.yaml".to_owned(), twice)], &Limits::default()).unwrap_err();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0].message, "a/b has an entry at line 2 already");
    assert_eq!((wrong[0].at.unwrap().line, wrong[0].related[0].at.line), (3, 2));
    let files =
        ["/srv/one", "/srv/two"].map(|channel| ("config.yaml".to_owned(), format!("groups:\n{}", entry(channel))));
    assert_eq!(read(&files, &Limits::default()).unwrap().groups[0].channel.as_deref(), Some("/srv/two"));
}
