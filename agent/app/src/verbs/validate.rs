//! `hostler validate PATH`: everything that can be known about a bundle, an appspec, a configuration or a release
//! document without touching the host.

use std::path::Path;

use hostler_core::appspec::diagnose::{self, Diagnostic, Severity};
use hostler_core::codes::ExitCode;
use hostler_core::config;
use hostler_core::release::{AgentVersion, Document};
use hostler_core::{appspec, plan};
use hostler_host::archive::{self, UnpackOptions};
use serde::Serialize;

use crate::cli::{Shared, ValidateArgs};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::{Setup, existing};
use crate::work::bundle::{ReadAppspec, diagnose_bundle, diagnose_host, problems_text};

/// What was found, for people and for `--json`.
#[derive(Debug, Default, Serialize)]
struct Report {
    version: u32,
    /// `bundle`, `appspec`, `configuration` or `release`.
    kind: &'static str,
    /// Whether it may be deployed.
    valid: bool,
    /// What was found at a place of a text.
    diagnostics: Vec<Diagnostic>,
    /// What has no place in a text: a damaged archive, two sources for one destination.
    problems: Vec<String>,
    #[serde(skip)]
    text: String,
}

pub fn run(shared: &Shared, arguments: &ValidateArgs) -> Outcome {
    let setup = Setup::new(shared)?;
    let path = existing(&arguments.path)?;
    let mut report = examine(&setup, &path, arguments.appspec_filename.as_deref())?;
    let errors = report.problems.len() + count(&report.diagnostics, Severity::Error);
    let warnings = count(&report.diagnostics, Severity::Warning);
    report.version = 1;
    report.valid = errors == 0 && !(arguments.deny_warnings && warnings > 0);
    if setup.json {
        output::json(&report)?;
    } else {
        let mut text = diagnose::render(&report.diagnostics, &report.text);
        for problem in &report.problems {
            text.push_str(&format!("error: {problem}\n"));
        }
        let verdict = if report.valid { "may deploy" } else { "must not be deployed" };
        text.push_str(&format!(
            "{} {}: {verdict} ({errors} errors, {warnings} warnings)\n",
            report.kind,
            path.display()
        ));
        output::text(&text)?;
    }
    Ok(if report.valid { ExitCode::Ok } else { ExitCode::Failed })
}

fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|d| d.severity == severity).count()
}

fn examine(setup: &Setup, path: &Path, custom: Option<&str>) -> Result<Report, Failure> {
    if path.is_dir() {
        return bundle(setup, path, custom);
    }
    let file = std::fs::File::open(path)?;
    if archive::detect(&file).is_ok() {
        return packed(setup, path, custom);
    }
    let bytes = bounded(path, setup.limits.appspec_bytes)?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("appspec.yml");
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(release(setup, &bytes));
    }
    let appspec = appspec::read(name, &bytes, &setup.limits);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // A configuration has keys that no appspec has, and the other way round.
    if config::looks_like_configuration(&text, &setup.limits) {
        let diagnostics = config::read(&[(name.to_owned(), text.clone())], &setup.limits).err().unwrap_or_default();
        return Ok(Report { kind: "configuration", diagnostics, text, ..Report::default() });
    }
    Ok(Report { kind: "appspec", diagnostics: appspec.diagnostics, text, ..Report::default() })
}

fn bounded(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn release(setup: &Setup, bytes: &[u8]) -> Report {
    let parsed = AgentVersion::current()
        .map_err(|e| e.to_string())
        .and_then(|agent| Document::parse(bytes, &setup.limits, agent).map_err(|e| crate::work::chain(&e)));
    Report { kind: "release", problems: parsed.err().into_iter().collect(), ..Report::default() }
}

/// A packed bundle is unpacked into a directory that is gone afterwards.
fn packed(setup: &Setup, path: &Path, custom: Option<&str>) -> Result<Report, Failure> {
    let scratch = tempfile::tempdir()?;
    let file = std::fs::File::open(path)?;
    let kind = archive::detect(&file)?;
    let target = scratch.path().join("bundle");
    let options = UnpackOptions { limits: setup.limits.clone(), allow_setuid: false };
    match archive::unpack(&file, kind, &target, &options) {
        Ok(_) => bundle(setup, &target, custom),
        Err(error) => Ok(Report { kind: "bundle", problems: vec![crate::work::chain(&error)], ..Report::default() }),
    }
}

fn bundle(setup: &Setup, directory: &Path, custom: Option<&str>) -> Result<Report, Failure> {
    let mut report = Report { kind: "bundle", ..Report::default() };
    let listing = match archive::list(directory) {
        Ok(listing) => listing,
        Err(error) => {
            report.problems.push(crate::work::chain(&error));
            return Ok(report);
        }
    };
    let found = match diagnose_bundle(directory, &listing, custom, &setup.limits) {
        Ok(found) => found,
        Err(failure) => {
            report.problems.push(failure.message);
            return Ok(report);
        }
    };
    report.diagnostics = found.diagnostics;
    report.text.clone_from(&found.text);
    if let Some(spec) = found.spec {
        if let Err(problems) = plan::wanted(&spec, &listing, None) {
            report.problems.extend(problems_text(&problems).lines().map(str::to_owned));
        }
        let read = ReadAppspec { spec, name: found.name, text: found.text, diagnostics: Vec::new() };
        report.diagnostics.extend(diagnose_host(directory, &read, &listing, &setup.limits));
    }
    Ok(report)
}
