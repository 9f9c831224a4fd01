//! Scripts of health checks run like hooks: in a service that systemd starts, and not as children of the agent, whose
//! hardening would break legitimate scripts (`sudo`, `ping`, a GPU's tool). One process serves all checks of an agent,
//! and ends with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::command::CommandWay;
use crate::clock;
use crate::hooks::Launcher;

/// The hidden verb that makes the program this process: `hostler check-runner SOCKET`.
pub const CHECK_RUNNER_VERB: &str = "check-runner";

/// How long the process may take to come up, and how long it waits for its agent.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two tries to reach it while it comes up.
const PAUSE: Duration = Duration::from_millis(20);

/// More than a path twice.
const REQUEST_BYTES: u64 = 64 << 10;

/// The request of one connection. The answer is an [`Answer`]; the script is given up when the connection ends.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    location: String,
    runas: Option<String>,
    archive: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    wrong: Option<String>,
}

/// The process, for as long as this lives.
struct Runner {
    socket: PathBuf,
    /// It ends when this does, and removes its socket.
    _control: UnixStream,
}

/// This agent's process; none before the first script.
static RUNNER: Mutex<Option<Runner>> = Mutex::const_new(None);

/// Whether checks run their scripts outside: if systemd starts the hooks.
pub(super) async fn is_possible() -> bool {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    let detected = tokio::task::spawn_blocking(|| *LAUNCHER.get_or_init(Launcher::detect)).await;
    matches!(detected, Ok(Launcher::Systemd { .. }))
}

/// Runs a script outside of the agent.
///
/// # Errors
/// The script's failure, or why it could not be run.
pub(super) async fn ask(location: &str, runas: Option<&str>, archive: Option<&Path>) -> Result<(), String> {
    let cannot = |error: io::Error| format!("cannot run {location}: the process that runs scripts of checks: {error}");
    let (location, runas) = (location.to_owned(), runas.map(str::to_owned));
    let request = Request { location: location.clone(), runas, archive: archive.map(Path::to_owned) };
    let mut stream = connect().await.map_err(cannot)?;
    let answer = converse(&mut stream, &request).await.map_err(cannot)?;
    answer.wrong.map_or(Ok(()), Err)
}

async fn converse(stream: &mut UnixStream, request: &Request) -> io::Result<Answer> {
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    let mut answer = Vec::new();
    stream.take(REQUEST_BYTES).read_to_end(&mut answer).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// A connection to the process, which is started if there is none.
async fn connect() -> io::Result<UnixStream> {
    let mut runner = RUNNER.lock().await;
    if let Some(found) = &*runner
        && let Ok(stream) = UnixStream::connect(&found.socket).await
    {
        return Ok(stream);
    }
    let started = Runner::start().await?;
    let stream = UnixStream::connect(&started.socket).await?;
    *runner = Some(started);
    Ok(stream)
}

impl Runner {
    async fn start() -> io::Result<Self> {
        // Only root may enter it: a process that can connect can run scripts as any user.
        let directory = PathBuf::from(format!("/run/hostler-checks-{}-{:x}", std::process::id(), clock::now_ms()));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let started = Self::start_at(directory.join("socket")).await;
        if started.is_err() {
            // It may come up later, and finds no directory to listen in.
            let _ = fs::remove_dir(&directory);
        }
        started
    }

    async fn start_at(socket: PathBuf) -> io::Result<Self> {
        let to_launch = socket.clone();
        tokio::task::spawn_blocking(move || launch(&to_launch)).await.map_err(io::Error::other)??;
        let come_up = async {
            loop {
                match UnixStream::connect(&socket).await {
                    Ok(stream) => return stream,
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        let late = || io::Error::other("it did not come up in time");
        let control = timeout(PATIENCE, come_up).await.map_err(|_| late())?;
        Ok(Self { socket, _control: control })
    }
}

fn launch(socket: &Path) -> io::Result<()> {
    let name = socket.parent().and_then(Path::file_name).unwrap_or_default();
    let output = Command::new("systemd-run")
        .args(["--quiet", "--no-block", "--collect", "--description=hostler: scripts of health checks"])
        // Processes that a script left running go on.
        .arg("--property=KillMode=process")
        .arg(format!("--unit={}.service", name.to_string_lossy()))
        .arg("--")
        .arg(program()?)
        .arg(CHECK_RUNNER_VERB)
        .arg(socket)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("systemd did not start it: {} ({})", said.trim(), output.status)))
}

/// This program's file; after an upgrade, the new file at the same place.
fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let replaced = path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.unwrap_or(path))
}

/// Runs scripts for the agent that connects first, until that connection ends; for `hostler check-runner SOCKET`.
///
/// # Errors
/// It cannot listen at the socket, or no agent connects.
pub fn run_checks(socket: &Path) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
    let served = runtime.block_on(serve(socket));
    // A killed agent cannot remove them.
    let _ = fs::remove_file(socket);
    let _ = socket.parent().map(fs::remove_dir);
    served
}

async fn serve(socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let (mut control, _) = timeout(PATIENCE, listener.accept()).await.map_err(io::Error::other)??;
    let mut scripts = JoinSet::new();
    let mut end = [0_u8; 1];
    loop {
        tokio::select! {
            accepted = listener.accept() => drop(scripts.spawn(answer(accepted?.0))),
            Some(_) = scripts.join_next() => {}
            _ = control.read(&mut end) => break,
        }
    }
    // Dropping a script that runs ends its process group.
    scripts.shutdown().await;
    Ok(())
}

async fn answer(mut stream: UnixStream) {
    // The agent gives up a script by its own deadline.
    if let Err(error) = try_answer(&mut stream).await {
        log::debug!("a check was given up: {error}");
    }
}

async fn try_answer(stream: &mut UnixStream) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let request = read_request(&mut reader).await?;
    let way = CommandWay::new(&request.location, request.runas.as_deref(), request.archive.as_deref());
    let mut more = [0_u8; 1];
    let wrong = tokio::select! {
        asked = way.ask_here() => asked.err(),
        _ = reader.read(&mut more) => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    writer.write_all(&serde_json::to_vec(&Answer { wrong })?).await
}

async fn read_request(reader: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Request> {
    let mut text = Vec::new();
    let mut reader = reader.take(REQUEST_BYTES);
    while reader.read_buf(&mut text).await? > 0 {
        if text.ends_with(b"\n") {
            return Ok(serde_json::from_slice(&text)?);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A process for checks, as a task.
    async fn served(work: impl AsyncFnOnce(&Path)) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let of_server = socket.clone();
        let server = tokio::spawn(async move { serve(&of_server).await });
        let control = timeout(PATIENCE, async {
            loop {
                match UnixStream::connect(&socket).await {
                    Ok(stream) => return stream,
                    Err(_) => sleep(PAUSE).await,
                }
            }
        });
        let control = control.await.unwrap();
        work(&socket).await;
        drop(control);
        timeout(PATIENCE, server).await.expect("it ends with its agent").unwrap().unwrap();
    }

    fn script(directory: &Path, body: &str) -> Request {
        let path = directory.join("look.sh");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Request { location: path.to_str().unwrap().to_owned(), runas: None, archive: None }
    }

    #[tokio::test]
    async fn each_connection_has_one_script_run_and_hears_how_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        served(async |socket| {
            for (body, expected) in [("exit 0", None), ("exit 3", Some("exit status 3"))] {
                let request = script(directory.path(), body);
                let mut stream = UnixStream::connect(socket).await.unwrap();
                let answer = converse(&mut stream, &request).await.unwrap();
                assert_eq!(answer.wrong.as_deref(), expected);
            }
            let mut stream = UnixStream::connect(socket).await.unwrap();
            let absent = Request { location: "/no/such/script".into(), runas: None, archive: None };
            let answer = converse(&mut stream, &absent).await.unwrap();
            assert!(answer.wrong.as_ref().is_some_and(|wrong| wrong.contains("/no/such/script")), "{answer:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_script_that_is_given_up_ends_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("lock");
        fs::write(&lock, "").unwrap();
        served(async |socket| {
            let request = script(directory.path(), &format!("flock {} sleep 600", lock.display()));
            let mut stream = UnixStream::connect(socket).await.unwrap();
            stream.write_all(&[serde_json::to_vec(&request).unwrap(), b"\n".to_vec()].concat()).await.unwrap();
            let is_held = || fs::File::open(&lock).unwrap().try_lock().is_err();
            let wait_until = async |held: bool| {
                timeout(PATIENCE, async {
                    while is_held() != held {
                        sleep(PAUSE).await;
                    }
                })
                .await
                .unwrap_or_else(|_| panic!("the lock is not {held}"));
            };
            wait_until(true).await;
            drop(stream);
            wait_until(false).await;
        })
        .await;
    }
}
