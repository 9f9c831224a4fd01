//! A release on its way into a group's channel, or beside the channel until enough keys have signed it.

use hostler_core::codes::ExitCode;
use hostler_core::ids::GroupKey;
use hostler_core::machine::State;
use hostler_core::release::{
    self, AgentVersion, Document, Envelope, NotEnough, Release, Revision, SigningPolicy, Trust,
};
use hostler_core::store::{
    Condition, ETag, GetOutcome, Key, PutOutcome, Store, past_release_key, proposal_key, release_key,
};
use hostler_host::signature;

use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::signatures::channel_keys;
use crate::stores::{self, AnyStore};

/// The release in the channel.
pub struct Current {
    /// The document.
    pub document: Document,
    /// Its ETag.
    pub etag: ETag,
    /// Whether hosts follow it.
    pub trust: Result<Trust, NotEnough>,
}

impl Current {
    /// The words about a release with this `sequence` that is of the same revision.
    pub fn same_words(&self, sequence: u64) -> String {
        format!(
            "release {sequence} is of the same revision as release {}: every host runs its hooks again (--if-changed \
             publishes nothing then)",
            self.document.release.sequence
        )
    }

    /// Whether hosts follow a release of this revision already.
    pub fn is_of(&self, revision: &Revision) -> bool {
        self.trust.is_ok() && self.document.release.revision.content.sha256 == revision.content.sha256
    }
}

/// Reads the channel's release; `None` when nothing was released.
///
/// # Errors
/// When the store or the document cannot be read.
pub async fn current(
    setup: &Setup,
    store: &impl Store,
    group: &GroupKey,
    policy: Option<&SigningPolicy>,
) -> Result<Option<Current>, Failure> {
    let found = read(setup, store, &release_key(group)).await?;
    Ok(found.map(|(document, etag)| {
        let trust = release::verify(policy, &document.envelope, &signature::verify);
        Current { document, etag, trust }
    }))
}

/// Reads a release document without judging its signatures; the caller judges them.
///
/// # Errors
/// When the store or the document cannot be read.
pub async fn read(setup: &Setup, store: &impl Store, key: &Key) -> Result<Option<(Document, ETag)>, Failure> {
    match store.get(key, None, release::stored_bytes(&setup.limits)).await.map_err(stores::failure)? {
        GetOutcome::Found { bytes, etag } => {
            let document = Document::parse(&bytes, &setup.limits, AgentVersion::current()?).map_err(|e| {
                let error = anyhow::Error::new(e).context(format!("cannot use {}", store.location(key)));
                Failure::new(ExitCode::Failed, error).hint(
                    "put the document back, or delete it: `hostler release` goes on after the newest release that the store keeps",
                )
            })?;
            Ok(Some((document, etag)))
        }
        GetOutcome::NotFound | GetOutcome::NotModified => Ok(None),
    }
}

/// A release with its signatures, and whether hosts would accept it.
pub struct Publication {
    release: Release,
    envelope: Envelope,
    trust: Result<Trust, NotEnough>,
}

impl Publication {
    /// Judges the signatures as hosts with this policy do.
    pub fn new(release: Release, envelope: Envelope, policy: Option<&SigningPolicy>) -> Self {
        let trust = release::verify(policy, &envelope, &signature::verify);
        Self { release, envelope, trust }
    }

    /// Whether hosts would follow it.
    pub fn is_accepted(&self) -> bool {
        self.trust.is_ok()
    }

    /// Refuses to publish a release that no host follows.
    ///
    /// # Errors
    /// Verification failed, with the missing signatures.
    pub fn refuse_unless_accepted(&self) -> Result<(), Failure> {
        match &self.trust {
            Ok(_) => Ok(()),
            Err(missing) => {
                let error = anyhow::Error::new(missing.clone()).context("hosts would not follow this release");
                Err(Failure::new(ExitCode::VerificationFailed, error)
                    .hint("sign it with --key FILE or --kms-key KEY; where others sign too, publish it with --propose"))
            }
        }
    }

    /// Writes the release into the channel; `false` when another publisher was faster.
    ///
    /// # Errors
    /// The store's error.
    pub async fn publish(&self, setup: &Setup, store: &impl Store, current: Option<&Current>) -> Result<bool, Failure> {
        let kept = match current {
            Some(current) => self.keep(setup, store, current).await,
            None => Ok(()),
        };
        let condition = current.map_or(Condition::IfAbsent, |current| Condition::IfMatch(&current.etag));
        let stored = self.put(setup, store, &release_key(&self.release.group_key()), condition).await?;
        if let (true, Some(current), Err(failure)) = (stored, current, kept) {
            let (sequence, why) = (current.document.release.sequence, failure.one_line());
            output::notice(&format!("warning: release {sequence} will be missing in `hostler releases`: {why}"));
        }
        Ok(stored)
    }

    /// Keeps the release that this one replaces, for `releases` and `--previous`. Before it is replaced, because a
    /// publisher may end at any moment. Nothing else depends on it, so a store that refuses it only costs a warning, once the release is
    /// replaced.
    async fn keep(&self, setup: &Setup, store: &impl Store, current: &Current) -> Result<(), Failure> {
        let Document { envelope, release, digest } = &current.document;
        // New keys may sign the same release again. What hosts would not follow is no release.
        if current.trust.is_err() || envelope.payload() == self.envelope.payload() {
            return Ok(());
        }
        let key = past_release_key(&release.group_key(), &release.past(digest));
        let bytes = envelope.to_bytes(&setup.limits)?;
        store.put(&key, &bytes, Condition::IfAbsent).await.map(drop).map_err(stores::failure)
    }

    /// Writes the release beside the channel, over `known` or over any earlier proposal; `false` when another publisher
    /// changed `known` in between.
    ///
    /// # Errors
    /// The store's error.
    pub async fn propose(&self, setup: &Setup, store: &impl Store, known: Option<&ETag>) -> Result<bool, Failure> {
        let condition = known.map_or(Condition::None, Condition::IfMatch);
        self.put(setup, store, &proposal_key(&self.release.group_key()), condition).await
    }

    async fn put(
        &self,
        setup: &Setup,
        store: &impl Store,
        key: &Key,
        condition: Condition<'_>,
    ) -> Result<bool, Failure> {
        let bytes = self.envelope.to_bytes(&setup.limits)?;
        let outcome = store.put(key, &bytes, condition).await.map_err(stores::failure)?;
        Ok(matches!(outcome, PutOutcome::Stored(_)))
    }

    /// Says that nothing was published, because the release in the channel, which this is, is of the revision already.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say_unchanged(&self, setup: &Setup, store: &impl Store) -> Outcome {
        let release = &self.release;
        if setup.json {
            output::json(&self.json(store, false, false))?;
        } else {
            let (group, name) = (release.group_key(), release.revision.name());
            output::text(&format!(
                "release {} of {group} is of {name} already: nothing is published\n",
                release.sequence
            ))?;
        }
        Ok(ExitCode::Ok)
    }

    fn json(&self, store: &impl Store, proposed: bool, published: bool) -> serde_json::Value {
        let release = &self.release;
        let group = release.group_key();
        let key = if proposed { proposal_key(&group) } else { release_key(&group) };
        serde_json::json!({
            "version": 1,
            "sequence": release.sequence,
            "application": release.application,
            "group": release.group,
            "revision": release.revision.content.sha256,
            "label": release.revision.label,
            "message": release.message,
            "proposed": proposed,
            "changed": published,
            "signed": !self.envelope.signatures().is_empty(),
            "signature": self.trust.as_ref().ok(),
            "missing": self.trust.as_ref().err().map(ToString::to_string),
            "location": store.location(&key),
        })
    }

    /// Prints the result; `named` is the store as the command line named it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say(&self, setup: &Setup, store: &impl Store, named: &str, proposed: bool) -> Outcome {
        if setup.json {
            output::json(&self.json(store, proposed, true))?;
            return Ok(ExitCode::Ok);
        }
        let release = &self.release;
        let (group, digest) = (release.group_key(), release.revision.content.sha256);
        let trust = match &self.trust {
            Ok(trust) => trust.to_string(),
            Err(missing) => missing.to_string(),
        };
        let what = if proposed { "proposed release" } else { "release" };
        let mut text = format!("{what} {} of {group}: {}, {trust}\n", release.sequence, release.revision.name());
        if proposed {
            text.push_str(&format!(
                "no host follows it yet; the next signer runs: hostler sign {named} {digest} --application {} --group {} \
                 --key FILE\n",
                release.application, release.group
            ));
        } else {
            text.push_str(
                "every host of the group follows it at its next poll; hostler does not roll out in steps yet\n",
            );
        }
        output::text(&text)?;
        Ok(ExitCode::Ok)
    }
}

/// Checks that hosts follow the release just published under `policy`. If the keys changed at that moment, the new keys
/// count, and the rotation may not have seen this release.
///
/// # Errors
/// Verification failed when the keys changed and the new keys have not signed the release; otherwise the store's error.
pub async fn must_be_followed(
    setup: &Setup,
    store: &AnyStore,
    group: &GroupKey,
    policy: Option<&SigningPolicy>,
) -> Result<(), Failure> {
    let Some(policy) = policy else { return Ok(()) };
    let now = channel_keys(setup, store, group, &State::default()).await?.policy;
    let Some(now) = now.filter(|now| now.version != policy.version) else { return Ok(()) };
    let Some(current) = current(setup, store, group, Some(&now)).await? else { return Ok(()) };
    let Err(missing) = current.trust else { return Ok(()) };
    let (sequence, version) = (current.document.release.sequence, now.version);
    let message = format!(
        "release {sequence} is published, and the keys changed at the same moment: hosts that know key policy {version} do \
         not follow it: {missing}"
    );
    Err(Failure::say(ExitCode::VerificationFailed, message)
        .hint("publish it again with the keys of now (hostler release), or have it signed again: the same hostler rotate-keys once more"))
}

/// The failure when other publishers were faster each time.
pub fn always_overtaken(group: &GroupKey) -> Failure {
    Failure::say(ExitCode::Failed, format!("others kept publishing releases of {group} at the same time"))
        .hint("look at what they published, then try again")
}
