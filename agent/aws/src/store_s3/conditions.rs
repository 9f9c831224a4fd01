//! Whether a store honours conditions. Some stores that speak S3 answer 200 to every conditional write; a fleet that
//! coordinates through such a store has several winners.

use hostler_core::ids::Sha256Digest;
use hostler_core::store::{Condition, Key, PutOutcome, Store, StoreError, StoreErrorKind};

/// Writes two conflicting creates and two stale swaps to a scratch key below `scratch/`, and deletes it again. `nonce`
/// is fresh for each check.
///
/// # Errors
/// [`StoreErrorKind::Fatal`] naming the write that the store let through, or any error of the store.
pub async fn check_conditions<S: Store>(store: &S, nonce: &Sha256Digest) -> Result<(), StoreError> {
    let name = nonce.hex();
    let key: Key = format!("scratch/{name}").parse().map_err(|e: hostler_core::ids::InvalidId| StoreError {
        operation: "check",
        location: name.clone(),
        kind: StoreErrorKind::Fatal,
        problem: e.to_string(),
        request_ids: Vec::new(),
        source: None,
    })?;
    let checked = try_conditions(store, &key, &name).await;
    let deleted = store.delete(&key, None).await;
    checked?;
    // Without the right to delete, a small object stays, which is no reason to refuse the store.
    if let Err(error) = deleted {
        log::debug!("the scratch object could not be deleted: {error}");
    }
    Ok(())
}

async fn try_conditions<S: Store>(store: &S, key: &Key, nonce: &str) -> Result<(), StoreError> {
    let write = async |number: u32, condition: Condition<'_>| {
        store.put(key, format!("{nonce} {number}\n").as_bytes(), condition).await
    };
    let wrong = |what: &str| StoreError {
        operation: "coordinate on",
        location: store.location(key),
        kind: StoreErrorKind::Fatal,
        problem: format!(
            "the store ignores conditions: it let {what} through. hostler needs If-None-Match and If-Match on writes, as \
             Amazon S3 has them; use Amazon S3, another store, or a directory"
        ),
        request_ids: Vec::new(),
        source: None,
    };
    let PutOutcome::Stored(first) = write(1, Condition::IfAbsent).await? else {
        return Err(wrong("nothing"));
    };
    if write(2, Condition::IfAbsent).await? != PutOutcome::PreconditionFailed {
        return Err(wrong("a second create of the same key"));
    }
    let PutOutcome::Stored(_) = write(3, Condition::IfMatch(&first)).await? else {
        return Err(wrong("no swap by the ETag that it had just given"));
    };
    for number in [4, 5] {
        if write(number, Condition::IfMatch(&first)).await? != PutOutcome::PreconditionFailed {
            return Err(wrong("a swap by an ETag that was no longer right"));
        }
    }
    Ok(())
}
