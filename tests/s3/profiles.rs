//! How publishers sign in: the profiles of the AWS CLI's files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{S3Host, store};
use crate::support::host::Ended;
use crate::support::s3_front::{ACCESS_KEY, Front, SECRET_KEY};

const CONFIG: &str = "
[profile process]
credential_process = cat HOME/keys.json
[profile center]
sso_session = work
sso_account_id = 123456789012
sso_role_name = Deployer
[sso-session work]
sso_region = us-east-1
sso_start_url = https://example.awsapps.com/start
[profile console]
login_session = arn:aws:iam::123456789012:user/ana
";

/// As the AWS CLI's `configure export-credentials` answers for a profile that was signed in to. IAM Identity Center and the
/// console cannot be had in a test.
const CLI: &str = "#!/bin/sh
[ \"$*\" = 'configure export-credentials --format process' ] || exit 9
case $AWS_PROFILE in
center) cat \"$HOME/keys.json\" ;;
*) echo 'Your session has expired. Please reauthenticate' >&2; exit 255 ;;
esac
";

/// A publisher with a home, who has no keys in the environment.
fn publisher(front: &Front) -> S3Host {
    let mut host = S3Host::of(front);
    host.environment.retain(|(name, _)| !name.contains("KEY"));
    let home = host.host.path("home");
    fs::create_dir_all(home.join(".aws")).unwrap();
    fs::create_dir_all(home.join("bin")).unwrap();
    fs::write(home.join(".aws/config"), CONFIG.replace("HOME", home.to_str().unwrap())).unwrap();
    let keys = serde_json::json!({"Version": 1, "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY});
    fs::write(home.join("keys.json"), keys.to_string()).unwrap();
    host.environment.push(("HOME", home.to_str().unwrap().to_owned()));
    host
}

fn with_cli(host: &S3Host) -> String {
    let program = host.host.path("home/bin/aws");
    fs::write(&program, CLI).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", program.parent().unwrap().display())
}

/// `hostler push` with this profile and path of programs.
fn push(host: &S3Host, profile: &str, path: &str) -> Ended {
    let mut command = host.command(&["push", host.bundle("v1").write().to_str().unwrap(), &store()]);
    command.env("AWS_PROFILE", profile).env("PATH", path);
    Ended::of(command)
}

#[test]
fn profiles_by_a_process_and_by_sign_in_publish() {
    let front = Front::start();
    let host = publisher(&front);
    let path = with_cli(&host);
    for profile in ["process", "center"] {
        push(&host, profile, &path).with_code(0);
    }
}

#[test]
fn a_profile_that_gives_no_credentials_is_named_with_what_to_do() {
    let front = Front::start();
    let host = publisher(&front);
    let without = push(&host, "center", "/usr/bin:/bin").with_code(1);
    without.saying(&[
        "no valid credentials",
        "IAM Identity Center",
        "`aws` is in PATH",
        "aws sso login --profile center",
    ]);
    let expired = push(&host, "console", &with_cli(&host)).with_code(1);
    expired.saying(&["aws login --profile console", "Your session has expired"]);
    let absent = push(&host, "nosuch", "/usr/bin:/bin").with_code(1);
    absent.saying(&["AWS_PROFILE selects the profile `nosuch`", "~/.aws/config", "list-profiles"]);
}
