//! Checks that need the bundle: its listing, and the first bytes of its scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::codes::Code;
use super::super::diagnose::{Diagnostic, Findings, quoted};
use super::super::keys::EVENTS;
use super::super::spec::{AppSpec, EventHooks, FileMapping, HookScript, Permission};
use super::leftovers::leftovers;
use super::paths::{bundle_path, host_path, matches};
use super::script;
use crate::bundle::{BundleListing, EntryKind};
use crate::limits::Limits;

/// Finds an appspec's problems with its bundle: absent sources and scripts (errors), and likely surprises (warnings).
/// An event that does not exist, or has no scripts, gives no errors: no deployment runs it.
///
/// `heads` has each script's whole text or first 64 KiB, by its path in the bundle; a script without an entry is
/// checked by its listing alone. `name` is the appspec's name in the diagnostics, which point at its lines.
pub fn lint_bundle(
    name: &str,
    spec: &AppSpec,
    listing: &BundleListing,
    heads: &BTreeMap<PathBuf, Vec<u8>>,
    limits: &Limits,
) -> Vec<Diagnostic> {
    let mut findings = Findings::new(name, limits.diagnostics);
    let mut names = Names { listing, searches_left: SEARCHES, maker: Maker::of(spec, listing) };
    let mut all_there = true;
    for file in &spec.files {
        all_there &= source(file, &mut names, &mut findings);
    }
    let mut checked = BTreeSet::new();
    let mut check = |hooks: &EventHooks, findings: &mut Findings| {
        for script in &hooks.scripts {
            if let Some(path) = bundle_path(&script.location)
                && checked.insert(path.clone())
            {
                self::script((&hooks.event, script), &path, &mut names, heads, findings);
            }
        }
    };
    // A script in both groups is judged as one that runs.
    let (known, others): (Vec<_>, Vec<_>) = spec.hooks.iter().partition(|hooks| EVENTS.contains(&hooks.event.as_str()));
    known.into_iter().for_each(|hooks| check(hooks, &mut findings));
    findings.harmless(|findings| others.into_iter().for_each(|hooks| check(hooks, findings)));
    leftovers(listing, &mut findings);
    // An entry of `permissions` may be for files that are still to be made.
    if let Some(installed) = Installed::new(spec, listing).filter(|_| all_there) {
        installed.permissions(&spec.permissions, &mut findings);
    }
    findings.into_list()
}

/// Most searches of the whole listing for a similar name: they only help, and must not take minutes.
const SEARCHES: usize = 20;

/// The listing, the number of searches left, and whether scripts may add to it.
struct Names<'l> {
    listing: &'l BundleListing,
    searches_left: usize,
    maker: Maker,
}

/// Whether BeforeInstall may make files that the bundle lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Maker {
    /// BeforeInstall has no script in the bundle.
    Nothing,
    /// It has one, and the appspec does not say whether it makes files.
    Unsaid,
    /// The appspec requests a new check after BeforeInstall.
    BeforeInstall,
}

const BEFORE_INSTALL: &str = "BeforeInstall";
const PACK: &str = "pack it into the bundle, or correct the path, which begins at the bundle's top";
const IF_MADE: &str =
    "; if BeforeInstall makes it, pack a placeholder, or set `hostler: {install: {recheck_after: BeforeInstall}}`";
const MADE_LATER: &str =
    "BeforeInstall must make it in the bundle's directory: it is looked for again before the Install";

impl Maker {
    fn of(spec: &AppSpec, listing: &BundleListing) -> Self {
        let is_there =
            |script: &HookScript| bundle_path(&script.location).is_some_and(|path| listing.get(&path).is_some());
        match spec.scripts(BEFORE_INSTALL).iter().any(is_there) {
            false => Self::Nothing,
            true if spec.extension.recheck_after_before_install => Self::BeforeInstall,
            true => Self::Unsaid,
        }
    }

    /// The remedy for a file that is nowhere in the bundle.
    fn help(self) -> String {
        match self {
            Self::Unsaid => format!("{PACK}{IF_MADE}"),
            Self::Nothing | Self::BeforeInstall => PACK.to_owned(),
        }
    }
}

/// Whether the listing cannot show the object at a path, because the path leads through a link.
fn is_behind_link(path: &Path, listing: &BundleListing) -> bool {
    path.ancestors()
        .skip(1)
        .filter_map(|ancestor| listing.get(ancestor))
        .any(|entry| matches!(entry.kind, EntryKind::Symlink { .. }))
}

/// Checks one entry of `files`; `false` if its source is still to be made.
fn source(file: &FileMapping, names: &mut Names, findings: &mut Findings) -> bool {
    let listing = names.listing;
    let Some(path) = bundle_path(&file.source).filter(|path| !path.as_os_str().is_empty()) else { return true };
    let Some(entry) = listing.get(&path) else {
        if !is_behind_link(&path, listing) {
            if names.maker == Maker::BeforeInstall {
                let message = format!("the bundle holds no {} yet", quoted(&file.source));
                findings.add(Code::SourceMadeLater, Some(file.source_at), message).help(MADE_LATER);
                return false;
            }
            let message = format!("the bundle holds no {}", quoted(&file.source));
            let found = findings.add(Code::SourceAbsent, Some(file.source_at), message);
            found.help(match names.similar(&path) {
                Some(other) => format!("did you mean {}?", quoted(&other)),
                None => names.maker.help(),
            });
        }
        return true;
    };
    let repeats = host_path(&file.destination).file_name().is_some_and(|name| Some(name) == path.file_name());
    if repeats && entry.kind != EntryKind::Directory {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let inside = format!("{}/{name}", file.destination.trim_end_matches('/'));
        let message = format!("the destination is a directory: the file becomes {}", quoted(&inside));
        findings
            .add(Code::DestinationRepeatsName, Some(file.destination_at), message)
            .help("name the directory alone, without the name of the file");
    }
    true
}

impl Names<'_> {
    /// A path of the bundle that differs only in case, or has the same name elsewhere.
    fn similar(&mut self, path: &Path) -> Option<String> {
        self.searches_left = self.searches_left.checked_sub(1)?;
        let wanted = path.to_str()?.to_lowercase();
        let name = path.file_name()?.to_str()?.to_lowercase();
        let mut same_name = None;
        for entry in self.listing.entries() {
            let Some(text) = entry.path.as_path().to_str() else { continue };
            let lower = text.to_lowercase();
            if lower == wanted {
                return Some(text.to_owned());
            }
            if same_name.is_none() && lower.rsplit('/').next() == Some(name.as_str()) {
                same_name = Some(text.to_owned());
            }
        }
        same_name
    }
}

fn script(
    (event, script): (&str, &HookScript),
    path: &Path,
    names: &mut Names,
    heads: &BTreeMap<PathBuf, Vec<u8>>,
    findings: &mut Findings,
) {
    let listing = names.listing;
    let location = quoted(&script.location);
    let Some(entry) = listing.get(path) else {
        if !path.as_os_str().is_empty() && is_behind_link(path, listing) {
            return;
        }
        if names.maker == Maker::BeforeInstall && event != BEFORE_INSTALL {
            let message = format!("the bundle holds no script {location} yet");
            findings.add(Code::ScriptMadeLater, Some(script.at), message).help(MADE_LATER);
            return;
        }
        let found = findings.add(Code::ScriptAbsent, Some(script.at), format!("the bundle holds no script {location}"));
        let command = script.location.split_whitespace().next().and_then(bundle_path);
        let has_arguments = script.location.contains(char::is_whitespace)
            && command.is_some_and(|command| listing.get(&command).is_some());
        found.help(match names.similar(path) {
            _ if has_arguments => {
                "`location` is a path and nothing else; put the arguments into a script of their own".to_owned()
            }
            Some(other) => format!("did you mean {}?", quoted(&other)),
            None if event != BEFORE_INSTALL => names.maker.help(),
            None => PACK.to_owned(),
        });
        return;
    };
    match entry.kind {
        EntryKind::Directory => {
            findings
                .add(
                    Code::ScriptAbsent,
                    Some(script.at),
                    format!("{location} is a directory of the bundle, not a script"),
                )
                .help("name the script in it");
            return;
        }
        // The target of a link has its own mode and text.
        EntryKind::Symlink { .. } => return,
        EntryKind::File { size: 0 } => {
            findings
                .add(Code::ScriptEmpty, Some(script.at), format!("the script {location} is empty"))
                .help("remove the hook if it has nothing to do");
            return;
        }
        EntryKind::File { .. } => {}
    }
    if entry.mode & 0o111 == 0 {
        findings
            .add(
                Code::ScriptNotExecutable,
                Some(script.at),
                format!("the script {location} is not executable in the bundle"),
            )
            .help("run `chmod +x` on it, or `git update-index --chmod=+x`, before the bundle is packed");
    }
    if let Some(head) = heads.get(path) {
        script::check(script, head, findings);
    }
}

/// The files that a spec installs from a bundle, ordered by path.
struct Installed {
    paths: Vec<(PathBuf, bool)>,
}

impl Installed {
    /// `None` if there are so many that a warning is not worth the time.
    fn new(spec: &AppSpec, listing: &BundleListing) -> Option<Self> {
        const MOST: usize = 1_000_000;
        if spec.permissions.is_empty() {
            return Some(Self { paths: Vec::new() });
        }
        let mut paths = Vec::new();
        for file in &spec.files {
            let source = bundle_path(&file.source)?;
            let destination = host_path(&file.destination);
            let whole = source.as_os_str().is_empty();
            let entries = listing.entries();
            let start =
                if whole { 0 } else { entries.partition_point(|entry| entry.path.as_path() < source.as_path()) };
            for entry in entries.iter().skip(start).take_while(|entry| entry.path.as_path().starts_with(&source)) {
                if paths.len() >= MOST {
                    return None;
                }
                let is_directory = entry.kind == EntryKind::Directory;
                let below =
                    entry.path.as_path().strip_prefix(&source).ok().filter(|below| !below.as_os_str().is_empty());
                match (below, entry.path.as_path().file_name()) {
                    (Some(below), _) => paths.push((destination.join(below), is_directory)),
                    (None, Some(name)) if !is_directory => paths.push((destination.join(name), false)),
                    (None, _) => {}
                }
            }
            paths.push((destination, true));
        }
        paths.sort();
        Some(Self { paths })
    }

    fn permissions(&self, permissions: &[Permission], findings: &mut Findings) {
        /// Comparisons, in less than a second, after which the rest stays unchecked: these are only warnings.
        const MOST: usize = 2_000_000;
        let mut compared = 0_usize;
        for permission in permissions {
            let object = host_path(&permission.object);
            let start = self.paths.partition_point(|(path, _)| *path < object);
            let mut anything = false;
            let mut matched = false;
            for (path, is_directory) in self.paths.iter().skip(start).take_while(|(path, _)| path.starts_with(&object))
            {
                compared = compared.saturating_add(permission.except.len()).saturating_add(1);
                let is_object = *path == object;
                if is_object && *is_directory {
                    continue;
                }
                anything = true;
                matched = (if *is_directory { permission.directories } else { permission.files })
                    && (is_object || applies(permission, &object, path));
                if matched || compared > MOST {
                    break;
                }
            }
            if compared > MOST {
                return;
            }
            match (anything, matched) {
                (_, true) => {}
                (false, _) => {
                    let message = format!("nothing is installed at or below {}", quoted(&permission.object));
                    findings.add(Code::PermissionMatchesNothing, Some(permission.at), message).help(
                        "only what this deployment installs is touched: write the destination, or a path below it",
                    );
                }
                // The text alone shows that, and it was reported.
                (true, false) if permission.pattern.contains('/') => {}
                (true, false) => {
                    let message = format!("no installed path below {} fits this entry", quoted(&permission.object));
                    findings
                        .add(Code::PatternMatchesNothing, Some(permission.at), message)
                        .help("`pattern` and `except` are compared with names directly below `object`; `**` goes deeper; see `type` too");
                }
            }
        }
    }
}

fn applies(permission: &Permission, object: &Path, path: &Path) -> bool {
    let direct = path.strip_prefix(object).ok().filter(|below| below.components().count() == 1);
    let name = direct.and_then(|below| below.to_str());
    let wanted = permission.pattern == "**" || name.is_some_and(|name| matches(name, &permission.pattern));
    wanted && !name.is_some_and(|name| permission.except.iter().any(|except| matches(name, except)))
}
