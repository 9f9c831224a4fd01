//! The keys below `aws` and `downloads`.

use super::{
    Entry, Findings, Mapping, Node, flag, invalid, known, mapping, not_one_of, parsed, quoted, set, text, wrong_type,
};
use crate::config::settings::{AddressingStyle, AwsSettings, DownloadSettings, Proxy, S3Settings};
use crate::store::without_secrets;

/// Keys below `aws`.
const AWS: &[&str] =
    &["region", "endpoint_url", "use_fips_endpoint", "use_dualstack_endpoint", "ca_bundle", "proxy", "no_proxy", "s3"];
/// Keys below `aws: s3`.
const S3: &[&str] = &["endpoint_url", "addressing_style", "proxy"];
/// Keys below `downloads`.
const DOWNLOADS: &[&str] = &["max_bytes_per_second"];

pub(super) fn read(settings: &mut AwsSettings, node: &Node, findings: &mut Findings) {
    let Some(entries) = mapping(node, "aws", findings) else { return };
    for entry in known(entries, AWS, "aws", findings) {
        match entry.key.text.as_str() {
            "region" => set(&mut settings.region, region(entry, findings)),
            "endpoint_url" => set(&mut settings.endpoint_url, url(entry, findings)),
            "use_fips_endpoint" => choice(&mut settings.use_fips_endpoint, entry, findings),
            "use_dualstack_endpoint" => choice(&mut settings.use_dualstack_endpoint, entry, findings),
            "ca_bundle" => match text(entry, findings) {
                Some(path) if path.starts_with('/') => settings.ca_bundle = Some(path.into()),
                Some(path) => invalid(entry, format!("{} is not an absolute path", quoted(path)), findings),
                None => {}
            },
            "proxy" => set(&mut settings.proxy, proxy(entry, findings)),
            "no_proxy" => set_list(&mut settings.no_proxy, entry, findings),
            _ => {
                if let Some(entries) = mapping(&entry.value, "aws: s3", findings) {
                    s3(&mut settings.s3, entries, findings);
                }
            }
        }
    }
}

fn s3(settings: &mut S3Settings, entries: &Mapping, findings: &mut Findings) {
    for entry in known(entries, S3, "aws: s3", findings) {
        match entry.key.text.as_str() {
            "endpoint_url" => set(&mut settings.endpoint_url, url(entry, findings)),
            "proxy" => set(&mut settings.proxy, proxy(entry, findings)),
            _ => match text(entry, findings) {
                Some("auto") => settings.addressing_style = AddressingStyle::Auto,
                Some("path") => settings.addressing_style = AddressingStyle::Path,
                Some("virtual") => settings.addressing_style = AddressingStyle::Virtual,
                Some(other) => not_one_of(entry, other, &["auto", "path", "virtual"], findings),
                None => {}
            },
        }
    }
}

pub(super) fn downloads(settings: &mut DownloadSettings, node: &Node, findings: &mut Findings) {
    let Some(entries) = mapping(node, "downloads", findings) else { return };
    for entry in known(entries, DOWNLOADS, "downloads", findings) {
        match parsed::<u64>(entry, findings) {
            Some(0) => invalid(entry, "0 would never end; leave the key out for no limit".to_owned(), findings),
            other => set(&mut settings.max_bytes_per_second, other),
        }
    }
}

fn choice(target: &mut Option<bool>, entry: &Entry, findings: &mut Findings) {
    let mut value = target.unwrap_or_default();
    flag(&mut value, entry, findings);
    *target = Some(value);
}

fn region(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let name = text(entry, findings)?;
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        invalid(entry, format!("{} is not a region; write its code, for example eu-west-1", quoted(name)), findings);
    }
    good.then(|| name.to_owned())
}

fn url(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let url = text(entry, findings)?;
    if !is_http(url) {
        invalid(
            entry,
            format!("{} must begin with https:// or http:// and name a host", quoted(&without_secrets(url))),
            findings,
        );
        return None;
    }
    Some(url.to_owned())
}

fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !url.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn proxy(entry: &Entry, findings: &mut Findings) -> Option<Proxy> {
    match text(entry, findings)? {
        "direct" => Some(Proxy::Direct),
        url if is_http(url) => Some(Proxy::Url(url.to_owned())),
        _ => {
            invalid(entry, "must be http://HOST:PORT, or direct for no proxy at all".to_owned(), findings);
            None
        }
    }
}

fn set_list(target: &mut Vec<String>, entry: &Entry, findings: &mut Findings) {
    let Some(list) = entry.value.as_sequence() else {
        wrong_type(&entry.value, "no_proxy", "a list", findings);
        return;
    };
    let words: Option<Vec<String>> =
        list.iter().map(|node| node.as_scalar().map(|scalar| scalar.text.clone())).collect();
    match words {
        Some(words) => *target = words,
        None => wrong_type(&entry.value, "an entry of no_proxy", "one value", findings),
    }
}
