//! Bundles with scripts that write a line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::{Host, write};

/// The directory of a bundle under construction.
pub struct Bundle {
    directory: PathBuf,
    version: String,
    lines: PathBuf,
    files: String,
    permissions: String,
    extension: String,
    hooks: BTreeMap<String, Vec<String>>,
}

impl Bundle {
    /// A bundle of this version. Its hooks write `VERSION EVENT DEPLOYMENT` into the host's file of hook lines.
    pub fn new(host: &Host, version: &str) -> Self {
        let directory = host.path(format!("bundle-{version}"));
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        Self {
            directory,
            version: version.to_owned(),
            lines: host.hook_lines_file(),
            files: String::new(),
            permissions: String::new(),
            extension: String::new(),
            hooks: BTreeMap::new(),
        }
    }

    /// A file of the bundle.
    pub fn content(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        write(&self.directory.join(path), content);
        self
    }

    /// A symbolic link of the bundle.
    pub fn link(self, path: &str, target: &str) -> Self {
        fs::create_dir_all(self.directory.join(path).parent().unwrap()).unwrap();
        symlink(target, self.directory.join(path)).unwrap();
        self
    }

    /// An entry of `files`.
    pub fn files(mut self, source: &str, destination: &str) -> Self {
        let _ = writeln!(self.files, "  - source: {source}\n    destination: {destination}");
        self
    }

    /// The application of most tests: a directory `app`, installed at `/srv/app`, with the version in a file.
    pub fn app(self) -> Self {
        let version = self.version.clone();
        self.content("app/version", format!("{version}\n"))
            .content(&format!("app/only-{version}"), "of this version\n")
            .content("app/lib/same", "of every version\n")
            .files("app", "/srv/app")
    }

    /// Lines below `permissions`.
    pub fn permissions(mut self, lines: &str) -> Self {
        self.permissions.push_str(lines);
        self
    }

    /// Lines below `hostler`.
    pub fn extension(mut self, lines: &str) -> Self {
        self.extension.push_str(lines);
        self
    }

    /// A hook that writes its line and then runs `body`.
    pub fn hook(mut self, event: &str, body: &str) -> Self {
        let scripts = self.hooks.entry(event.to_owned()).or_default();
        let name = format!("hooks/{event}-{}.sh", scripts.len() + 1);
        let lines = self.lines.display();
        let script =
            format!("#!/bin/sh\necho \"{} $LIFECYCLE_EVENT $DEPLOYMENT_ID\" >> {lines}\n{body}\n", self.version);
        write(&self.directory.join(&name), script);
        fs::set_permissions(self.directory.join(&name), Permissions::from_mode(0o755)).unwrap();
        scripts.push(name);
        self
    }

    /// Hooks that only write their lines, at every event that may have one and has none yet.
    pub fn all_hooks(mut self) -> Self {
        for event in EVENTS_WITH_HOOKS {
            if !self.hooks.contains_key(event) {
                self = self.hook(event, "");
            }
        }
        self
    }

    /// Writes the appspec and returns the directory.
    pub fn write(self) -> PathBuf {
        let mut text = "version: 0.0\nos: linux\n".to_owned();
        let sections = [("files", &self.files), ("permissions", &self.permissions), ("hostler", &self.extension)];
        for (key, lines) in sections {
            if !lines.is_empty() {
                let _ = write!(text, "{key}:\n{lines}");
            }
        }
        if !self.hooks.is_empty() {
            text.push_str("hooks:\n");
        }
        for (event, scripts) in &self.hooks {
            let _ = writeln!(text, "  {event}:");
            for script in scripts {
                let _ = writeln!(text, "    - location: {script}\n      timeout: 60");
            }
        }
        write(&self.directory.join("appspec.yml"), text);
        self.directory
    }
}

/// The events that can have scripts, in order; the first three belong to the old revision.
pub const EVENTS_WITH_HOOKS: [&str; 9] = [
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "BeforeInstall",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];

/// The hooks' lines of a whole deployment of `new` over `old`.
pub fn hook_lines_of(old: Option<&str>, new: &str) -> Vec<String> {
    let stop = EVENTS_WITH_HOOKS[..3].iter().filter_map(|event| old.map(|old| format!("{old} {event}")));
    stop.chain(EVENTS_WITH_HOOKS[3..].iter().map(|event| format!("{new} {event}"))).collect()
}
