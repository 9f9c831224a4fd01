//! Findings in the forms that services for source code read: SARIF, and the workflow commands of GitHub Actions.
//!
//! A finding is a [`View`] whose file is a path as the repository names it ([`in_repository`]).

use std::path::{Component, Path, PathBuf};

use crate::appspec::codes::Code;
use crate::appspec::diagnose::{Severity, View};
use crate::plan::ProblemCode;

pub mod github;
pub mod sarif;
#[cfg(test)]
mod tests;

/// The code of an error that has none of its own, such as a damaged archive.
pub const UNUSABLE: &str = "unusable";

const UNUSABLE_SAYS: &str = "A reason that has no line: a damaged archive, a release without a signature that it needs, or \
                             more problems than are listed.";

/// A path as a repository names it, if `current` is the repository's directory: relative to it where it lies beneath, and
/// without `.` and a slash at the end. Other paths stay as they are.
pub fn in_repository(path: &Path, current: &Path) -> PathBuf {
    let below = path.strip_prefix(current).unwrap_or(path);
    let short: PathBuf = below.components().filter(|part| *part != Component::CurDir).collect();
    if short.as_os_str().is_empty() { PathBuf::from(".") } else { short }
}

/// The meaning of a code: the first sentence of its documentation. `None` for a text that is no code.
pub fn meaning(code: &str) -> Option<&'static str> {
    let of_appspec = || Code::ALL.iter().find(|known| known.name() == code).map(|known| known.says());
    let of_plan = || ProblemCode::ALL.iter().find(|known| known.as_str() == code).map(|known| known.says());
    of_appspec().or_else(of_plan).or((code == UNUSABLE).then_some(UNUSABLE_SAYS)).map(str::trim)
}

/// The mistake and its remedy.
fn sentence(view: &View<'_>, between: &str) -> String {
    view.help.map_or_else(|| view.message.to_owned(), |help| format!("{}{between}{help}", view.message))
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
