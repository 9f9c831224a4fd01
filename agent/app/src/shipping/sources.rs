//! The followed sources: from the configuration, from an old awslogs agent's, and each deployment's log.

use std::net::UdpSocket;
use std::sync::Arc;

use anyhow::Context as _;
use hostler_core::codes::ExitCode;
use hostler_core::ids::InstanceId;
use hostler_core::logs::awslogs;
use hostler_core::logs::placeholders::Names;
use hostler_core::logs::settings::{FileSettings, LogSettings, Target};
use hostler_core::machine::State;
use hostler_host::log_follow::{FileSource, JournalSource, Redaction, Tail};
use hostler_host::secret_files::SecretFiles;
use hostler_host::{clock, regular};
use tokio::sync::Notify;

use crate::failure::Failure;
use crate::setup::Setup;

/// The time at the beginning of each line of a deployment's log.
const SCRIPTS_LOG_TIME: &str = "%Y-%m-%d %H:%M:%S";

/// The time at the beginning of hostler's own records.
const AGENT_LOG_TIME: &str = "%Y-%m-%dT%H:%M:%S.%f%z";

/// The values of the host's placeholders.
pub fn host_names(instance: &InstanceId) -> Names {
    let names = Names::default().with("instance_id", instance.as_str()).with("hostname", clock::host_name());
    names.with("ip_address", ip_address())
}

/// The address from which this host reaches others. Nothing is sent: the kernel returns its route.
pub fn ip_address() -> String {
    let local = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("169.254.169.254:80")?;
        socket.local_addr()
    };
    local().map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}

/// Opens the positions and follows the sources of the configuration.
///
/// # Errors
/// A usage failure that names a source that cannot be followed or a redaction that cannot be applied, and a failure to
/// open the positions.
pub fn open(setup: &Setup, settings: &LogSettings, names: &Names, wake: &Arc<Notify>) -> Result<Tail, Failure> {
    let directory = setup.layout.state();
    let files = files(setup, settings, names)?;
    let mut tail = Tail::open(directory, redaction(setup, settings)?, settings.deleted_bytes, &setup.limits)
        .with_context(|| format!("cannot open the logs' positions in {}", directory.display()))?;
    tail.set_unsafe_paths(setup.settings.unsafe_paths);
    if !settings.compress {
        tail.do_not_compress();
    }
    match &settings.agent {
        Some(_) => crate::log_output::also_to_file(&setup.layout.agent_log(), setup.limits.agent_log_bytes),
        None => crate::log_output::not_to_file(),
    }
    let now = clock::now_ms();
    files.into_iter().for_each(|source| tail.follow(source, now));
    for journal in &settings.journal {
        let wake = Arc::clone(wake);
        tail.follow_journal(JournalSource::new(journal.clone(), names.clone()), move || wake.notify_one());
    }
    Ok(tail)
}

/// The redactions.
///
/// # Errors
/// A usage failure that names a redaction that cannot be applied.
pub fn redaction(setup: &Setup, settings: &LogSettings) -> Result<Redaction, Failure> {
    let secrets = SecretFiles::new(
        settings.redact_values_from.clone(),
        setup.limits.secret_file_bytes,
        setup.settings.unsafe_paths,
    );
    let redaction = Redaction::new(&settings.redact, secrets).context("logs");
    redaction.map_err(|error| Failure::new(ExitCode::Usage, error))
}

/// The files that the configuration names, those of the awslogs agent's configuration, and hostler's own.
///
/// # Errors
/// A usage failure that names a source that cannot be followed.
pub fn files(setup: &Setup, settings: &LogSettings, names: &Names) -> Result<Vec<FileSource>, Failure> {
    let usage = |error: anyhow::Error| Failure::new(ExitCode::Usage, error);
    let mut files = settings.files.clone();
    for path in &settings.awslogs_config {
        let read = || format!("cannot read the awslogs configuration {}", path.display());
        let text = regular::read_text(path, setup.limits.config_bytes).with_context(read).map_err(usage)?;
        files.extend(awslogs::read(&text).with_context(read).map_err(usage)?);
    }
    if let Some(target) = &settings.agent {
        let mut own = FileSettings::new(&setup.layout.agent_log().display().to_string(), target.clone());
        own.rules.datetime_format = Some(AGENT_LOG_TIME.to_owned());
        files.push(own);
    }
    if let Some(target) = &settings.metrics {
        files.push(FileSettings::new(&setup.layout.metrics_log().display().to_string(), target.clone()));
    }
    let zone = clock::local_zone();
    let source = |file: &FileSettings| {
        let what = || format!("logs: {} cannot be followed", file.file);
        FileSource::new(file, names.clone(), &zone).with_context(what).map_err(usage)
    };
    files.iter().map(source).collect()
}

/// Follows the logs of every group's deployments.
pub fn follow_deployments(tail: &mut Tail, setup: &Setup, settings: &LogSettings, names: &Names, state: &State) {
    let Some(target) = &settings.deployments else { return };
    for group in state.groups.values() {
        if let Err(error) = follow_group(tail, setup, target, names, &group.key) {
            log::error!(error:%; "{}: the logs of its deployments cannot be followed: {error}", group.key);
        }
    }
}

fn follow_group(
    tail: &mut Tail,
    setup: &Setup,
    target: &Target,
    names: &Names,
    key: &hostler_core::ids::GroupKey,
) -> Result<(), hostler_host::log_follow::BadSource> {
    const LOGS: &str = "*/logs/scripts.log";
    let pattern = setup.layout.group(key).join(LOGS);
    let mut file = FileSettings::new(&pattern.display().to_string(), target.clone());
    file.rules.datetime_format = Some(SCRIPTS_LOG_TIME.to_owned());
    let names =
        names.clone().with("application", key.application.as_str()).with("deployment_group", key.group.as_str());
    let source = FileSource::new(&file, names, &clock::local_zone())?;
    // An older agent's positions have that name; lines that it shipped are not shipped again.
    let source = source.known_as(&setup.layout.named_group(key).join(LOGS));
    tail.follow(source.of_deployments(), clock::now_ms());
    Ok(())
}
