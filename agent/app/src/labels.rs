//! What publishers call the bundles of a store: one small document beside each bundle.

use hostler_core::codes::ExitCode;
use hostler_core::ids::Sha256Digest;
use hostler_core::label::{Label, Message, REVISION_LABEL_BYTES, RevisionLabel};
use hostler_core::store::{Condition, ETag, GetOutcome, PutOutcome, Store, label_key};

use crate::failure::Failure;
use crate::output;
use crate::stores;

/// The most tries after lost races with other publishers.
const ATTEMPTS: u32 = 5;

/// The label of a bundle; `None` if it has none that can be read. Nothing depends on a label, so an error is only a
/// warning.
pub async fn find(store: &impl Store, revision: &Sha256Digest) -> Option<RevisionLabel> {
    match read(store, revision).await {
        Ok(found) => found.and_then(|found| found.content),
        Err(failure) => {
            output::notice(&format!(
                "warning: the label of {} cannot be read: {}",
                revision.short(),
                failure.one_line()
            ));
            None
        }
    }
}

/// Says what a release takes from the store and signs.
pub fn say_taken(label: Option<&Label>, message: Option<&Message>) {
    if let Some(taken) = taken(label, message) {
        output::notice(&taken);
    }
}

/// The words about what a release takes from the store and signs. It is not signed there, and publishers of other groups
/// can write it.
pub fn taken(label: Option<&Label>, message: Option<&Message>) -> Option<String> {
    let label = label.map(|label| format!("label {:?}", label.as_str()));
    let message = message.map(|message| format!("message {:?}", message.as_str()));
    let taken: Vec<String> = label.into_iter().chain(message).collect();
    (!taken.is_empty()).then(|| {
        let taken = taken.join(", ");
        format!("this signs text that the store holds unsigned: {taken} (--label, --message and --no-label replace it)")
    })
}

/// Stores what the publisher calls a bundle. What was `given` replaces what is stored; the `default` does not. Returns
/// what is stored then.
///
/// # Errors
/// The store's error, or others kept changing the same label.
pub async fn put(
    store: &impl Store,
    revision: &Sha256Digest,
    given: &RevisionLabel,
    default: Option<&Label>,
) -> Result<Option<RevisionLabel>, Failure> {
    for _ in 0..ATTEMPTS {
        let stored = read(store, revision).await?;
        let known = stored.as_ref().and_then(|stored| stored.content.as_ref());
        let Some(next) = RevisionLabel::after(known, given.clone(), default.cloned()) else {
            return Ok(known.cloned());
        };
        let condition = stored.as_ref().map_or(Condition::IfAbsent, |stored| Condition::IfMatch(&stored.etag));
        let bytes = serde_json::to_vec(&next)?;
        let outcome = store.put(&label_key(revision), &bytes, condition).await.map_err(stores::failure)?;
        if matches!(outcome, PutOutcome::Stored(_)) {
            return Ok(Some(next));
        }
    }
    Err(Failure::say(ExitCode::Failed, format!("others kept changing the label of {}", revision.short())))
}

struct Stored {
    etag: ETag,
    /// `None` if it is not a label.
    content: Option<RevisionLabel>,
}

async fn read(store: &impl Store, revision: &Sha256Digest) -> Result<Option<Stored>, Failure> {
    let key = label_key(revision);
    let GetOutcome::Found { bytes, etag } =
        store.get(&key, None, REVISION_LABEL_BYTES).await.map_err(stores::failure)?
    else {
        return Ok(None);
    };
    let content = content(&bytes);
    if let Err(problem) = &content {
        output::notice(&format!("warning: {} is not a label: {problem}", store.location(&key)));
    }
    Ok(Some(Stored { etag, content: content.ok() }))
}

/// The label in a document, which any publisher of the store may have written.
fn content(bytes: &[u8]) -> Result<RevisionLabel, String> {
    let content: RevisionLabel = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match &content.label {
        Some(label) if label.imitates_a_digest() => Err(format!("{label:?} looks like the digest of a revision")),
        _ => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_label_that_looks_like_a_digest_is_none() {
        let of = |label: &str| content(format!(r#"{{"version":1,"label":"{label}"}}"#).as_bytes());
        assert_eq!(of("1.0 (beta)").unwrap().label.unwrap().as_str(), "1.0 (beta)");
        assert_eq!(of("(deadbeef)").unwrap_err(), r#""(deadbeef)" looks like the digest of a revision"#);
        assert!(content(b"[]").is_err());
    }

    #[test]
    fn what_is_taken_from_the_store_is_named() {
        let (label, message) = ("1.0".parse().unwrap(), "the \"sale\"".parse().unwrap());
        let all = |what: &str| {
            format!(
                "this signs text that the store holds unsigned: {what} (--label, --message and --no-label replace it)"
            )
        };
        assert_eq!(taken(Some(&label), None).unwrap(), all(r#"label "1.0""#));
        assert_eq!(taken(Some(&label), Some(&message)).unwrap(), all(r#"label "1.0", message "the \"sale\"""#));
        assert_eq!(taken(None, None), None);
    }
}
