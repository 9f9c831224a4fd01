//! Citations in the sources: every cited page in `docs` exists and has the cited heading, and skipped tests all use the
//! same text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The directories of cited pages.
const PAGES: [&str; 3] = ["docs/protocols/", "docs/development/", "docs/usage/"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every text file of the project that may cite a page, by its path from the top.
fn texts() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<_> = ["agent", "tests", "docs", "packaging", "systemd"].map(PathBuf::from).to_vec();
    let top_pages = ["README", "ARCHITECTURE", "SEMANTICS", "CONFORMANCE", "CONTRIBUTING", "SECURITY"];
    waiting.extend(top_pages.map(|name| PathBuf::from(format!("{name}.md"))));
    while let Some(path) = waiting.pop() {
        let here = top().join(&path);
        let is_text =
            path.extension().is_none_or(|end| ["rs", "md", "sh", "toml", "service"].iter().any(|e| end == *e));
        if here.is_dir() && !path.ends_with("target") {
            waiting.extend(fs::read_dir(here).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        } else if here.is_file() && is_text {
            // Cases of the corpus are bytes of any kind.
            found.extend(fs::read_to_string(here).ok().map(|text| (path, text)));
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(page: &str) -> BTreeSet<String> {
    let name = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    page.lines().filter_map(|line| Some(name(line.strip_prefix('#')?.trim_start_matches('#').trim()))).collect()
}

/// The problem of a citation: `page.md` or `page.md#heading`, from the top.
fn fault(place: &str) -> Option<String> {
    let (page, heading) = place.split_once('#').map_or((place, None), |(page, heading)| (page, Some(heading)));
    let Ok(text) = fs::read_to_string(top().join(page)) else { return Some(format!("there is no {page}")) };
    let heading = heading.filter(|heading| !headings(&text).contains(*heading))?;
    Some(format!("{page} has no heading for #{heading}"))
}

/// The citations of a text: from `docs/` to the end of the page's name, with the heading after it.
fn cited(text: &str) -> Vec<String> {
    let mut places = Vec::new();
    for start in PAGES.iter().flat_map(|pages| text.match_indices(pages).map(|(at, _)| at)) {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-' | '_' | '#');
        let rest = &text[start..];
        let place = &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())];
        let place = place.trim_end_matches(['.', '/', '#']);
        if place.contains(".md") {
            places.push(place.to_owned());
        }
    }
    places
}

#[test]
fn every_cited_page_and_heading_is_there() {
    let (mut followed, mut faults) = (0, Vec::new());
    for (path, text) in texts().iter().filter(|(path, _)| !path.ends_with("citations.rs")) {
        for place in cited(text) {
            followed += 1;
            faults.extend(fault(&place).map(|fault| format!("{}: {fault}", path.display())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(followed >= 45, "only {followed} citations were found");
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let (mut followed, mut faults) = (0, Vec::new());
    let is_page = |path: &Path| path.starts_with("docs") || path.parent() == Some(Path::new(""));
    for (path, text) in texts().iter().filter(|(path, _)| is_page(path)) {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            followed += 1;
            let place = if link.starts_with('#') {
                format!("{}{link}", path.display())
            } else {
                path.parent().unwrap().join(link).display().to_string()
            };
            faults.extend(fault(&place).map(|fault| format!("{}: {fault}", path.display())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(followed >= 60, "only {followed} links were found");
}

#[test]
fn nothing_is_cited_that_is_not_in_the_repository() {
    // In two parts, so that this file does not find itself.
    let outside = [concat!("spec", "s/"), concat!("design", " §"), concat!("shared/", "corpus")];
    let mut faults = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let cites = |name: &&str| line.match_indices(*name).any(|(at, _)| !line[..at].ends_with('/'));
            if let Some(name) = outside.iter().find(|name| cites(name)) {
                faults.push(format!("{}:{}: {name} is no part of the repository", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_wrong_heading_and_a_wrong_page_are_found() {
    assert_eq!(fault("docs/protocols/codedeploy.md#calls"), None);
    assert!(fault("docs/protocols/codedeploy.md#call").unwrap().contains("has no heading for #call"));
    assert!(fault("docs/protocols/none.md").unwrap().contains("there is no docs/protocols/none.md"));
    assert_eq!(cited("(see docs/protocols/logs.md#limits)."), ["docs/protocols/logs.md#limits"]);
    assert_eq!(cited("in docs/protocols/logs.md."), ["docs/protocols/logs.md"]);
}

#[test]
fn a_test_that_is_not_run_says_so_by_the_one_function_that_fails_in_ci() {
    let by_hand = concat!("print", "ln!(\"skipped");
    for (path, text) in texts() {
        let own = path.ends_with("requirement.rs");
        assert!(own || !text.contains(by_hand), "{}: call skip() of tests/support/requirement.rs", path.display());
    }
}
