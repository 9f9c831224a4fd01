//! What to say of a bundle without an appspec at its top.

use std::path::Path;

use hostler_core::bundle::{BundleListing, EntryKind};
use hostler_core::values::misspelt;

/// That the appspec is missing, and where one was found that may be meant.
pub(super) fn no_appspec(listing: &BundleListing, names: &[String]) -> String {
    let missing = format!("the bundle has no {} at its top", names.join(" or "));
    let entries = listing.entries();
    if let [only] = entries
        && matches!(only.kind, EntryKind::File { .. })
        && is_archive(only.path.as_path())
    {
        let only = only.path.as_path().display();
        return format!(
            "{missing}; all that it holds is {only}, an archive in an archive: deploy that one, or pack what is in it"
        );
    }
    if entries.is_empty() {
        return format!("{missing}; it is empty: pack the directory that holds the appspec");
    }
    let is_named = |fits: fn(&str, &str) -> bool| {
        entries.iter().find(move |entry| {
            let name = entry.path.as_path().file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| {
                names.iter().any(|wanted| fits(&name.to_ascii_lowercase(), &wanted.to_ascii_lowercase()))
            })
        })
    };
    // Windows editors and templates append an extension to the name.
    let longer = |name: &str, wanted: &str| name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
    let elsewhere = is_named(|name, wanted| name == wanted).or_else(|| is_named(longer));
    let elsewhere = elsewhere.or_else(|| is_named(|name, wanted| misspelt(name, &[wanted]).is_some()));
    let hint = elsewhere.map_or_else(String::new, |entry| {
        let path = entry.path.as_path();
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let pack = directory.map(|directory| format!("pack the directory {} instead", directory.display()));
        let is_right = names.iter().any(|name| path.file_name().is_some_and(|found| found == name.as_str()));
        let rename = names.first().filter(|_| !is_right).map(|name| format!("rename it to {name}"));
        let steps: Vec<String> = rename.into_iter().chain(pack).collect();
        format!("; {} was found: {}", path.display(), steps.join(" and "))
    });
    let of_macos = match listing.get(Path::new("__MACOSX")) {
        Some(_) => {
            "; `__MACOSX` is macOS' own: delete it (`zip -d`), so that one directory alone at the top is taken away"
        }
        None => "",
    };
    format!("{missing}{hint}{of_macos}")
}

fn is_archive(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    matches!(ending.as_deref(), Some("zip" | "tar" | "tgz" | "gz" | "zst" | "jar" | "war"))
}
