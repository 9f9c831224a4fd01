//! Logs to CloudWatch Logs over TLS on loopback: a gigabyte of lines in one file and in a thousand, the memory for it,
//! and how long one line takes on an otherwise idle host.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::http_server::{Reply, Server};
use crate::support::{cpu_seconds, hostler_at, memory_directory, memory_mib, verdict};

/// Lines of 200 bytes, including the newline.
const LINES: usize = 5_000_000;
const LINE_BYTES: usize = 200;
/// Files of the same lines, each shipped to a stream of its own.
const FILES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(300);

/// The results of other programs for the same file (fluent-bit: 28 MB/s and 15 CPU seconds, vector: 18 and 65, awslogs:
/// 4 and 181).
const LEAST_MB_PER_SECOND: f64 = 60.0;
const MOST_CPU_SECONDS_PER_GB: f64 = 8.0;
const MOST_MIB_ABOVE_IDLE: f64 = 24.0;
const MOST_SECONDS_OF_A_LINE: f64 = 2.0;

pub fn run() -> bool {
    let directory = memory_directory();
    let root = directory.path();
    fs::create_dir_all(root.join("etc/hostler")).expect("a directory");
    fs::create_dir(root.join("store")).expect("a directory");
    let puts = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&puts);
    let server = Server::start_tls(move |request| {
        if request.header("x-amz-target").ends_with("PutLogEvents") {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        async { Reply::new(200, "{}") }
    });
    fs::write(root.join("certificate.pem"), server.certificate()).expect("a file");
    let config = format!(
        "instance_id: i-1\naws: {{region: eu-west-1}}\nlogs:\n  agent: false\n  files:\n    - {{file: {0}/big.log, log_group_name: /big}}\n    \
         - {{file: {0}/line.log, log_group_name: /line}}\n    \
         - {{file: {0}/many/*.log, log_group_name: /many, log_stream_name: '{{file_name}}'}}\n",
        root.display()
    );
    fs::write(root.join("etc/hostler/config.yaml"), config).expect("a file");
    write_lines(&root.join("big.part"), 0..LINES);
    for directory in ["part", "many"] {
        fs::create_dir(root.join(directory)).expect("a directory");
    }
    for file in 0..FILES {
        let each = LINES / FILES;
        write_lines(&root.join(format!("part/{file:04}.log")), file * each..(file + 1) * each);
    }
    let mut daemon = start(root, &server.url());
    let within = measure(root, &mut daemon, &puts);
    // It ends by itself or is killed.
    let _ = daemon.kill();
    let _ = daemon.wait();
    within
}

fn measure(root: &Path, daemon: &mut Child, puts: &AtomicU64) -> bool {
    let pid = daemon.id();
    wait("the daemon answers", || shipped(root).is_some());
    let slowest = (0..5).map(|number| one_line(root, puts, number)).max().expect("five lines").as_secs_f64();
    let idle_mib = memory_mib(pid, "VmRSS:");
    let one = ship(root, pid, idle_mib, "one file", || {
        fs::rename(root.join("big.part"), root.join("big.log")).expect("renaming");
    });
    let many = ship(root, pid, idle_mib, "1,000 files", || {
        for file in 0..FILES {
            let name = format!("{file:04}.log");
            fs::rename(root.join("part").join(&name), root.join("many").join(&name)).expect("renaming");
        }
    });
    let line = verdict("one line, from write to request", slowest, "s", slowest < MOST_SECONDS_OF_A_LINE, "< 2");
    one & many & line
}

/// Ships all lines once; `appear` makes them appear.
fn ship(root: &Path, pid: u32, idle_mib: f64, what: &str, appear: impl FnOnce()) -> bool {
    let wanted = shipped(root).expect("the daemon answers") + LINES as u64;
    let (idle_cpu, began) = (cpu_seconds(pid), Instant::now());
    appear();
    wait("everything is acknowledged", || shipped(root).is_some_and(|events| events >= wanted));
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds(pid) - idle_cpu);
    let above_mib = memory_mib(pid, "VmHWM:") - idle_mib;
    let gigabytes = (LINES * LINE_BYTES) as f64 / 1e9;
    let rate = gigabytes * 1000.0 / wall;
    println!("  {what}: {LINES} lines in {wall:.1} s, {cpu:.1} CPU s, {idle_mib:.1} MiB idle");
    [
        verdict("1 GB with gzip over TLS", rate, "MB/s", rate >= LEAST_MB_PER_SECOND, ">= 60"),
        verdict("its CPU", cpu / gigabytes, "s/GB", cpu / gigabytes <= MOST_CPU_SECONDS_PER_GB, "<= 8"),
        verdict("memory above idle", above_mib, "MiB", above_mib <= MOST_MIB_ABOVE_IDLE, "<= 24"),
    ]
    .iter()
    .all(|good| *good)
}

/// How long a line takes on an otherwise idle host.
fn one_line(root: &Path, puts: &AtomicU64, number: usize) -> Duration {
    let before = puts.load(Ordering::SeqCst);
    let began = Instant::now();
    let mut file = File::options().append(true).create(true).open(root.join("line.log")).expect("a log");
    writeln!(file, "line {number}").expect("a line");
    wait("the line arrives", || puts.load(Ordering::SeqCst) > before);
    began.elapsed()
}

/// Half fixed words, half digits that do not repeat.
fn write_lines(path: &Path, numbers: std::ops::Range<usize>) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ numbers.start as u64;
    for number in numbers {
        let mut line =
            format!("2026-11-20T10:00:00.000Z INFO request {number:09} served from the cache for the client ");
        while line.len() < LINE_BYTES - 1 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            line.push_str(&format!("{:016x}", state));
        }
        line.truncate(LINE_BYTES - 1);
        line.push('\n');
        file.write_all(line.as_bytes()).expect("a line");
    }
    file.flush().expect("the file");
}

fn start(root: &Path, url: &str) -> Child {
    let mut command = hostler_at(root, "run");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("AWS_ENDPOINT_URL", url);
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CA_BUNDLE", root.join("certificate.pem"));
    command.arg("--channel").arg(root.join("store")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the daemon")
}

/// Events that the service has accepted so far; `None` while the daemon does not answer.
fn shipped(root: &Path) -> Option<u64> {
    let mut command: Command = hostler_at(root, "status");
    let output = command.arg("--json").output().expect("hostler status");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    status["daemon"]["logs"]["totals"]["events"].as_u64()
}

fn wait(what: &str, mut look: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
