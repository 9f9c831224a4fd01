//! `hostler validate PATH`: every problem of a bundle, an appspec, a configuration or a release document that can be
//! found without a change. Users, groups and interpreters that this host lacks are shown but never make a bundle
//! invalid: a bundle is usually checked on another machine than its target.

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context as _;
use hostler_core::appspec::diagnose::{self, BUNDLE, Diagnostic, Severity, View};
use hostler_core::appspec::lint::lint_archive;
use hostler_core::appspec::{self, AppspecName};
use hostler_core::bundle::BundleType;
use hostler_core::codes::ExitCode;
use hostler_core::config;
use hostler_core::plan::Problem;
use hostler_core::release::{AgentVersion, Document, SigningPolicy, stored_bytes, verify};
use hostler_core::text::counted;
use hostler_host::archive::{self, ArchiveError, UnpackOptions, Unpacked};
use hostler_host::{regular, signature};
use serde::Serialize;

use crate::cli::{FindingsFormat, Shared, ValidateArgs};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::{Setup, existing};
use crate::terminal::FINDINGS;
use crate::work::bundle::{and_more, diagnose_bundle, diagnose_host};

mod marks;
mod release;
mod signatures;

use release::Looked;
use signatures::Signatures;

/// The findings, for people and for `--json`.
#[derive(Debug, Default, Serialize)]
struct Report {
    version: u32,
    /// `bundle`, `appspec`, `configuration` or `release`.
    kind: &'static str,
    /// Whether it may be deployed.
    valid: bool,
    /// How many errors were found.
    errors: usize,
    /// How many warnings were found.
    warnings: usize,
    /// The findings with a place in a text.
    diagnostics: Vec<Diagnostic>,
    /// Errors that show only in a plan, such as two sources for one destination.
    problems: Vec<Problem>,
    /// The number of further problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    problems_left_out: Option<NonZeroUsize>,
    /// As `problems`, but deployment is allowed.
    suspicious: Vec<Problem>,
    /// Errors without a place in a text, such as a damaged archive.
    other: Vec<String>,
    /// Users, groups and interpreters that this host lacks. Not among the counted and denied warnings.
    on_this_host: Vec<Diagnostic>,
    /// What the release document is.
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<Looked>,
    /// The signatures of a release document, if there are keys to check them with.
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<Signatures>,
    /// The name and text of the places.
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    text: String,
}

impl Report {
    /// Names the file of the findings as a user reaches it: editors and CI open what a message names.
    fn name_file(&mut self, path: &Path) {
        let shown = match self.kind {
            "bundle" if path.is_dir() => path.join(&self.name).display().to_string(),
            "appspec" | "configuration" => path.display().to_string(),
            _ => return,
        };
        for found in self.diagnostics.iter_mut().chain(&mut self.on_this_host).filter(|d| d.file == self.name) {
            found.file.clone_from(&shown);
        }
        self.name = shown;
    }

    /// The counted findings that have a code.
    fn views(&self) -> impl Iterator<Item = View<'_>> {
        let warnings = self.suspicious.iter().map(|p| p.view(Severity::Warning, &self.name));
        let errors = self.problems.iter().map(|p| p.view(Severity::Error, &self.name));
        self.diagnostics.iter().map(View::from).chain(warnings).chain(errors)
    }
}

pub fn run(shared: &Shared, arguments: &ValidateArgs) -> Outcome {
    let setup = Setup::for_asking(shared)?;
    if let Some(why) = &setup.unread {
        output::notice(&format!("this host's configuration is left out: {why}"));
    }
    let path = existing(&arguments.path)?;
    let mut report = examine(&setup, &path, arguments)?;
    report.version = 1;
    report.name_file(&arguments.path);
    report.errors = report.problems.len()
        + report.problems_left_out.map_or(0, NonZeroUsize::get)
        + report.other.len()
        + count(&report.diagnostics, Severity::Error);
    report.warnings = report.suspicious.len() + count(&report.diagnostics, Severity::Warning);
    report.valid = report.errors == 0 && !(arguments.deny_warnings && report.warnings > 0);
    let usual = if setup.json { FindingsFormat::Json } else { FindingsFormat::Text };
    output::unless_closed(print(&report, &arguments.path, arguments.format.unwrap_or(usual)))?;
    Ok(if report.valid { ExitCode::Ok } else { ExitCode::Failed })
}

fn print(report: &Report, path: &Path, format: FindingsFormat) -> Result<(), Failure> {
    match format {
        FindingsFormat::Text => output::painted(&text(report, path), FINDINGS),
        FindingsFormat::Json => output::json(report),
        FindingsFormat::Sarif => output::json(&marks::sarif(report, path)),
        FindingsFormat::Github => output::text(&marks::github(report, path)),
    }
}

fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|d| d.severity == severity).count()
}

fn text(report: &Report, path: &Path) -> String {
    let on_host = report.on_this_host.iter().map(View::from);
    let mut text = diagnose::render_all(report.views().chain(on_host), &report.text);
    if let Some(more) = report.problems_left_out {
        text.push_str(&format!("{}\n\n", and_more(more.get())));
    }
    for other in &report.other {
        text.push_str(&format!("error: {other}\n\n"));
    }
    text.push_str(
        &report.release.as_ref().map(|release| release.text(report.signatures.is_some())).unwrap_or_default(),
    );
    text.push_str(&report.signatures.as_ref().map(Signatures::text).unwrap_or_default());
    let verdict = match report.kind {
        "bundle" | "appspec" if report.valid => "may be deployed",
        "bundle" | "appspec" => "must not be deployed",
        _ if report.valid => "is valid",
        _ => "must not be used",
    };
    let (errors, warnings) = (counted(report.errors, "error"), counted(report.warnings, "warning"));
    let on_host = match report.on_this_host.len() {
        0 => String::new(),
        number => format!(", and {} about this host alone", counted(number, "warning")),
    };
    text.push_str(&format!("{} {}: {verdict} ({errors}, {warnings}{on_host})\n", report.kind, path.display()));
    if report.kind == "appspec" && report.valid {
        text.push_str(
            "only the appspec was looked at: validate the bundle's directory to check its scripts and sources\n",
        );
    }
    text
}

fn examine(setup: &Setup, path: &Path, arguments: &ValidateArgs) -> Result<Report, Failure> {
    let wanted = AppspecName::only(arguments.appspec_filename.as_deref());
    let file = regular::open_bundle(path).map_err(|error| {
        let is_other = error.kind() == std::io::ErrorKind::InvalidInput;
        let error = anyhow::Error::new(error).context(format!("cannot read {}", path.display()));
        let failure = Failure::new(ExitCode::Failed, error);
        if is_other { failure.hint("name a bundle, an appspec, a configuration or a release") } else { failure }
    })?;
    let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.is_dir() {
        let looked = archive::list(path).and_then(|listing| Ok(Unpacked { listing, adapted: archive::adapted(path)? }));
        return match looked {
            Ok(unpacked) => bundle(setup, path, unpacked, wanted),
            Err(error) => Ok(broken(crate::failure::chain(&error))),
        };
    }
    match archive::detect(&file) {
        Ok(kind) => return packed(setup, &file, kind, wanted),
        Err(error @ ArchiveError::Foreign(_)) => return Ok(broken(crate::failure::chain(&error))),
        // Usually a document.
        Err(_) => {}
    }
    let most = setup.limits.appspec_bytes.max(setup.limits.config_bytes).max(stored_bytes(&setup.limits));
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    if looks_like_a_release(&bytes) {
        return Ok(release(setup, &bytes, signatures::policy(setup, arguments)?.as_ref()));
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if config::looks_like_configuration(&text, &setup.limits)
        || (is_configurations_place(setup, path) && config::may_be_configuration(&text, &setup.limits))
    {
        if std::str::from_utf8(&bytes).is_err() {
            let other = vec!["the file is not UTF-8".to_owned()];
            return Ok(Report { kind: "configuration", other, ..Report::default() });
        }
        return Ok(configuration(setup, name, text, bytes.len()));
    }
    let diagnostics = appspec::read(&name, &bytes, &setup.limits).diagnostics;
    Ok(Report { kind: "appspec", diagnostics, name, text, ..Report::default() })
}

/// Whether a file lies where the agent's configuration does: a file without keys shows nothing else of its purpose.
fn is_configurations_place(setup: &Setup, path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let in_drop_ins = path.parent().and_then(Path::file_name).is_some_and(|parent| parent == "config.d");
    let etc = setup.layout.beneath_root(Path::new("/etc/hostler"));
    let in_etc = std::fs::canonicalize(etc).is_ok_and(|etc| path.starts_with(etc));
    is_yaml && (name.starts_with("config") || in_drop_ins || in_etc)
}

/// An appspec may be JSON too, but has no such keys.
fn looks_like_a_release(bytes: &[u8]) -> bool {
    let head = bytes.trim_ascii_start();
    let has = |key: &[u8]| head.windows(key.len()).any(|window| window == key);
    head.starts_with(b"{") && (has(b"\"payload\"") || has(b"\"payloadType\"") || has(b"\"sequence\""))
}

fn configuration(setup: &Setup, name: String, text: String, bytes: usize) -> Report {
    if bytes > setup.limits.config_bytes {
        let other = format!("it has {bytes} bytes; a configuration has at most {}", setup.limits.config_bytes);
        return Report { kind: "configuration", other: vec![other], ..Report::default() };
    }
    let diagnostics = config::read(&[(name.clone(), text.clone())], &setup.limits).err().unwrap_or_default();
    Report { kind: "configuration", diagnostics, name, text, ..Report::default() }
}

fn release(setup: &Setup, bytes: &[u8], policy: Option<&SigningPolicy>) -> Report {
    let parsed = AgentVersion::current()
        .map_err(|e| e.to_string())
        .and_then(|agent| Document::parse(bytes, &setup.limits, agent).map_err(|e| crate::failure::chain(&e)));
    let mut report = Report { kind: "release", ..Report::default() };
    let document = match parsed {
        Ok(document) => document,
        Err(problem) => {
            report.other.push(problem);
            return report;
        }
    };
    report.release = Some(Looked::of(&document));
    if let Some(policy) = policy {
        let judged = verify(Some(policy), &document.envelope, &signature::verify);
        report.other.extend(judged.err().map(|missing| missing.to_string()));
        report.signatures = Some(Signatures::of(&document, policy));
    }
    report
}

/// Unpacks a packed bundle into a temporary directory.
fn packed(setup: &Setup, file: &File, kind: BundleType, wanted: AppspecName<'_>) -> Result<Report, Failure> {
    let scratch = tempfile::tempdir().context("cannot make a temporary directory for the bundle")?;
    let target = scratch.path().join("bundle");
    let options = UnpackOptions { limits: setup.limits.clone(), allow_setuid: false };
    match archive::unpack(file, kind, &target, &options) {
        Ok(unpacked) => bundle(setup, &target, unpacked, wanted),
        Err(error) => Ok(broken(crate::failure::chain(&error))),
    }
}

fn broken(problem: String) -> Report {
    Report { kind: "bundle", other: vec![problem], ..Report::default() }
}

fn bundle(setup: &Setup, directory: &Path, unpacked: Unpacked, wanted: AppspecName<'_>) -> Result<Report, Failure> {
    let Unpacked { listing, adapted } = unpacked;
    let found = match diagnose_bundle(directory, &listing, wanted, &setup.limits) {
        Ok(found) => found,
        Err(failure) => return Ok(broken(failure.message)),
    };
    let in_plan = found.in_plan(&listing);
    let spec = found.spec.as_ref();
    let on_this_host =
        spec.map(|spec| diagnose_host(directory, &found.name, spec, &listing, &setup.limits)).unwrap_or_default();
    Ok(Report {
        kind: "bundle",
        on_this_host,
        diagnostics: [lint_archive(BUNDLE, &adapted), found.diagnostics].concat(),
        problems: in_plan.errors,
        problems_left_out: NonZeroUsize::new(in_plan.left_out),
        suspicious: in_plan.warnings,
        name: found.name,
        text: found.text,
        ..Report::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_the_path_that_was_given() {
        let bundle = tempfile::tempdir().unwrap();
        let appspec = bundle.path().join("appspec.yml");
        let diagnostics =
            || appspec::read("appspec.yml", b"version: 0.0\nos: linux\nx: 1\n", &Default::default()).diagnostics;
        let named = |kind, path: &Path| {
            let (name, diagnostics) = ("appspec.yml".to_owned(), diagnostics());
            let mut report = Report { kind, name, diagnostics, ..Report::default() };
            report.name_file(path);
            assert!(!report.diagnostics.is_empty() && report.diagnostics.iter().all(|found| found.file == report.name));
            report.name
        };
        assert_eq!(named("bundle", bundle.path()), appspec.display().to_string());
        assert_eq!(named("appspec", Path::new("app/appspec.yml")), "app/appspec.yml");
        assert_eq!(named("bundle", Path::new("bundle.tgz")), "appspec.yml", "inside an archive there is no path");
    }
}
