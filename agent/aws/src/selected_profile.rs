//! The profile of the AWS CLI's files that the environment selects, where the SDK's chain cannot use it.
//!
//! Sign-in by IAM Identity Center or by `aws login` would bring two more SDK crates, and for the latter a second crypto
//! library, into a daemon that never signs in. People sign in by the AWS CLI, so the CLI is asked for the credentials:
//! `aws configure export-credentials` (AWS CLI Command Reference), which renews them as well.

use std::collections::HashSet;

use aws_config::credential_process::CredentialProcessProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_runtime::env_config::section::EnvConfigSections;
use aws_runtime::env_config::source;
use aws_types::os_shim_internal::{Env, Fs};

/// The CLI takes the profile's name from the environment, as the SDK does.
const EXPORT: &str = "aws configure export-credentials --format process";

/// Where a profile's credentials come from, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The SDK's chain knows.
    Chain,
    /// Somebody signed in with the AWS CLI: the command that signs in.
    SignIn(String),
    /// There are profiles, and not this one.
    Absent(String),
}

/// The provider that takes the chain's place; `None` where the chain is right.
pub(crate) async fn provider() -> Option<SharedCredentialsProvider> {
    // These come first in the chain too.
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some_and(|key| !key.is_empty()) {
        return None;
    }
    let selected = std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
    // What is wrong with the files, the chain says.
    let files = source::load(&Env::real(), &Fs::real(), &EnvConfigFiles::default()).await.ok()?;
    let sections = EnvConfigSections::parse(files).ok()?;
    match origin(&sections, selected.as_deref()) {
        Origin::Chain => None,
        Origin::SignIn(command) => Some(SharedCredentialsProvider::new(Exported { command })),
        Origin::Absent(name) => Some(SharedCredentialsProvider::new(Absent { name })),
    }
}

/// `selected` is the value of `AWS_PROFILE`; without one, the profile `default` counts, which may be absent.
fn origin(sections: &EnvConfigSections, selected: Option<&str>) -> Origin {
    let first = selected.unwrap_or("default");
    let mut seen = HashSet::new();
    let mut name = first;
    // A circle of profiles is the chain's to refuse.
    while seen.insert(name) {
        let Some(profile) = sections.get_profile(name) else { break };
        if ["sso_session", "sso_start_url"].iter().any(|key| profile.get(key).is_some()) {
            return Origin::SignIn(format!("aws sso login --profile {name}"));
        }
        if profile.get("login_session").is_some() {
            return Origin::SignIn(format!("aws login --profile {name}"));
        }
        let Some(source) = profile.get("source_profile") else { break };
        name = source;
    }
    // Where the files have no profile at all, the chain goes on to a container's or an instance's role.
    let has_profiles = sections.profiles().next().is_some();
    match selected {
        Some(selected) if has_profiles && sections.get_profile(selected).is_none() => {
            Origin::Absent(selected.to_owned())
        }
        _ => Origin::Chain,
    }
}

/// The credentials that the AWS CLI exports.
#[derive(Debug)]
struct Exported {
    /// The command that signs in, for the error.
    command: String,
}

impl ProvideCredentials for Exported {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.export())
    }
}

impl Exported {
    async fn export(&self) -> provider::Result {
        let exported = CredentialProcessProvider::new(EXPORT.to_owned()).provide_credentials().await;
        exported.map_err(|error| {
            CredentialsError::not_loaded(Unsigned {
                command: self.command.clone(),
                error: hostler_core::error_chain::chain(&error),
            })
        })
    }
}

/// Why there are no credentials, and what to do.
#[derive(Debug, thiserror::Error)]
#[error(
    "the profile is one of IAM Identity Center or `aws login`, and `{EXPORT}` (AWS CLI, version 2) gave none; sign in with \
     `{command}`, and see that `aws` is in PATH: {error}"
)]
struct Unsigned {
    command: String,
    error: String,
}

/// No file has the profile.
#[derive(Debug)]
struct Absent {
    name: String,
}

impl ProvideCredentials for Absent {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let text = format!(
            "AWS_PROFILE selects the profile `{}`, which neither ~/.aws/config nor ~/.aws/credentials has; `aws configure \
             list-profiles` lists those that there are",
            self.name
        );
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(text)))
    }
}

#[cfg(test)]
mod tests {
    use aws_runtime::env_config::file::EnvConfigFileKind;

    use super::*;

    const FILE: &str = "
[default]
region = eu-west-1
[profile keys]
aws_access_key_id = AK
aws_secret_access_key = SK
[profile process]
credential_process = /bin/keys
[profile center]
sso_session = work
sso_account_id = 123456789012
sso_role_name = Deployer
[profile older]
sso_start_url = https://example.awsapps.com/start
[profile console]
login_session = arn:aws:iam::123456789012:user/ana
[profile assumed]
role_arn = arn:aws:iam::123456789012:role/deployer
source_profile = center
[profile circle]
role_arn = arn:aws:iam::123456789012:role/deployer
source_profile = circle
[sso-session work]
sso_region = eu-west-1
sso_start_url = https://example.awsapps.com/start
";

    async fn sections(file: &str) -> EnvConfigSections {
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, file).build();
        EnvConfigSections::parse(source::load(&Env::from_slice(&[]), &Fs::real(), &files).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_host_without_any_profile_keeps_its_role() {
        assert_eq!(origin(&sections("").await, Some("nosuch")), Origin::Chain);
    }

    #[tokio::test]
    async fn profiles_that_were_signed_in_to_are_told_from_others() {
        let sections = sections(FILE).await;
        let sign_in = |command: &str| Origin::SignIn(command.to_owned());
        for (selected, expected) in [
            (None, Origin::Chain),
            (Some("default"), Origin::Chain),
            (Some("keys"), Origin::Chain),
            (Some("process"), Origin::Chain),
            (Some("circle"), Origin::Chain),
            (Some("center"), sign_in("aws sso login --profile center")),
            (Some("older"), sign_in("aws sso login --profile older")),
            (Some("assumed"), sign_in("aws sso login --profile center")),
            (Some("console"), sign_in("aws login --profile console")),
            (Some("nosuch"), Origin::Absent("nosuch".to_owned())),
        ] {
            assert_eq!(origin(&sections, selected), expected, "{selected:?}");
        }
    }
}
