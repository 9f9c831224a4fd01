//! Texts that are too long for the state are kept in full beside the deployment, and the state names the file.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hostler_core::machine::WorkResult;
use hostler_core::machine::room::{MESSAGE_BYTES, WARNINGS_BYTES, bytes};
use hostler_core::text::{bounded, escaped_bytes};
use hostler_host::layout::DeploymentPaths;
use nix::libc::O_NOFOLLOW;

/// Cuts texts in a result that are too long. The full texts go to files in the deployment's directory; if it is missing
/// or the disk is full, the rest of the text is lost but the deployment continues.
pub fn bound(mut result: WorkResult, paths: &DeploymentPaths) -> WorkResult {
    let (failure, warnings) = match &mut result {
        WorkResult::Prepared(Err(failure))
        | WorkResult::Installed(Err(failure))
        | WorkResult::Probed(Err(failure))
        | WorkResult::TrafficFound(Err(failure))
        | WorkResult::TrafficMoved(Err(failure))
        | WorkResult::Rebooted(Err(failure)) => (Some(failure), None),
        WorkResult::Prepared(Ok(prepared)) => (None, Some(&mut prepared.warnings)),
        WorkResult::Installed(Ok(report)) => (None, Some(&mut report.warnings)),
        WorkResult::Checked { fault, warnings } => (fault.as_mut(), Some(warnings)),
        WorkResult::TrafficFound(Ok(found)) => (None, Some(&mut found.warnings)),
        WorkResult::TrafficMoved(Ok(warnings)) | WorkResult::Finished { warnings } => (None, Some(warnings)),
        WorkResult::Hook(_)
        // The state machine cuts the two texts of this result.
        | WorkResult::NotUndone(_)
        | WorkResult::Probed(Ok(()))
        | WorkResult::Rebooted(Ok(())) => (None, None),
    };
    if let Some(failure) = failure.filter(|failure| escaped_bytes(&failure.message) > MESSAGE_BYTES) {
        let kept = keep(&paths.failure(), &failure.message);
        failure.message = bounded(&failure.message, MESSAGE_BYTES, &where_all(kept, &paths.failure()));
    }
    if let Some(warnings) = warnings.filter(|warnings| bytes(warnings) > WARNINGS_BYTES / 2) {
        let kept = keep(&paths.warnings(), &warnings.join("\n"));
        bound_list(warnings, &where_all(kept, &paths.warnings()));
    }
    result
}

/// Keeps the first warnings that fit in half of a deployment's room, shortens a long one, and adds where the others
/// are.
fn bound_list(warnings: &mut Vec<String>, where_all: &str) {
    const MOST: usize = WARNINGS_BYTES / 2;
    /// Room for the last line.
    const LAST_LINE: usize = 64;
    let mut left = MOST.saturating_sub(LAST_LINE + escaped_bytes(where_all));
    let mut kept = Vec::new();
    for warning in warnings.iter() {
        let short = bounded(warning, left, where_all);
        if kept.is_empty() || short.len() == warning.len() {
            left = left.saturating_sub(bytes(&short) + 1);
            kept.push(short);
        } else {
            break;
        }
    }
    let more = warnings.len() - kept.len();
    kept.extend((more > 0).then(|| format!("and {more} more warnings{where_all}")));
    *warnings = kept;
}

fn where_all(kept: bool, path: &Path) -> String {
    if kept { format!("; all of it is in {}", path.display()) } else { String::new() }
}

/// Writes a text for people; returns whether it was written.
fn keep(path: &Path, text: &str) -> bool {
    let open = File::options().write(true).create(true).truncate(true).mode(0o600).custom_flags(O_NOFOLLOW).open(path);
    let written = open.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    });
    if let Err(error) = &written {
        log::warn!("{} could not be written, so what is cut off is not kept: {error}", path.display());
    }
    written.is_ok()
}

#[cfg(test)]
mod tests {
    use hostler_core::machine::event::WorkFailure;

    use super::*;

    fn paths(directory: &Path) -> DeploymentPaths {
        let layout = hostler_host::layout::Layout::new(directory, None);
        let key = hostler_core::ids::GroupKey::new("a".parse().unwrap(), "g".parse().unwrap());
        layout.deployment(&key, &"d-1".parse().unwrap())
    }

    #[test]
    fn a_long_failure_is_in_a_file_as_a_whole_and_its_message_says_where() {
        let scratch = tempfile::tempdir().unwrap();
        let paths = paths(scratch.path());
        let message: String = (0..5000).map(|n| format!("/srv/app/file-{n} is there already\n")).collect();
        let failure = || WorkFailure::other(&message);
        let bounded_message = |result| match result {
            WorkResult::Installed(Err(failure)) => failure.message,
            other => panic!("{other:?}"),
        };
        let without = bounded_message(bound(WorkResult::Installed(Err(failure())), &paths));
        assert!(without.ends_with(" more lines"), "there is no directory: {without}");
        std::fs::create_dir_all(paths.directory()).unwrap();
        let short = bounded_message(bound(WorkResult::Installed(Err(failure())), &paths));
        assert!(escaped_bytes(&short) <= MESSAGE_BYTES, "{} bytes", short.len());
        assert!(short.ends_with(&format!("; all of it is in {}", paths.failure().display())), "{short}");
        assert_eq!(std::fs::read_to_string(paths.failure()).unwrap(), message + "\n");
    }

    #[test]
    fn many_warnings_are_counted_and_kept_in_a_file() {
        let scratch = tempfile::tempdir().unwrap();
        let paths = paths(scratch.path());
        std::fs::create_dir_all(paths.directory()).unwrap();
        for warnings in [vec!["x \"quoted\"".repeat(20); 300], vec!["one line\n".repeat(5000), "another".to_owned()]] {
            let all = warnings.join("\n") + "\n";
            let WorkResult::Finished { warnings: short } = bound(WorkResult::Finished { warnings }, &paths) else {
                panic!("another result");
            };
            assert!(bytes(&short) <= WARNINGS_BYTES / 2, "{} bytes", bytes(&short));
            assert!(short.iter().any(|warning| warning.ends_with("/warnings.txt")), "{short:?}");
            assert!(short.len() == 2 || short.last().is_some_and(|last| last.starts_with("and ")), "{short:?}");
            assert_eq!(std::fs::read_to_string(paths.warnings()).unwrap(), all);
        }
        let few = WorkResult::Finished { warnings: vec!["few".to_owned()] };
        assert_eq!(bound(few.clone(), &paths), few);
    }
}
