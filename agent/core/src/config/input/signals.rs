//! The keys below `signals`.

use super::field::{Field, VALUES, put, set};
use crate::appspec::diagnose::Findings;
use crate::config::settings::{SignalSettings, StackResource};
use crate::values::Unfit;

pub(super) fn read(settings: &mut Option<SignalSettings>, section: &Field<'_>, findings: &mut Findings) {
    let settings = settings.get_or_insert_default();
    for field in section.fields(findings) {
        match field.name() {
            "cloudformation" => set(&mut settings.resource, resource(&field, findings)),
            "wait_condition" => set(&mut settings.wait_condition, field.read(findings, handle)),
            "failure" => put(&mut settings.failure, field.boolean(findings)),
            _ => {}
        }
    }
}

fn handle(text: &str) -> Result<String, Unfit> {
    let is_address = text.starts_with("https://") || text.starts_with("http://");
    let expected = "the address of a wait condition, which begins with https://";
    if is_address { Ok(text.to_owned()) } else { Err(Unfit::bare(expected)) }
}

/// `from_tags`, or a stack and a logical id.
fn resource(field: &Field<'_>, findings: &mut Findings) -> Option<StackResource> {
    const HELP: &str = "name both, or write `cloudformation: from_tags`";
    if field.entry.value.as_mapping().is_none() {
        return field.read(findings, |text| match text {
            "from_tags" => Ok(StackResource::OfTags),
            _ => Err(Unfit::new("from_tags or a stack and a resource", HELP)),
        });
    }
    let (mut stack, mut resource, mut region) = (None, None, None);
    for field in field.fields(findings) {
        let value = field.owned(findings).filter(|value| !value.is_empty());
        match field.name() {
            "stack" => stack = value,
            "resource" => resource = value,
            _ => region = value,
        }
    }
    let (Some(stack), Some(resource)) = (stack, resource) else {
        VALUES.say(field.entry, "`cloudformation` names no stack and resource".to_owned(), findings).help(HELP);
        return None;
    };
    Some(StackResource::Named { stack, resource, region })
}
