//! A pattern of files that are followed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glob::{MatchOptions, Pattern};
use hostler_core::logs::placeholders::{Names, expand};
use hostler_core::logs::rotation::{Packing, packing};
use hostler_core::logs::service;
use hostler_core::logs::settings::{BadRules, FileSettings, InitialPosition, Rules, Target};

use super::neighbours::name_of;

/// Files of one pattern, and where they are shipped to.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Its name in the positions; the same after a restart with the same configuration.
    pub key: String,
    /// A path or glob, absolute.
    pub pattern: String,
    exclude: Arc<[Pattern]>,
    /// Where to, with the placeholders of single files left.
    pub target: Target,
    names: Names,
    /// How bytes are events.
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
    /// Its path, or what is excluded.
    #[error("{pattern:?} is no pattern of paths: {source}")]
    Pattern {
        /// What was written.
        pattern: String,
        /// What is wrong with it.
        source: glob::PatternError,
    },
}

impl FileSource {
    /// Makes settings usable. `names` are the host's placeholders.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(settings: &FileSettings, names: Names, local: &jiff::tz::TimeZone) -> Result<Self, BadSource> {
        let pattern =
            |text: &str| Pattern::new(text).map_err(|source| BadSource::Pattern { pattern: text.to_owned(), source });
        pattern(&settings.file)?;
        let exclude = settings.exclude.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?;
        Ok(Self {
            key: format!("file:{}", settings.file),
            pattern: settings.file.clone(),
            exclude,
            target: settings.target.clone(),
            names,
            rules: Arc::new(settings.rules.compile(local)?),
            initial_position: settings.initial_position,
            gather_ms: settings.gather_ms,
            of_deployments: false,
        })
    }

    /// The same for logs in `DEPLOYMENT/logs/`, whose names have the placeholder `{deployment_id}`.
    #[must_use]
    pub fn of_deployments(mut self) -> Self {
        self.of_deployments = true;
        self
    }

    fn is_glob(&self) -> bool {
        self.pattern.contains(['*', '?', '['])
    }

    /// The files that are there now, at most so many, without those that are excluded or packed.
    pub(super) fn paths(&self, most: usize) -> Vec<PathBuf> {
        if !self.is_glob() {
            let path = PathBuf::from(&self.pattern);
            // One that cannot be looked at is there.
            return if matches!(path.try_exists(), Ok(false)) { Vec::new() } else { vec![path] };
        }
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
        let Ok(found) = glob::glob_with(&self.pattern, options) else { return Vec::new() };
        let wanted = found.flatten().filter(|path| packing(&name_of(path)) == Packing::Plain && !self.excludes(path));
        let mut paths: Vec<PathBuf> = wanted.take(most).collect();
        paths.sort();
        paths
    }

    fn excludes(&self, path: &Path) -> bool {
        let name = name_of(path);
        self.exclude.iter().any(|pattern| pattern.matches_path(path) || pattern.matches(&name))
    }

    /// The directories in which files of the pattern may appear.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        let mut directories = BTreeSet::new();
        let parent = Path::new(&self.pattern).parent().unwrap_or(Path::new("/")).to_owned();
        if !parent.to_string_lossy().contains(['*', '?', '[']) {
            directories.insert(parent);
            return directories;
        }
        // Every directory that the pattern's parents match: new ones among them are seen from the one above.
        let mut pattern = PathBuf::new();
        for part in parent.components() {
            let is_glob = part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
            if is_glob {
                directories.extend(expand_directories(&pattern));
            }
            pattern.push(part);
        }
        directories.extend(expand_directories(&parent));
        directories
    }

    /// The group and stream of a file.
    pub(super) fn names_of(&self, path: &Path) -> (String, String) {
        let mut names =
            self.names.clone().with("file_name", name_of(path)).with("file_path", path.display().to_string());
        if self.of_deployments {
            let deployment = path.parent().and_then(Path::parent).map(name_of).unwrap_or_default();
            names = names.with("deployment_id", deployment);
        }
        names_of(&self.target, &names)
    }
}

/// A target's group and stream, as the service takes them.
pub(super) fn names_of(target: &Target, names: &Names) -> (String, String) {
    let or_default = |name: Option<String>| name.unwrap_or_else(|| "default".to_owned());
    let group = or_default(service::group_name(&expand(&target.log_group_name, names)));
    (group, or_default(service::stream_name(&expand(&target.log_stream_name, names))))
}

fn expand_directories(pattern: &Path) -> Vec<PathBuf> {
    let text = pattern.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    glob::glob(&text).into_iter().flatten().flatten().filter(|path| path.is_dir()).collect()
}
