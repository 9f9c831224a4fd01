//! Which entry of `permissions` applies to which object.
//!
//! The rules are the incumbent's (docs/protocols/codedeploy.md#permissions): an object is an installed file, or a
//! directory and then everything installed strictly below it; `**` applies at any depth, other patterns at one level.

use std::path::Path;

use super::paths;
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;
use super::wanted::{WantedKind, WantedObject};
use crate::appspec::spec::Permission;
use crate::limits::Limits;

/// Writes into each object the index of its matching entry, and returns the entries without any match.
///
/// `objects` are ordered by path. Two entries for one object are a problem, reported once for each object. Directories
/// above destinations are an exception: a plan touches them only when it makes them, which only the host can tell. They
/// keep the second entry's index.
pub(super) fn apply(permissions: &[Permission], objects: &mut [WantedObject], problems: &mut Problems) -> Vec<Problem> {
    let mut given = Given { all: permissions, objects, problems, compared: 0 };
    let mut idle = Vec::new();
    let most = Limits::default().plan_comparisons;
    for (index, permission) in permissions.iter().enumerate() {
        let base = match paths::absolute(&permission.object) {
            Ok(base) => base,
            Err(why) => {
                let message = format!("the permissions object {:?} {why}", permission.object);
                let problem = Problem::new(ProblemCode::ObjectInvalid, message, "write its full path");
                given.problems.push(problem.at(permission.at));
                continue;
            }
        };
        let exact = given.objects.binary_search_by(|o| o.path.as_path().cmp(&base)).ok();
        let matched = match exact.filter(|at| given.objects.get(*at).is_some_and(|o| !o.kind.is_directory())) {
            Some(file) => given.give_to_file(index, permission, file),
            None => given.give_below(index, permission, &base),
        };
        if given.compared > most {
            let objects = given.objects.len();
            given.problems.push(too_many_comparisons(permissions.len(), objects, permission, most));
            return idle;
        }
        if !matched {
            let message = format!("the permissions entry for {} matches nothing that is installed", shown(&base));
            let hint = "only what this bundle installs is touched, and never the object directory itself";
            idle.push(Problem::new(ProblemCode::ObjectInvalid, message, hint).path(&base).at(permission.at));
        }
    }
    idle
}

fn too_many_comparisons(entries: usize, objects: usize, at: &Permission, most: usize) -> Problem {
    let message = format!(
        "the {entries} entries of permissions would be compared with the {objects} paths that are installed more than {most} \
         times; so far it went up to line {}",
        at.at.line
    );
    let hint = "name the file or the directory itself as object, or have one pattern for many names";
    Problem::new(ProblemCode::TooManyComparisons, message, hint).at(at.at)
}

/// The assignment of entries to objects.
struct Given<'a> {
    all: &'a [Permission],
    objects: &'a mut [WantedObject],
    problems: &'a mut Problems,
    /// Number of names compared with a pattern.
    compared: usize,
}

impl Given<'_> {
    fn give_to_file(&mut self, index: usize, permission: &Permission, at: usize) -> bool {
        if !permission.files {
            return false;
        }
        if let Some(file) = self.objects.get(at).filter(|_| permission.pattern != "**" || !permission.except.is_empty())
        {
            let message = format!("the permissions object {} is a file and has a pattern or except", shown(&file.path));
            let hint = "take pattern and except away, or name the directory as the object";
            let problem = Problem::new(ProblemCode::PatternOnFile, message, hint).path(&file.path);
            self.problems.push(problem.at(permission.at));
        }
        self.give(index, permission, at);
        true
    }

    fn give_below(&mut self, index: usize, permission: &Permission, base: &Path) -> bool {
        let (deep, all) = (permission.pattern == "**", permission.except.is_empty());
        // An object's path is plain and begins with the base; after its slash comes a name or a longer rest.
        let rest_at = base.as_os_str().len() + usize::from(base.parent().is_some());
        let is_direct =
            |path: &Path| path.as_os_str().as_encoded_bytes().get(rest_at..).is_some_and(|rest| !rest.contains(&b'/'));
        let mut at = self.objects.partition_point(|o| o.path.as_path() <= base);
        let end = at + self.objects.get(at..).map_or(0, |after| after.partition_point(|o| o.path.starts_with(base)));
        let mut matched = false;
        while at < end && self.compared <= Limits::default().plan_comparisons {
            let Some(object) = self.objects.get(at) else { break };
            let (here, is_directory) = (at, object.kind.is_directory());
            let kind_matches = if is_directory { permission.directories } else { permission.files };
            at += 1;
            // Without exceptions all depths are equal; otherwise direct children are treated apart.
            let direct = !(deep && all) && is_direct(&object.path);
            self.compared += usize::from(!(deep && all));
            if !deep && is_directory {
                let path = &object.path;
                at += self.objects.get(at..end).map_or(0, |below| below.partition_point(|o| o.path.starts_with(path)));
            }
            if kind_matches && (deep || direct) && !(direct && self.leaves_out(permission, here)) {
                self.give(index, permission, here);
                matched = true;
            }
        }
        matched
    }

    /// Whether pattern and exceptions leave out a name directly below the entry's object.
    fn leaves_out(&mut self, permission: &Permission, at: usize) -> bool {
        self.compared += permission.except.len();
        let Some(name) = self.objects.get(at).and_then(|object| object.path.file_name()) else { return true };
        let name = name.to_string_lossy();
        let by_pattern = permission.pattern == "**" || glob(&permission.pattern, &name);
        !by_pattern || permission.except.iter().any(|except| glob(except, &name))
    }

    fn give(&mut self, index: usize, permission: &Permission, at: usize) {
        let Some(object) = self.objects.get_mut(at) else { return };
        if !object.kind.is_directory() && permission.acls.iter().any(|acl| acl.default) {
            let message = format!("a default access control list entry is given to {}, a file", shown(&object.path));
            let hint = "default entries are for directories: write type: [directory]";
            let problem = Problem::new(ProblemCode::DefaultAclOnFile, message, hint).path(&object.path);
            self.problems.push(problem.at(permission.at));
        }
        let told = object.second_rule.is_some();
        match object.rule {
            None => object.rule = Some(index),
            Some(_) if told => {}
            Some(first) => {
                object.second_rule = Some(index);
                if !matches!(object.kind, WantedKind::Directory { above: true }) {
                    self.problems.push(twice(&object.path, self.all, first, index));
                }
            }
        }
    }
}

/// The problem that two entries match one object.
pub(super) fn twice(path: &Path, all: &[Permission], first: usize, second: usize) -> Problem {
    let at = |i: usize| all.get(i).map(|p| p.at).unwrap_or_default();
    let message =
        format!("permissions for {} are given twice, in lines {} and {}", shown(path), at(first).line, at(second).line);
    let hint = "let one entry match it: use pattern, except or type to tell them apart";
    Problem::new(ProblemCode::PermissionTwice, message, hint).path(path).at(at(second))
}

/// Whether a name matches a pattern in which only `*` is special.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    // The position of the last star and how much of the name it matches: the only place to backtrack to.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some() && pattern.get(p) == name.get(n) {
            p += 1;
            n += 1;
        } else if let Some((star_at, taken)) = star {
            star = Some((star_at, taken + 1));
            p = star_at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_star_is_special_in_a_pattern() {
        for (pattern, name) in [
            ("*", "x"),
            ("*", ""),
            ("**", "x"),
            ("*.sh", "a.sh"),
            ("*.sh", ".sh"),
            ("a*b*c", "a-b-b-c"),
            ("*my*", "xmyx"),
            ("[a]", "[a]"),
            ("a?", "a?"),
            ("*ab", "aab"),
        ] {
            assert!(glob(pattern, name), "{pattern} did not match {name}");
        }
        for (pattern, name) in [("", "x"), ("*.sh", "a.sh2"), ("a?", "ab"), ("[a]", "a"), ("a*b", "ac"), ("a", "")] {
            assert!(!glob(pattern, name), "{pattern} matched {name}");
        }
    }

    use std::path::PathBuf;

    use proptest::prelude::*;

    fn object(path: &str, is_directory: bool) -> WantedObject {
        let kind = match is_directory {
            true => WantedKind::Directory { above: false },
            false => WantedKind::File { source: "x".into(), size: 0 },
        };
        WantedObject::new(path, kind, 0)
    }

    /// The rules as written: everything strictly below the object; `**` at any depth, other patterns at one level;
    /// exceptions apply to names directly below.
    fn is_meant(permission: &Permission, object: &WantedObject) -> bool {
        let kind = if object.kind.is_directory() { permission.directories } else { permission.files };
        let Ok(rest) = object.path.strip_prefix(&permission.object) else { return false };
        let names: Vec<_> = rest.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let excepted = names.len() == 1 && permission.except.iter().any(|except| glob(except, &names[0]));
        let by_pattern = permission.pattern == "**" || (names.len() == 1 && glob(&permission.pattern, &names[0]));
        kind && !names.is_empty() && by_pattern && !excepted
    }

    proptest! {
        #[test]
        fn an_entry_gives_to_what_its_rules_say(
            paths in prop::collection::btree_set("/(a|b|ab)(/(a|b|c.x|a.x)){0,3}", 0..30),
            base in prop::sample::select(vec!["/", "/a", "/a/b", "/b/a/a"]),
            pattern in prop::sample::select(vec!["**", "*", "a*", "*.x", "a"]),
            except in prop::collection::vec(prop::sample::select(vec!["a", "*.x", "b*"]), 0..3),
            (files, directories) in any::<(bool, bool)>(),
        ) {
            // Ordered by path; a path with another one below it is a directory.
            let paths: std::collections::BTreeSet<PathBuf> = paths.into_iter().map(PathBuf::from).collect();
            let above: std::collections::BTreeSet<PathBuf> =
                paths.iter().flat_map(|path| path.ancestors().skip(1)).map(PathBuf::from).collect();
            let all: std::collections::BTreeSet<PathBuf> =
                paths.iter().chain(&above).filter(|path| path.parent().is_some()).cloned().collect();
            let is_directory = |path: &PathBuf| above.contains(path) || path.ends_with("ab") || path.ends_with(base);
            let mut objects: Vec<WantedObject> =
                all.iter().map(|path| object(path.to_str().unwrap(), is_directory(path))).collect();
            let permission = Permission {
                object: base.to_owned(),
                pattern: pattern.to_owned(),
                except: except.into_iter().map(str::to_owned).collect(),
                files,
                directories,
                owner: None,
                group: None,
                mode: None,
                acls: Vec::new(),
                context: None,
                at: Default::default(),
        owner_at: None,
        group_at: None,
            };
            prop_assume!(!all.contains(&PathBuf::from(base)) || is_directory(&PathBuf::from(base)));
            let expected: Vec<bool> = objects.iter().map(|object| is_meant(&permission, object)).collect();
            let mut problems = Problems::default();
            let idle = apply(std::slice::from_ref(&permission), &mut objects, &mut problems);
            let given: Vec<bool> = objects.iter().map(|object| object.rule.is_some()).collect();
            prop_assert_eq!(&given, &expected);
            prop_assert_eq!(idle.is_empty(), expected.contains(&true));
            prop_assert!(problems.is_empty());
        }
    }
}
