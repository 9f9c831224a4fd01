//! `GET /metrics` and `GET /health` on the local socket, for collectors that speak HTTP. No other HTTP is supported.

use hostler_core::metrics;

/// A request that is a line of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// OpenMetrics text.
    Metrics,
    /// Status 200 when all is well, else 503 with the problems, one a line.
    Health,
    /// Anything else.
    Unknown,
}

/// The page that a first line asks for; `None` when it is not HTTP.
pub fn page(line: &str) -> Option<Page> {
    let mut words = line.trim_end().split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if target.is_empty() || !version.starts_with("HTTP/1.") {
        return None;
    }
    let path = target.split('?').next().unwrap_or_default();
    Some(match (method, path) {
        ("GET", "/metrics") => Page::Metrics,
        ("GET", "/health") => Page::Health,
        _ => Page::Unknown,
    })
}

/// The whole response: `text` is the metrics or the problems.
pub fn answer(page: Page, text: &str) -> String {
    let (status, kind) = match page {
        Page::Metrics => ("200 OK", metrics::MEDIA_TYPE),
        Page::Health if text.is_empty() => ("200 OK", "text/plain; charset=utf-8"),
        Page::Health => ("503 Service Unavailable", "text/plain; charset=utf-8"),
        Page::Unknown => ("404 Not Found", "text/plain; charset=utf-8"),
    };
    let body = match page {
        Page::Health if text.is_empty() => "ok\n",
        Page::Unknown => "there are /metrics and /health\n",
        Page::Metrics | Page::Health => text,
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_http_are_taken_for_it() {
        assert_eq!(page("GET /metrics HTTP/1.1\r"), Some(Page::Metrics));
        assert_eq!(page("GET /health?x=1 HTTP/1.0"), Some(Page::Health));
        assert_eq!(page("POST /metrics HTTP/1.1"), Some(Page::Unknown));
        for line in ["{\"version\":1,\"request\":\"status\"}", "GET /metrics", "", "GET  HTTP/1.1"] {
            assert_eq!(page(line), None, "{line}");
        }
    }
}
