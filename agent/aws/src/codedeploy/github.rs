//! Revisions on GitHub (docs/protocols/codedeploy.md#revisions): the archive of one commit.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use hostler_core::bundle::BundleType;
use hostler_core::codedeploy::specification::Secret;
use hostler_core::error_chain::{chain, innermost};
use hostler_core::limits::Limits;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};

use crate::clients::Clients;
use crate::flow::Flow;
use crate::signed_call::http_client_of;

/// Most redirects to follow: GitHub's API answers with a redirect to the archive.
const REDIRECTS: usize = 5;
/// Waits before the tries after the first one.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// Why an archive was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot fetch {place}: {problem}")]
pub struct GitHubError {
    /// The archive that was not fetched.
    pub place: String,
    /// The reason. It never contains a token.
    pub problem: String,
    /// Whether it may work in a moment.
    pub is_transient: bool,
}

/// A commit's archive.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// `https://api.github.com`, or the API of a GitHub Enterprise Server.
    pub api: &'a str,
    /// The account.
    pub account: &'a str,
    /// The repository.
    pub repository: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// tar, which is compressed, or zip.
    pub bundle_type: BundleType,
    /// The token for the API, if the deployment has one.
    pub token: Option<&'a Secret>,
}

impl Commit<'_> {
    fn url(&self) -> String {
        let form = if self.bundle_type == BundleType::Zip { "zipball" } else { "tarball" };
        format!("{}/repos/{}/{}/{form}/{}", self.api, self.account, self.repository, self.commit)
    }

    /// Writes the archive into a file, which is emptied before each try; by the same proxy and certificates as AWS.
    /// Answers that say "later", and connections that break or bring too little, are tried again.
    ///
    /// # Errors
    /// See [`GitHubError`].
    pub async fn download(&self, clients: &Clients, into: &File, limits: &Limits) -> Result<(), GitHubError> {
        let http = http_client_of(clients).map_err(|e| self.failed(chain(&e), false))?;
        let mut waits = WAITS.into_iter();
        loop {
            match self.try_once(&http, into, limits).await {
                Err(error) if error.is_transient => match waits.next() {
                    Some(wait) => {
                        log::info!("{error}; tried again in {} seconds", wait.as_secs());
                        tokio::time::sleep(wait).await;
                    }
                    None => return Err(error),
                },
                other => return other,
            }
        }
    }

    async fn try_once(&self, http: &Client, into: &File, limits: &Limits) -> Result<(), GitHubError> {
        let mut response = self.open(http).await?;
        into.set_len(0).map_err(|e| self.failed(format!("the copy cannot be written: {e}"), false))?;
        let mut file = into;
        std::io::Seek::rewind(&mut file).map_err(|e| self.failed(e.to_string(), false))?;
        let at_most = limits.bundle_bytes;
        let mut flow = Flow::new(limits);
        let came =
            |next: &reqwest::Result<Option<Bytes>>| next.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
        let mut bytes = 0;
        loop {
            let next = flow.next(response.chunk(), came).await.map_err(|slow| self.failed(slow.to_owned(), true))?;
            let Some(piece) = next.map_err(|e| self.failed(plain(e), true))? else { break };
            bytes += piece.len() as u64;
            if bytes > at_most {
                return Err(self.failed(format!("it has more than {at_most} bytes"), false));
            }
            file.write_all(&piece).map_err(|e| self.failed(format!("the copy cannot be written: {e}"), false))?;
        }
        Ok(())
    }

    /// The answer with the archive. The token goes to the API alone, never to the target of a redirect.
    async fn open(&self, http: &Client) -> Result<Response, GitHubError> {
        let first: Url = self.url().parse().map_err(|e| self.failed(format!("{e}"), false))?;
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let mut request = http.get(url.clone());
            if let Some(token) = self.token.filter(|_| url == first) {
                let mut value = HeaderValue::from_str(&format!("token {}", token.reveal()))
                    .map_err(|_| self.failed("the token cannot be sent".to_owned(), false))?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|e| self.failed(plain(e), true))?;
            if !response.status().is_redirection() {
                return self.judge(response);
            }
            let next = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).and_then(|l| url.join(l).ok());
            let next = next.ok_or_else(|| self.failed("it sends on to nowhere".to_owned(), false))?;
            if next.scheme() != "https" && next.origin() != first.origin() {
                return Err(self.failed("it sends on to a place without TLS".to_owned(), false));
            }
            url = next;
        }
        Err(self.failed(format!("it sends on more than {REDIRECTS} times"), false))
    }

    fn judge(&self, response: Response) -> Result<Response, GitHubError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let hint = match (status, self.token) {
            (StatusCode::NOT_FOUND, None) => "; is the repository private, or the commit not pushed?",
            (StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED, Some(_)) => {
                "; may CodeDeploy's GitHub connection still read this repository?"
            }
            _ => "",
        };
        let transient = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(self.failed(format!("GitHub answers {status}{hint}"), transient))
    }

    fn failed(&self, problem: String, is_transient: bool) -> GitHubError {
        let place = format!("{}/{} at {}", self.account, self.repository, self.commit);
        GitHubError { place, problem, is_transient }
    }
}

/// The error without the address, in which GitHub puts a token of its own.
fn plain(error: reqwest::Error) -> String {
    innermost(&error.without_url())
}
