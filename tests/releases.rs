//! What people call a revision, the lists of releases and revisions, and the way back, in both kinds of store.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;

use crate::support::host::{Ended, GROUP, Host, root_or_skip};
use crate::support::tool_or_skip;

const APPSPEC: &str = "version: 0.0\nos: linux\nfiles:\n  - source: site\n    destination: /srv/site\n";

/// A publisher and a host that use one store.
pub struct Publisher {
    pub host: Host,
    pub environment: Vec<(&'static str, String)>,
    pub store: String,
}

impl Publisher {
    fn in_directory() -> Self {
        Self { host: Host::new(), environment: Vec::new(), store: "store".to_owned() }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let environment: Vec<(&str, &str)> = self.environment.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.host.hostler_with(&environment, arguments)
    }

    fn push(&self, version: &str, more: &[&str]) -> String {
        self.host.bundle(version, &[("appspec.yml", APPSPEC), ("site/index.html", version)]);
        self.run(&[&["push", version, &self.store][..], more].concat()).with_code(0).out.trim().to_owned()
    }

    fn release(&self, arguments: &[&str]) -> Ended {
        self.run(&[&["release", &self.store][..], arguments, &GROUP].concat())
    }

    fn list(&self, verb: &str, more: &[&str]) -> Value {
        self.run(&[&[verb, &self.store, "--json"][..], more].concat()).with_code(0).json()
    }

    /// Sequence, label and whether it is current, of the releases of the only group.
    fn releases(&self) -> Vec<(u64, Option<String>, bool)> {
        let shown = self.list("releases", &GROUP);
        let releases = shown["groups"][0]["releases"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let of = |r: &Value| (r["sequence"].as_u64().unwrap(), text(&r["label"]), r["current"].as_bool().unwrap());
        releases.iter().map(of).collect()
    }
}

fn short(revision: &str) -> &str {
    &revision["sha256:".len()..][..8]
}

/// Releases are listed, and `--previous` leads back step by step.
pub fn the_way_back(publisher: &Publisher, delete: &dyn Fn(&str)) {
    publisher.release(&["--previous"]).with_code(5).saying(&["nothing was released for shop/web"]);
    let first = publisher.push("v1", &["--label", "1.0", "--message", "the first"]);
    let second = publisher.push("v2", &["--label", "2.0"]);
    let third = publisher.push("v3", &[]);
    let named = format!("release 1 of shop/web: 1.0 ({}), unsigned", short(&first));
    publisher.release(&[&first]).with_code(0).saying(&[&named]);
    publisher.release(&["--previous"]).with_code(5).saying(&["no other revision was released", "before release 1"]);
    publisher.release(&[&second, "--label", "2.0.1", "--message", "the sale"]).with_code(0);
    publisher.release(&[&third]).with_code(0).saying(&[&format!("release 3 of shop/web: {}, unsigned", short(&third))]);
    let label = |text: &str| Some(text.to_owned());
    assert_eq!(publisher.releases(), [(3, None, true), (2, label("2.0.1"), false), (1, label("1.0"), false)]);
    let text = publisher.run(&["releases", &publisher.store]).with_code(0).out;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&lines[0][..], lines[1][0], lines[1][1]), (&["shop/web"][..], "current", "3"), "{text}");
    assert!(
        lines[2][0] == "2" && lines[2].ends_with(&["the", "sale"]) && lines[3].ends_with(&["the", "first"]),
        "{text}"
    );
    assert!(text.ends_with(&format!("`release --previous` goes back to 2.0.1 ({})\n", short(&second))), "{text}");

    // The label of the release counts, and each step leads one revision further back.
    let back = publisher.release(&["--previous", "--json"]).with_code(0).json();
    assert_eq!((&back["sequence"], &back["label"]), (&4.into(), &"2.0.1".into()), "{back}");
    assert_eq!((&back["revision"], &back["message"]), (&second.as_str().into(), &Value::Null), "{back}");
    let name = format!("release 5 of shop/web: 1.0 ({})", short(&first));
    let left = "the message of release 1, \"the first\", does not come back with its revision";
    let goes_back = format!(
        "from 2.0.1 ({}), the revision of release 4, to 1.0 ({}), the revision of release 1",
        short(&second),
        short(&first)
    );
    publisher.release(&["--previous"]).with_code(0).saying(&[
        &name,
        left,
        &goes_back,
        "`hostler release STORE DIGEST`",
    ]);
    let text = publisher.run(&["releases", &publisher.store]).with_code(0).out;
    let again: Vec<bool> = text.lines().skip(1).take(5).map(|line| line.contains("as release ")).collect();
    assert_eq!(again, [true, true, false, false, false], "{text}");
    assert!(!text.contains("`release --previous`"), "there is nothing further back: {text}");
    publisher
        .release(&["--previous"])
        .with_code(5)
        .saying(&["no revision was released for shop/web before", "leads back only"]);
    let channel = ["--channel", &publisher.store, "--instance-id", "i-1"];
    publisher.run(&[&["run", "--once"][..], &channel, &GROUP].concat()).with_code(0);
    assert_eq!(fs::read_to_string(publisher.host.at("srv/site/index.html")).unwrap(), "v1");
    let status = publisher.run(&["status"]).with_code(0).out;
    assert!(status.contains(&format!("installed: 1.0 ({}), unsigned", short(&first))), "{status}");
    assert!(!status.contains(&first), "{status}");
    let history = publisher.run(&["history", "--json"]).with_code(0).out;
    assert!(history.contains(r#""label":"1.0""#), "{history}");

    // The same revision once more.
    let same = publisher.release(&[&first, "--if-changed", "--json"]).with_code(0).json();
    assert_eq!((&same["sequence"], &same["changed"]), (&5.into(), &false.into()), "{same}");
    publisher.release(&[&first, "--if-changed"]).with_code(0).saying(&["nothing is published"]);
    let warned = publisher.release(&[&first]).with_code(0).err;
    assert!(
        warned.contains("release 6 is of the same revision as release 5: every host runs its hooks again"),
        "{warned}"
    );
    assert!(!publisher.release(&[&second, "--if-changed"]).with_code(0).err.contains("same revision"));
    delete(&format!("revisions/{}", &first["sha256:".len()..]));
    publisher.release(&["--previous"]).with_code(5).saying(&["is gone", "1.0 ("]);
    assert_eq!(publisher.releases().len(), 7);
}

/// The bundles of a store are listed with their names and the groups that run them.
pub fn the_bundles(publisher: &Publisher) {
    publisher.run(&["revisions", &publisher.store]).with_code(0).saying(&["holds no bundle"]);
    publisher.run(&["releases", &publisher.store]).with_code(0).saying(&["holds no release"]);
    publisher.run(&[&["releases", &publisher.store][..], &GROUP].concat()).with_code(5).saying(&["shop/web"]);
    let first = publisher.push("v1", &["--label", "1.0", "--message", "the first"]);
    let second = publisher.push("v2", &[]);
    publisher.release(&[&first]).with_code(0);
    let other = ["release", &publisher.store, &first, "--application", "shop", "--group", "other"];
    publisher.run(&other).with_code(0);
    let unknown = ["releases", &publisher.store, "--group", "nosuch"];
    publisher.run(&unknown).with_code(5).saying(&["no release of a group nosuch", "shop/other, shop/web"]);
    let shown = publisher.list("revisions", &[]);
    let of = |revision: &str| {
        let found = shown["revisions"].as_array().unwrap().iter().find(|shown| shown["revision"] == revision);
        found.unwrap_or_else(|| panic!("{shown}")).clone()
    };
    assert_eq!(shown["revisions"].as_array().unwrap().len(), 2, "{shown}");
    let (first, second) = (of(&first), of(&second));
    assert_eq!((&first["label"], &first["message"]), (&"1.0".into(), &"the first".into()));
    assert!(first["size"].as_u64() > Some(100) && first["stored"].is_string(), "{first}");
    let groups: Vec<&Value> = first["released"].as_array().unwrap().iter().map(|r| &r["group"]).collect();
    assert_eq!(groups, ["other", "web"]);
    assert_eq!((&second["label"], &second["released"]), (&Value::Null, &serde_json::json!([])));
    publisher
        .run(&["revisions", &publisher.store])
        .saying(&["1.0 (", "release 1 of shop/other, release 1 of shop/web"]);
    publisher.run(&["revisions", &publisher.store, "-n", "1"]).saying(&["and 1 older"]);
    let groups = |more: &[&str]| publisher.list("releases", more)["groups"].as_array().unwrap().len();
    assert_eq!((groups(&[]), groups(&["--group", "web"])), (2, 1));
    let unknown = ["releases", &publisher.store, "--application", "none"];
    publisher.run(&unknown).with_code(5).saying(&["no release of an application none"]);
}

#[test]
fn a_directory_leads_back() {
    let publisher = Publisher::in_directory();
    fs::create_dir_all(publisher.host.path("store")).unwrap();
    the_way_back(&publisher, &|key| fs::remove_file(publisher.host.path("store").join(key)).unwrap());
}

#[test]
fn a_directory_lists_its_bundles() {
    let publisher = Publisher::in_directory();
    fs::create_dir_all(publisher.host.path("store")).unwrap();
    the_bundles(&publisher);
}

#[test]
fn a_store_of_an_earlier_version_shows_what_it_has() {
    let publisher = Publisher::in_directory();
    let store = publisher.host.path("store");
    fs::create_dir_all(&store).unwrap();
    for version in ["v1", "v2", "v3"] {
        let revision = publisher.push(version, &["--label", version]);
        publisher.release(&[&revision, "--no-label"]).with_code(0);
    }
    fs::remove_dir_all(store.join("shop/web/releases")).unwrap();
    fs::remove_dir_all(store.join("labels")).unwrap();
    let text = publisher.run(&["releases", "store"]).with_code(0).out;
    assert!(text.contains("the store keeps no release before 3; it replaced "), "{text}");
    assert_eq!(publisher.list("releases", &[])["groups"][0]["complete"], false);
    let revisions = publisher.list("revisions", &[]);
    assert!(revisions["revisions"].as_array().unwrap().iter().all(|shown| shown["label"].is_null()), "{revisions}");
    publisher.release(&["--previous"]).with_code(0).saying(&["release 4", "as far back as --previous leads"]);
    // Never forward to the revision that was left.
    publisher
        .release(&["--previous"])
        .with_code(5)
        .saying(&["no revision was released for shop/web before", "leads back only"]);
    publisher
        .run(&[&["run", "--once", "--channel", "store", "--instance-id", "i-1"][..], &GROUP].concat())
        .with_code(0);
    assert_eq!(fs::read_to_string(publisher.host.at("srv/site/index.html")).unwrap(), "v2");
    // What is replaced from now on is kept. Without the right to it, only a warning comes.
    assert_eq!(publisher.releases().len(), 2);
    fs::remove_dir_all(store.join("shop/web/releases")).unwrap();
    fs::write(store.join("shop/web/releases"), "in the way").unwrap();
    let next = publisher.push("v4", &[]);
    publisher.release(&[&next]).with_code(0).saying(&["release 5", "release 4 will be missing"]);
}

#[test]
fn a_lost_release_is_followed_by_a_higher_number_and_kept_ones_that_cannot_be_read_are_counted() {
    let publisher = Publisher::in_directory();
    let store = publisher.host.path("store");
    fs::create_dir_all(&store).unwrap();
    let revisions = ["v1", "v2", "v3"].map(|version| publisher.push(version, &[]));
    for revision in &revisions {
        publisher.release(&[revision]).with_code(0);
    }
    publisher.release(&["a"]).with_code(2).saying(&["too short for a revision", "7 digits"]);
    fs::write(store.join("shop/web/release.json"), "{").unwrap();
    publisher.release(&[&revisions[0]]).with_code(1).saying(&["release.json", "put the document back, or delete it"]);
    fs::remove_file(store.join("shop/web/release.json")).unwrap();
    publisher.release(&[&revisions[0]]).with_code(0).saying(&["the store keeps release 2", "release 4 of shop/web"]);
    let kept = fs::read_dir(store.join("shop/web/releases")).unwrap().next().unwrap().unwrap().path();
    fs::write(kept, "{").unwrap();
    assert_eq!(publisher.list("releases", &GROUP)["groups"][0]["complete"], false);
    let text = publisher.run(&["releases", "store"]).with_code(0).out;
    assert!(text.contains("and 1 release that cannot be read"), "{text}");
}

#[test]
fn a_kept_release_under_another_name_counts_for_nothing() {
    let publisher = Publisher::in_directory();
    fs::create_dir_all(publisher.host.path("store")).unwrap();
    let [a, b, c, x] = ["a", "b", "c", "x"].map(|version| publisher.push(version, &[]));
    for revision in [&a, &x, &b, &x, &c] {
        publisher.release(&[revision]).with_code(0);
    }
    let kept = publisher.host.path("store/shop/web/releases");
    let mut names = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let second = names.find(|name| name.contains("-0000000000000002-")).unwrap();
    fs::copy(kept.join(&second), kept.join("9-0000000000000099-deadbeef.json")).unwrap();
    let listed: Vec<u64> = publisher.releases().into_iter().map(|(sequence, ..)| sequence).collect();
    assert_eq!(listed, [5, 4, 3, 2, 1]);
    let warning = "9-0000000000000099-deadbeef.json is left out";
    publisher
        .release(&["--previous"])
        .with_code(0)
        .saying(&[warning, &format!("release 6 of shop/web: {}", short(&x))]);
    // Before x came b, as release 4 says, and not a.
    publisher.release(&["--previous"]).with_code(0).saying(&[&format!("release 7 of shop/web: {}", short(&b))]);
}

#[test]
fn a_pushed_directory_is_named_after_its_commit() {
    if !tool_or_skip("git") {
        return;
    }
    let publisher = Publisher::in_directory();
    fs::create_dir_all(publisher.host.path("store")).unwrap();
    let git = |arguments: &[&str]| {
        let names = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let mut command = Command::new("git");
        command.env_remove("GIT_DIR").arg("-C").arg(publisher.host.path("v1")).args(names).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let pushed = |more: &[&str]| {
        let arguments = [&["push", "v1", "store", "--json"][..], more].concat();
        publisher.run(&arguments).with_code(0).json()["label"].clone()
    };
    publisher.push("v1", &["--no-label"]);
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    publisher.host.write("v1/site/index.html", "changed");
    assert_eq!(pushed(&[]), format!("{commit}-dirty"));
    git(&["commit", "-q", "-a", "-m", "two"]);
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    publisher.host.write("v1/site/index.html", "again");
    git(&["commit", "-q", "-a", "-m", "three"]);
    let last = git(&["rev-parse", "--short", "HEAD"]);
    assert_ne!(commit, last);
    assert_eq!(pushed(&[]), last);
    assert_eq!(pushed(&["--label", "1.4.2"]), "1.4.2");
    assert_eq!(pushed(&[]), "1.4.2", "a commit replaces no label that was given");
    // What has a name keeps it, and is told so.
    let kept = publisher.run(&["push", "v1", "store", "--no-label"]).with_code(0);
    kept.saying(&["the store keeps the label \"1.4.2\" of this bundle", "pushed 1.4.2 ("]);
    // By hand too.
    publisher.run(&["deploy", "v1"]).with_code(0).saying(&[&format!("{last} (")]);
    let installed = publisher.run(&["status", "--json"]).json()["groups"][0]["installed"]["revision"].clone();
    assert_eq!(installed["label"], last.as_str(), "{installed}");
    // A checkout that git refuses to look at, here because it is damaged.
    publisher.host.write("v1/.git/HEAD", "nonsense");
    let refused = publisher.run(&["push", "v1", "other"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    fs::create_dir_all(publisher.host.path("other")).unwrap();
    let unlabelled = publisher.run(&["push", "v1", "other"]).with_code(0);
    let unlabelled = unlabelled.saying(&["no label: git says: ", "; --label names one"]);
    assert_eq!(unlabelled.err.matches("no label").count(), 1, "{}", unlabelled.err);
    let named = publisher.run(&["push", "v1", "other", "--message", "the sale", "--label", "1.5"]).with_code(0);
    assert!(!named.err.contains("no label"), "{}", named.err);
    let named = named.saying(&["pushed 1.5 ("]);
    assert!(named.err.contains("): the sale"), "{}", named.err);
    let listed = publisher.run(&["revisions", "other"]).with_code(0).out;
    assert!(listed.contains("1.5 (") && listed.trim_end().ends_with("  the sale"), "{listed}");
}

#[test]
fn publishers_at_the_same_time_each_hear_of_their_own_release_once() {
    let publisher = Publisher::in_directory();
    fs::create_dir_all(publisher.host.path("store")).unwrap();
    let revision = publisher.push("v1", &[]);
    publisher.release(&[&revision]).with_code(0);
    let publishers = 4;
    let ended: Vec<Ended> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..publishers).map(|_| scope.spawn(|| publisher.release(&[&revision]))).collect();
        running.into_iter().map(|one| one.join().unwrap().with_code(0)).collect()
    });
    let mut sequences = Vec::new();
    for Ended { out, err, .. } in &ended {
        let sequence: u64 =
            out.strip_prefix("release ").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
        let same = format!("release {sequence} is of the same revision as release {}: every host", sequence - 1);
        assert!(err.contains(&same) && err.matches(" is of the same revision ").count() == 1, "{err}");
        sequences.push(sequence);
    }
    sequences.sort_unstable();
    assert_eq!(sequences, [2, 3, 4, 5]);
}

#[test]
fn a_store_that_may_not_be_written_is_told_without_words_that_are_not_true() {
    if !root_or_skip("other users") {
        return;
    }
    let publisher = Publisher::in_directory();
    fs::create_dir_all(publisher.host.path("store")).unwrap();
    let revision = publisher.push("v1", &[]);
    publisher.release(&[&revision]).with_code(0);
    let store = publisher.host.path("store");
    let mut command = publisher.host.command(&["release", store.to_str().unwrap(), &revision]);
    command.uid(64321).gid(64321);
    let refused = Ended::of(command).with_code(1);
    let refused = refused.saying(&["error: cannot write ", "the user that runs hostler may not do this"]);
    assert!(!refused.err.contains("same revision") && !refused.err.contains("will be missing"), "{}", refused.err);
    assert!(refused.err.matches("ermission denied").count() == 1, "{}", refused.err);
    assert!(!refused.err.contains("agent"), "{}", refused.err);
    assert_eq!(publisher.releases().len(), 1);
}

#[test]
fn without_the_right_to_the_label_the_digest_is_printed_all_the_same() {
    let publisher = Publisher::in_directory();
    publisher.host.bundle("v1", &[("appspec.yml", APPSPEC), ("site/index.html", "1")]);
    publisher.host.write("store/labels", "no directory");
    let unasked = publisher.run(&["push", "v1", "store"]).with_code(0);
    let asked = publisher.run(&["push", "v1", "store", "--label", "1.0"]).with_code(1);
    assert_eq!(asked.out, unasked.out);
    assert_eq!(asked.out.trim().len(), "sha256:".len() + 64);
    let asked = asked.saying(&["error: the bundle is stored, and what it is called is not", "caused by: "]);
    let json = publisher.run(&["push", "v1", "store", "--message", "the sale", "--json"]).with_code(1).json();
    assert_eq!((&json["revision"], &json["message"]), (&asked.out.trim().into(), &Value::Null), "{json}");
}

#[test]
fn a_label_that_is_none_is_refused() {
    let publisher = Publisher::in_directory();
    publisher.host.bundle("v1", &[("appspec.yml", APPSPEC), ("site/index.html", "1")]);
    fs::create_dir_all(publisher.host.path("store")).unwrap();
    for (label, why) in [("", "empty"), ("a\nb", "control character"), (&"x".repeat(65), "64 bytes")] {
        publisher.run(&["push", "v1", "store", "--label", label]).with_code(2).saying(&[why]);
    }
    publisher.run(&["push", "v1", "store", "--message", &"x".repeat(257)]).with_code(2).saying(&["256 bytes"]);
    publisher.run(&["push", "v1", "store", "--label", "x", "--no-label"]).with_code(2);
    let long = publisher.run(&["push", "v1", "store", "--label", &"x".repeat(10_000)]).with_code(2);
    assert!(long.err.len() < 500, "{}", long.err);
    assert!(!publisher.host.path("store/revisions").exists());
}
