//! An error and its causes: in one line, and whether one of them is a full disk.

use std::error::Error;
use std::io::{self, ErrorKind};

/// An error with its causes in one line, from the general to the particular: `what failed: why: why that`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An error and its causes, the error itself first.
pub fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The message of the innermost cause, for errors whose upper layers only say where it happened.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

/// Whether an error, or one of its causes, is the system's that no space, no inodes or no quota is left.
pub fn is_for_want_of_space(error: &(dyn Error + 'static)) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| {
        // An error that wraps another is not listed as caused by it.
        matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            || error.get_ref().is_some_and(|wrapped| is_for_want_of_space(wrapped))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write {path}")]
    struct Unwritten {
        path: &'static str,
        source: io::Error,
    }

    fn unwritten(kind: ErrorKind) -> io::Error {
        // An error in an error's place, as the layers of HTTP clients nest them.
        io::Error::other(Unwritten { path: "/srv/app", source: kind.into() })
    }

    #[test]
    fn the_causes_are_told_from_the_general_to_the_particular() {
        let error = Unwritten { path: "/srv/app", source: ErrorKind::NotFound.into() };
        assert_eq!(chain(&error), "cannot write /srv/app: entity not found");
        assert_eq!(innermost(&error), "entity not found");
        assert_eq!(innermost(&error.source), "entity not found");
    }

    #[test]
    fn a_full_disk_is_found_by_its_kind_however_deep_it_lies() {
        for (kind, full) in
            [(ErrorKind::StorageFull, true), (ErrorKind::QuotaExceeded, true), (ErrorKind::PermissionDenied, false)]
        {
            assert_eq!(is_for_want_of_space(&io::Error::from(kind)), full, "{kind}");
            assert_eq!(is_for_want_of_space(&unwritten(kind)), full, "{kind}");
            assert_eq!(is_for_want_of_space(&io::Error::other(io::Error::from(kind))), full, "{kind}");
        }
        let text = io::Error::other("No space left on device");
        assert!(!is_for_want_of_space(&text), "words are no kind");
    }
}
