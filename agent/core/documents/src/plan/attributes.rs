//! Resolves names to ids, so that only access control lists are left to look up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::actions::Attributes;
use super::facts::HostFacts;
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;
use crate::appspec::spec::{AclTag, Permission};

/// The attributes of each used entry of `permissions`, computed once.
pub(super) struct Givers<'a> {
    permissions: &'a [Permission],
    facts: &'a HostFacts,
    nothing: Arc<Attributes>,
    done: BTreeMap<usize, Arc<Attributes>>,
    of_links: BTreeMap<Option<usize>, Arc<Attributes>>,
    // Each unknown name is reported once, however many entries use it.
    told: BTreeSet<(ProblemCode, &'a str)>,
}

impl<'a> Givers<'a> {
    pub(super) fn new(permissions: &'a [Permission], facts: &'a HostFacts) -> Self {
        Self {
            permissions,
            facts,
            nothing: Arc::default(),
            done: BTreeMap::new(),
            of_links: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// The attributes of the object at `path` from the entry with this index; none without an entry.
    pub(super) fn attributes(&mut self, rule: Option<usize>, path: &Path, problems: &mut Problems) -> Arc<Attributes> {
        let Some(index) = rule else { return Arc::clone(&self.nothing) };
        let Some(permission) = self.permissions.get(index) else { return Arc::clone(&self.nothing) };
        if let Some(known) = self.done.get(&index) {
            return Arc::clone(known);
        }
        let attributes = Arc::new(self.resolve(permission, path, problems));
        self.done.insert(index, Arc::clone(&attributes));
        attributes
    }

    /// The same for a link, which only has an owner. This plan must not change its target.
    pub(super) fn of_link(&mut self, rule: Option<usize>, path: &Path, problems: &mut Problems) -> Arc<Attributes> {
        let given = self.attributes(rule, path, problems);
        let owner = || Arc::new(Attributes { uid: given.uid, gid: given.gid, ..Attributes::default() });
        Arc::clone(self.of_links.entry(rule).or_insert_with(owner))
    }

    fn resolve(&mut self, permission: &'a Permission, path: &Path, problems: &mut Problems) -> Attributes {
        let uid = permission.owner.as_deref().and_then(|name| self.user(name, permission, problems));
        let gid = permission.group.as_deref().and_then(|name| self.group(name, permission, problems));
        for acl in &permission.acls {
            match &acl.tag {
                AclTag::User(name) => drop(self.user(name, permission, problems)),
                AclTag::Group(name) => drop(self.group(name, permission, problems)),
                AclTag::UserOwner | AclTag::GroupOwner | AclTag::Mask | AclTag::Other => {}
            }
        }
        let agent = &self.facts.agent;
        let other_user = uid.is_some_and(|uid| uid != agent.uid);
        let other_group = gid.is_some_and(|gid| !agent.gids.contains(&gid));
        if agent.uid != 0 && (other_user || other_group) {
            let message = format!(
                "the agent runs as user {} and may not give {} to {}:{}",
                agent.uid,
                shown(path),
                permission.owner.as_deref().unwrap_or("-"),
                permission.group.as_deref().unwrap_or("-"),
            );
            let hint = "run the agent as root, or take owner and group out of permissions";
            problems.push(Problem::new(ProblemCode::OwnerNotPermitted, message, hint).path(path).at(permission.at));
        }
        Attributes {
            mode: permission.mode,
            uid,
            gid,
            acls: permission.acls.clone(),
            context: permission.context.clone(),
        }
    }

    fn user(&mut self, name: &'a str, permission: &Permission, problems: &mut Problems) -> Option<u32> {
        let id = resolve_name(&self.facts.users, name);
        if id.is_none() && self.told.insert((ProblemCode::UnknownUser, name)) {
            let message = format!("the user {name:?} is unknown on this host");
            let hint = "create the user when the image is made, or in BeforeInstall with `hostler: {install: {recheck_after: \
                        BeforeInstall}}`, or correct the name";
            problems.push(
                Problem::new(ProblemCode::UnknownUser, message, hint).at(permission.owner_at.unwrap_or(permission.at)),
            );
        }
        id
    }

    fn group(&mut self, name: &'a str, permission: &Permission, problems: &mut Problems) -> Option<u32> {
        let id = resolve_name(&self.facts.groups, name);
        if id.is_none() && self.told.insert((ProblemCode::UnknownGroup, name)) {
            let message = format!("the group {name:?} is unknown on this host");
            let hint = "create the group when the image is made, or in BeforeInstall with `hostler: {install: {recheck_after: \
                        BeforeInstall}}`, or correct the name";
            problems.push(
                Problem::new(ProblemCode::UnknownGroup, message, hint).at(permission.group_at.unwrap_or(permission.at)),
            );
        }
        id
    }
}

/// By name first, as chown does; else a number is an id. The highest id means "no change" to the kernel.
fn resolve_name(known: &BTreeMap<String, u32>, name: &str) -> Option<u32> {
    let digits = || name.bytes().all(|b| b.is_ascii_digit()).then(|| name.parse().ok()).flatten();
    known.get(name).copied().or_else(digits).filter(|id| *id != u32::MAX)
}
