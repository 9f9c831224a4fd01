//! The surroundings of a script: its user, environment, directory, descriptors, signals.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use hostler_core::hook::HookOutcome;

use super::{Bench, is_root};

const SUCCESS: HookOutcome = HookOutcome::Exited { code: 0 };

fn status_field(bench: &Bench, field: &str) -> String {
    let found = bench.stdout().into_iter().find_map(|line| Some(line.strip_prefix(field)?.trim().to_owned()));
    found.unwrap_or_else(|| panic!("no {field} in {}", bench.scripts_log()))
}

#[test]
fn the_environment_is_what_the_run_says_and_nothing_else() {
    let mut bench = Bench::raw("#!/bin/cat /proc/self/environ\n");
    bench.run.environment = vec![("LIFECYCLE_EVENT".into(), "AfterInstall".into()), ("X".into(), "a b\"$c".into())];
    assert_eq!(bench.result().outcome, SUCCESS);
    // The zero bytes between the variables are control characters and not logged; the rest is enough.
    let shown = bench.stdout().join("\n");
    let mut wanted = vec!["LIFECYCLE_EVENT=AfterInstall", "X=a b\"$c"];
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap();
    let own = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOME={}", user.dir.display()),
        format!("USER={}", user.name),
        format!("LOGNAME={}", user.name),
        format!("SHELL={}", user.shell.display()),
    ];
    wanted.extend(own.iter().map(String::as_str));
    let mut rest = shown.replace("#!/bin/cat /proc/self/environ", "");
    for variable in &wanted {
        assert!(rest.contains(variable), "{variable} is not in {shown:?}");
        rest = rest.replacen(variable, "", 1);
    }
    assert_eq!(rest.trim(), "", "of {shown:?}");
}

#[test]
fn an_inherited_environment_has_no_credentials() {
    let mut bench = Bench::new("env");
    bench.run.inherit_environment = true;
    bench.run.environment.push(("OVER".into(), "run".into()));
    let secret = "value-of-a-secret";
    let mut agent = bench.agent_process();
    agent.env("PLAIN", "agent").env("OVER", "agent").envs(
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "LD_UNUSED"]
            .map(|name| (name, secret)),
    );
    assert!(agent.status().unwrap().success());
    assert_eq!(bench.result().outcome, SUCCESS);
    let shown = bench.stdout();
    for wanted in ["PLAIN=agent", "OVER=run"] {
        assert!(shown.contains(&wanted.to_owned()), "{shown:?}");
    }
    for file in fs::read_dir(bench.run_directory()).unwrap() {
        let path = file.unwrap().path();
        assert!(!String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(secret), "in {}", path.display());
    }
    assert!(!shown.iter().any(|line| line.contains(secret)), "{shown:?}");
    let saved = fs::metadata(bench.run_directory().join("environment")).unwrap();
    assert_eq!(saved.permissions().mode() & 0o777, 0o600);
}

#[test]
fn directory_umask_and_standard_input() {
    let mut bench = Bench::new("pwd; umask; readlink /proc/self/fd/0; cat; echo end");
    bench.run.working_directory = bench.path("a dir");
    bench.run.umask = 0o027;
    fs::create_dir(&bench.run.working_directory).unwrap();
    assert_eq!(bench.result().outcome, SUCCESS);
    assert_eq!(bench.stdout(), [bench.path("a dir").to_str().unwrap(), "0027", "/dev/null", "end"]);
}

#[test]
fn a_missing_working_directory_is_named() {
    let mut bench = Bench::new("true");
    bench.run.working_directory = bench.path("none");
    let outcome = bench.result().outcome;
    let HookOutcome::CouldNotStart { message, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("working directory") && message.contains("/none"), "{message}");
}

#[test]
fn no_descriptor_leaks_and_signals_are_fresh() {
    let bench = Bench::raw("#!/bin/ls /proc/self/fd\n");
    assert_eq!(bench.result().outcome, SUCCESS);
    let shown = bench.stdout();
    let numbers: Vec<_> = shown.iter().filter(|line| line.parse::<i32>().is_ok()).collect();
    // The fourth is the directory that ls reads.
    assert_eq!(numbers, ["0", "1", "2", "3"], "{shown:?}");

    let bench = Bench::raw("#!/bin/cat /proc/self/status\n");
    assert_eq!(bench.result().outcome, SUCCESS);
    for field in ["SigBlk:", "SigIgn:"] {
        assert_eq!(status_field(&bench, field), "0000000000000000", "{field}");
    }
}

#[test]
fn the_script_leads_a_session_of_its_own() {
    let bench = Bench::new("cut -d' ' -f1,5,6 /proc/$$/stat");
    assert_eq!(bench.result().outcome, SUCCESS);
    let shown = bench.stdout().remove(0);
    let numbers: Vec<_> = shown.split(' ').collect();
    assert!(numbers[0] == numbers[1] && numbers[1] == numbers[2], "{shown}");
}

#[test]
fn paths_are_taken_literally() {
    let bench = Bench::new("true");
    let name = "a b;$(touch x)'\"*.sh";
    super::write_script(&bench.run.archive.join(name), "#!/bin/sh\necho \"$0\" $#\n");
    let bench = Bench { run: hostler_core::hook::HookRun { location: name.into(), ..bench.run.clone() }, ..bench };
    assert_eq!(bench.result().outcome, SUCCESS);
    assert_eq!(bench.stdout(), [format!("{} 0", bench.run.archive.join(name).display())]);
}

#[test]
fn a_script_without_first_line_and_without_executable_bit_runs() {
    let bench = Bench::raw("echo from $0\nexit 3\n");
    let script = bench.run.archive.join("hook.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(bench.result().outcome, HookOutcome::Exited { code: 3 });
    assert_eq!(bench.stdout(), [format!("from {}", script.display())]);
    assert_eq!(fs::metadata(&script).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn what_is_not_in_the_bundle_is_missing() {
    let mut bench = Bench::new("true");
    fs::copy("/bin/true", bench.path("outside")).unwrap();
    symlink("../outside", bench.run.archive.join("link")).unwrap();
    for (at, location) in ["../outside", "link", "none.sh"].into_iter().enumerate() {
        bench.run.location = location.into();
        let result = super::block_on(hostler_host::hooks::run(
            &super::launcher(),
            &bench.program,
            &bench.path(&format!("run{at}")),
            &bench.run,
        ));
        let HookOutcome::ScriptMissing { message } = &result.outcome else { panic!("{location}: {result:?}") };
        assert!(message.contains(location), "{message}");
    }
}

#[test]
fn a_bad_interpreter_is_explained() {
    for (script, said) in [("#!/bin/sh\r\ntrue\r\n", "carriage return"), ("#!/no/such\n", "does not exist")] {
        let bench = Bench::raw(script);
        let result = bench.result();
        let HookOutcome::CouldNotStart { message, .. } = &result.outcome else { panic!("{result:?}") };
        assert!(message.contains(said), "{message}");
        assert!(bench.scripts_log().contains(said), "{}", bench.scripts_log());
    }
}

#[test]
fn users_by_name_by_number_and_without_a_login_shell() {
    if !is_root("running as another user") {
        return;
    }
    let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    for user in ["daemon", &daemon.uid.to_string(), "54321"] {
        let mut bench = Bench::raw("#!/bin/cat /proc/self/status\n");
        bench.run.user = Some(user.into());
        assert_eq!(bench.result().outcome, SUCCESS, "{user}: {}", bench.scripts_log());
        let (uid, gid) = if user == "54321" { (54321, 54321) } else { (daemon.uid.as_raw(), daemon.gid.as_raw()) };
        assert_eq!(status_field(&bench, "Uid:"), format!("{uid}\t{uid}\t{uid}\t{uid}"));
        assert_eq!(status_field(&bench, "Gid:"), format!("{gid}\t{gid}\t{gid}\t{gid}"));
        assert_eq!(status_field(&bench, "Groups:"), gid.to_string(), "not root's groups");
        assert_eq!(status_field(&bench, "CapEff:"), "0000000000000000");
    }
}

#[test]
fn another_user_can_open_its_outputs_by_name_and_finds_itself_in_the_environment() {
    if !is_root("running as another user") {
        return;
    }
    let mut bench = Bench::new("echo a >/dev/stdout; echo b >/dev/stderr; echo c >/proc/self/fd/2; echo $USER $HOME");
    bench.run.user = Some("daemon".into());
    assert_eq!(bench.result().outcome, SUCCESS);
    let mut entries = bench.entries();
    entries.sort();
    assert_eq!(
        entries,
        [
            "LifecycleEvent - AfterInstall",
            "Script - hook.sh",
            "[stderr]b",
            "[stderr]c",
            "[stdout]a",
            "[stdout]daemon /usr/sbin"
        ]
    );
}

#[test]
fn an_unknown_user_is_named() {
    let mut bench = Bench::new("true");
    bench.run.user = Some("no-such-user".into());
    let result = bench.result();
    let HookOutcome::CouldNotStart { message, .. } = &result.outcome else { panic!("{result:?}") };
    assert!(message.contains("\"no-such-user\""), "{message}");
    assert!(!bench.run_directory().join("started").exists());
}

#[test]
fn only_root_changes_the_user() {
    if nix::unistd::Uid::effective().is_root() {
        // As root, the supervisor starts as another user.
        let mut bench = Bench::new("id -un");
        let runs = bench.public("runs");
        bench.program = bench.path("as-daemon");
        fs::copy(super::PROGRAM, bench.path("hostler")).unwrap();
        let text = format!(
            "#!/bin/sh\nchown -R daemon '{}'\nexec setpriv --reuid daemon --regid daemon --clear-groups '{}' \"$@\"\n",
            runs.display(),
            bench.path("hostler").display()
        );
        super::write_script(&bench.program, &text);
        bench.run.scripts_log = runs.join("scripts.log");
        bench.run.deployments_log = None;
        for (user, allowed) in [("root", false), ("daemon", true)] {
            bench.run.user = Some(user.into());
            let result = super::block_on(hostler_host::hooks::run(
                // systemd would not start it as another user.
                &hostler_host::hooks::Launcher::Plain,
                &bench.program,
                &runs.join(user),
                &bench.run,
            ));
            match &result.outcome {
                HookOutcome::Exited { code: 0 } => assert!(allowed, "{user}"),
                HookOutcome::CouldNotStart { message, .. } => {
                    assert!(!allowed && message.contains("only root can change"), "{user}: {message}");
                }
                other => panic!("{user}: {other:?}"),
            }
        }
        return;
    }
    let mut bench = Bench::new("true");
    bench.run.user = Some("root".into());
    let result = bench.result();
    assert!(matches!(&result.outcome, HookOutcome::CouldNotStart { message, .. } if message.contains("only root")));
}
