//! Which entry of `permissions` speaks of which object.
//!
//! The rules are the incumbent's (specs/codedeploy.md, Install): an object that is a file that is put in place, or a
//! directory and then what is put in place strictly below it; `**` at any depth, other patterns for one level.

use std::path::Path;

use super::paths;
use super::problem::{Problem, ProblemCode, shown};
use super::wanted::{WantedKind, WantedObject};
use crate::appspec::spec::Permission;

/// Writes into each object the index of the entry that matches it, and returns the entries that match nothing.
///
/// `objects` are ordered by path. Two entries for one object are a problem, except for directories above destinations:
/// those are touched only where they are made, which only the host can tell; they keep the second entry's index.
pub(super) fn apply(
    permissions: &[Permission],
    objects: &mut [WantedObject],
    problems: &mut Vec<Problem>,
) -> Vec<Problem> {
    let mut idle = Vec::new();
    for (index, permission) in permissions.iter().enumerate() {
        let base = match paths::absolute(&permission.object) {
            Ok(base) => base,
            Err(why) => {
                let message = format!("the permissions object {:?} {why}", permission.object);
                problems
                    .push(Problem::new(ProblemCode::ObjectInvalid, message, "write its full path").at(permission.at));
                continue;
            }
        };
        let exact = objects.binary_search_by(|o| o.path.as_path().cmp(&base)).ok();
        let matched = match exact.and_then(|i| objects.get_mut(i)).filter(|o| !o.kind.is_directory()) {
            Some(file) => on_file(permission, permissions, index, file, problems),
            None => on_directory(permission, permissions, index, &base, objects, problems),
        };
        if matched == 0 {
            let message = format!("the permissions entry for {} matches nothing that is installed", shown(&base));
            let hint = "only what this bundle installs is touched, and never the object directory itself";
            idle.push(Problem::new(ProblemCode::ObjectInvalid, message, hint).path(&base).at(permission.at));
        }
    }
    idle
}

fn on_file(
    permission: &Permission,
    all: &[Permission],
    index: usize,
    file: &mut WantedObject,
    problems: &mut Vec<Problem>,
) -> usize {
    if !permission.files {
        return 0;
    }
    if permission.pattern != "**" || !permission.except.is_empty() {
        let message = format!("the permissions object {} is a file and has a pattern or except", shown(&file.path));
        let hint = "take pattern and except away, or name the directory as the object";
        problems.push(Problem::new(ProblemCode::PatternOnFile, message, hint).path(&file.path).at(permission.at));
    }
    give(permission, all, index, file, problems);
    1
}

fn on_directory(
    permission: &Permission,
    all: &[Permission],
    index: usize,
    base: &Path,
    objects: &mut [WantedObject],
    problems: &mut Vec<Problem>,
) -> usize {
    let start = objects.partition_point(|o| o.path.as_path() <= base);
    let mut matched = 0;
    for object in objects.iter_mut().skip(start) {
        let Ok(rest) = object.path.strip_prefix(base) else { break };
        let kind_matches = if object.kind.is_directory() { permission.directories } else { permission.files };
        if kind_matches && matches(permission, rest) {
            give(permission, all, index, object, problems);
            matched += 1;
        }
    }
    matched
}

fn give(
    permission: &Permission,
    all: &[Permission],
    index: usize,
    object: &mut WantedObject,
    problems: &mut Vec<Problem>,
) {
    if !object.kind.is_directory() && permission.acls.iter().any(|acl| acl.default) {
        let message = format!("a default access control list entry is given to {}, a file", shown(&object.path));
        let hint = "default entries are for directories: write type: [directory]";
        problems.push(Problem::new(ProblemCode::DefaultAclOnFile, message, hint).path(&object.path).at(permission.at));
    }
    match object.rule {
        None => object.rule = Some(index),
        Some(_) if matches!(object.kind, WantedKind::Directory { above: true }) => {
            object.second_rule.get_or_insert(index);
        }
        Some(first) => problems.push(twice(&object.path, all, first, index)),
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

fn matches(permission: &Permission, rest: &Path) -> bool {
    let mut components = rest.components();
    let name = match (components.next(), components.next()) {
        (Some(name), None) => Some(name.as_os_str().to_string_lossy()),
        _ => None,
    };
    let by_pattern = permission.pattern == "**" || name.as_ref().is_some_and(|n| glob(&permission.pattern, n));
    by_pattern && !name.is_some_and(|n| permission.except.iter().any(|except| glob(except, &n)))
}

/// Whether a name is of a pattern in which only `*` is special.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    // Where the last star stood and how much of the name it has taken: the only place to go back to.
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
}
