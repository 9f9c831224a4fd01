//! The cost of an event on a booted host, where systemd runs each hook in a service of its own.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::codedeploy::CommandService;
use crate::events::{Host, Programs, bundle, deploy_all, median};
use crate::machine::{Layout, Machine};
use crate::support::memory_directory;

/// Deployments of one daemon.
const DEPLOYMENTS: usize = 8;

/// Deployments of one file and five hooks, by the CodeDeploy service, on a booted host.
pub fn run() -> bool {
    let programs = Programs::new();
    let content = bundle();
    // One host for all: only one daemon runs at a time.
    let room = memory_directory();
    let blueprint = Machine::named("bench", Layout::Unified).bind(room.path(), &room.path().display().to_string());
    let Some(machine) =
        with_supervisors(&programs).fold(blueprint, |b, program| b.bind_read_only(&program, &there(&program))).boot()
    else {
        return true;
    };
    let rows = [
        ("on a booted host, one file and five hooks: work", "ms", 0.5),
        ("the same: CPU of the whole host, systemd in it", "ms", 0.5),
        ("a hook there, from the command to the report", "ms", 0.5),
    ];
    let number = Mutex::new(0);
    programs.rows(rows, |program| {
        let root = {
            let mut number = number.lock().expect("a number");
            *number += 1;
            room.path().join(format!("root-{number}"))
        };
        let host = machine.in_network(|| Host::with(CommandService::start(), root.clone()));
        host.service.put_object("tiny.tgz", content.clone());
        let unit = format!("agent-{}", root.file_name().expect("a name").display());
        machine.sh(&format!(
            "systemd-run --quiet --unit={unit} --property=KillMode=process {} run --root {}",
            there(program),
            root.display()
        ));
        host.wait("the service is polled", || host.polls() > 0);
        deploy_all(&host, 0, 1);
        let before = cpu_ms(&machine);
        let walls = deploy_all(&host, 1, DEPLOYMENTS);
        let cpu = (cpu_ms(&machine) - before) / DEPLOYMENTS as f64;
        machine.sh(&format!("systemctl stop {unit}"));
        let hooks = host.events().into_iter().filter(|event| event.is_hook).map(|event| event.took - event.in_service);
        [median(walls.into_iter()) * 1e3, cpu, median(hooks) * 1e3]
    })
}

/// The measured programs, and what begins with each hook where a build has a program of its own for it.
fn with_supervisors(programs: &Programs) -> impl Iterator<Item = PathBuf> {
    let beside = |program: &Path| program.with_file_name("hostler-hook-supervisor");
    programs.paths().flat_map(move |program| [program.to_owned(), beside(program)]).filter(|path| path.is_file())
}

/// The program's place on the host.
fn there(program: &Path) -> String {
    format!("/opt{}", program.display())
}

/// CPU time of all processes of the host.
fn cpu_ms(machine: &Machine) -> f64 {
    let usage = machine.sh("sed -n 's/^usage_usec //p' /sys/fs/cgroup/cpu.stat");
    usage.parse::<f64>().expect("a number") / 1e3
}
