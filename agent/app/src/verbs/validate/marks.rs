//! The findings for services that mark them in source code: which file and line of the repository each belongs to.
//!
//! What is about this host alone is left out: it is no mistake of the repository.

use std::num::NonZeroUsize;
use std::path::Path;

use hostler_core::appspec::diagnose::{BUNDLE, Severity, View};
use hostler_core::findings::{UNUSABLE, github as commands, in_repository, sarif as form};
use serde_json::Value;

use super::Report;
use crate::work::bundle::and_more;

pub fn sarif(report: &Report, path: &Path) -> Value {
    form::log(marks(report, path).iter().map(Mark::view), env!("CARGO_PKG_VERSION"))
}

pub fn github(report: &Report, path: &Path) -> String {
    commands::render(marks(report, path).iter().map(Mark::view))
}

/// A finding at a file of the repository.
struct Mark<'r> {
    found: View<'r>,
    file: String,
    message: String,
}

impl Mark<'_> {
    fn view(&self) -> View<'_> {
        View { file: &self.file, message: &self.message, ..self.found }
    }
}

fn marks<'r>(report: &'r Report, path: &Path) -> Vec<Mark<'r>> {
    // Without a current directory a path stays as it was given.
    let current = std::env::current_dir().unwrap_or_default();
    let named = |path: &Path| in_repository(path, &current).display().to_string();
    let whole = named(path);
    let is_packed = report.kind == "bundle" && !path.is_dir();
    let mut marks: Vec<Mark<'_>> = Vec::new();
    for found in report.views() {
        marks.push(match found.file {
            BUNDLE => Mark { found, file: whole.clone(), message: found.message.to_owned() },
            _ if is_packed => in_archive(found, &whole),
            file => Mark { found, file: named(Path::new(file)), message: found.message.to_owned() },
        });
    }
    let left_out = report.problems_left_out.map(NonZeroUsize::get).map(and_more);
    marks.extend(report.other.iter().cloned().chain(left_out).map(|message| Mark {
        found: unusable(),
        file: whole.clone(),
        message,
    }));
    marks
}

/// An archive has no lines that can be marked: the message says which line of the appspec it is.
fn in_archive<'r>(found: View<'r>, archive: &str) -> Mark<'r> {
    let place = found.at.map_or_else(String::new, |at| format!(":{}:{}", at.line, at.column));
    let message = format!("{}{place}: {}", found.file, found.message);
    Mark { found: View { at: None, ..found }, file: archive.to_owned(), message }
}

fn unusable() -> View<'static> {
    let (severity, code) = (Severity::Error, UNUSABLE);
    View { severity, code, file: "", at: None, message: "", help: None, related: &[], conceal: false }
}
