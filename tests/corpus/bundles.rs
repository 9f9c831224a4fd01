//! The corpus of appspec files (README.md beside this file), and their bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::Value;

/// A case of the corpus.
pub struct Case {
    /// Its name.
    pub id: String,
    directory: PathBuf,
    expected: Value,
}

/// The directory of the project's own part of the corpus.
fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus")
}

/// The project's own cases, without those whose appspec core's tests write.
pub fn cases() -> Vec<Case> {
    let cases: Vec<_> = read_all(&corpus().join("cases")).into_iter().filter(Case::has_appspec).collect();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    cases
}

/// The cases outside the project, named by `HOSTLER_CORPUS`; without it none, which is printed once.
pub fn outside() -> Vec<Case> {
    static SAID: Once = Once::new();
    let Some(directory) = std::env::var_os("HOSTLER_CORPUS") else {
        SAID.call_once(|| eprintln!("HOSTLER_CORPUS names no further cases: only those of tests/corpus are deployed"));
        return Vec::new();
    };
    read_all(Path::new(&directory))
}

fn read_all(directory: &Path) -> Vec<Case> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut directories: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|p| p.is_dir()).collect();
    directories.sort();
    directories.into_iter().map(Case::read).collect()
}

impl Case {
    /// The case of this name among these.
    pub fn find(cases: &[Self], id: &str) -> Self {
        let found = cases.iter().find(|case| case.id == id);
        Self::read(found.unwrap_or_else(|| panic!("the corpus has no {id}")).directory.clone())
    }

    fn read(directory: PathBuf) -> Self {
        let id = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = serde_json::from_slice(&fs::read(directory.join("expected.json")).unwrap()).unwrap();
        Self { id, directory, expected }
    }

    fn has_appspec(&self) -> bool {
        ["appspec.yml", "appspec.yaml"].iter().any(|name| self.directory.join(name).exists())
    }

    /// A file of the case; the corpus's own if the case has no manifest, as in all cases of the project.
    fn list(&self, name: &str, shared: &str) -> String {
        let own = self.directory.join("manifest.tsv").exists();
        let path = if own { self.directory.join(name) } else { corpus().join(shared) };
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Whether CodeDeploy's agent accepts the appspec.
    pub fn accepted(&self) -> bool {
        self.expected["accepted"] == true
    }

    /// Whether CodeDeploy's agent accepts the appspec but cannot plan it.
    pub fn unplannable(&self) -> bool {
        self.directory.join("install-plan.json").exists() && !self.plan()["error"].is_null()
    }

    /// CodeDeploy's plan for an empty host.
    pub fn plan(&self) -> Value {
        serde_json::from_slice(&fs::read(self.directory.join("install-plan.json")).unwrap()).unwrap()
    }

    /// The paths that the plan copies to.
    pub fn copied(&self) -> BTreeSet<PathBuf> {
        let plan = self.plan();
        let instructions = plan["instructions"].as_array().unwrap();
        instructions.iter().filter_map(|i| i["destination"].as_str()).map(PathBuf::from).collect()
    }

    /// The destinations of the appspec.
    pub fn destinations(&self) -> Vec<String> {
        self.files().map(|file| file["destination"].as_str().unwrap().to_owned()).collect()
    }

    fn files(&self) -> impl Iterator<Item = &Value> {
        self.expected["parsed"]["files"].as_array().into_iter().flatten()
    }

    /// Event, location and user of the scripts of some events, in their order.
    pub fn scripts(&self, events: &[&str]) -> Vec<(String, String, String)> {
        let mut scripts = Vec::new();
        for event in events {
            for script in self.expected["parsed"]["hooks"][event].as_array().into_iter().flatten() {
                let location = script["location"].as_str().unwrap().trim_start_matches('/').to_owned();
                let user = script["runas"].as_str().unwrap_or("root").to_owned();
                scripts.push(((*event).to_owned(), location, user));
            }
        }
        scripts
    }

    /// Every user and group that the appspec names.
    pub fn users(&self) -> BTreeSet<String> {
        let mut users = BTreeSet::new();
        let hooks = self.expected["parsed"]["hooks"].as_object();
        for script in hooks.into_iter().flatten().flat_map(|(_, scripts)| scripts.as_array().into_iter().flatten()) {
            users.extend(script["runas"].as_str().map(str::to_owned));
        }
        for permission in self.expected["parsed"]["permissions"].as_array().into_iter().flatten() {
            users.extend(["owner", "group"].iter().filter_map(|key| permission[key].as_str()).map(str::to_owned));
        }
        users
    }

    /// Writes the bundle as in its repository; each file holds its own path, and a hook's file holds `script`.
    pub fn write(&self, bundle: &Path, script: &str) {
        fs::create_dir(bundle).unwrap();
        let source = fs::read_to_string(self.directory.join("source.txt")).unwrap_or_default();
        let top = source.lines().find_map(|line| line.strip_prefix("bundle_root: ")).unwrap_or(".");
        let top = if top == "." { "" } else { top };
        let links = self.list("symlinks.tsv", "bundle-links.tsv");
        let links: BTreeMap<&str, &str> = links.lines().filter_map(|line| line.split_once('\t')).collect();
        let scripts = self.locations();
        for line in self.list("manifest.tsv", "bundle.tsv").lines() {
            let columns: Vec<_> = line.split('\t').collect();
            let Ok(inside) = Path::new(columns[0]).strip_prefix(top) else { continue };
            let path = bundle.join(inside);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(target) = links.get(columns[0]) {
                std::os::unix::fs::symlink(target, &path).unwrap();
                continue;
            }
            let is_script = scripts.contains(inside.to_str().unwrap());
            let content = if is_script { script.to_owned() } else { format!("{}\n", inside.display()) };
            fs::write(&path, content).unwrap();
            let mode = if columns[1] == "100755" { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        for name in ["appspec.yml", "appspec.yaml"] {
            // An appspec that stood beside the case's own, which had another name.
            let _ = fs::remove_file(bundle.join(name));
        }
        for name in ["appspec.yml", "appspec.yaml", "appspec.json"] {
            if let Ok(appspec) = fs::read(self.directory.join(name)) {
                fs::write(bundle.join(name.replace("json", "yml")), appspec).unwrap();
            }
        }
    }

    fn locations(&self) -> BTreeSet<String> {
        let hooks = self.expected["parsed"]["hooks"].as_object();
        let scripts = hooks.into_iter().flatten().flat_map(|(_, scripts)| scripts.as_array().into_iter().flatten());
        let location = |script: &Value| script["location"].as_str().map(|l| plain(l.trim()));
        scripts.filter_map(location).collect()
    }

    /// Writes the files that the appspec names and the repository lacks, as builds make them; with `asked`, only lists
    /// them.
    pub fn complete(&self, bundle: &Path, script: &str, asked: bool) -> Vec<String> {
        let mut missing = Vec::new();
        let scripts = self.locations();
        let sources: Vec<&str> = self.files().filter_map(|file| file["source"].as_str()).collect();
        let directories: BTreeSet<String> = sources.iter().filter(|s| s.ends_with('/')).map(|s| plain(s)).collect();
        let sources = sources.iter().map(|source| plain(source));
        // Scripts first: they may be in a source that is missing completely.
        for path in scripts.iter().cloned().chain(sources).filter(|path| !path.is_empty()) {
            if fs::metadata(bundle.join(&path)).is_ok() || missing.contains(&path) {
                continue;
            }
            missing.push(path.clone());
            if !asked {
                let is_directory = directories.contains(&path);
                let file = if is_directory { bundle.join(&path).join("built") } else { bundle.join(&path) };
                let made = fs::create_dir_all(file.parent().unwrap());
                made.unwrap_or_else(|e| panic!("{}: {}: {e}", self.id, file.display()));
                fs::write(file, if scripts.contains(&path) { script } else { "built\n" }).unwrap();
            }
        }
        missing
    }
}

/// A path of a bundle without its slashes at both ends and its dots.
fn plain(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}
