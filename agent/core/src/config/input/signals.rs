//! The keys below `signals`.

use super::{Code, Entry, Findings, Node, flag, invalid, known, mapping, quoted, text};
use crate::config::settings::{SignalSettings, StackResource};

/// Keys below `signals`.
const KEYS: &[&str] = &["cloudformation", "wait_condition", "failure"];
/// Keys below `cloudformation`.
const RESOURCE: &[&str] = &["stack", "resource", "region"];

pub(super) fn read(settings: &mut Option<SignalSettings>, node: &Node, findings: &mut Findings) {
    let settings = settings.get_or_insert_default();
    let Some(entries) = mapping(node, "signals", findings) else { return };
    for entry in known(entries, KEYS, "signals", findings) {
        match entry.key.text.as_str() {
            "cloudformation" => settings.resource = resource(entry, findings).or(settings.resource.take()),
            "wait_condition" => match text(entry, findings) {
                Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                    settings.wait_condition = Some(url.to_owned());
                }
                // The message does not repeat the value: a reader of it could signal.
                Some(_) => invalid(entry, "this is not the URL of a wait condition".to_owned(), findings),
                None => {}
            },
            _ => flag(&mut settings.failure, entry, findings),
        }
    }
}

/// `from_tags`, or a stack and a logical id.
fn resource(entry: &Entry, findings: &mut Findings) -> Option<StackResource> {
    if let Some(word) = entry.value.as_scalar() {
        if word.text == "from_tags" {
            return Some(StackResource::OfTags);
        }
        let message = format!("{} is neither from_tags nor keys with values", quoted(&word.text));
        invalid(entry, message, findings);
        return None;
    }
    let entries = mapping(&entry.value, "cloudformation", findings)?;
    let (mut stack, mut resource, mut region) = (None, None, None);
    for entry in known(entries, RESOURCE, "cloudformation", findings) {
        let value = text(entry, findings).filter(|value| !value.is_empty()).map(str::to_owned);
        match entry.key.text.as_str() {
            "stack" => stack = value,
            "resource" => resource = value,
            _ => region = value,
        }
    }
    let (Some(stack), Some(resource)) = (stack, resource) else {
        findings
            .add(Code::InvalidConfiguration, Some(entry.value.at), "cloudformation: names no stack and resource")
            .help("name both, or write `cloudformation: from_tags`");
        return None;
    };
    Some(StackResource::Named { stack, resource, region })
}
