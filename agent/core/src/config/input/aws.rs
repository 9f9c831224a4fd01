//! The keys below `aws` and `downloads`.

use super::field::{Field, put, set};
use crate::appspec::diagnose::Findings;
use crate::config::settings::{AddressingStyle, AwsSettings, DownloadSettings, Proxy, S3Settings};
use crate::values::Unfit;

const ADDRESSING_STYLES: &[(&str, AddressingStyle)] =
    &[("auto", AddressingStyle::Auto), ("path", AddressingStyle::Path), ("virtual", AddressingStyle::Virtual)];

pub(super) fn read(settings: &mut AwsSettings, section: &Field<'_>, findings: &mut Findings) {
    for field in section.fields(findings) {
        match field.name() {
            "region" => set(&mut settings.region, field.read(findings, region)),
            "endpoint_url" => set(&mut settings.endpoint_url, field.read(findings, address)),
            "use_fips_endpoint" => set(&mut settings.use_fips_endpoint, field.boolean(findings)),
            "use_dualstack_endpoint" => set(&mut settings.use_dualstack_endpoint, field.boolean(findings)),
            "ca_bundle" => set(&mut settings.ca_bundle, field.path(findings)),
            "proxy" => set(&mut settings.proxy, field.read(findings, proxy)),
            "no_proxy" => put(&mut settings.no_proxy, field.texts(findings)),
            "s3" => s3(&mut settings.s3, &field, findings),
            _ => {}
        }
    }
}

fn s3(settings: &mut S3Settings, section: &Field<'_>, findings: &mut Findings) {
    for field in section.fields(findings) {
        match field.name() {
            "endpoint_url" => set(&mut settings.endpoint_url, field.read(findings, address)),
            "proxy" => set(&mut settings.proxy, field.read(findings, proxy)),
            "addressing_style" => put(&mut settings.addressing_style, field.word(ADDRESSING_STYLES, findings)),
            _ => {}
        }
    }
}

pub(super) fn downloads(settings: &mut DownloadSettings, section: &Field<'_>, findings: &mut Findings) {
    for field in section.fields(findings) {
        set(&mut settings.max_bytes_per_second, field.size(findings));
    }
}

fn region(text: &str) -> Result<String, Unfit> {
    let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(text.to_owned()) } else { Err(Unfit::new("the code of a region", "for example eu-west-1")) }
}

fn address(text: &str) -> Result<String, Unfit> {
    let expected = "an address that begins with https:// or http:// and names a host";
    if is_http(text) { Ok(text.to_owned()) } else { Err(Unfit::bare(expected)) }
}

fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !url.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn proxy(text: &str) -> Result<Proxy, Unfit> {
    match text {
        "direct" => Ok(Proxy::Direct),
        url if is_http(url) => Ok(Proxy::Url(url.to_owned())),
        _ => Err(Unfit::new("http://HOST:PORT or direct", "direct is no proxy at all")),
    }
}
