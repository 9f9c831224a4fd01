//! The meaning of the arguments of `codedeploy-local` (docs/protocols/codedeploy.md#codedeploy-local).

use std::path::PathBuf;

use crate::bundle::BundleType;
use crate::codedeploy::specification::RevisionLocation;
use crate::event_order::LifecycleEvent;
use crate::store::without_secrets;

/// An argument that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidArgument(String);

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidArgument> {
    Err(InvalidArgument(message.into()))
}

/// The events of a local deployment without `--events`.
pub const DEFAULT_EVENTS: [&str; 11] = [
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];

/// The events of a comma-separated list, in execution order. DownloadBundle and Install come first unless the list
/// names them. An empty list counts as no list.
///
/// # Errors
/// A name is not a valid event, is there twice or is the service's own work, or an event's position means that the
/// scripts of its revision cannot be there yet.
pub fn events(list: Option<&str>) -> Result<Vec<LifecycleEvent>, InvalidArgument> {
    use LifecycleEvent::{
        AfterBlockTraffic, AllowTraffic, ApplicationStop, BeforeBlockTraffic, BeforeInstall, BlockTraffic,
        DownloadBundle, Install,
    };
    let named = list.unwrap_or_default().split(',').map(str::trim);
    let mut names: Vec<&str> = named.filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        names = DEFAULT_EVENTS.to_vec();
    }
    let mut events = Vec::new();
    for name in names {
        match name.parse::<LifecycleEvent>() {
            Err(error) => return invalid(error.to_string()),
            Ok(event @ (BlockTraffic | AllowTraffic)) => return invalid(format!("{event} has no scripts")),
            Ok(event) if events.contains(&event) => return invalid(format!("{event} is named twice")),
            Ok(event) => events.push(event),
        }
    }
    if !events.contains(&Install) {
        events.insert(events.iter().position(|e| *e == DownloadBundle).map_or(0, |at| at + 1), Install);
    }
    if !events.contains(&DownloadBundle) {
        events.insert(0, DownloadBundle);
    }
    let place = |events: &[LifecycleEvent], event| events.iter().position(|e| *e == event).unwrap_or_default();
    let old = [BeforeBlockTraffic, AfterBlockTraffic, ApplicationStop];
    let (download, install) = (place(&events, DownloadBundle), place(&events, Install));
    if let Some(event) = events[..download].iter().find(|event| !old.contains(event)) {
        return invalid(format!("{event} cannot come before DownloadBundle, which brings what it needs"));
    }
    let before = |event: &&LifecycleEvent| !old.contains(event) && ![DownloadBundle, BeforeInstall].contains(event);
    if let Some(event) = events[..install].iter().find(before) {
        return invalid(format!("{event} cannot come before Install"));
    }
    Ok(events)
}

/// The place of a local deployment's bundle: a path, an object in S3, or a repository on GitHub. A relative path begins
/// at `directory`.
///
/// # Errors
/// The location is invalid, or does not fit the type.
pub fn location(
    text: &str,
    bundle_type: &str,
    directory: &std::path::Path,
) -> Result<RevisionLocation, InvalidArgument> {
    let bundle_type = match bundle_type {
        "tar" => BundleType::Tar,
        "tgz" => BundleType::Tgz,
        "zip" => BundleType::Zip,
        "directory" => BundleType::Directory,
        other => return invalid(format!("type {other} is not known; tgz, tar, zip and directory are")),
    };
    if text.starts_with("http:") {
        return invalid(format!("{} is not fetched in the clear; write https:", without_secrets(text)));
    }
    if let Some(rest) = text.strip_prefix("https://") {
        return github(rest, bundle_type)
            .map_or_else(|| invalid(format!("{} is no repository on GitHub", without_secrets(text))), Ok);
    }
    if let Some(rest) = text.strip_prefix("s3://") {
        if bundle_type == BundleType::Directory {
            return invalid("an object in S3 is a tgz, tar or zip; say which with --type");
        }
        return s3(rest, bundle_type).map_or_else(|| invalid(format!("{text} names no object in S3")), Ok);
    }
    Ok(RevisionLocation::Local { path: directory.join(PathBuf::from(text)), bundle_type })
}

fn s3(rest: &str, bundle_type: BundleType) -> Option<RevisionLocation> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, key) = place.split_once('/')?;
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value.trim_matches('"').to_owned())
    };
    (!bucket.is_empty() && !key.is_empty()).then(|| RevisionLocation::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version: parameter("versionId"),
        etag: parameter("etag"),
        bundle_type,
    })
}

fn github(rest: &str, bundle_type: BundleType) -> Option<RevisionLocation> {
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && !text.is_empty();
    let packed = if bundle_type == BundleType::Zip { BundleType::Zip } else { BundleType::Tgz };
    let (account, repository, commit, bundle_type) = match parts.as_slice() {
        ["github.com", account, repository] => (account, repository, "HEAD", packed),
        ["api.github.com", "repos", account, repository, "zipball", commit] => {
            (account, repository, *commit, BundleType::Zip)
        }
        ["api.github.com", "repos", account, repository, "tarball", commit] => {
            (account, repository, *commit, BundleType::Tgz)
        }
        _ => return None,
    };
    let repository = repository.strip_suffix(".git").unwrap_or(repository);
    let good = plain(account) && plain(repository) && plain(commit);
    good.then(|| RevisionLocation::GitHub {
        account: (*account).to_owned(),
        repository: repository.to_owned(),
        commit: commit.to_owned(),
        bundle_type,
        private: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Result<Vec<String>, String> {
        let found = events(Some(list)).map_err(|e| e.to_string())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_bundle_and_the_files_come_first_where_they_are_not_named_and_in_order() {
        assert_eq!(names(&DEFAULT_EVENTS.join(",")).unwrap(), DEFAULT_EVENTS);
        assert_eq!(events(None), events(Some(&DEFAULT_EVENTS.join(","))));
        assert_eq!(names("AfterInstall").unwrap(), ["DownloadBundle", "Install", "AfterInstall"]);
        assert_eq!(names("Install").unwrap(), ["DownloadBundle", "Install"]);
        for none in ["", ",", " , "] {
            assert_eq!(names(none).unwrap(), DEFAULT_EVENTS, "{none:?}");
        }
        assert_eq!(
            names("ApplicationStop,DownloadBundle,BeforeInstall,Install").unwrap(),
            ["ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"]
        );
    }

    #[test]
    fn an_event_that_stands_where_it_cannot_is_named() {
        let reversed = names("Install, DownloadBundle").unwrap_err();
        assert!(reversed.contains("Install cannot come before DownloadBundle"), "{reversed}");
        assert!(names("AfterInstall,DownloadBundle,Install").unwrap_err().contains("AfterInstall cannot come before"));
        assert!(names("DownloadBundle,ApplicationStart,Install").unwrap_err().contains("ApplicationStart"));
        assert!(names("Befor/e").unwrap_err().contains("cannot be the name of a lifecycle event"));
        assert!(names("AfterInstall,AfterInstall").unwrap_err().contains("AfterInstall is named twice"));
        assert!(names("BlockTraffic").unwrap_err().contains("BlockTraffic has no scripts"));
        assert!(names("Own,DownloadBundle").unwrap_err().contains("Own cannot come before DownloadBundle"));
        assert_eq!(names("ApplicationStart,Own").unwrap(), ["DownloadBundle", "Install", "ApplicationStart", "Own"]);
    }

    #[test]
    fn a_location_is_a_path_an_object_or_a_repository() {
        let shown = |text: &str, kind: &str| location(text, kind, std::path::Path::new("/work")).map(|l| l.to_string());
        assert_eq!(shown("app", "directory").unwrap(), "/work/app");
        assert_eq!(shown("/srv/app.tgz", "tgz").unwrap(), "/srv/app.tgz");
        assert_eq!(shown("s3://b/k/x.zip?versionId=1&etag=2", "zip").unwrap(), "s3://b/k/x.zip?versionId=1");
        assert_eq!(shown("https://github.com/o/r", "zip").unwrap(), "https://github.com/o/r/commit/HEAD");
        let api = "https://api.github.com/repos/o/r/tarball/main";
        assert_eq!(shown(api, "directory").unwrap(), "https://github.com/o/r/commit/main");
        for (bad, kind, words) in [
            ("http://github.com/o/r", "zip", "https:"),
            ("https://example.com/o/r", "zip", "no repository"),
            ("s3://bucket", "zip", "no object"),
            ("s3://bucket/key", "directory", "say which"),
            ("app", "rar", "not known"),
        ] {
            let error = shown(bad, kind).unwrap_err().to_string();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
