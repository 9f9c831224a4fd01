//! A user who owns a directory above a destination cannot lead the agent elsewhere.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::support::host::{Bundle, Host, root_or_skip, tree, write};
use crate::support::skip;

const NOBODY: u32 = 65534;

/// A host with a directory that the user `nobody` owns; deployments go to `app` in it.
struct Site {
    host: Host,
}

impl Site {
    fn new() -> Option<Self> {
        if !root_or_skip("another user's directory") {
            return None;
        }
        let site = Self { host: Host::new() };
        fs::create_dir_all(site.at("")).unwrap();
        site.give("");
        Some(site)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.host.at("home/site").join(path)
    }

    fn give(&self, path: &str) {
        lchown(self.at(path), Some(NOBODY), Some(NOBODY)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// A directory of root's with files that a deployment would replace, give away and remove.
    fn roots(&self, path: &Path) {
        for name in ["version", "only-v1", "lib/same", "theirs"] {
            write(&path.join(name), "root's");
        }
        fs::set_permissions(path.join("theirs"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn bundle(&self, version: &str) -> Bundle {
        Bundle::new(&self.host, version)
            .content("app/version", format!("{version}\n"))
            .content(&format!("app/only-{version}"), "of this version\n")
            .content("app/lib/same", "of every version\n")
            .files("app", "/home/site/app")
    }

    fn deploys(&self, version: &str) -> String {
        let ended = self.host.deploy(&self.bundle(version).write(), &[]).with_code(0);
        assert_eq!(fs::read_to_string(self.at("app/version")).unwrap(), format!("{version}\n"));
        format!("{}{}", ended.out, ended.err)
    }

    /// Deploys with a hook at every event; the deployment is refused before any hook runs.
    fn is_refused(&self, version: &str, saying: &[&str]) {
        self.host.clear_hook_lines();
        let bundle = self.bundle(version).all_hooks().write();
        self.host.deploy(&bundle, &[]).with_code(1).saying(saying);
        assert_eq!(self.host.hook_lines(), [""; 0]);
    }

    fn journal_files(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut ahead = vec![self.host.state()];
        while let Some(directory) = ahead.pop() {
            for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                match entry.is_dir() {
                    // A group's name is a link to its directory.
                    true => ahead.extend((!entry.is_symlink()).then_some(entry)),
                    false => found.extend((entry.file_name().unwrap() == name).then_some(entry)),
                }
            }
        }
        found
    }
}

/// The entries of a tree with everything that another user could change, a line each.
fn untouched(top: &Path) -> Vec<String> {
    let mut all: Vec<_> = tree(top).into_iter().collect();
    all.push((PathBuf::new(), String::new()));
    let seen = |(path, text): (PathBuf, String)| {
        let found = fs::symlink_metadata(top.join(&path)).unwrap();
        let (changed, owner) = ((found.ctime(), found.ctime_nsec()), (found.uid(), found.gid()));
        format!("{} {text} {} {changed:?} {owner:?} {:o}", path.display(), found.ino(), found.mode())
    };
    all.into_iter().map(seen).collect()
}

#[test]
fn a_link_that_the_owner_of_the_parent_made_is_refused_before_anything_runs() {
    let Some(site) = Site::new() else { return };
    site.deploys("v1");
    let canary = site.host.at("canary/app");
    site.roots(&canary);
    let before = untouched(&canary);
    site.rename("app", "app.mine");
    symlink("../../canary/app", site.at("app")).unwrap();
    site.give("app");
    let link = site.at("app").canonicalize().unwrap().parent().unwrap().with_file_name("home/site/app");
    let said = format!("user {NOBODY} owns {} and could lead the agent anywhere", link.display());
    let hint = "let root own ";
    site.is_refused("v2", &["the way to /home/site/app is not safe", &said, "user 0 owns", "unsafe_path", hint]);
    site.host.run(&["plan", site.bundle("v2").write().to_str().unwrap()]).with_code(1).saying(&["unsafe_path"]);
    assert_eq!(untouched(&canary), before);

    // With the place as it was, the deployment continues.
    site.rename("app", "link");
    site.rename("app.mine", "app");
    assert!(!site.deploys("v2").contains("safe"));
    // A removal does not follow the link either.
    site.rename("app", "app.mine");
    site.rename("link", "app");
    site.host.run(&["remove"]).with_code(0);
    assert_eq!(untouched(&canary), before);
    assert!(site.at("app.mine/version").exists());
}

#[test]
fn what_the_last_install_made_in_a_users_directory_is_entered_again() {
    let Some(site) = Site::new() else { return };
    site.deploys("v1");
    assert_eq!(fs::metadata(site.at("app")).unwrap().uid(), 0);
    for version in ["v2", "v3"] {
        let said = site.deploys(version);
        assert!(!said.contains("safe"), "{said}");
    }
    assert!(!site.at("app/only-v1").exists() && !site.at("app/only-v2").exists());
    // A hook gives the parent to another user: the directory below is known, too.
    chown(site.at("app"), Some(33), None).unwrap();
    assert!(!site.deploys("v4").contains("safe"));
    // Also after a rollback of the previous deployment.
    let bad = site.bundle("v5").hook("AfterInstall", "exit 1").write();
    site.host.deploy(&bad, &[]).with_code(1);
    assert_eq!(fs::read_to_string(site.at("app/version")).unwrap(), "v4\n");
    assert!(!site.deploys("v6").contains("safe"));
    site.host.run(&["remove"]).with_code(0);
    assert!(!site.at("app").exists());
}

#[test]
fn another_directory_of_roots_under_the_same_name_is_refused() {
    let Some(site) = Site::new() else { return };
    site.deploys("v1");
    site.roots(&site.at("other"));
    site.rename("app", "app.mine");
    site.rename("other", "app");
    let before = untouched(&site.at("app"));
    site.is_refused("v2", &["the way to /home/site/app is not safe", "unsafe_path"]);
    site.host.run(&["remove"]).with_code(0);
    assert_eq!(untouched(&site.at("app")), before);
}

#[test]
fn nothing_is_the_groups_in_a_directory_that_took_the_destinations_place() {
    let Some(site) = Site::new() else { return };
    site.deploys("v1");
    site.give("app");
    site.deploys("v2");
    // The user's own directory, with files named as the group's.
    site.rename("app", "app.mine");
    for name in ["", "lib"] {
        fs::create_dir(site.at("app").join(name)).unwrap();
        site.give(&format!("app/{name}"));
    }
    for name in ["app/version", "app/only-v2", "app/lib/same"] {
        write(&site.at(name), "the user's");
        site.give(name);
    }
    site.is_refused("v3", &["app/version is there already", "another directory than the one", "file_exists"]);
    // Without an obstacle, nothing is removed either.
    for name in ["app/version", "app/lib/same"] {
        fs::remove_file(site.at(name)).unwrap();
    }
    let said = site.deploys("v3");
    assert!(said.contains("place_changed") && said.contains("/home/site/app is another directory"), "{said}");
    assert_eq!(fs::read_to_string(site.at("app/only-v2")).unwrap(), "the user's");
    assert!(!site.deploys("v4").contains("place_changed"), "it is the group's place by now");
}

#[test]
fn a_place_that_an_earlier_version_did_not_note_is_taken_for_its_own_once() {
    let Some(site) = Site::new() else { return };
    site.deploys("v1");
    for places in site.journal_files("install.places.json") {
        fs::remove_file(places).unwrap();
    }
    let said = site.deploys("v2");
    assert!(said.contains("/home/site/app is taken for the directory of the last deployment"), "{said}");
    assert!(!site.deploys("v3").contains("is taken for"), "it is known by now");
}

#[test]
fn an_unsafe_way_is_taken_with_a_warning_where_the_configuration_says_so() {
    let Some(site) = Site::new() else { return };
    write(&site.at("app/theirs"), "from before");
    site.is_refused("v1", &["the way to /home/site/app is not safe", "unsafe_paths: warn"]);
    site.host.configure("unsafe_paths: warn\n");
    let said = site.deploys("v1");
    assert!(said.contains("the way to /home/site/app is not safe, and is taken"), "{said}");
    // The deployment has noted the place.
    site.host.configure("unsafe_paths: refuse\n");
    assert!(!site.deploys("v2").contains("safe"));
    assert_eq!(fs::read_to_string(site.at("app/theirs")).unwrap(), "from before");
}

#[test]
fn what_a_hook_makes_for_the_deployment_is_judged_by_what_is_in_it() {
    let Some(site) = Site::new() else { return };
    let app = site.at("app").display().to_string();
    // Empty directories in it do not matter; and a hook may begin anew each time.
    for (version, makes) in
        [("v0", format!("mkdir -p {app}")), ("v1", format!("rm -rf {app}; mkdir -p {app}/logs/old"))]
    {
        let empty = site.bundle(version).hook("BeforeInstall", &makes).write();
        let ended = site.host.deploy(&empty, &[]).with_code(0);
        assert!(!ended.err.contains("safe") && !ended.err.contains("place_changed"), "{}", ended.err);
        assert_eq!(fs::read_to_string(site.at("app/version")).unwrap(), format!("{version}\n"));
    }
    assert!(site.at("app/logs/old").exists() && !site.deploys("v2").contains("safe"));
    site.host.run(&["remove"]).with_code(0);
    fs::remove_dir_all(site.at("app")).unwrap();
    // With a file in it, the directory may hold the user's own data.
    let full = format!("mv {app} {app}.was; mkdir -p {app}/lib; echo theirs > {app}/theirs; chmod 700 {app}");
    let bundle = site.bundle("v2").hook("BeforeInstall", &full).write();
    site.host.deploy(&bundle, &[]).with_code(1).saying(&["the way to /home/site/app is not safe"]);
    assert_eq!(tree(&site.at("app")).len(), 2, "{:?}", tree(&site.at("app")));
}

#[test]
fn what_another_group_made_in_a_users_directory_is_entered_too() {
    let Some(site) = Site::new() else { return };
    site.deploys("v1");
    let plugin = |version: &str| {
        let bundle =
            Bundle::new(&site.host, version).content("plugin/x", version).files("plugin", "/home/site/app/plugin");
        site.host.deploy(&bundle.write(), &["--application", "shop", "--group", "plugins"])
    };
    for version in ["p1", "p2"] {
        let ended = plugin(version).with_code(0);
        assert!(!ended.err.contains("safe"), "{}", ended.err);
        assert_eq!(fs::read_to_string(site.at("app/plugin/x")).unwrap(), version);
    }
    // Only under its own name, and no other directory of root's under that name.
    site.rename("app", "app.mine");
    fs::create_dir(site.at("app")).unwrap();
    write(&site.at("app/theirs"), "root's");
    plugin("p3").with_code(1).saying(&["the way to /home/site/app is not safe"]);
}

#[test]
fn a_users_own_link_leads_to_the_users_own_directory_and_no_further() {
    let Some(site) = Site::new() else { return };
    for directory in [site.host.path(""), site.host.root(), site.host.at("home")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for release in ["releases", "releases/1", "releases/2"] {
        fs::create_dir(site.at(release)).unwrap();
        site.give(release);
    }
    // The second link is root's: the user could have made the same.
    for release in ["1", "2"] {
        let _ = fs::remove_file(site.at("app"));
        symlink(site.at("releases").canonicalize().unwrap().join(release), site.at("app")).unwrap();
        if release == "1" {
            site.give("app");
        }
        assert!(!site.deploys(release).contains("safe"));
        assert!(site.at("releases").join(release).join("version").exists());
    }
    let canary = site.host.at("canary/app");
    site.roots(&canary);
    fs::remove_file(site.at("app")).unwrap();
    symlink(canary.canonicalize().unwrap(), site.at("app")).unwrap();
    site.give("app");
    let before = untouched(&canary);
    site.is_refused("3", &["the way to /home/site/app is not safe", "name the place itself as destination"]);
    assert_eq!(untouched(&canary), before);
}

#[test]
fn a_link_to_a_file_where_a_destination_is_to_be_is_named_as_one() {
    let host = Host::new();
    write(&host.at("srv/file"), "from before");
    symlink("file", host.at("srv/app")).unwrap();
    let bundle = Bundle::new(&host, "v1").content("app/version", "v1").files("app", "/srv/app").write();
    host.deploy(&bundle, &[]).with_code(1).saying(&["/srv/app is a symbolic link to file, which is not a directory"]);
}

#[test]
fn an_agent_of_an_ordinary_user_goes_where_that_user_leads() {
    let Some(site) = Site::new() else { return };
    for directory in [site.host.root(), site.host.at("home"), site.host.at("var"), site.host.at("run")] {
        fs::create_dir_all(&directory).unwrap();
        chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::create_dir(site.at("real")).unwrap();
    symlink("real", site.at("app")).unwrap();
    site.give("real");
    site.give("app");
    let site = Site { host: site.host.used_by(NOBODY) };
    if site.host.command(&["--version"]).output().is_err() {
        skip("another user cannot run the program");
        return;
    }
    for version in ["v1", "v2"] {
        assert!(!site.deploys(version).contains("safe"));
    }
    assert!(site.at("real/version").exists());
}

#[test]
fn a_directory_that_was_there_before_is_known_once_a_hook_has_given_away_what_is_above() {
    let Some(site) = Site::new() else { return };
    let host = &site.host;
    write(&host.at("srv/own/conf.d/deep/theirs"), "from before");
    let deploy = |version: &str, more: &str, code: i32| {
        let give = format!("chown {NOBODY} {}\n{more}", host.at("srv/own").display());
        let bundle = Bundle::new(host, version)
            .content("own/conf.d/deep/ours", version)
            .files("own", "/srv/own")
            .hook("AfterInstall", &give);
        let ended = host.deploy(&bundle.write(), &[]).with_code(code);
        assert!(!ended.err.contains("safe") && !ended.err.contains("could not be put back"), "{}", ended.err);
    };
    for version in ["v1", "v2"] {
        deploy(version, "", 0);
        assert_eq!(fs::read_to_string(host.at("srv/own/conf.d/deep/ours")).unwrap(), version);
    }
    // An undo knows the place, too.
    deploy("v3", "exit 1", 1);
    assert_eq!(fs::read_to_string(host.at("srv/own/conf.d/deep/ours")).unwrap(), "v2");
}
