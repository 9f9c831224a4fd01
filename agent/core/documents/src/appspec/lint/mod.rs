//! Allowed but surprising content. Pure functions over the spec and the facts passed in.

mod archive;
mod bundle;
mod host;
mod leftovers;
mod paths;
mod script;

#[cfg(test)]
mod tests;

pub use archive::lint_archive;
pub use bundle::lint_bundle;
pub use host::{HostKnowledge, HostQuestions, host_questions, lint_host};
pub use paths::{bundle_path, host_path};
pub(crate) use script::interpreters;

use std::path::PathBuf;

use super::codes::Code;
use super::diagnose::{Findings, quoted};
use super::keys::EVENTS;
use super::spec::{AppSpec, FileMapping, Permission, Position};

/// Checks the spec alone. Errors are paths that lead out of the bundle; the rest are warnings.
pub(super) fn lint_spec(spec: &AppSpec, findings: &mut Findings) {
    for file in &spec.files {
        source(file, findings);
        destination(file, findings);
    }
    nested_destinations(spec, findings);
    for hooks in &spec.hooks {
        let check = |findings: &mut Findings| {
            for script in &hooks.scripts {
                inside_bundle("location", &script.location, script.at, findings);
            }
        };
        if EVENTS.contains(&hooks.event.as_str()) {
            check(findings);
        } else {
            findings.harmless(check);
        }
    }
    for permission in &spec.permissions {
        patterns(permission, findings);
    }
}

fn inside_bundle(key: &str, path: &str, at: Position, findings: &mut Findings) {
    if bundle_path(path).is_none() {
        let message = format!("the {key} {} leads out of the bundle", quoted(path));
        findings.add(Code::LeavesBundle, Some(at), message).help(
            "only what the bundle holds can be used; put the file into it and write its path from the bundle's top",
        );
    }
}

fn source(file: &FileMapping, findings: &mut Findings) {
    inside_bundle("source", &file.source, file.source_at, findings);
    if let Some(sign) =
        file.source.chars().find(|c| matches!(c, '*' | '$' | '~')).filter(|c| *c != '~' || file.source.starts_with('~'))
    {
        let message = format!("`{sign}` in the source {} is taken literally", quoted(&file.source));
        findings
            .add(Code::NotExpanded, Some(file.source_at), message)
            .help("name a directory to install all that is in it; patterns and variables are not expanded");
    }
}

fn destination(file: &FileMapping, findings: &mut Findings) {
    let destination = &file.destination;
    let literal = destination
        .chars()
        .find(|c| matches!(c, '*' | '$'))
        .or_else(|| destination.chars().next().filter(|c| *c == '~'));
    if let Some(sign) = literal {
        let message = format!("`{sign}` in the destination {} is taken literally", quoted(destination));
        findings
            .add(Code::NotExpanded, Some(file.destination_at), message)
            .help("write the whole path; home directories, patterns and variables are not expanded");
    }
    if !destination.starts_with(['/', '~', '$']) {
        let message = format!("the destination {} is not absolute; it is taken from `/`", quoted(destination));
        findings
            .add(Code::RelativeDestination, Some(file.destination_at), message)
            .help("begin it with `/`: the CodeDeploy agent takes it from whatever directory it was started in");
    }
}

/// A destination inside another one is common and works, unless the outer one's permissions reach into it.
fn nested_destinations(spec: &AppSpec, findings: &mut Findings) {
    let deep: Vec<PathBuf> =
        spec.permissions.iter().filter(|p| p.pattern == "**").map(|p| host_path(&p.object)).collect();
    let mut destinations: Vec<(PathBuf, &FileMapping)> =
        spec.files.iter().map(|file| (host_path(&file.destination), file)).collect();
    destinations.sort_by(|one, other| one.0.cmp(&other.0));
    let mut outer: Vec<&(PathBuf, &FileMapping)> = Vec::new();
    for inner in &destinations {
        while outer.pop_if(|candidate| !inner.0.starts_with(&candidate.0)).is_some() {}
        match outer.last() {
            Some((path, file)) if *path != inner.0 => {
                if deep.iter().any(|object| inner.0.starts_with(object) && *object != inner.0) {
                    let destination = quoted(&inner.1.destination);
                    let message = format!("the destination {destination} lies inside of another one with permissions");
                    findings
                        .add(Code::NestedDestination, Some(inner.1.destination_at), message)
                        .help("check that the permissions with the pattern `**` above it are meant for it too")
                        .related(file.destination_at, "the outer one");
                }
                outer.push(inner);
            }
            Some(_) => {}
            None => outer.push(inner),
        }
    }
}

fn patterns(permission: &Permission, findings: &mut Findings) {
    if permission.pattern.contains('/') {
        let message = format!("the pattern {} matches nothing", quoted(&permission.pattern));
        findings
            .add(Code::PatternMatchesNothing, Some(permission.at), message)
            .help("a pattern is compared with names directly below `object`, which hold no `/`; only `**` goes deeper");
    }
    for except in permission.except.iter().filter(|except| except.contains('/')) {
        let message = format!("the exception {} matches nothing", quoted(except));
        findings
            .add(Code::PatternMatchesNothing, Some(permission.at), message)
            .help("an exception is compared with names directly below `object`, which hold no `/`");
    }
    if permission.files && permission.acls.iter().any(|acl| acl.default) {
        findings
            .add(Code::DefaultAclOnFiles, Some(permission.at), "default entries in `acls` fit directories only")
            .help("add `type: [directory]` to this entry, and write another one for files");
    }
}
