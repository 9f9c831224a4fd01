//! Checks that need the host: users, groups and interpreters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::super::codes::Code;
use super::super::diagnose::{Diagnostic, Findings, quoted};
use super::super::spec::{AclTag, AppSpec, Position};
use super::paths::bundle_path;
use super::script::interpreters;
use crate::health_check::Probe;
use crate::limits::Limits;

/// The questions to ask the host for [`lint_host`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostQuestions {
    /// Users by name.
    pub users: BTreeSet<String>,
    /// Groups by name.
    pub groups: BTreeSet<String>,
    /// Programs: a path if it has a slash, else a name to find in a hook's PATH.
    pub interpreters: BTreeSet<String>,
}

/// The host's answers: whether each exists. An absent entry was not asked and is not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostKnowledge {
    /// Users by name.
    pub users: BTreeMap<String, bool>,
    /// Groups by name.
    pub groups: BTreeMap<String, bool>,
    /// Programs, as in [`HostQuestions::interpreters`].
    pub interpreters: BTreeMap<String, bool>,
}

/// The needs of the spec and its scripts on a host.
pub fn host_questions(spec: &AppSpec, heads: &BTreeMap<PathBuf, Vec<u8>>) -> HostQuestions {
    let owned = |names: Vec<Need>| names.into_iter().map(|need| need.name.to_owned()).collect();
    HostQuestions {
        users: owned(users(spec)),
        groups: owned(groups(spec)),
        interpreters: programs(spec, heads).into_iter().map(|(program, ..)| program).collect(),
    }
}

fn supply(how: &str) -> String {
    format!(
        "{how} it when the image is made, or in BeforeInstall with `hostler: {{install: {{recheck_after: BeforeInstall}}}}`"
    )
}

/// Warns of users, groups and interpreters that the host lacks. A hook may still make them.
pub fn lint_host(
    name: &str,
    spec: &AppSpec,
    heads: &BTreeMap<PathBuf, Vec<u8>>,
    knowledge: &HostKnowledge,
    limits: &Limits,
) -> Vec<Diagnostic> {
    let mut findings = Findings::new(name, limits.diagnostics);
    for need in users(spec).into_iter().filter(|need| knowledge.users.get(need.name) == Some(&false)) {
        let message = format!("this host has no user {}, which {} names", quoted(need.name), need.what);
        findings.add(Code::UserUnknown, Some(need.at), message).help(supply("make"));
    }
    for need in groups(spec).into_iter().filter(|need| knowledge.groups.get(need.name) == Some(&false)) {
        let message = format!("this host has no group {}, which {} names", quoted(need.name), need.what);
        findings.add(Code::GroupUnknown, Some(need.at), message).help(supply("make"));
    }
    for (program, location, at) in programs(spec, heads) {
        if knowledge.interpreters.get(&program) == Some(&false) {
            let message = format!("this host has no {}, which the script {} needs", quoted(&program), quoted(location));
            findings.add(Code::InterpreterMissing, Some(at), message).help(supply("install"));
        }
    }
    findings.into_list()
}

/// A name that the host must know, and the place that needs it.
struct Need<'s> {
    name: &'s str,
    what: &'static str,
    at: Position,
}

fn users(spec: &AppSpec) -> Vec<Need<'_>> {
    let mut needs = Vec::new();
    for script in spec.hooks.iter().flat_map(|hooks| &hooks.scripts) {
        needs.extend(script.runas.as_deref().map(|name| Need {
            name,
            what: "`runas`",
            at: script.runas_at.unwrap_or(script.at),
        }));
    }
    for permission in &spec.permissions {
        needs.extend(permission.owner.as_deref().map(|name| Need {
            name,
            what: "`owner`",
            at: permission.owner_at.unwrap_or(permission.at),
        }));
        for acl in &permission.acls {
            if let AclTag::User(name) = &acl.tag {
                needs.push(Need { name, what: "`acls`", at: permission.at });
            }
        }
    }
    for check in &spec.extension.health {
        if let Probe::Command { runas: Some(name), .. } = &check.check.probe {
            needs.push(Need { name, what: "a health check", at: check.at });
        }
    }
    needs
}

fn groups(spec: &AppSpec) -> Vec<Need<'_>> {
    let mut needs = Vec::new();
    for permission in &spec.permissions {
        needs.extend(permission.group.as_deref().map(|name| Need {
            name,
            what: "`group`",
            at: permission.group_at.unwrap_or(permission.at),
        }));
        for acl in &permission.acls {
            if let AclTag::Group(name) = &acl.tag {
                needs.push(Need { name, what: "`acls`", at: permission.at });
            }
        }
    }
    needs
}

/// Programs that scripts need; each script once.
fn programs<'s>(spec: &'s AppSpec, heads: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<(String, &'s str, Position)> {
    let mut seen = BTreeSet::new();
    let mut programs = Vec::new();
    for script in spec.hooks.iter().flat_map(|hooks| &hooks.scripts) {
        let Some(path) = bundle_path(&script.location) else { continue };
        let Some(head) = heads.get(&path).filter(|_| seen.insert(path.clone())) else { continue };
        programs.extend(interpreters(head).into_iter().map(|program| (program, script.location.as_str(), script.at)));
    }
    programs
}
