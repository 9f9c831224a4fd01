//! The content of the CodeDeploy agent's files, in every form that its reader accepts.

use super::*;

fn config(text: &str) -> Result<AgentConfig, String> {
    AgentConfig::parse(text, &Limits::default()).map_err(|e| e.to_string())
}

fn on_premises(text: &str) -> Result<OnPremises, String> {
    OnPremises::parse(text, &Limits::default()).map_err(|e| e.to_string())
}

#[test]
fn the_shipped_file_is_the_default() {
    let shipped = "---\n:log_aws_wire: false\n:log_dir: '/var/log/aws/codedeploy-agent/'\n\
                   :pid_dir: '/opt/codedeploy-agent/state/.pid/'\n:program_name: codedeploy-agent\n\
                   :root_dir: '/opt/codedeploy-agent/deployment-root'\n:verbose: false\n:wait_between_runs: 1\n\
                   :proxy_uri:\n:max_revisions: 5\n";
    let expected = AgentConfig {
        log_dir: "/var/log/aws/codedeploy-agent/".into(),
        pid_dir: "/opt/codedeploy-agent/state/.pid/".into(),
        ..AgentConfig::default()
    };
    assert_eq!(config(shipped).unwrap(), expected);
    assert_eq!(config("").unwrap(), AgentConfig::default());
    assert_eq!(config("---\n").unwrap(), AgentConfig::default());
}

#[test]
fn the_last_of_two_keys_counts_and_every_bad_value_is_named_with_its_line() {
    assert_eq!(config(":max_revisions: 3\n:max_revisions: 2\n").unwrap().max_revisions, 2);
    for (text, words) in [
        (":max_revisions: 0", "line 1: max_revisions"),
        ("\n:root_dir: relative", "line 2: root_dir"),
        (":program_name: ../x", "program_name"),
        (":use_fips_mode: perhaps", "use_fips_mode"),
        (":wait_between_runs: -1", "wait_between_runs"),
        ("- a", "keys with values"),
        ("a: [", "not YAML"),
    ] {
        let error = config(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

/// Psych's verdicts were taken from Ruby 3.1.2 with Psych 4.0.3.
#[test]
fn truth_values_are_those_of_the_agents_reader() {
    for (text, expected) in [
        ("yes", true),
        ("Yes", true),
        ("on", true),
        ("TRUE", true),
        ("no", false),
        ("No", false),
        ("off", false),
        ("False", false),
        ("'true'", true),
        ("'false'", false),
    ] {
        assert_eq!(config(&format!(":use_fips_mode: {text}")).unwrap().use_fips_mode, expected, "{text}");
    }
    // Text, which Ruby takes for true.
    for text in ["y", "n", "N", "0", "1", "'yes'", "''", ":true"] {
        let error = config(&format!(":use_fips_mode: {text}")).unwrap_err();
        assert!(error.contains("true or false (or yes, no"), "{text}: {error}");
    }
    assert!(!config(":enable_deployments_log:").unwrap().enable_deployments_log, "nothing is not true");
    assert!(config(":enable_archive_reuse: ~").unwrap().enable_archive_reuse);
    let quiet = config(":verbose: no\n:log_aws_wire: off\n:children: 0x1\n:codedeploy_test_profile: :prod\n").unwrap();
    assert!(quiet.without_effect.is_empty(), "{:?}", quiet.without_effect);
}

#[test]
fn numbers_are_those_of_the_agents_reader() {
    for (text, expected) in [
        ("1_0", 10),
        ("010", 8),
        ("0x10", 16),
        ("0b11", 3),
        ("1:20", 4800),
        ("1,000", 1000),
        ("+5", 5),
        ("1.5", 2),
        ("'90'", 90),
    ] {
        assert_eq!(config(&format!(":http_read_timeout: {text}")).unwrap().http_read_timeout, expected, "{text}");
    }
    assert_eq!(config(":max_revisions: 1_0").unwrap().max_revisions, 10);
    assert_eq!(config(":max_revisions: 010").unwrap().max_revisions, 8);
    for text in ["0o10", "08", "'010'", "1e3", "5s", "2.5", "99999999999", ".inf", ".nan", "yes", "-1"] {
        let error = config(&format!(":max_revisions: {text}")).unwrap_err();
        assert!(error.contains("line 1: max_revisions") && error.contains("a number from 1"), "{text}: {error}");
    }
    assert!(config(":wait_between_runs: .nan").unwrap_err().contains("a number of seconds"));
}

#[test]
fn keys_are_symbols_or_text_and_text_wins() {
    for text in ["program_name: a", ":program_name: a", "program_name: :a", "':program_name': b\nprogram_name: a"] {
        assert_eq!(config(text).unwrap().program_name, "a", "{text}");
    }
    assert_eq!(config("program_name: a\n:program_name: b").unwrap().program_name, "a");
    assert_eq!(config(":program_name: b\nprogram_name: a").unwrap().program_name, "a");
}

#[test]
fn a_relative_path_is_refused_with_the_directories_where_it_may_have_been() {
    for key in ["root_dir", "log_dir", "pid_dir", "on_premises_config_file"] {
        for text in ["relative/x", "~/x", "./x"] {
            let error = config(&format!(":{key}: {text}")).unwrap_err();
            let words = [key, text, "/ under its systemd unit", "/opt/codedeploy-agent under its init script"];
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
    assert!(on_premises("iam_session_arn: a\nregion: r\naws_credentials_file: c").unwrap_err().contains("absolute"));
}

#[test]
fn an_on_premises_file_may_have_symbols_for_keys() {
    let user = ":iam_user_arn: arn:u\n:region: eu-west-1\n:aws_access_key_id: AK\n:aws_secret_access_key: s3cret\n";
    let plain = user.lines().map(|line| format!("{}\n", &line[1..])).collect::<String>();
    assert_eq!(on_premises(user), on_premises(&plain));
    assert_eq!(on_premises(&format!("{user}region: us-east-1\n")).unwrap().region, "us-east-1");
    assert_eq!(on_premises(&format!("region: :us-east-1\n{user}")).unwrap().region, "us-east-1");
    let both = on_premises(&format!("{user}:iam_session_arn: arn:s\n")).unwrap_err();
    assert!(both.contains("both iam_user_arn and iam_session_arn"), "{both}");
}

#[test]
fn what_changes_nothing_here_is_named_once() {
    let text = ":verbose: true\n:log_aws_wire: true\n:log_aws_wire: true\n:disable_imds_v1: false\n:children: 1\n\
                :group: deploy\n:user: deploy\n:wait_after_error: 30\n:own: x\n";
    let found = config(text).unwrap();
    assert_eq!(found.without_effect, ["verbose", "log_aws_wire", "group", "wait_after_error", "own"]);
    assert_eq!(found.user.as_deref(), Some("deploy"));
}

#[test]
fn a_host_outside_ec2_is_a_user_or_a_session() {
    let user = "iam_user_arn: arn:u\nregion: eu-west-1\naws_access_key_id: AK\naws_secret_access_key: s3cret\n";
    let found = on_premises(user).unwrap();
    assert_eq!((found.host_identifier.as_str(), found.region.as_str()), ("arn:u", "eu-west-1"));
    assert!(!format!("{found:?}").contains("s3cret"));
    let session = "iam_session_arn: arn:s\nregion: r\naws_credentials_file: /c\n";
    assert_eq!(on_premises(session).unwrap().credentials, OnPremisesCredentials::Session { file: "/c".into() });
}

#[test]
fn what_an_on_premises_file_lacks_is_named() {
    for (text, words) in [
        ("iam_user_arn: a\niam_session_arn: b\nregion: r", "both"),
        ("region: r", "neither"),
        ("iam_user_arn: a\nregion: r\naws_access_key_id: k", "aws_secret_access_key is missing"),
        ("iam_user_arn: a\naws_access_key_id: k\naws_secret_access_key: s", "region is missing"),
        ("iam_session_arn: a\nregion: r", "aws_credentials_file is missing"),
        ("{", "not YAML"),
    ] {
        let error = on_premises(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}
