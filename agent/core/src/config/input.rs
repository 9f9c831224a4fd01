//! The content of the configuration files: every key checked, and a later file's value in place of an earlier one's.

use std::net::SocketAddr;

use crate::appspec::codes::Code;
use crate::appspec::diagnose::{Diagnostic, Findings};
use crate::config::keys;
use crate::config::settings::{BundleAccess, HookSettings, LogLevel, Settings};
use crate::ids::GroupKey;
use crate::limits::Limits;
use crate::path_rule::UnsafePaths;
use crate::values::Unfit;
use crate::yaml::{self, Node, YamlProblem};

mod auto_scaling;
mod aws;
mod codedeploy;
mod field;
mod groups;
mod logs;
mod signals;
mod signatures;
mod traffic;

use field::{Field, fields_of, put, set};

/// Keys that an appspec has at its top too.
const OF_APPSPEC: &[&str] = &["hooks"];
/// Keys that a configuration does not have.
const ONLY_OF_APPSPEC: &[&str] = &["version", "os"];

/// Reads configuration files, each with its name; a later file's values win. Two entries are the same group when
/// application and group are equal.
///
/// # Errors
/// All mistakes, each with its place.
pub fn read(files: &[(String, String)], limits: &Limits) -> Result<Settings, Vec<Diagnostic>> {
    let mut reader = Reader::default();
    for (name, text) in files {
        let mut findings = Findings::new(name, limits.diagnostics);
        reader.file(name, text, limits, &mut findings);
        reader.wrong.extend(findings.into_list());
    }
    if !reader.wrong.is_empty() {
        return Err(reader.wrong);
    }
    reader.settings.signatures = reader.signatures.finish(limits)?;
    let poll = reader.settings.poll_seconds();
    let own_polls = &reader.own_polls;
    for group in reader.settings.groups.iter_mut().filter(|group| !own_polls.contains(&group.key)) {
        group.poll_seconds = poll;
    }
    Ok(reader.settings)
}

/// Whether a text is more likely a configuration than an appspec: it has a key that only configurations have.
pub fn looks_like_configuration(text: &str, limits: &Limits) -> bool {
    let Ok(document) = yaml::parse(text, limits) else { return false };
    let Some(top) = document.root.as_deref().and_then(Node::as_mapping) else { return false };
    let has = |key: &str| top.get(key).is_some();
    let own = keys::below("").map(keys::Key::name).filter(|key| !OF_APPSPEC.contains(key));
    own.into_iter().any(has) || (OF_APPSPEC.iter().any(|key| has(key)) && !ONLY_OF_APPSPEC.iter().any(|key| has(key)))
}

/// Whether a text in a configuration's place is one: it has no key that only appspecs have. The packaged file has
/// comments only, and sets nothing.
pub fn may_be_configuration(text: &str, limits: &Limits) -> bool {
    let Ok(document) = yaml::parse(text, limits) else { return true };
    let top = document.root.as_deref().and_then(Node::as_mapping);
    let has = |key: &&str| top.is_some_and(|top| top.get(key).is_some());
    !["version", "os", "files", "permissions", "hostler"].iter().any(has)
}

#[derive(Default)]
struct Reader {
    settings: Settings,
    /// The groups with an interval of their own.
    own_polls: Vec<GroupKey>,
    signatures: signatures::Sources,
    wrong: Vec<Diagnostic>,
}

impl Reader {
    fn file(&mut self, name: &str, text: &str, limits: &Limits, findings: &mut Findings) {
        let document = match yaml::parse(text, limits) {
            Ok(document) => document,
            Err(error) => {
                let code = match error.problem {
                    YamlProblem::Syntax(_) | YamlProblem::Tab | YamlProblem::AliasInsideItself => Code::YamlSyntax,
                    YamlProblem::TooDeep(_) | YamlProblem::TooManyNodes(_) | YamlProblem::TooMuchText(_) => {
                        Code::YamlLimit
                    }
                };
                findings.add(code, Some(error.at), format!("this is not YAML: {}", error.problem));
                return;
            }
        };
        // A file with only comments sets nothing.
        let Some(root) = document.root.filter(|root| !root.is_null()) else { return };
        for field in fields_of(&root, "", root.at, findings) {
            self.top(&field, name, findings);
        }
    }

    fn top(&mut self, field: &Field<'_>, file: &str, findings: &mut Findings) {
        let settings = &mut self.settings;
        match field.name() {
            "instance_id" => set(&mut settings.instance_id, field.parsed(findings)),
            "poll" => set(&mut settings.poll_seconds, field.duration(findings)),
            "groups" => self.groups(field, findings),
            "health_listener" => set(&mut settings.health_listener, field.read(findings, listener)),
            "hooks" => hooks(&mut settings.hooks, field, findings),
            "auto_scaling" => auto_scaling::read(&mut settings.auto_scaling, field, findings),
            "aws" => aws::read(&mut settings.aws, field, findings),
            "downloads" => aws::downloads(&mut settings.downloads, field, findings),
            "codedeploy" => codedeploy::read(&mut settings.codedeploy, field, findings),
            "signals" => signals::read(&mut settings.signals, field, findings),
            "machine_events" => {
                for field in field.fields(findings) {
                    put(&mut settings.machine_events.timeout_seconds, field.duration(findings));
                }
            }
            "logs" => logs::read(&mut settings.logs, field, findings),
            "unsafe_paths" => put(&mut settings.unsafe_paths, field.word(UNSAFE_PATHS, findings)),
            "log_level" => put(&mut settings.log_level, field.word(LogLevel::WORDS, findings)),
            "signatures" => self.signatures.read(field, file, findings),
            _ => {}
        }
    }
}

const UNSAFE_PATHS: &[(&str, UnsafePaths)] = &[("refuse", UnsafePaths::Refuse), ("warn", UnsafePaths::Warn)];
const BUNDLE_ACCESS: &[(&str, BundleAccess)] =
    &[("scripts", BundleAccess::Scripts), ("everyone", BundleAccess::Everyone)];

fn hooks(settings: &mut HookSettings, section: &Field<'_>, findings: &mut Findings) {
    for field in section.fields(findings) {
        match field.name() {
            "inherit_environment" => put(&mut settings.inherit_environment, field.boolean(findings)),
            "bundle_access" => set(&mut settings.bundle_access, field.word(BUNDLE_ACCESS, findings)),
            "working_directory" => set(&mut settings.working_directory, field.path(findings)),
            _ => {}
        }
    }
}

fn listener(text: &str) -> Result<SocketAddr, Unfit> {
    let help = "write `127.0.0.1:8645`, or `0.0.0.0:8645` to answer on every address";
    text.parse().map_err(|_| Unfit::new("an address and a port", help))
}
