//! The content of the configuration files: every key checked, and a later file's value in place of an earlier one's.

use crate::appspec::codes::Code;
use crate::appspec::diagnose::{Diagnostic, Findings, quoted};
use crate::appspec::extension;
use crate::appspec::spec::FileExistsBehavior;
use crate::config::duration;
use crate::config::settings::{BundleAccess, DEFAULT_POLL_SECONDS, GroupSettings, HookSettings, Settings};
use crate::event_order::LifecycleEvent;
use crate::ids::GroupKey;
use crate::limits::Limits;
use crate::machine::state::{Policy, RollbackPolicy};
use crate::path_rule::UnsafePaths;
use crate::store::without_secrets;
use crate::traffic::TrafficSettings;
use crate::values::nearest;
use crate::yaml::{self, Entry, Mapping, Node, Scalar, YamlProblem};

mod auto_scaling;
mod aws;
mod codedeploy;
mod logs;
mod machine_events;
mod signals;
mod signatures;
mod traffic;

/// Keys at the top.
const TOP: &[&str] = &[
    "instance_id",
    "poll",
    "groups",
    "hooks",
    "health_listener",
    "auto_scaling",
    "aws",
    "downloads",
    "signatures",
    "signals",
    "machine_events",
    "logs",
    "codedeploy",
    "unsafe_paths",
];
/// Keys of an entry of `groups`.
const GROUP: &[&str] = &[
    "application",
    "group",
    "channel",
    "poll",
    "ignore_application_stop_failures",
    "cleanup",
    "file_exists_behavior",
    "rollback",
    "max_revisions",
    "max_revision_bytes",
    "health",
    "bake_time",
    "keep_bundle",
    "minimum_sequence",
    "sequence_epoch",
    "require_store",
    "wake_up_queue",
    "report",
    "traffic",
];
/// Keys below `hooks`.
const HOOKS: &[&str] = &["inherit_environment", "working_directory", "bundle_access"];

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
    let poll = reader.poll.unwrap_or(DEFAULT_POLL_SECONDS);
    for group in reader.settings.groups.iter_mut().filter(|g| g.poll_seconds == 0) {
        group.poll_seconds = poll;
    }
    Ok(reader.settings)
}

/// Whether a text is more likely a configuration than an appspec: it has a key that only configurations have.
pub fn looks_like_configuration(text: &str, limits: &Limits) -> bool {
    let Ok(document) = yaml::parse(text, limits) else { return false };
    let Some(top) = document.root.as_deref().and_then(Node::as_mapping) else { return false };
    let has = |key: &&str| top.get(key).is_some();
    let keys =
        ["instance_id", "poll", "groups", "health_listener", "auto_scaling", "aws", "downloads", "signatures", "logs"];
    keys.iter().chain(&["codedeploy", "signals", "machine_events", "unsafe_paths"]).any(has)
        || (has(&"hooks") && !has(&"version") && !has(&"os"))
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
    poll: Option<u64>,
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
        let Some(top) = mapping(&root, "the configuration", findings) else { return };
        for entry in known(top, TOP, "", findings) {
            match entry.key.text.as_str() {
                "instance_id" => set(&mut self.settings.instance_id, parsed(entry, findings)),
                "poll" => set(&mut self.poll, seconds(entry, findings)),
                "groups" => self.groups(&entry.value, findings),
                "health_listener" => set(&mut self.settings.health_listener, parsed(entry, findings)),
                "hooks" => hooks(&mut self.settings.hooks, &entry.value, findings),
                "auto_scaling" => auto_scaling::read(&mut self.settings.auto_scaling, &entry.value, findings),
                "aws" => aws::read(&mut self.settings.aws, &entry.value, findings),
                "codedeploy" => codedeploy::read(&mut self.settings.codedeploy, &entry.value, findings),
                "signals" => signals::read(&mut self.settings.signals, &entry.value, findings),
                "machine_events" => machine_events::read(&mut self.settings.machine_events, &entry.value, findings),
                "logs" => logs::read(&mut self.settings.logs, &entry.value, findings),
                "unsafe_paths" => unsafe_paths(&mut self.settings.unsafe_paths, entry, findings),
                "signatures" => self.signatures.read(&entry.value, name, findings),
                _ => aws::downloads(&mut self.settings.downloads, &entry.value, findings),
            }
        }
    }

    fn groups(&mut self, node: &Node, findings: &mut Findings) {
        let Some(list) = node.as_sequence() else {
            wrong_type(node, "groups", "a list", findings);
            return;
        };
        for item in list {
            let Some(entries) = mapping(item, "a group", findings) else { continue };
            self.group(item, entries, findings);
        }
    }

    fn group(&mut self, item: &Node, entries: &Mapping, findings: &mut Findings) {
        let name = |key: &str, findings: &mut Findings| {
            if entries.get(key).is_none() {
                findings
                    .add(
                        Code::InvalidConfiguration,
                        Some(item.at),
                        format!("`{key}:` is missing in this entry of `groups`"),
                    )
                    .help("name application and group as the channel does");
            }
        };
        name("application", findings);
        name("group", findings);
        let application = entries.get("application").and_then(|entry| parsed(entry, findings));
        let group = entries.get("group").and_then(|entry| parsed(entry, findings));
        let (Some(application), Some(group)) = (application, group) else {
            known(entries, GROUP, "groups", findings);
            return;
        };
        let key = GroupKey::new(application, group);
        let settings = self.entry(key);
        for entry in known(entries, GROUP, "groups", findings) {
            let policy = &mut settings.policy;
            match entry.key.text.as_str() {
                "channel" => set(&mut settings.channel, channel(entry, findings)),
                "poll" => settings.poll_seconds = seconds(entry, findings).unwrap_or(settings.poll_seconds),
                "ignore_application_stop_failures" => {
                    flag(&mut policy.ignore_application_stop_failures, entry, findings);
                }
                "cleanup" => flag(&mut policy.cleanup, entry, findings),
                "rollback" => policy.rollback = rollback(entry, findings).unwrap_or(policy.rollback.clone()),
                "file_exists_behavior" => {
                    policy.file_exists_behavior = behavior(entry, findings).unwrap_or(policy.file_exists_behavior);
                }
                "max_revisions" => policy.max_revisions = revisions(entry, findings).unwrap_or(policy.max_revisions),
                "health" => {
                    let checks = extension::health(entries, extension::Scripts::OfHost, findings);
                    settings.health = checks.into_iter().map(|check| check.check).collect();
                }
                "bake_time" => policy.bake_seconds = seconds(entry, findings).unwrap_or(policy.bake_seconds),
                "wake_up_queue" => match text(entry, findings) {
                    Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                        settings.wake_up_queue = Some(url.to_owned());
                    }
                    Some(url) => {
                        invalid(entry, format!("{} is not the URL of a queue", quoted(&without_secrets(url))), findings)
                    }
                    None => {}
                },
                "minimum_sequence" => set(&mut settings.minimum_sequence, parsed(entry, findings)),
                "sequence_epoch" => {
                    settings.sequence_epoch = parsed(entry, findings).unwrap_or(settings.sequence_epoch);
                }
                "require_store" => flag(&mut settings.require_store, entry, findings),
                "traffic" => traffic::read(&mut settings.traffic, &entry.value, findings),
                "keep_bundle" => flag(&mut policy.keep_bundle, entry, findings),
                "report" => flag(&mut settings.report, entry, findings),
                "max_revision_bytes" => set(&mut policy.max_revision_bytes, parsed(entry, findings)),
                _ => {}
            }
        }
    }

    fn entry(&mut self, key: GroupKey) -> &mut GroupSettings {
        let groups = &mut self.settings.groups;
        let at = groups.iter().position(|g| g.key == key).unwrap_or_else(|| {
            groups.push(GroupSettings {
                key,
                channel: None,
                poll_seconds: 0,
                wake_up_queue: None,
                minimum_sequence: None,
                sequence_epoch: 0,
                require_store: false,
                policy: Policy::default(),
                health: Vec::new(),
                report: true,
                traffic: TrafficSettings::default(),
            });
            groups.len() - 1
        });
        &mut groups[at]
    }
}

fn hooks(settings: &mut HookSettings, node: &Node, findings: &mut Findings) {
    let Some(entries) = mapping(node, "hooks", findings) else { return };
    for entry in known(entries, HOOKS, "hooks", findings) {
        match entry.key.text.as_str() {
            "inherit_environment" => flag(&mut settings.inherit_environment, entry, findings),
            "bundle_access" => match text(entry, findings) {
                Some("scripts") => settings.bundle_access = Some(BundleAccess::Scripts),
                Some("everyone") => settings.bundle_access = Some(BundleAccess::Everyone),
                Some(other) => invalid(entry, format!("{} is neither scripts nor everyone", quoted(other)), findings),
                None => {}
            },
            _ => match text(entry, findings) {
                Some(path) if path.starts_with('/') => settings.working_directory = Some(path.into()),
                Some(path) => invalid(entry, format!("{} is not an absolute path", quoted(path)), findings),
                None => {}
            },
        }
    }
}

fn unsafe_paths(target: &mut UnsafePaths, entry: &Entry, findings: &mut Findings) {
    match text(entry, findings) {
        Some("refuse") => *target = UnsafePaths::Refuse,
        Some("warn") => *target = UnsafePaths::Warn,
        Some(other) => invalid(entry, format!("{} is neither refuse nor warn", quoted(other)), findings),
        None => {}
    }
}

fn set<T>(target: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *target = value;
    }
}

fn mapping<'n>(node: &'n Node, what: &str, findings: &mut Findings) -> Option<&'n Mapping> {
    let found = node.as_mapping();
    if found.is_none() {
        wrong_type(node, what, "keys with values", findings);
    }
    found
}

fn wrong_type(node: &Node, what: &str, wanted: &str, findings: &mut Findings) {
    findings.add(Code::WrongType, Some(node.at), format!("{what} must be {wanted}, and this is {}", node.kind()));
}

/// The entries with known keys; every other key is an error that names the nearest known one.
fn known<'n>(entries: &'n Mapping, keys: &[&str], below: &str, findings: &mut Findings) -> Vec<&'n Entry> {
    let (good, bad): (Vec<&Entry>, Vec<&Entry>) =
        entries.entries().iter().partition(|entry| keys.contains(&entry.key.text.as_str()));
    for entry in bad {
        let place = if below.is_empty() { String::new() } else { format!(" below {below}") };
        let message = format!("the configuration has no key {}{place}", quoted(&entry.key.text));
        let help = match nearest(&entry.key.text, keys) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the keys are {}", keys.join(", ")),
        };
        findings.add(Code::UnknownConfigurationKey, Some(entry.key_at), message).help(help);
    }
    good
}

fn scalar<'n>(entry: &'n Entry, findings: &mut Findings) -> Option<&'n Scalar> {
    let found = entry.value.as_scalar().filter(|scalar| !scalar.is_null());
    if found.is_none() {
        wrong_type(&entry.value, &entry.key.text, "one value", findings);
    }
    found
}

fn text<'n>(entry: &'n Entry, findings: &mut Findings) -> Option<&'n str> {
    scalar(entry, findings).map(|scalar| scalar.text.as_str())
}

fn invalid(entry: &Entry, message: String, findings: &mut Findings) {
    refuse(entry, format!("{}: {message}", entry.key.text), findings);
}

fn refuse<'f>(entry: &Entry, message: String, findings: &'f mut Findings) -> &'f mut Diagnostic {
    // If an address holds a password or a signature, the message must not show its line.
    let is_secret = entry.value.as_scalar().is_some_and(|value| without_secrets(&value.text) != value.text);
    let at = if is_secret { entry.key_at } else { entry.value.at };
    let finding = findings.add(Code::InvalidConfiguration, Some(at), message);
    if is_secret {
        finding.conceal();
    }
    finding
}

/// A value that is not among the words that a key knows, with the nearest of them.
fn not_one_of(entry: &Entry, given: &str, words: &[&str], findings: &mut Findings) {
    let list = match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.join(", "),
    };
    let message = format!("{} must be {list}, not {}", quoted(&entry.key.text), quoted(given));
    let finding = refuse(entry, message, findings);
    if let Some(word) = nearest(given, words) {
        finding.help(format!("did you mean `{word}`?"));
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(entry: &Entry, findings: &mut Findings) -> Option<T> {
    match text(entry, findings)?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            invalid(entry, error.to_string(), findings);
            None
        }
    }
}

fn seconds(entry: &Entry, findings: &mut Findings) -> Option<u64> {
    match duration::seconds(text(entry, findings)?) {
        Ok(seconds) => Some(seconds),
        Err(error) => {
            invalid(entry, error.to_string(), findings);
            None
        }
    }
}

fn flag(target: &mut bool, entry: &Entry, findings: &mut Findings) {
    match text(entry, findings) {
        Some("true") => *target = true,
        Some("false") => *target = false,
        Some(other) => invalid(entry, format!("{} is neither true nor false", quoted(other)), findings),
        None => {}
    }
}

/// `true`, `false`, or the events whose failure is followed by a rollback.
fn rollback(entry: &Entry, findings: &mut Findings) -> Option<RollbackPolicy> {
    let Some(list) = entry.value.as_sequence() else {
        let mut on = true;
        flag(&mut on, entry, findings);
        return Some(if on { RollbackPolicy::Always } else { RollbackPolicy::Never });
    };
    let mut events = Vec::new();
    for node in list {
        let name = node.as_scalar().map_or("", |scalar| scalar.text.as_str());
        match LifecycleEvent::ORDER.into_iter().find(|event| event.name() == name) {
            Some(event) => events.push(event),
            None => {
                let names = LifecycleEvent::ORDER.each_ref().map(LifecycleEvent::name);
                let help = match nearest(name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the events are {}", names.join(", ")),
                };
                let message = format!("rollback: {} is not a lifecycle event", quoted(name));
                findings.add(Code::InvalidConfiguration, Some(node.at), message).help(help);
            }
        }
    }
    Some(RollbackPolicy::Events(events))
}

/// A store. A relative path would depend on the directory that the agent was started in, and is a forgotten `s3://` as a rule.
fn channel(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let given = text(entry, findings)?;
    if given.starts_with('/') || given.contains("://") {
        return Some(given.to_owned());
    }
    let message =
        format!("{} is a relative path; write s3://BUCKET/PREFIX, file:///DIR or an absolute path", quoted(given));
    invalid(entry, message, findings);
    None
}

fn behavior(entry: &Entry, findings: &mut Findings) -> Option<FileExistsBehavior> {
    match text(entry, findings)? {
        "DISALLOW" => Some(FileExistsBehavior::Disallow),
        "OVERWRITE" => Some(FileExistsBehavior::Overwrite),
        "RETAIN" => Some(FileExistsBehavior::Retain),
        other => {
            not_one_of(entry, other, &["DISALLOW", "OVERWRITE", "RETAIN"], findings);
            None
        }
    }
}

fn revisions(entry: &Entry, findings: &mut Findings) -> Option<u32> {
    let found = text(entry, findings)?.parse().ok().filter(|n| (2..=1000).contains(n));
    if found.is_none() {
        let message = "must be 2 to 1000: the revision on the host and one to return to".to_owned();
        invalid(entry, message, findings);
    }
    found
}
