//! Keeps other users from changing the files that the agent relies on in the CodeDeploy agent's place: write access to
//! its directories would give them the rights of root.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use hostler_core::codedeploy::exposure::{By, Exposed, Rule};
use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentId, GroupKey};
use hostler_core::machine::state::Script;
use hostler_host::codedeploy_agent::places::{self, Directories};
use hostler_host::users;

use crate::codedeploy::compat::CodeDeployCompat;
use crate::failure::Failure;
use crate::setup::Setup;

/// The directories that the CodeDeploy agent's package makes; its users chown them as a whole.
const TOPS: [&str; 2] = ["/opt/codedeploy-agent", "/var/log/aws"];
/// The number of entries that a long list shows.
const LISTED: usize = 20;

fn directories(setup: &Setup, compat: &CodeDeployCompat) -> Directories {
    let (layout, agent) = (&setup.layout, &compat.agent);
    Directories {
        tops: TOPS.iter().map(|top| layout.beneath_root(Path::new(top))).collect(),
        deployments: layout.codedeploy(""),
        others: vec![
            layout.beneath_root(&agent.log_dir),
            layout.beneath_root(&agent.pid_dir),
            layout.codedeploy(&agent.ongoing_deployment_tracking),
        ],
    }
}

/// The directories that users other than root and the agent may change.
///
/// # Errors
/// A directory cannot be read.
pub fn exposed(setup: &Setup, compat: &CodeDeployCompat) -> Result<Vec<Exposed>, Failure> {
    Ok(places::exposed(&directories(setup, compat), places::agent())?)
}

/// The files that name those directories and this host, if other users may change them.
pub fn exposed_files(setup: &Setup, compat: &CodeDeployCompat) -> Vec<Exposed> {
    let on_premises = compat.on_premises.as_ref().map(|_| &compat.agent.on_premises_config_file);
    let files = [Some(&setup.settings.codedeploy.agent_config), on_premises].into_iter().flatten();
    let files = files.map(|file| setup.layout.beneath_root(file)).filter(|file| file.exists());
    files.flat_map(|file| places::exposed_file(&file, places::agent())).collect()
}

/// Warns of those files. The agent still starts: the files belong to an administrator, and upgraded hosts must come up.
pub fn warn_of_exposed_files(setup: &Setup, compat: &CodeDeployCompat) {
    let found = exposed_files(setup, compat);
    if !found.is_empty() {
        log::warn!("in the CodeDeploy agent's place {}; {}", texts(&found).join("; "), by_hand(&found));
    }
}

/// Refuses to serve in the CodeDeploy agent's place while others may change its directories.
///
/// # Errors
/// Refused; the message names each directory, and the hint gives the remedy.
pub fn refuse_exposed(setup: &Setup, compat: &CodeDeployCompat) -> Result<(), Failure> {
    let found = exposed(setup, compat)?;
    if found.is_empty() {
        return Ok(());
    }
    let message = format!("in the CodeDeploy agent's place {}", texts(&found).join("; "));
    Err(Failure::say(ExitCode::Refused, message).hint(remedy(&found)))
}

/// The problem of each directory, and why it matters.
pub fn texts(found: &[Exposed]) -> Vec<String> {
    let mut texts: Vec<String> = found.iter().take(LISTED).map(text).collect();
    if let more @ 1.. = found.len().saturating_sub(LISTED) {
        texts.push(format!("and {more} more directories"));
    }
    texts
}

/// The problem of one directory.
pub fn text(exposed: &Exposed) -> String {
    let Exposed { place, by, rule } = exposed;
    let owner = users::describe(place.uid);
    if *rule == Rule::Link {
        return format!(
            "{} is a symbolic link that belongs to {owner}: {owner} could have the agent do anything as root",
            place.path.display()
        );
    }
    let who = match by {
        By::Owner => format!("{owner} could have the agent do anything as root"),
        By::Group => format!("its group {} could have the agent do anything as root", place.gid),
        By::List => "those whom its access control list lets write could have the agent do anything as root".to_owned(),
        By::Everybody => "every user could have the agent do anything as root".to_owned(),
    };
    format!("{} belongs to {owner} with mode {:04o}: {who}", place.path.display(), place.mode)
}

/// The commands that repair it.
pub fn remedy(found: &[Exposed]) -> String {
    let by_hand = by_hand(found);
    if found.iter().all(|exposed| exposed.rule == Rule::Own) {
        format!("hostler migrate --apply mends it; by hand: {by_hand}")
    } else {
        format!(
            "{by_hand}; or set root_dir, log_dir and pid_dir in codedeployagent.yml to directories below root's own"
        )
    }
}

/// The commands that repair it without hostler.
pub fn by_hand(found: &[Exposed]) -> String {
    let list = |choose: fn(&&Exposed) -> bool| {
        let chosen = found.iter().filter(choose).take(LISTED).map(|exposed| quoted(&exposed.place.path));
        Some(chosen.collect::<Vec<_>>().join(" ")).filter(|paths| !paths.is_empty())
    };
    // chmod would follow a link.
    let links = list(|exposed| exposed.rule == Rule::Link).map(|links| {
        format!("look where each of these leads: {links}; remove it, or, if it leads to what is to be the agent's, chown -h root:root it")
    });
    let owners = list(|exposed| exposed.rule != Rule::Link && exposed.by == By::Owner);
    let owners = owners.map(|owners| format!("chown -h root:root {owners}"));
    let all = list(|exposed| exposed.rule != Rule::Link).map(|all| format!("chmod go-w {all}"));
    [owners, all, links].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Gives the agent's directories, and the files in its log and pid directories, to root. Files in unpacked bundles and
/// the records for the next agent keep their owner: it must stay visible that a user wrote them.
///
/// # Errors
/// An owner cannot be changed.
pub fn mend(setup: &Setup, compat: &CodeDeployCompat, found: &[Exposed]) -> Result<Vec<PathBuf>, Failure> {
    let directories = directories(setup, compat);
    let mut mended = Vec::new();
    let cannot = |path: &Path, error: std::io::Error| {
        Failure::say(ExitCode::Failed, format!("cannot give {} to root: {error}", path.display()))
    };
    for exposed in found {
        let path = &exposed.place.path;
        places::mend(exposed, &directories.deployments).map_err(|error| cannot(path, error))?;
        mended.push(path.clone());
    }
    let logs = setup.layout.codedeploy("deployment-logs");
    for directory in directories.others.iter().chain([&logs]) {
        let files = places::mend_files(directory, places::agent()).map_err(|error| cannot(directory, error))?;
        mended.extend(files.into_iter().map(|exposed| exposed.place.path));
    }
    Ok(mended)
}

/// The use of an unpacked bundle.
#[derive(Debug, Clone, Copy)]
pub enum Use<'a> {
    /// Its files are installed, or it is unpacked again.
    Install,
    /// One of its scripts runs.
    Run(&'a Script),
}

/// Refuses an unpacked bundle of the CodeDeploy service that another user may have replaced. A missing bundle is not
/// refused.
///
/// # Errors
/// The reason for the refusal, and the remedy.
pub fn check_archive(setup: &Setup, key: &GroupKey, deployment: &DeploymentId, used: Use<'_>) -> Result<(), String> {
    if key.codedeploy_group_id.is_none() {
        return Ok(());
    }
    let archive = setup.layout.deployment(key, deployment).archive();
    let below =
        [key.id().as_ref(), deployment.as_str(), "deployment-archive"].iter().map(OsStr::new).collect::<PathBuf>();
    let places = match places::on_the_way_to_archive(&setup.layout.codedeploy(""), &below) {
        Ok(places) => places,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot look at {}: {error}", archive.display())),
    };
    let reader = match used {
        Use::Install => None,
        // An unknown user cannot run the script either; the attempt reports it.
        Use::Run(script) => Some(user_of(script).unwrap_or(0)),
    };
    let Some((last, above)) = places.split_last() else { return Ok(()) };
    match places::agent().judge_archive(above, last, reader) {
        None => Ok(()),
        Some(found) => Err(format!(
            "the unpacked bundle {} is not used: {}; if it is as it should be: {}",
            archive.display(),
            text(&found),
            by_hand(std::slice::from_ref(&found))
        )),
    }
}

fn user_of(script: &Script) -> Option<u32> {
    match script.user() {
        None => Some(users::own_uid()),
        Some(name) => users::lookup(name).ok().map(|user| user.uid),
    }
}
