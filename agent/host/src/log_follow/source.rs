//! A pattern of files to follow.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use hostler_core::logs::pattern::{BadPattern, PathPattern, Pattern};
use hostler_core::logs::placeholders::{Names, expand};
use hostler_core::logs::rotation::{Packing, packing};
use hostler_core::logs::service;
use hostler_core::logs::settings::{BadRules, FileSettings, InitialPosition, Rules, Target};

use super::StreamName;
use super::rotation_search::name_of;
use super::walk::{Found, walk};
use crate::safe_path::Opener;

/// Files of one pattern, and their target.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Its name in the positions; the same after a restart with the same configuration.
    pub key: String,
    /// A path or glob, absolute.
    pub pattern: String,
    files: Arc<PathPattern>,
    exclude: Arc<[Pattern]>,
    /// The target, with the placeholders of single files left in.
    pub target: Target,
    names: Names,
    /// The rules that make events of bytes.
    pub rules: Arc<Rules>,
    /// Where reading begins.
    pub initial_position: InitialPosition,
    /// Milliseconds for which lines are gathered.
    pub gather_ms: u64,
    /// The files are `DEPLOYMENT/logs/…`.
    pub of_deployments: bool,
}

/// A source that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum BadSource {
    /// Its line rules.
    #[error(transparent)]
    Rules(#[from] BadRules),
    /// Its path, or an exclusion.
    #[error("{pattern:?} is no pattern of paths: {source}")]
    Pattern {
        /// The pattern, as written.
        pattern: String,
        /// The problem with it.
        source: BadPattern,
    },
}

impl FileSource {
    /// Makes settings usable. `names` are the host's placeholders.
    ///
    /// # Errors
    /// The problem with them.
    pub fn new(settings: &FileSettings, names: Names, local: &jiff::tz::TimeZone) -> Result<Self, BadSource> {
        let bad = |text: &str| {
            let pattern = text.to_owned();
            |source| BadSource::Pattern { pattern, source }
        };
        let files = PathPattern::new(&settings.file).map_err(bad(&settings.file))?;
        let exclude = settings.exclude.iter().map(|text| Pattern::new(text).map_err(bad(text)));
        Ok(Self {
            key: key(&settings.file),
            pattern: settings.file.clone(),
            files: Arc::new(files),
            exclude: exclude.collect::<Result<_, _>>()?,
            target: settings.target.clone(),
            names,
            rules: Arc::new(settings.rules.compile(local)?),
            initial_position: settings.initial_position,
            gather_ms: settings.gather_ms,
            of_deployments: false,
        })
    }

    /// The same under the name of another pattern in the positions: files whose directory was renamed go on from their
    /// positions.
    #[must_use]
    pub fn known_as(mut self, pattern: &Path) -> Self {
        self.key = key(&pattern.display().to_string());
        self
    }

    /// The same for logs in `DEPLOYMENT/logs/`, whose names have the placeholder `{deployment_id}`.
    #[must_use]
    pub fn of_deployments(mut self) -> Self {
        self.of_deployments = true;
        self
    }

    /// The files that are there now, at most so many, without excluded or packed files.
    pub(super) fn find(&self, opener: &Opener, most: usize) -> Found {
        // A path without wildcards is taken literally.
        let is_plain = self.files.parts.is_empty();
        walk(opener, &self.files, most, |path| {
            is_plain || (packing(&name_of(path)) == Packing::Plain && !self.excludes(path))
        })
    }

    fn excludes(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_bytes();
        self.exclude.iter().any(|pattern| pattern.matches(path.as_os_str().as_bytes()) || pattern.matches(name))
    }

    /// The stream of a file, and the settings for its group.
    pub(super) fn stream_name(&self, path: &Path) -> StreamName {
        let mut names =
            self.names.clone().with("file_name", name_of(path)).with("file_path", path.display().to_string());
        if self.of_deployments {
            let deployment = path.parent().and_then(Path::parent).map(name_of).unwrap_or_default();
            names = names.with("deployment_id", deployment);
        }
        let (group, stream) = names_of(&self.target, &names);
        StreamName { group, stream, wish: self.target.group.clone() }
    }
}

fn key(pattern: &str) -> String {
    format!("file:{pattern}")
}

/// A target's group and stream, in the service's form.
pub(super) fn names_of(target: &Target, names: &Names) -> (String, String) {
    let or_default = |name: Option<String>| name.unwrap_or_else(|| "default".to_owned());
    let group = or_default(service::group_name(&expand(&target.log_group_name, names)));
    (group, or_default(service::stream_name(&expand(&target.log_stream_name, names))))
}
