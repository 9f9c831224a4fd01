//! How hosts outside EC2 sign (docs/protocols/codedeploy.md#identity).

use std::path::PathBuf;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use hostler_core::codedeploy::agent_config::OnPremisesCredentials;

use crate::clock;

/// The file is read again after this time: another program renews the session in it.
const FILE_IS_GOOD_FOR: Duration = Duration::from_secs(30 * 60);

/// The credentials that the on-premises file names.
pub fn credentials(on_premises: &OnPremisesCredentials) -> SharedCredentialsProvider {
    match on_premises {
        OnPremisesCredentials::User { access_key_id, secret_access_key } => {
            let secret = secret_access_key.reveal();
            let credentials = Credentials::new(access_key_id, secret, None, None, "codedeploy.onpremises.yml");
            SharedCredentialsProvider::new(credentials)
        }
        OnPremisesCredentials::Session { file } => SharedCredentialsProvider::new(SessionFile(file.clone())),
    }
}

/// An INI file whose profile `default` holds a session.
#[derive(Debug)]
struct SessionFile(PathBuf);

impl ProvideCredentials for SessionFile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.read())
    }
}

impl SessionFile {
    async fn read(&self) -> provider::Result {
        // A new one each time: it reads its file once.
        let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, &self.0).build();
        let profile = ProfileFileCredentialsProvider::builder().profile_files(files).profile_name("default").build();
        let mut credentials = profile.provide_credentials().await?;
        if credentials.expiry().is_none() {
            *credentials.expiry_mut() = Some(clock::now() + FILE_IS_GOOD_FOR);
        }
        Ok(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::codedeploy::specification::Secret;

    #[tokio::test]
    async fn a_session_file_is_read_again_after_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        let provider = credentials(&OnPremisesCredentials::Session { file: file.clone() });
        for session in ["first", "second"] {
            let text =
                format!("[default]\naws_access_key_id=AK\naws_secret_access_key=SK\naws_session_token={session}\n");
            std::fs::write(&file, text).unwrap();
            let found = provider.provide_credentials().await.unwrap();
            assert_eq!(found.session_token(), Some(session));
            let left = found.expiry().unwrap().duration_since(clock::now()).unwrap();
            assert!(left <= FILE_IS_GOOD_FOR, "{left:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(provider.provide_credentials().await.is_err());
    }

    #[tokio::test]
    async fn a_users_keys_are_used_as_they_are() {
        let secret_access_key = Secret::new("SK".to_owned());
        let user = OnPremisesCredentials::User { access_key_id: "AK".to_owned(), secret_access_key };
        let found = credentials(&user).provide_credentials().await.unwrap();
        assert_eq!((found.access_key_id(), found.secret_access_key()), ("AK", "SK"));
    }
}
