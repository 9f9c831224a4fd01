//! What an event, a poll and a start cost, beside another build of the program in the same run.
//!
//! `HOSTLER_BASELINE=FILE cargo bench -p hostler --bench figures -- events booted`: FILE is the other build, whose figures the
//! bounds are ratios of (docs/development/performance.md). Both are driven by the CodeDeploy service, the appspec, the
//! command line and exit codes only. They take turns, and medians count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tempfile::TempDir;

use crate::codedeploy::{CommandService, Moment, s3, specification};
use crate::deployment::{TINY_EVENTS, tiny_bundle};
use crate::support::{memory_directory, output};

const PATIENCE: Duration = Duration::from_secs(60);
/// Rounds in which each program is measured once.
const ROUNDS: usize = 9;
/// Deployments of one daemon.
const DEPLOYMENTS: usize = 8;
const POLLS: usize = 8;

pub fn run() -> bool {
    // Supervisors leave their agent's family; here they end as children of this process, whose usage counts.
    nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
    let programs = Programs::new();
    commanded(&programs) & starts(&programs) & from_a_directory(&programs) & polls(&programs)
}

/// The measured programs.
pub struct Programs {
    now: PathBuf,
    baseline: Option<PathBuf>,
}

impl Programs {
    pub fn new() -> Self {
        let baseline = std::env::var_os("HOSTLER_BASELINE").map(PathBuf::from);
        if baseline.is_none() {
            println!("  HOSTLER_BASELINE names no other build: figures without ratios");
        }
        Self { now: env!("CARGO_BIN_EXE_hostler").into(), baseline }
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.now.as_path()).chain(self.baseline.as_deref())
    }

    /// Measures each program `ROUNDS` times in turn; each measurement gives one figure of each row.
    pub fn rows<const N: usize>(&self, rows: [(&str, &str, f64); N], measure: impl Fn(&Path) -> [f64; N]) -> bool {
        let (mut now, mut before) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            before.extend(self.baseline.as_deref().map(&measure));
            now.push(measure(&self.now));
        }
        let mut within = true;
        for (at, (what, unit, bound)) in rows.into_iter().enumerate() {
            let found = median(now.iter().map(|figures| figures[at]));
            if before.is_empty() {
                println!("  {what}: {found:.2} {unit}");
                continue;
            }
            let baseline = median(before.iter().map(|figures| figures[at]));
            let ratio = found / baseline;
            let word = if ratio <= bound { "ok" } else { "MISSED" };
            println!("  {what}: {found:.2} {unit}, baseline {baseline:.2}, ratio {ratio:.2}, bound {bound}: {word}");
            within &= ratio <= bound;
        }
        within
    }
}

pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A CodeDeploy service, and a host that it commands.
pub struct Host {
    root: PathBuf,
    pub service: CommandService,
    calls: Arc<Mutex<Vec<Seen>>>,
    _room: Option<TempDir>,
}

/// The service's view of a call.
struct Seen {
    name: String,
    moment: Moment,
    at: Instant,
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Host {
    fn new() -> Self {
        let room = memory_directory();
        let host = Self::with(CommandService::start(), room.path().join("root"));
        Self { _room: Some(room), ..host }
    }

    /// A host whose root prefix is this directory.
    pub fn with(service: CommandService, root: PathBuf) -> Self {
        let host = Self { root, service, calls: Arc::default(), _room: None };
        host.service.configure(&host.root);
        let calls = Arc::clone(&host.calls);
        host.service.on_call(move |name, moment| {
            calls.lock().expect("the calls").push(Seen { name: name.to_owned(), moment, at: Instant::now() });
        });
        host
    }

    fn start(&self, program: &Path) -> Daemon {
        let mut command = Command::new(program);
        command.arg("run").arg("--root").arg(&self.root).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Daemon(command.spawn().expect("the daemon"))
    }

    pub fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?}", self.service.calls());
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub fn polls(&self) -> usize {
        self.service.calls().iter().filter(|call| *call == "PollHostCommand").count()
    }
}

/// Deployments of one file and five hooks that do nothing, by the service.
fn commanded(programs: &Programs) -> bool {
    let rows = [
        ("one file, five hooks: work", "ms", 0.45),
        ("the same: CPU, supervisors and hooks in it", "ms", 0.5),
        ("a hook that does nothing, from the command to the report", "ms", 0.4),
    ];
    let content = bundle();
    let stand_in = Mutex::new(Vec::new());
    let within = programs.rows(rows, |program| {
        let (one, _) = block(program, &content, 1);
        let (all, host) = block(program, &content, 1 + DEPLOYMENTS);
        let events = host.events();
        stand_in.lock().expect("times").extend(events.iter().map(|event| event.in_service));
        let hooks = events.iter().filter(|event| event.is_hook).map(|event| event.took - event.in_service);
        let figures = all.walls.iter().skip(1).copied();
        [median(figures) * 1e3, (all.cpu - one.cpu) / DEPLOYMENTS as f64 * 1e3, median(hooks) * 1e3]
    });
    let stand_in = median(stand_in.lock().expect("times").iter().copied()) * 1e3;
    println!("  (in each event {stand_in:.2} ms are the stand-in's own, and are subtracted)");
    within
}

/// One file and five hooks that do nothing, packed.
pub fn bundle() -> Vec<u8> {
    let (bundle, packed) = (memory_directory(), memory_directory());
    tiny_bundle(bundle.path());
    let packed = packed.path().join("tiny.tgz");
    output(Command::new("tar").arg("-czf").arg(&packed).arg(".").current_dir(bundle.path()));
    fs::read(&packed).expect("the packed bundle")
}

/// Deploys so many times, one after another; returns the seconds of each.
pub fn deploy_all(host: &Host, first: usize, deployments: usize) -> Vec<f64> {
    let mut events = vec!["DownloadBundle", "BeforeInstall", "Install"];
    events.extend(TINY_EVENTS.iter().skip(1));
    let one = |number| {
        let id = format!("d-BENCH{number:04}");
        let began = Instant::now();
        host.service.deploy(&specification(&id, "bench", s3("tiny.tgz", "tgz")), &events);
        let last = format!("{id}/{}", events.last().expect("an event"));
        host.wait(&last, || host.service.reports().iter().any(|report| report.command == last));
        began.elapsed().as_secs_f64()
    };
    let walls = (first..first + deployments).map(one).collect();
    let failed: Vec<_> = host.service.reports().into_iter().filter(|report| report.status != "Succeeded").collect();
    assert!(failed.is_empty(), "{failed:?}");
    walls
}

struct Block {
    walls: Vec<f64>,
    /// Of the daemon, its supervisors and their scripts, from start to end.
    cpu: f64,
}

fn block(program: &Path, content: &[u8], deployments: usize) -> (Block, Host) {
    let host = Host::new();
    host.service.put_object("tiny.tgz", content.to_vec());
    let before = children_seconds();
    let daemon = host.start(program);
    host.wait("the service is polled", || host.polls() > 0);
    let walls = deploy_all(&host, 0, deployments);
    drop(daemon);
    reap();
    (Block { walls, cpu: children_seconds() - before }, host)
}

/// One command as the service saw it.
pub struct Event {
    pub is_hook: bool,
    /// Seconds from the answer that brought the command to the call that reports its end.
    pub took: f64,
    /// Of them, seconds in which the service worked on calls.
    pub in_service: f64,
}

impl Host {
    /// The commands that were reported, in their order.
    pub fn events(&self) -> Vec<Event> {
        let calls = self.calls.lock().expect("the calls");
        let mut events: Vec<Event> = Vec::new();
        let mut brought = None;
        let mut called = None;
        let mut in_service = 0.0;
        for call in calls.iter() {
            match (call.name.as_str(), call.moment) {
                ("PollHostCommand", Moment::Before) => {}
                ("PollHostCommand", Moment::After) => (brought, in_service) = (Some(call.at), 0.0),
                ("PutHostCommandComplete", Moment::Before) => {
                    let took = brought.map_or(0.0, |from: Instant| (call.at - from).as_secs_f64());
                    // The order of a deployment's commands: see `block`.
                    let is_hook = !matches!(events.len() % 7, 0 | 2);
                    events.push(Event { is_hook, took, in_service });
                }
                (_, Moment::Before) => called = Some(call.at),
                (_, Moment::After) => {
                    in_service += called.take().map_or(0.0, |from: Instant| (call.at - from).as_secs_f64());
                }
            }
        }
        events
    }
}

/// CPU seconds of all ended children of this process and of theirs.
fn children_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the usage");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// Waits for supervisors that are children of this process by now.
fn reap() {
    let began = Instant::now();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(_) => return,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
            Ok(_) => {}
        }
        assert!(began.elapsed() < PATIENCE, "a supervisor does not end");
    }
}

/// Polls that bring nothing, a second apart.
fn polls(programs: &Programs) -> bool {
    programs.rows([("a poll that brings nothing: CPU", "ms", 0.3)], |program| {
        let host = Host::new();
        host.service.hold_polls(Duration::ZERO);
        let daemon = host.start(program);
        host.wait("the service is polled", || host.polls() > 1);
        let (polls, cpu) = (host.polls(), process_seconds(&daemon));
        host.wait("the service is polled", || host.polls() >= polls + POLLS);
        [(process_seconds(&daemon) - cpu) / (host.polls() - polls) as f64 * 1e3]
    })
}

/// CPU seconds of a process that runs.
#[allow(unsafe_code)]
fn process_seconds(daemon: &Daemon) -> f64 {
    let mut clock = 0;
    // SAFETY: writes a number to this stack.
    assert_eq!(unsafe { libc::clock_getcpuclockid(daemon.0.id() as libc::pid_t, &raw mut clock) }, 0);
    let time = nix::time::clock_gettime(nix::time::ClockId::from_raw(clock)).expect("its clock");
    Duration::from(time).as_secs_f64()
}

fn starts(programs: &Programs) -> bool {
    programs.rows([("start to first poll", "ms", 0.6)], |program| {
        let host = Host::new();
        let began = Instant::now();
        let _daemon = host.start(program);
        host.wait("the service is polled", || host.polls() > 0);
        [began.elapsed().as_secs_f64() * 1e3]
    })
}

/// Five hooks by `hostler deploy DIRECTORY`.
fn from_a_directory(programs: &Programs) -> bool {
    let bundle = memory_directory();
    let hooks = tiny_bundle(bundle.path());
    programs.rows([("five hooks from a directory, beyond the hooks", "ms", 0.5)], |program| {
        let room = memory_directory();
        let deploy = || {
            let began = Instant::now();
            let mut command = Command::new(program);
            output(command.arg("deploy").arg(bundle.path()).arg("--root").arg(room.path()));
            began.elapsed()
        };
        deploy();
        let with_hooks = deploy();
        let began = Instant::now();
        for event in TINY_EVENTS {
            output(&mut Command::new(hooks.join(format!("{event}.sh"))));
        }
        let alone = began.elapsed();
        reap();
        [with_hooks.saturating_sub(alone).as_secs_f64() * 1e3]
    })
}
