//! The sources of bundles: a bucket and a GitHub.

use super::super::http_server::{Reply, Request};
use super::Shared;
use super::calls::check_signature;

/// The ETag of an object with this content.
pub fn etag(content: &[u8]) -> String {
    hostler_core::ids::Sha256Digest::of(content).hex()[..32].to_owned()
}

/// HEAD and GET of the bucket's objects and of their versions, with one range.
pub fn object(shared: &Shared, request: &Request) -> Reply {
    let mut state = shared.state.lock().unwrap();
    if let Err(problem) = check_signature(&state.caller, request, "s3") {
        state.problems.push(format!("{} {}: {problem}", request.method, request.target));
        return Reply::new(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>");
    }
    let version = request.query().split('&').find_map(|pair| pair.strip_prefix("versionId="));
    let name = version.map_or_else(|| request.path().to_owned(), |v| format!("{}?versionId={v}", request.path()));
    let Some((content, etag)) = state.objects.get(&name) else {
        return Reply::new(404, "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>");
    };
    let tag = format!("\"{etag}\"");
    if !request.header("if-match").is_empty() && request.header("if-match") != tag {
        return Reply::new(412, "<Error><Code>PreconditionFailed</Code></Error>");
    }
    if request.method == "HEAD" {
        return Reply::new(200, "").header("ETag", tag).claims_length(content.len() as u64);
    }
    let range = request.header("range").strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let Some((from, to)) = range else { return Reply::new(200, content.clone()).header("ETag", tag) };
    let from: usize = from.parse().unwrap();
    let to = to.parse().unwrap_or(usize::MAX).min(content.len() - 1);
    Reply::new(206, content.slice(from..=to))
        .header("ETag", tag)
        .header("Content-Range", format!("bytes {from}-{to}/{}", content.len()))
}

/// Like GitHub: the API checks the token and redirects to another host, which must not see it.
pub fn github(shared: &Shared, request: &Request) -> Reply {
    let path = request.path();
    let mut state = shared.state.lock().unwrap();
    state.github.push((path.to_owned(), request.header("authorization").to_owned()));
    if path.starts_with("/repos/private/") && request.header("authorization") != "token s3cret-token" {
        return Reply::new(404, "{}");
    }
    if let Some(rest) = path.strip_prefix("/repos/") {
        return Reply::new(302, "").header("Location", format!("/archive/{rest}"));
    }
    match state.objects.get("/bundles/github") {
        Some((content, _)) => Reply::new(200, content.clone()),
        None => Reply::new(404, "{}"),
    }
}
