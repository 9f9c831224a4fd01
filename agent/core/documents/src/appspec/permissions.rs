//! `permissions`: objects, modes, access control lists and SELinux contexts.

use std::rc::Rc;

use super::codes::Code;
use super::diagnose::{Findings, quoted};
use super::interpret::{place, required_text, text, unknown_key};
use super::keys;
use super::scalar::{Resolved, resolve, text_of};
use super::spec::{AclEntry, AclTag, Permission, SelinuxContext};
use crate::yaml::{Entry, Mapping, Node, Scalar, Value};

pub(super) fn permission(node: &Rc<Node>, findings: &mut Findings) -> Option<Permission> {
    let Some(mapping) = node.as_mapping() else {
        let message = format!("an entry of `permissions` is {}, not a mapping", node.kind());
        findings.add(Code::WrongType, Some(node.at), message).help("write `- object: …`, and the settings below it");
        return None;
    };
    for entry in mapping.entries() {
        unknown_key(entry, mapping, keys::PERMISSION, "a permissions entry", findings);
    }
    let object = required_text(mapping, node, "object", Code::MissingObject, findings);
    let pattern = optional_text(mapping, "pattern", findings).unwrap_or_else(|| "**".to_owned());
    let except = texts(mapping, "except", findings);
    let (files, directories) = object_types(mapping, findings);
    let owner = account(mapping, "owner", findings);
    let group = account(mapping, "group", findings);
    let mode = mode(mapping, findings);
    let acls = acls(mapping, findings);
    let context = context(mapping, findings);
    let (object, at) = object?;
    let object = object.trim().to_owned();
    if object.is_empty() {
        findings
            .add(Code::MissingObject, Some(at), "`object` is empty")
            .help("write the path of a file or directory that is installed");
        return None;
    }
    let place_of = |key: &str| mapping.get(key).map(place);
    let (owner_at, group_at) = (place_of("owner"), place_of("group"));
    Some(Permission {
        object,
        pattern,
        except,
        files,
        directories,
        owner,
        group,
        mode,
        acls,
        context,
        at,
        owner_at,
        group_at,
    })
}

/// A key's value, unless it is absent, null or false.
fn present<'m>(mapping: &'m Mapping, key: &str) -> Option<&'m Entry> {
    let entry = mapping.get(key)?;
    let absent =
        entry.value.as_scalar().is_some_and(|scalar| matches!(resolve(scalar), Resolved::Null | Resolved::Bool(false)));
    (!absent).then_some(entry)
}

fn optional_text(mapping: &Mapping, key: &str, findings: &mut Findings) -> Option<String> {
    present(mapping, key).and_then(|entry| text(entry, findings))
}

/// The texts of a list; a single value is refused, as by the incumbent.
fn texts(mapping: &Mapping, key: &str, findings: &mut Findings) -> Vec<String> {
    let Some(entry) = present(mapping, key) else { return Vec::new() };
    let Some(items) = items(entry, findings) else { return Vec::new() };
    items
        .iter()
        .filter_map(|item| match item.as_scalar().filter(|scalar| !scalar.is_null()) {
            Some(scalar) => Some(scalar.text.clone()),
            None => {
                let message = format!("an item of `{key}` is {}, not text", item.kind());
                findings.add(Code::WrongType, Some(item.at), message).help("quote it if it begins with * or {");
                None
            }
        })
        .collect()
}

fn items<'e>(entry: &'e Entry, findings: &mut Findings) -> Option<&'e [Rc<Node>]> {
    let items = entry.value.as_sequence();
    if items.is_none() {
        let key = &entry.key.text;
        let message = format!("{} is {}, not a list", quoted(key), entry.value.kind());
        let found = findings.add(Code::WrongType, Some(place(entry)), message);
        match entry.value.as_scalar() {
            Some(scalar) => found.help(format!("write `{key}: [{}]`", quoted(&scalar.text).trim_matches('`'))),
            None => found.help("write each item on its own line after a dash and a space"),
        };
    }
    items
}

fn object_types(mapping: &Mapping, findings: &mut Findings) -> (bool, bool) {
    let Some(entry) = present(mapping, "type") else { return (true, true) };
    let Some(items) = items(entry, findings) else { return (true, true) };
    let (mut files, mut directories) = (false, false);
    for item in items {
        match item.as_scalar().map(|scalar| scalar.text.as_str()) {
            Some("file") => files = true,
            Some("directory") => directories = true,
            other => {
                let shown = other.map_or_else(|| item.kind().to_owned(), quoted);
                findings
                    .add(Code::InvalidObjectType, Some(item.at), format!("`type` holds {shown}"))
                    .help("write `file`, `directory` or both");
            }
        }
    }
    (files, directories)
}

fn account(mapping: &Mapping, key: &str, findings: &mut Findings) -> Option<String> {
    let entry = mapping.get(key).filter(|entry| !entry.value.is_null())?;
    let name = text(entry, findings)?;
    if name.trim().is_empty() || name.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("`{key}` is {}, not a name", quoted(&name));
        findings
            .add(Code::OwnerByNumber, Some(entry.value.at), message)
            .help(format!("write the name of a {}", if key == "group" { "group" } else { "user" }));
    }
    Some(name)
}

/// Octal digits are octal: `0644` is 0644, quoted or not. Other notations are read as the incumbent reads them.
fn mode(mapping: &Mapping, findings: &mut Findings) -> Option<u32> {
    let entry = mapping.get("mode").filter(|entry| !entry.value.is_null())?;
    let Some(scalar) = entry.value.as_scalar() else {
        let message = format!("`mode` is {}", entry.value.kind());
        findings.add(Code::InvalidMode, Some(entry.key_at), message).help("write octal digits, such as `mode: 644`");
        return None;
    };
    let theirs = text_of(scalar);
    let ours = if is_octal(&scalar.text) { scalar.text.clone() } else { theirs.clone() };
    let Some(bits) = bits(&ours) else {
        let message = format!("`mode` is {}, not one to four octal digits", quoted(&scalar.text));
        let help = match scalar.text.strip_prefix("0o").filter(|digits| is_octal(digits)) {
            Some(digits) => format!("write `mode: {digits}`: the digits are octal anyway"),
            None => "write octal digits, such as `mode: 644` or `mode: '0755'`".to_owned(),
        };
        findings.add(Code::InvalidMode, Some(entry.value.at), message).help(help);
        return None;
    };
    ambiguous_mode(entry, scalar, &theirs, bits, findings);
    Some(bits)
}

fn ambiguous_mode(entry: &Entry, scalar: &Scalar, theirs: &str, ours: u32, findings: &mut Findings) {
    if theirs == scalar.text {
        return;
    }
    let written = quoted(&scalar.text);
    let message = match bits(theirs) {
        Some(bits) if bits == ours => format!("the mode {written} is read as {ours:04o}"),
        Some(bits) => format!("the mode {written} is {ours:04o}; the CodeDeploy agent would apply {bits:04o}"),
        None => format!("the mode {written} is {ours:04o}; the CodeDeploy agent would read {theirs} and refuse it"),
    };
    findings
        .add(Code::AmbiguousMode, Some(entry.value.at), message)
        .help(format!("write `mode: '{ours:04o}'`, which every reader understands alike"));
}

fn is_octal(text: &str) -> bool {
    (1..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

/// The bits of up to four octal digits; no digits are 0, as for the incumbent.
fn bits(text: &str) -> Option<u32> {
    if text.is_empty() { Some(0) } else { is_octal(text).then(|| u32::from_str_radix(text, 8).ok()).flatten() }
}

fn acls(mapping: &Mapping, findings: &mut Findings) -> Vec<AclEntry> {
    let Some(entry) = mapping.get("acls").filter(|entry| !entry.value.is_null()) else { return Vec::new() };
    let Some(items) = items(entry, findings) else { return Vec::new() };
    let mut entries = Vec::new();
    for item in items {
        let text = item.as_scalar().filter(|scalar| matches!(resolve(scalar), Resolved::Text)).map(|s| s.text.as_str());
        match text.ok_or("an entry is text such as `user:name:rw-`").and_then(acl) {
            Ok(acl) => entries.push(acl),
            Err(problem) => {
                let shown = text.map_or_else(|| item.kind().to_owned(), quoted);
                findings.add(Code::InvalidAcl, Some(item.at), format!("`acls` holds {shown}: {problem}")).help(
                    "write [default:]user|group|mask|other:name:permissions, such as `user:deploy:rw-` or `d:g:web:5`",
                );
            }
        }
    }
    entries
}

/// `[default:][user|group|mask|other]:[name]:permissions`; two parts are a user and permissions, or a mask or other.
fn acl(text: &str) -> Result<AclEntry, &'static str> {
    let mut parts: Vec<&str> = text.split(':').collect();
    if !(2..=4).contains(&parts.len()) {
        return Err("an entry has two to four parts between colons");
    }
    let permissions = acl_permissions(parts.pop().unwrap_or_default())?;
    let name = parts.pop().unwrap_or_default();
    let mut kind = parts.pop();
    let mut default = match parts.pop() {
        None => false,
        Some("d" | "default") => true,
        Some(_) => return Err("before the type only `default` may stand"),
    };
    if let Some("d" | "default") = kind {
        if default {
            return Err("`default` stands twice");
        }
        default = true;
        kind = None;
    }
    let (kind, name) = match (kind, name) {
        (None, "m" | "mask") => ("mask", ""),
        (None, "o" | "other") => ("other", ""),
        (None, name) => ("user", name),
        (Some("m" | "mask"), name) => ("mask", name),
        (Some("o" | "other"), name) => ("other", name),
        (Some("g" | "group"), name) => ("group", name),
        (Some("u" | "user"), name) => ("user", name),
        (Some(_), _) => return Err("the type must be user, group, mask or other"),
    };
    let tag = match (kind, name) {
        ("mask", "") => AclTag::Mask,
        ("other", "") => AclTag::Other,
        ("mask" | "other", _) => return Err("mask and other have no name"),
        ("group", "") => AclTag::GroupOwner,
        ("group", name) => AclTag::Group(name.to_owned()),
        (_, "") => AclTag::UserOwner,
        (_, name) => AclTag::User(name.to_owned()),
    };
    if !default && matches!(tag, AclTag::UserOwner | AclTag::GroupOwner | AclTag::Other) {
        return Err("use `mode` for the permissions of owner, group and others");
    }
    Ok(AclEntry { default, tag, permissions })
}

fn acl_permissions(text: &str) -> Result<u8, &'static str> {
    if let [digit @ b'0'..=b'7'] = text.as_bytes() {
        return Ok(digit - b'0');
    }
    text.chars().try_fold(0, |bits, c| match c {
        'r' => Ok(bits | 4),
        'w' => Ok(bits | 2),
        'x' => Ok(bits | 1),
        '-' => Ok(bits),
        _ => Err("permissions are letters of r w x - or one octal digit"),
    })
}

fn context(mapping: &Mapping, findings: &mut Findings) -> Option<SelinuxContext> {
    let entry = mapping.get("context").filter(|entry| !entry.value.is_null())?;
    let Value::Mapping(context) = &entry.value.value else {
        let message = format!("`context` is {}, not a mapping", entry.value.kind());
        findings
            .add(Code::InvalidContext, Some(place(entry)), message)
            .help("write `type:` below it, and `user:` and `range:`");
        return None;
    };
    for key in context.entries() {
        unknown_key(key, context, keys::CONTEXT, "a context", findings);
    }
    let name = optional_text(context, "name", findings);
    let documented = optional_text(context, "user", findings);
    if let (None, Some(_), Some(key)) = (&name, &documented, context.get("user")) {
        findings
            .add(Code::ContextDiffers, Some(key.key_at), "the CodeDeploy agent ignores `user`, though it is documented")
            .help("write `name:` as well if that agent reads the file too");
    }
    let range = range(context, entry, findings);
    let Some(context_type) = optional_text(context, "type", findings) else {
        findings
            .add(Code::InvalidContext, Some(entry.key_at), "the context has no `type`")
            .help("write the SELinux type, such as `type: httpd_sys_content_t`");
        return None;
    };
    Some(SelinuxContext { user: name.or(documented), context_type, range })
}

fn range(context: &Mapping, parent: &Entry, findings: &mut Findings) -> Option<String> {
    let Some(entry) = context.get("range").filter(|entry| !entry.value.is_null()) else {
        findings
            .add(
                Code::ContextDiffers,
                Some(parent.key_at),
                "without `range` the CodeDeploy agent fails the Install event",
            )
            .help("write `range: s0` if that agent reads the file too");
        return None;
    };
    let text = entry.value.as_scalar().map(|scalar| scalar.text.as_str());
    match text.ok_or("it is not text").and_then(check_range) {
        Ok(()) => text.map(str::to_owned),
        Err(problem) => {
            let shown = text.map_or_else(|| entry.value.kind().to_owned(), quoted);
            findings
                .add(Code::InvalidContext, Some(place(entry)), format!("`range` is {shown}: {problem}"))
                .help("write s<level>[-s<level>][:c<category>[.c<category>][,…]], such as `s0` or `s0-s1:c0.c3,c7`");
            None
        }
    }
}

/// Checks `s<n>[-s<n>][:c<n>[.c<n>][,...]]`.
fn check_range(range: &str) -> Result<(), &'static str> {
    let (levels, categories) = range.split_once(':').map_or((range, None), |(l, c)| (l, Some(c)));
    let (low, high) = levels.split_once('-').map_or((levels, levels), |pair| pair);
    let level = |text: &str| numbered(text, 's').ok_or("a sensitivity is `s` and a number");
    if level(high)? < level(low)? {
        return Err("the second sensitivity is below the first");
    }
    let Some(categories) = categories else { return Ok(()) };
    let category = |text: &str| {
        let number = numbered(text, 'c').filter(|number| *number <= 1023);
        number.ok_or("a category is `c` and a number up to 1023")
    };
    let mut seen = std::collections::BTreeSet::new();
    for part in categories.split(',') {
        let (low, high) = part.split_once('.').map_or((part, part), |pair| pair);
        let (low, high) = (category(low)?, category(high)?);
        if high < low {
            return Err("the second category is below the first");
        }
        if !(low..=high).all(|number| seen.insert(number)) {
            return Err("a category stands twice");
        }
    }
    Ok(())
}

/// A letter and a number; a number too large for the type is larger than every bound.
fn numbered(text: &str, letter: char) -> Option<u64> {
    let digits = text.strip_prefix(letter)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_control_list_entries_are_read_as_the_incumbent_does() {
        let entry = |default, tag, permissions| Ok(AclEntry { default, tag, permissions });
        assert_eq!(acl("u:deploy:rw"), entry(false, AclTag::User("deploy".into()), 6));
        assert_eq!(acl("deploy:5"), entry(false, AclTag::User("deploy".into()), 5));
        assert_eq!(acl("d:deploy:r--"), entry(true, AclTag::User("deploy".into()), 4));
        assert_eq!(acl("m:rw"), entry(false, AclTag::Mask, 6));
        assert_eq!(acl("d:o:r"), entry(true, AclTag::Other, 4));
        assert_eq!(acl("default:group::x"), entry(true, AclTag::GroupOwner, 1));
        assert_eq!(acl("default:u::-"), entry(true, AclTag::UserOwner, 0));
        for bad in [
            "rw",
            "d:u:x:y:r",
            "u::rw",
            "g::r",
            "o:r",
            "o::r",
            "d:d:x:r",
            "x:u:a:r",
            "z:a:r",
            "m:x:r",
            "u:a:8",
            "u:a:rz",
        ] {
            assert!(acl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn selinux_ranges_are_checked() {
        for good in ["s0", "s0-s15", "s0:c0", "s0-s0:c0.c1023", "s1:c1,c3.c5,c9"] {
            assert_eq!(check_range(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "0",
            "s",
            "s2-s1",
            "s0:",
            "s0-",
            "s0:c1024",
            "s0:c1,c1",
            "s0:c5.c3",
            "s0:c1.c3,c2",
            "s0:c1:c2",
            "sx",
            "s0:c99999999999999999999",
        ] {
            assert!(check_range(bad).is_err(), "{bad}");
        }
    }
}
