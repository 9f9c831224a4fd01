//! The properties of every plan: random appspecs, bundles, hosts and last installs, and a simulated host that refuses
//! the same steps as a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hostler_documents::appspec::spec::{AppSpec, FileExistsBehavior, FileMapping, Permission, Position};
use hostler_documents::bundle::{BundleEntry, BundleListing, BundlePath, EntryKind};
use hostler_documents::plan::actions::{Action, InstalledEntry, InstalledKind, Plan};
use hostler_documents::plan::{
    Change, ContentComparison, DirectoryFact, Fact, Follow, HostFacts, Leads, PathFact, Summary, Wanted, WantedKind,
    plan, wanted,
};
use proptest::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// A file; its text names its writer.
    File(String),
    Directory,
    Link(PathBuf),
}

/// A host of absolute paths; `/` always exists, and parents of entries are directories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Host(BTreeMap<PathBuf, Node>);

impl Host {
    fn node(&self, path: &Path) -> Option<&Node> {
        if path == Path::new("/") { Some(&Node::Directory) } else { self.0.get(path) }
    }

    fn children(&self, path: &Path) -> Vec<PathBuf> {
        self.0.keys().filter(|p| p.parent() == Some(path)).cloned().collect()
    }

    /// The real path, where every component but the last is a directory or a link that `follow` allows.
    fn locate(&self, path: &Path, follow: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
        let mut real = PathBuf::from("/");
        let parent = path.parent().unwrap_or(path);
        let mut written = PathBuf::from("/");
        for component in parent.components().skip(1) {
            real.push(component);
            written.push(component);
            match self.node(&real)? {
                Node::Directory => {}
                Node::Link(target) if follow(&written) => real = self.resolve(target, 0)?,
                _ => return None,
            }
            (self.node(&real) == Some(&Node::Directory)).then_some(())?;
        }
        Some(path.file_name().map_or(real.clone(), |name| real.join(name)))
    }

    fn resolve(&self, path: &Path, depth: usize) -> Option<PathBuf> {
        (depth < 10).then_some(())?;
        let mut real = PathBuf::from("/");
        for component in path.components().skip(1) {
            real.push(component);
            if let Node::Link(target) = self.node(&real)? {
                real = self.resolve(target, depth + 1)?;
            }
        }
        Some(real)
    }

    fn facts(&self, wanted: &Wanted) -> HostFacts {
        let directory = DirectoryFact { mode: 0o755, writable: true, device: 1 };
        let mut facts = HostFacts::default();
        let follow = |path: &Path| wanted.look_at.iter().any(|l| l.path == path && l.follow != Follow::Never);
        for look in &wanted.look_at {
            let Some(real) = self.locate(&look.path, &follow) else { continue };
            let fact = match self.node(&real) {
                None => continue,
                Some(Node::File(_)) => PathFact::File,
                Some(Node::Directory) => PathFact::Directory(directory),
                Some(Node::Link(target)) => {
                    PathFact::Symlink { target: target.clone(), leads: self.leads(target, look.follow, directory) }
                }
            };
            if wanted.list.contains(&look.path) && self.node(&real) == Some(&Node::Directory) {
                let names = self.children(&real).iter().map(|p| p.file_name().unwrap().to_owned()).collect();
                facts.listings.insert(look.path.to_path_buf(), names);
            }
            facts.paths.insert(look.path.clone(), fact);
        }
        facts.users = BTreeMap::from([("web".into(), 33)]);
        facts
    }

    fn leads(&self, target: &Path, follow: Follow, directory: DirectoryFact) -> Leads {
        if follow == Follow::Never {
            return Leads::NotFollowed;
        }
        match self.resolve(target, 0) {
            Some(real) if self.node(&real) == Some(&Node::Directory) => Leads::Directory { directory, real },
            _ => Leads::Elsewhere,
        }
    }

    /// Executes a plan; every step must be possible in its turn.
    fn run(&mut self, plan: &Plan) {
        for action in &plan.actions {
            let real = self
                .locate(action.path(), &|path| plan.links.iter().any(|link| link == path))
                .unwrap_or_else(|| panic!("the parent is not there: {action:?}"));
            let there = self.node(&real).cloned();
            match action {
                Action::Remove { kind, .. } => {
                    match (kind, &there) {
                        (InstalledKind::File, Some(Node::File(_))) | (InstalledKind::Link, Some(Node::Link(_))) => {}
                        (InstalledKind::Directory, Some(Node::Directory)) => {
                            assert!(self.children(&real).is_empty(), "not empty: {action:?}");
                        }
                        _ => panic!("{there:?} cannot be removed: {action:?}"),
                    }
                    self.0.remove(&real);
                }
                Action::MakeDirectory { .. } => {
                    assert_eq!(there, None, "{action:?}");
                    self.0.insert(real, Node::Directory);
                }
                Action::KeepDirectory { .. } => assert_eq!(there, Some(Node::Directory), "{action:?}"),
                Action::PutFile { source, replaces, .. } => {
                    assert!(there != Some(Node::Directory) && there.is_some() == *replaces, "{there:?}: {action:?}");
                    self.0.insert(real, Node::File(source.display().to_string()));
                }
                Action::PutLink { target, replaces, .. } => {
                    assert!(there != Some(Node::Directory) && there.is_some() == *replaces, "{there:?}: {action:?}");
                    self.0.insert(real, Node::Link(Path::new("/").join(target)));
                }
            }
        }
    }
}

/// A tree from `(path, kind)` pairs; a path whose parent is not a directory is left out.
fn tree<T: Clone>(entries: Vec<(String, T)>, is_directory: impl Fn(&T) -> bool, directory: T) -> BTreeMap<PathBuf, T> {
    let mut tree: BTreeMap<PathBuf, T> = BTreeMap::new();
    for (path, node) in entries {
        let path = PathBuf::from(path);
        let above: Vec<_> = path.ancestors().skip(1).filter(|a| a.file_name().is_some()).map(Path::to_owned).collect();
        if tree.contains_key(&path) || above.iter().any(|a| tree.get(a).is_some_and(|n| !is_directory(n))) {
            continue;
        }
        for path in above {
            tree.entry(path).or_insert_with(|| directory.clone());
        }
        tree.insert(path, node);
    }
    tree
}

fn hosts() -> impl Strategy<Value = Host> {
    let node = prop_oneof![
        3 => Just(Node::File("theirs".into())),
        3 => Just(Node::Directory),
        1 => prop::sample::select(vec!["/a", "/b", "/c/a", "/nowhere", "/a/b"]).prop_map(|t| Node::Link(t.into())),
    ];
    prop::collection::vec(("(/[abc]){1,4}", node), 0..12)
        .prop_map(|entries| Host(tree(entries, |n| *n == Node::Directory, Node::Directory)))
}

fn listings() -> impl Strategy<Value = BundleListing> {
    let kind = prop_oneof![
        4 => Just(EntryKind::File { size: 1 }),
        2 => Just(EntryKind::Directory),
        1 => prop::sample::select(vec!["a", "../b", "/c", "b/a", "a/../.."]).prop_map(|t| EntryKind::Symlink { target: t.into() }),
    ];
    prop::collection::vec(("[abc](/[abc]){0,2}", kind), 0..10).prop_map(|entries| {
        let tree = tree(entries, |kind| *kind == EntryKind::Directory, EntryKind::Directory);
        let entry =
            |(path, kind): (PathBuf, _)| BundleEntry { path: BundlePath::new(path).unwrap(), kind, mode: 0o644 };
        BundleListing::new(tree.into_iter().map(entry).collect())
    })
}

fn specs() -> impl Strategy<Value = AppSpec> {
    let source = prop_oneof![3 => Just(String::new()), 3 => "[abc](/[abc])?/?", 1 => "[./abc~]{0,6}"];
    let destination = prop_oneof![8 => "(/[abc]){1,3}", 1 => Just("/".to_owned()), 1 => "[./abc~]{0,6}"];
    let mapping = (source, destination, 1..9u32).prop_map(|(source, destination, line)| FileMapping {
        source,
        destination,
        source_at: Position { line, column: 1, ..Position::default() },
        destination_at: Position { line, column: 2, ..Position::default() },
    });
    let permission = (
        "(/[abc]){0,3}",
        prop::sample::select(vec!["**", "*", "a", "*b*"]),
        prop::collection::vec("[ab*]{0,2}", 0..2),
        any::<(bool, bool, bool)>(),
        prop::option::of(0..0o7777u32),
    );
    let permission = permission.prop_map(|(object, pattern, except, (files, directories, owner), mode)| Permission {
        object,
        pattern: pattern.into(),
        except,
        files,
        directories,
        owner: owner.then(|| "web".to_owned()),
        group: None,
        mode,
        acls: Vec::new(),
        context: None,
        at: Position::default(),
        owner_at: None,
        group_at: None,
    });
    let many = (prop::collection::vec(mapping, 0..4), prop::collection::vec(permission, 0..2));
    (many, prop::option::weighted(0.2, behaviors())).prop_map(|((files, permissions), file_exists_behavior)| AppSpec {
        files,
        permissions,
        file_exists_behavior,
        ..AppSpec::default()
    })
}

fn behaviors() -> impl Strategy<Value = FileExistsBehavior> {
    prop::sample::select(vec![FileExistsBehavior::Disallow, FileExistsBehavior::Overwrite, FileExistsBehavior::Retain])
}

/// Entries that no real install left: a damaged ledger must not extend the plan's reach.
fn stray() -> impl Strategy<Value = Vec<InstalledEntry>> {
    let kind = prop::sample::select(vec![InstalledKind::File, InstalledKind::Link, InstalledKind::Directory]);
    let entry = ("[/abc.]{0,6}", kind).prop_map(|(path, kind)| InstalledEntry { path: path.into(), kind });
    prop::collection::vec(entry, 0..3)
}

fn destinations(spec: &AppSpec) -> Vec<PathBuf> {
    let plain = |text: &str| {
        let mut path = PathBuf::from("/");
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(path.pop()),
                name => path.push(name),
            }
        }
        path
    };
    spec.files.iter().map(|f| plain(&f.destination)).collect()
}

struct Deployment<'a> {
    spec: &'a AppSpec,
    listing: &'a BundleListing,
    last: &'a [InstalledEntry],
    behavior: FileExistsBehavior,
    cleanup: bool,
    in_agents_place: bool,
}

/// Plans and runs one deployment, and checks all promises about its plan. `None`: there is no plan.
fn deploy(host: &mut Host, deployment: &Deployment<'_>) -> Option<Plan> {
    let Deployment { spec, listing, last, behavior, cleanup, in_agents_place } = *deployment;
    let wanted = match wanted(spec, listing, Some(last.to_vec())) {
        Ok(wanted) => wanted,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|p| p.fact == Fact::Bundle), "{problems:?}");
            return None;
        }
    };
    let wanted = if in_agents_place { wanted.following_safe_links() } else { wanted };
    let facts = host.facts(&wanted);
    let plan = match plan(&wanted, &facts, behavior, cleanup) {
        Ok(plan) => plan,
        Err(problems) => {
            assert!(!problems.is_empty());
            return None;
        }
    };
    check_reach(&plan, spec, last);
    let before = host.clone();
    host.run(&plan);
    check_theirs(&before, host, &plan, last, spec.file_exists_behavior.unwrap_or(behavior));
    check_result(host, &wanted, &plan);
    Some(plan)
}

/// No path twice, except for removals that make room; nothing outside the destinations, their ancestors, and the last
/// install.
fn check_reach(plan: &Plan, spec: &AppSpec, last: &[InstalledEntry]) {
    let (mut removed, mut placed) = (BTreeSet::new(), BTreeSet::new());
    let destinations = destinations(spec);
    for action in &plan.actions {
        let path = action.path();
        if let Action::Remove { kind, .. } = action {
            assert!(removed.insert(path) && !placed.contains(path), "twice: {action:?}");
            // A file or link may have replaced the installed object.
            let right = |e: &InstalledEntry| e.kind == *kind || *kind != InstalledKind::Directory;
            assert!(last.iter().any(|e| e.path == *path && right(e)), "never installed: {action:?}");
        } else {
            assert!(placed.insert(path), "twice: {action:?}");
            let inside = destinations.iter().any(|d| path.starts_with(d));
            let above = destinations.iter().any(|d| d.starts_with(path));
            let directory = matches!(action, Action::MakeDirectory { .. } | Action::KeepDirectory { .. });
            assert!(inside || (above && directory), "outside: {action:?}");
        }
    }
    let summary = Summary::new(plan, &ContentComparison::default());
    assert_eq!(summary.totals.values().sum::<usize>(), summary.entries.len());
    assert!(summary.entries.windows(2).all(|pair| pair[0].path < pair[1].path), "{summary:?}");
    assert!(summary.entries.iter().all(|e| e.change != Change::Retained || plan.retained.contains(&e.path)));
}

/// Files that the group never installed are unchanged, unless OVERWRITE replaced them.
fn check_theirs(before: &Host, after: &Host, plan: &Plan, last: &[InstalledEntry], behavior: FileExistsBehavior) {
    let real = |path: &Path| before.locate(path, &|_| true);
    let owned: BTreeSet<_> = last.iter().filter_map(|e| real(&e.path)).collect();
    let put: BTreeSet<_> =
        plan.actions.iter().filter(|a| !matches!(a, Action::Remove { .. })).filter_map(|a| real(a.path())).collect();
    for (path, node) in &before.0 {
        let overwritten = behavior == FileExistsBehavior::Overwrite && put.contains(path) && *node != Node::Directory;
        if !owned.contains(path) && !overwritten {
            assert_eq!(after.node(path), Some(node), "{} is not what it was", path.display());
        }
    }
}

/// Everything wanted exists, and everything owned is of the recorded kind.
fn check_result(host: &Host, wanted: &Wanted, plan: &Plan) {
    let follow = |path: &Path| plan.links.iter().any(|link| link == path);
    let safe = |path: &Path| plan.links_below.iter().any(|link| link == path);
    let node = |path: &Path| host.locate(path, &follow).and_then(|real| host.node(&real).cloned());
    for object in wanted.objects().iter().filter(|o| !plan.retained.contains(&o.path)) {
        let there = node(&object.path);
        let right = match &object.kind {
            WantedKind::Directory { above } => {
                there == Some(Node::Directory)
                    || (matches!(there, Some(Node::Link(_))) && follow(&object.path) && (*above || safe(&object.path)))
            }
            WantedKind::File { source, .. } => there == Some(Node::File(source.display().to_string())),
            WantedKind::Link { target } => there == Some(Node::Link(Path::new("/").join(target))),
        };
        assert!(right, "{object:?} is {there:?}");
    }
    for entry in &plan.installed {
        let right = matches!(
            (entry.kind, node(&entry.path)),
            (InstalledKind::File, Some(Node::File(_)))
                | (InstalledKind::Link, Some(Node::Link(_)))
                | (InstalledKind::Directory, Some(Node::Directory))
        );
        // An object that replaced one of the group's stays, and the place stays the group's.
        let right = right
            || (plan.kept.contains(&entry.path) && matches!(node(&entry.path), Some(Node::File(_) | Node::Link(_))));
        assert!(right, "{entry:?} is {:?}", node(&entry.path));
    }
    assert!(plan.installed.windows(2).all(|pair| pair[0].path < pair[1].path), "{:?}", plan.installed);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_keep_their_promises_from_one_install_to_the_next(
        mut host in hosts(),
        (first_spec, first_listing) in (specs(), listings()),
        (spec, listing) in (specs(), listings()),
        changes in hosts(),
        stray in stray(),
        behavior in behaviors(),
        (cleanup, in_agents_place) in any::<(bool, bool)>(),
    ) {
        let first = Deployment { spec: &first_spec, listing: &first_listing, last: &[], behavior, cleanup, in_agents_place };
        let mut last = deploy(&mut host, &first).map(|plan| plan.installed).unwrap_or_default();
        last.extend(stray);
        // Other programs work on the host between two deployments.
        for (path, node) in changes.0 {
            let parent = path.parent().and_then(|parent| host.node(parent));
            let leaf = host.children(&path).is_empty();
            if parent == Some(&Node::Directory) && leaf {
                host.0.insert(path, node);
            }
        }
        let second = Deployment { spec: &spec, listing: &listing, last: &last, behavior, cleanup, in_agents_place };
        if let Some(plan) = deploy(&mut host, &second) {
            let settled = host.clone();
            let third = Deployment { last: &plan.installed, ..second };
            let again = deploy(&mut host, &third);
            prop_assert_eq!(again.map(|p| p.installed), Some(plan.installed));
            prop_assert_eq!(host, settled);
        }
    }
}

/// The properties above mean little if hardly any case has a plan.
#[test]
fn a_good_part_of_the_random_cases_has_a_plan() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (hosts(), specs(), listings());
    let mut planned = 0;
    for _ in 0..400 {
        let (mut host, spec, listing) = strategy.new_tree(&mut runner).unwrap().current();
        let behavior = FileExistsBehavior::Overwrite;
        let deployment =
            Deployment { spec: &spec, listing: &listing, last: &[], behavior, cleanup: true, in_agents_place: false };
        planned += usize::from(deploy(&mut host, &deployment).is_some_and(|p| !p.actions.is_empty()));
    }
    assert!(planned > 60, "only {planned} of 400");
}
