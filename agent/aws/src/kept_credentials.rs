//! Credentials, fetched once and kept while they are good: the SDK's providers ask IMDS or STS each time. The SDK and
//! the signed calls share them. If AWS refuses them as expired they are fetched again, which the SDK's own cache cannot
//! do.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;

use crate::clock;

/// Credentials are renewed this long before they expire: EC2 has the next ones ready five minutes before.
const BEFORE_THE_END: Duration = Duration::from_secs(5 * 60);
/// Credentials without an end are renewed after this time, because a file that holds them may have been rewritten.
const WITHOUT_AN_END: Duration = Duration::from_secs(15 * 60);
/// While the old credentials are good, a source that does not answer is not asked again for this long.
const AFTER_A_FAILURE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Kept {
    credentials: Credentials,
    ask_at: SystemTime,
}

/// The current credentials. One caller asks the source, and the others wait for its answer.
#[derive(Debug, Clone)]
pub(crate) struct KeptCredentials {
    provider: SharedCredentialsProvider,
    kept: Arc<Mutex<Option<Kept>>>,
}

impl KeptCredentials {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, kept: Arc::new(Mutex::new(None)) }
    }

    /// Good credentials, from memory where possible.
    pub(crate) async fn get(&self, now: SystemTime) -> Result<Credentials, CredentialsError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.ask_at) {
            return Ok(kept.credentials.clone());
        }
        match self.provider.provide_credentials().await {
            Ok(credentials) => {
                let ask_at = match credentials.expiry() {
                    Some(end) => end.checked_sub(BEFORE_THE_END).unwrap_or(end),
                    None => now + WITHOUT_AN_END,
                };
                *kept = Some(Kept { credentials: credentials.clone(), ask_at });
                Ok(credentials)
            }
            Err(error) => match kept.as_mut().filter(|kept| kept.credentials.expiry().is_none_or(|end| now < end)) {
                Some(kept) => {
                    log::warn!(error = error.to_string().as_str(); "cannot renew credentials; the old ones are still good: {error}");
                    kept.ask_at = now + AFTER_A_FAILURE;
                    Ok(kept.credentials.clone())
                }
                None => Err(error),
            },
        }
    }

    /// Called when AWS refused the kept credentials as expired: the next call asks the source. For requests of the SDK,
    /// which does not say which credentials it signed with; requests that fail at the same time may ask more than once.
    pub(crate) async fn forget_all(&self) {
        *self.kept.lock().await = None;
    }

    /// AWS refused these as expired: the next call asks the source.
    pub(crate) async fn forget(&self, refused: &Credentials) {
        let mut kept = self.kept.lock().await;
        // Another caller may have renewed them meanwhile.
        if kept.as_ref().is_some_and(|kept| {
            kept.credentials.access_key_id() == refused.access_key_id()
                && kept.credentials.session_token() == refused.session_token()
        }) {
            *kept = None;
        }
    }
}

impl ProvideCredentials for KeptCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get(clock::now()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Returns credentials with a number that rises, or fails.
    #[derive(Debug)]
    struct Source {
        asked: Arc<AtomicU32>,
        end: Option<SystemTime>,
        good: u32,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let asked = self.asked.fetch_add(1, Ordering::SeqCst);
            future::ProvideCredentials::ready(if asked < self.good {
                Ok(Credentials::new(format!("AKID{asked}"), "secret", None, self.end, "test"))
            } else {
                Err(CredentialsError::provider_error("no answer"))
            })
        }
    }

    fn kept(end: Option<SystemTime>, good: u32) -> (KeptCredentials, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let source = Source { asked: Arc::clone(&asked), end, good };
        (KeptCredentials::new(SharedCredentialsProvider::new(source)), asked)
    }

    #[tokio::test]
    async fn they_are_asked_for_once_and_again_before_the_end() {
        let start = SystemTime::UNIX_EPOCH;
        let (kept, asked) = kept(Some(start + Duration::from_secs(3600)), 9);
        for second in [0, 10, 3299] {
            assert_eq!(kept.get(start + Duration::from_secs(second)).await.unwrap().access_key_id(), "AKID0");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(kept.get(start + Duration::from_secs(3300)).await.unwrap().access_key_id(), "AKID1");
    }

    #[tokio::test]
    async fn those_without_an_end_are_read_again_some_day() {
        let (kept, asked) = kept(None, 9);
        kept.get(SystemTime::UNIX_EPOCH).await.unwrap();
        kept.get(SystemTime::UNIX_EPOCH + Duration::from_secs(899)).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        kept.get(SystemTime::UNIX_EPOCH + Duration::from_secs(900)).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_source_that_fails_costs_nothing_while_the_old_ones_are_good() {
        let start = SystemTime::UNIX_EPOCH;
        let (kept, asked) = kept(Some(start + Duration::from_secs(600)), 1);
        kept.get(start).await.unwrap();
        for second in [400, 401, 429] {
            assert_eq!(kept.get(start + Duration::from_secs(second)).await.unwrap().access_key_id(), "AKID0");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "a source that failed is not asked at every call");
        kept.get(start + Duration::from_secs(600)).await.unwrap_err();
    }

    #[tokio::test]
    async fn refused_ones_are_forgotten_and_newer_ones_are_not() {
        let (kept, _) = kept(None, 9);
        let old = kept.get(SystemTime::UNIX_EPOCH).await.unwrap();
        kept.forget(&old).await;
        assert_eq!(kept.get(SystemTime::UNIX_EPOCH).await.unwrap().access_key_id(), "AKID1");
        kept.forget(&old).await;
        assert_eq!(kept.get(SystemTime::UNIX_EPOCH).await.unwrap().access_key_id(), "AKID1");
        kept.forget_all().await;
        assert_eq!(kept.get(SystemTime::UNIX_EPOCH).await.unwrap().access_key_id(), "AKID2");
    }
}
