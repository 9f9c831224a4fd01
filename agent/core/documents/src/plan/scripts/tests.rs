use super::*;
use crate::appspec;
use crate::bundle::{BundleEntry, BundlePath, EntryKind};
use crate::elf::Machine;
use crate::elf::tests::program;
use crate::limits::Limits;

const SYSTEM: SearchPath<'static> = SearchPath::Known("/usr/bin:/bin");

/// A bundle of scripts, each with its mode and text; the directory that they are in has `directory` as mode.
struct Bundle {
    spec: AppSpec,
    listing: BundleListing,
    heads: BTreeMap<PathBuf, Vec<u8>>,
}

fn bundle_of(appspec: &str, directory: u32, files: &[(&str, u32, &str)]) -> Bundle {
    let text = format!("version: 0.0\nos: linux\n{appspec}");
    let reading = appspec::read("appspec.yml", text.as_bytes(), &Limits::default());
    let entry = |path: &str, kind, mode| BundleEntry { path: BundlePath::new(path).unwrap(), kind, mode };
    let mut entries: Vec<_> = files
        .iter()
        .map(|(path, mode, text)| entry(path, EntryKind::File { size: text.len() as u64 }, *mode))
        .collect();
    let above: BTreeSet<_> = files.iter().filter_map(|(path, ..)| Some(path.rsplit_once('/')?.0)).collect();
    entries.extend(above.into_iter().map(|path| entry(path, EntryKind::Directory, directory)));
    Bundle {
        spec: reading.spec.unwrap_or_else(|| panic!("{:#?}", reading.diagnostics)),
        listing: BundleListing::new(entries),
        heads: files.iter().map(|(path, _, text)| (path.into(), text.as_bytes().to_vec())).collect(),
    }
}

impl Bundle {
    fn scripts<'a>(&'a self, search_path: SearchPath<'a>) -> Scripts<'a> {
        let (spec, listing, heads) = (&self.spec, &self.listing, &self.heads);
        Scripts { spec, listing, heads, default_user: None, search_path }
    }

    fn told(&self, search_path: SearchPath<'_>, facts: &ScriptFacts) -> Vec<(String, Remedy)> {
        let problems = self.scripts(search_path).problems(facts);
        problems.into_iter().map(|found| (found.problem.to_string(), found.remedy)).collect()
    }

    fn codes(&self, search_path: SearchPath<'_>, facts: &ScriptFacts) -> Vec<(&'static str, Remedy)> {
        let problems = self.scripts(search_path).problems(facts);
        problems.into_iter().map(|found| (found.problem.code.as_str(), found.remedy)).collect()
    }
}

/// A host with a shell, `env` and the user `web`, on which the agent is root.
fn host() -> ScriptFacts {
    ScriptFacts {
        users: [("root", 0), ("web", 33)]
            .map(|(name, id)| (name.to_owned(), ScriptUser { uid: id, gids: vec![id] }))
            .into(),
        programs: ["/bin/sh", "/usr/bin/env"].map(PathBuf::from).into(),
        noexec: None,
        machine: Machine::named("x86_64").map(|machine| HostMachine { machine, emulation: Emulation::Absent }),
        agent: AgentFact { uid: 0, gids: vec![0] },
    }
}

const SH: &str = "#!/bin/sh\n";

#[test]
fn an_unknown_user_is_told_once_for_the_first_script_that_needs_it() {
    let appspec = "hooks:\n  BeforeInstall:\n    - {location: a.sh}\n  ApplicationStart:\n    - {location: a.sh, runas: web}\n    \
                   - {location: a.sh, runas: gone}\n    - {location: b.sh, runas: gone}\n    - {location: b.sh, runas: gone, sudo: true}\n    - {location: b.sh, sudo: true}\n";
    let bundle = bundle_of(appspec, 0o755, &[("a.sh", 0o755, SH), ("b.sh", 0o755, SH)]);
    let expected = "appspec line 8, column 31: the user \"gone\", whom the script \"a.sh\" runs as, is unknown on this \
                    host (unknown_user); create the user when the image is made, or in BeforeInstall with `hostler: \
                    {install: {recheck_after: BeforeInstall}}`, or correct the name";
    assert_eq!(bundle.told(SYSTEM, &host()), [(expected.to_owned(), Remedy::EarlierScript)]);
    let questions = bundle.scripts(SYSTEM).questions();
    assert_eq!(questions.users, ["gone", "root", "web"].map(str::to_owned).into());
    assert_eq!(questions.programs, [PathBuf::from("/bin/sh")].into());
    // A user for all scripts that name none.
    let scripts = Scripts { default_user: Some("deploy"), ..bundle.scripts(SYSTEM) };
    let remedies: Vec<_> = scripts.problems(&host()).into_iter().map(|found| found.remedy).collect();
    assert_eq!(remedies, [Remedy::Nothing, Remedy::EarlierScript]);
}

#[test]
fn an_agent_that_is_not_root_cannot_change_the_user_of_a_script_or_check() {
    let appspec = "hooks:\n  BeforeInstall:\n    - {location: a.sh}\n  ApplicationStart:\n    - {location: a.sh, runas: \
                   web}\n    - {location: a.sh, sudo: true}\n    - {location: a.sh, runas: gone}\nhostler:\n  health:\n    \
                   - command: {location: a.sh, runas: root}\n";
    let bundle = bundle_of(appspec, 0o755, &[("a.sh", 0o755, SH)]);
    let codes = |uid| {
        let facts = ScriptFacts { agent: AgentFact { uid, gids: vec![uid] }, ..host() };
        bundle.codes(SYSTEM, &facts)
    };
    let unknown = ("unknown_user", Remedy::EarlierScript);
    let forbidden = ("user_not_permitted", Remedy::Nothing);
    assert_eq!(codes(0), [unknown]);
    // `web` and `root`, each once; `sudo` is root.
    assert_eq!(codes(65534), [unknown, forbidden, forbidden]);
    assert_eq!(codes(33), [unknown, forbidden], "web is the agent's own user");
    let facts = ScriptFacts { agent: AgentFact { uid: 65534, gids: vec![65534] }, ..host() };
    let expected = "appspec line 7, column 31: the script \"a.sh\" runs as the user \"web\", and hostler runs as user \
                    65534: only root can change to another user (user_not_permitted); run hostler as root, or leave out \
                    `runas` and `sudo`";
    assert_eq!(bundle.told(SYSTEM, &facts)[1], (expected.to_owned(), Remedy::Nothing));
}

#[test]
fn only_what_runs_before_a_script_can_make_its_user() {
    let remedy = |appspec: &str| {
        let text = appspec.replace("GONE", "{location: a.sh, runas: gone}").replace("ROOT", "{location: a.sh}");
        bundle_of(&text, 0o755, &[("a.sh", 0o755, SH)]).codes(SYSTEM, &host())
    };
    for (appspec, expected) in [
        ("hooks:\n  ApplicationStart:\n    - GONE\n    - ROOT\n", Remedy::Nothing),
        ("hooks:\n  AfterInstall:\n    - ROOT\n    - GONE\n", Remedy::EarlierScript),
        // The order of the events counts, not the order in the file.
        ("hooks:\n  ApplicationStart:\n    - ROOT\n  BeforeInstall:\n    - GONE\n", Remedy::Nothing),
        // This revision's own script runs in the next deployment.
        ("hooks:\n  ApplicationStop:\n    - GONE\n", Remedy::EarlierScript),
        ("hooks:\n  ApplicationStop:\n    - ROOT\n  BeforeInstall:\n    - GONE\n", Remedy::Nothing),
        ("hostler:\n  health:\n    - command: {location: a.sh, runas: gone}\n", Remedy::Nothing),
        (
            "hooks:\n  BeforeInstall:\n    - ROOT\nhostler:\n  health:\n    - command: {location: a.sh, runas: gone}\n",
            Remedy::EarlierScript,
        ),
    ] {
        assert_eq!(remedy(appspec), [("unknown_user", expected)], "{appspec}");
    }
    // No deployment runs the scripts of an event that does not exist.
    assert_eq!(remedy("hooks:\n  WarmUp:\n    - GONE\n"), []);
}

#[test]
fn what_is_left_to_an_earlier_script_is_an_error_unless_it_is_checked_again() {
    let problem = |remedy| {
        let problem = Problem::new(ProblemCode::UnknownUser, String::new(), "");
        ScriptProblem { problem, remedy }
    };
    let judged = |recheck| {
        let all = [Remedy::Nothing, Remedy::EarlierScript, Remedy::Uncertain].map(problem).to_vec();
        let (errors, warnings) = judge_scripts(all, recheck);
        (errors.len(), warnings.len())
    };
    assert_eq!((judged(false), judged(true)), ((2, 1), (1, 2)));
}

#[test]
fn an_interpreter_that_is_absent_is_told_unless_it_may_come() {
    let told = |head: &str, search_path, more: &str| {
        let appspec = format!(
            "{more}hooks:\n  BeforeInstall:\n    - {{location: b.sh}}\n  AfterInstall:\n    - {{location: a.sh}}\n"
        );
        let files = [("a.sh", 0o755, head), ("b.sh", 0o755, SH), ("venv/bin", 0o755, "x")];
        bundle_of(&appspec, 0o755, &files).codes(search_path, &host())
    };
    let missing = |remedy| vec![("interpreter_missing", remedy)];
    let files = "files:\n  - {source: /, destination: /srv/app}\n";
    for (head, more, expected) in [
        ("#!/usr/bin/pyhton3\n", "", missing(Remedy::EarlierScript)),
        ("#!/usr/bin/env pyhton3\n", "", missing(Remedy::EarlierScript)),
        ("#!/usr/bin/env sh\n", "", vec![]),
        ("#!/usr/bin/env -S pyhton3 -u\n", "", missing(Remedy::Uncertain)),
        ("#!pyhton3\n", "", missing(Remedy::Uncertain)),
        ("echo\n", "", vec![]),
        ("\x7fELF", "", vec![]),
        // Installed by this deployment, or made by a hook below a destination.
        ("#!/srv/app/venv/bin\n", files, vec![]),
        ("#!/srv/app/venv/other\n", files, missing(Remedy::Uncertain)),
        ("#!/srv/other/venv/bin\n", files, missing(Remedy::EarlierScript)),
    ] {
        assert_eq!(told(head, SYSTEM, more), expected, "{head}");
    }
    let likely = SearchPath::Likely("/usr/bin:/bin");
    assert_eq!(told("#!/usr/bin/env pyhton3\n", likely, ""), missing(Remedy::Uncertain));
    assert_eq!(told("#!/usr/bin/pyhton3\n", likely, ""), missing(Remedy::EarlierScript));
    let own = "hostler: {environment: {PATH: '/opt/x:/bin'}}\n";
    assert_eq!(told("#!/usr/bin/env pyhton3\n", SYSTEM, own), missing(Remedy::EarlierScript));
    let relative = "hostler: {environment: {PATH: 'x:/bin'}}\n";
    assert_eq!(told("#!/usr/bin/env pyhton3\n", SYSTEM, relative), missing(Remedy::Uncertain));
}

#[test]
fn a_script_of_before_install_cannot_use_what_the_install_brings() {
    let appspec = "files:\n  - {source: /, destination: /srv/app}\nhooks:\n  BeforeInstall:\n    - {location: a.sh}\n";
    let bundle = bundle_of(appspec, 0o755, &[("a.sh", 0o755, "#!/srv/app/run\n"), ("run", 0o755, SH)]);
    assert_eq!(bundle.codes(SYSTEM, &host()), [("interpreter_missing", Remedy::Nothing)]);
    let expected = "appspec line 7, column 18: this host has no \"/srv/app/run\", which the script \"a.sh\" is run \
                    with (interpreter_missing); install it when the image is made, or correct the first line of the script";
    assert_eq!(bundle.told(SYSTEM, &host())[0].0, expected);
}

#[test]
fn a_script_that_its_user_may_not_reach_or_read_is_told_with_what_is_closed() {
    let told = |directory: u32, mode: u32, runas: &str, facts: &ScriptFacts| {
        let appspec = format!("hooks:\n  AfterInstall:\n    - {{location: s/a.sh, runas: {runas}}}\n");
        let told = bundle_of(&appspec, directory, &[("s/a.sh", mode, SH)]).told(SYSTEM, facts);
        told.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join("\n")
    };
    let mut facts = host();
    facts.users.insert("wheel".into(), ScriptUser { uid: 34, gids: vec![34, 0] });
    let closed = told(0o700, 0o755, "web", &facts);
    let expected = "the script \"s/a.sh\" runs as \"web\", who may not enter the directory s of the bundle (mode 0700) \
                    (script_closed_to_user); run `chmod go+rx s` before the bundle is packed";
    assert!(closed.ends_with(expected), "{closed}");
    for (directory, mode, runas, expected) in [
        (0o755, 0o600, "web", "may not read s/a.sh"),
        (0o755, 0o744, "web", "may not execute s/a.sh"),
        (0o711, 0o755, "web", ""),
        // The agent makes it executable.
        (0o755, 0o644, "web", ""),
        (0o700, 0o600, "root", ""),
        (0o750, 0o750, "wheel", ""),
        (0o705, 0o755, "wheel", "may not enter the directory s"),
    ] {
        let told = told(directory, mode, runas, &facts);
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{mode:o} {runas}: {told}");
    }
}

#[test]
fn a_mount_that_executes_nothing_is_told_where_there_are_scripts() {
    let facts = ScriptFacts { noexec: Some("/var".into()), ..host() };
    let bundle = bundle_of("hooks:\n  AfterInstall:\n    - {location: a.sh}\n", 0o755, &[("a.sh", 0o755, SH)]);
    let expected = "appspec line 5, column 18: bundles are unpacked on /var, which is mounted noexec: none of their \
                    scripts can start (noexec_mount); run `mount -o remount,exec /var`, or have the agent's state on another mount";
    assert_eq!(bundle.told(SYSTEM, &facts), [(expected.to_owned(), Remedy::Nothing)]);
    assert_eq!(bundle_of("files: []\n", 0o755, &[]).told(SYSTEM, &facts), []);
}

#[test]
fn a_program_for_another_machine_or_c_library_is_told() {
    let told = |head: Vec<u8>, more: &str, facts: &ScriptFacts| {
        let appspec = format!("hooks:\n{more}  AfterInstall:\n    - {{location: a}}\n    - {{location: a}}\n");
        let mut bundle = bundle_of(&appspec, 0o755, &[("a", 0o755, ""), ("b.sh", 0o755, SH)]);
        bundle.heads.insert("a".into(), head);
        bundle.told(SYSTEM, facts)
    };
    let (musl, glibc) = ("/lib/ld-musl-x86_64.so.1", "/lib64/ld-linux-x86-64.so.2");
    let mut facts = host();
    facts.programs.insert(glibc.into());
    let arm = program(true, false, 183, Some("/lib/ld-linux-aarch64.so.1"));
    let expected = "appspec line 5, column 18: the program \"a\" is built for arm64, and this host is x86_64 (wrong_architecture); \
                    build it for x86_64, or deploy this bundle to hosts of arm64 only";
    assert_eq!(told(arm.clone(), "", &facts), [(expected.to_owned(), Remedy::Nothing)]);
    let expected = "appspec line 5, column 18: this host has no \"/lib/ld-musl-x86_64.so.1\", which the program \"a\" is run with \
                    (interpreter_missing); install it when the image is made, or build the program for the C library \
                    that this host has, or statically";
    assert_eq!(told(program(true, false, 62, Some(musl)), "", &facts), [(expected.to_owned(), Remedy::Nothing)]);
    for runs in [program(true, false, 62, Some(glibc)), program(true, false, 62, None), program(false, false, 3, None)]
    {
        assert_eq!(told(runs, "", &facts), []);
    }
    // An earlier script may put another program in its place.
    let before = "  BeforeInstall:\n    - {location: b.sh}\n";
    assert_eq!(told(arm.clone(), before, &facts)[0].1, Remedy::EarlierScript);
    // The host may run programs of other machines, or does.
    facts.machine = facts.machine.map(|host| HostMachine { emulation: Emulation::Unknown, ..host });
    assert_eq!(told(arm.clone(), "", &facts)[0].1, Remedy::Uncertain);
    for machine in [facts.machine.map(|host| HostMachine { emulation: Emulation::Present, ..host }), None] {
        facts.machine = machine;
        assert_eq!(told(arm.clone(), "", &facts), []);
    }
}
