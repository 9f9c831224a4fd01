//! `hostler migrate`: shows the CodeDeploy agent's files on this host and the changes to come; with `--apply`, makes
//! the changes. There is no gap: hostler starts first and waits for the CodeDeploy agent's end.

mod apply;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostler_core::appspec::AppspecName;
use hostler_core::appspec::spec::AppSpec;
use hostler_core::bundle::BundleListing;
use hostler_core::codedeploy::exposure::{Exposed, Rule};
use hostler_core::codes::ExitCode;
use hostler_core::ids::{DeploymentGroupId, DeploymentId, GroupKey};
use hostler_core::path_rule::UnsafePaths;
use hostler_core::plan::actions::InstalledEntry;
use hostler_core::plan::{LastPlaces, Leads, refused_ways, wanted};
use hostler_host::observe::observe;
use hostler_host::{archive, codedeploy_agent, install};
use serde::Serialize;

use crate::cli::{MigrateArgs, Shared};
use crate::codedeploy::compat::CodeDeployCompat;
use crate::codedeploy::exposure;
use crate::codedeploy::records;
use crate::codedeploy::source::{TRACKING_AGE, other_agent};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::setup::Setup;
use crate::work::bundle::read_kept_appspec;

/// The most unsafe ways of a group that are printed.
const NAMED_WAYS: usize = 10;

/// The findings and the steps; printed with `--json`.
#[derive(Debug, Serialize)]
struct Findings {
    version: u32,
    /// The path of the CodeDeploy agent's configuration, and whether the file exists.
    agent_config: PathBuf,
    agent_config_exists: bool,
    /// The keys in it without a meaning for hostler.
    keys_without_effect: Vec<String>,
    /// This host's name: an ARN outside EC2.
    on_premises: Option<String>,
    /// The CodeDeploy agent's process.
    running: Option<u32>,
    /// The CodeDeploy agent's unit, or its script in /etc/init.d.
    started_by: Option<PathBuf>,
    /// Its commands in progress, or unfinished ones.
    unfinished_commands: Vec<String>,
    groups: Vec<GroupFound>,
    /// Directories that users other than root may change, which would give them root's rights.
    directories: Vec<DirectoryFound>,
    /// Its configuration and the on-premises file, if other users may change the files or their parents.
    files: Vec<FileFound>,
    /// Directories and files now owned by root.
    mended: Vec<PathBuf>,
    /// The file that enables hostler in the CodeDeploy agent's place.
    writes: PathBuf,
    /// The steps that `--apply` took, in order, one text each.
    done: Vec<String>,
    /// Whether all steps succeeded.
    applied: bool,
}

#[derive(Debug, Serialize)]
struct GroupFound {
    id: String,
    /// The deployment whose files are on the host.
    last_successful: String,
    /// Whether its bundle exists here: the next deployment runs its ApplicationStop.
    bundle_is_here: bool,
    /// The symbolic links below its destinations that the bundle goes through.
    links: Vec<LinkFound>,
    /// The directories that deployments reach by steps that the path rule refuses.
    unsafe_ways: Vec<WayFound>,
}

#[derive(Debug, Serialize)]
struct WayFound {
    path: PathBuf,
    /// Why the step is refused.
    refused: String,
}

#[derive(Debug, Serialize)]
struct DirectoryFound {
    path: PathBuf,
    uid: u32,
    gid: u32,
    mode: String,
    /// The problem.
    problem: String,
    /// Whether `--apply` repairs it: the agent's own directory, and not a link.
    mendable: bool,
}

#[derive(Debug, Serialize)]
struct FileFound {
    path: PathBuf,
    /// The problem.
    problem: String,
    /// The command that repairs it.
    remedy: String,
}

#[derive(Debug, Serialize)]
struct LinkFound {
    path: PathBuf,
    target: PathBuf,
    /// Why deployments through the link are refused; `None` if the link is followed.
    refused: Option<String>,
    /// Whether `unsafe_paths: warn` would allow them.
    #[serde(skip)]
    by_unsafe_step: bool,
}

impl Findings {
    /// Whether deployments only work as before if unsafe ways are allowed.
    fn needs_unsafe_paths(&self) -> bool {
        let group =
            |group: &GroupFound| !group.unsafe_ways.is_empty() || group.links.iter().any(|link| link.by_unsafe_step);
        self.groups.iter().any(group)
    }
}

pub fn run(shared: &Shared, arguments: &MigrateArgs) -> Outcome {
    let setup = Arc::new(Setup::adjusted(shared, |settings| settings.codedeploy.enabled = true)?);
    let Some(compat) = setup.codedeploy_compat.clone() else {
        return Err(Failure::say(ExitCode::Failed, "a fault in hostler: no configuration of the CodeDeploy agent"));
    };
    let mut findings = look(&setup, &compat)?;
    if arguments.apply {
        if findings.running.is_some() && !findings.unfinished_commands.is_empty() {
            let message = "the CodeDeploy agent carries out a command of a deployment; nothing was changed";
            return Err(Failure::say(ExitCode::Refused, message).hint("wait for the deployment's end, and ask again"));
        }
        if let Err(failure) = apply::apply(&setup, &compat, &mut findings) {
            if !findings.done.is_empty() {
                show(&setup, &findings)?;
            }
            return Err(failure);
        }
    }
    show(&setup, &findings)?;
    Ok(ExitCode::Ok)
}

fn show(setup: &Setup, findings: &Findings) -> Result<(), Failure> {
    if setup.json {
        output::json(findings)?
    } else {
        output::text(&text(findings))?
    }
    Ok(())
}

fn look(setup: &Setup, compat: &CodeDeployCompat) -> Result<Findings, Failure> {
    let agent_config = setup.layout.beneath_root(&setup.settings.codedeploy.agent_config);
    let tracking = setup.layout.codedeploy(&compat.agent.ongoing_deployment_tracking);
    Ok(Findings {
        version: 1,
        agent_config_exists: agent_config.exists(),
        agent_config,
        keys_without_effect: compat.agent.without_effect.clone(),
        on_premises: compat.on_premises.as_ref().map(|host| host.host_identifier.clone()),
        running: other_agent(setup, compat).map(|agent| agent.pid),
        started_by: apply::starts_the_agent(setup),
        unfinished_commands: codedeploy_agent::interrupted_commands(&tracking, TRACKING_AGE)?,
        groups: groups(setup)?,
        directories: exposure::exposed(setup, compat)?.iter().map(DirectoryFound::of).collect(),
        files: exposure::exposed_files(setup, compat).iter().map(FileFound::of).collect(),
        mended: Vec::new(),
        writes: setup.layout.root().join("etc/hostler/config.d/50-codedeploy.yaml"),
        done: Vec::new(),
        applied: false,
    })
}

fn groups(setup: &Setup) -> Result<Vec<GroupFound>, Failure> {
    let say = |problem| Failure::say(ExitCode::Failed, problem);
    let mut found = Vec::new();
    for (id, deployment) in records::groups(setup).map_err(say)? {
        let Ok(service_id) = id.parse::<DeploymentGroupId>() else { continue };
        // The location of its directory does not depend on the names.
        let key = GroupKey { codedeploy_group_id: Some(service_id), ..GroupKey::new("any".parse()?, "any".parse()?) };
        let archive = setup.layout.deployment(&key, &deployment).archive();
        let last = records::last_install(setup, &key, ours(setup, &key, &deployment)).map_err(say)?;
        let ours = last.as_ref().is_some_and(|last| last.ours);
        let journal = setup.layout.deployment(&key, &deployment).journal();
        let places = if ours { install::installed_places(&journal)? } else { LastPlaces::Unknown };
        let (links, unsafe_ways) = ways(setup, &archive, last.map(|last| last.entries), places)?;
        let last_successful = deployment.to_string();
        found.push(GroupFound { id, last_successful, bundle_is_here: archive.is_dir(), links, unsafe_ways });
    }
    Ok(found)
}

/// The entries that this agent's Install of a deployment put on the host, if there is such an Install that stands.
fn ours(setup: &Setup, key: &GroupKey, deployment: &DeploymentId) -> Option<Vec<InstalledEntry>> {
    install::installed(&setup.layout.deployment(key, deployment).journal()).ok()
}

/// The links that the next deployment of the same bundle would follow, and the ways that it is refused. If the bundle
/// cannot be read, those of the installed files.
fn ways(
    setup: &Setup,
    archive: &Path,
    last: Option<Vec<InstalledEntry>>,
    places: LastPlaces,
) -> Result<(Vec<LinkFound>, Vec<WayFound>), Failure> {
    let bundle = archive::list(archive).ok().and_then(|listing| {
        let read = read_kept_appspec(archive, &listing, AppspecName::default(), &setup.limits).ok()?;
        wanted(&read.spec, &listing, last.clone()).ok()
    });
    let wanted = match bundle {
        Some(wanted) => wanted,
        None => wanted(&AppSpec::default(), &BundleListing::default(), last).unwrap_or_default(),
    };
    let wanted = wanted.following_safe_links().entering(places, UnsafePaths::Refuse);
    let facts = observe(&wanted, setup.layout.root())?;
    let found = wanted.links_below(&facts).map(|(path, target, leads)| LinkFound {
        path: path.to_owned(),
        target: target.to_owned(),
        refused: match leads {
            Leads::Directory { .. } => None,
            Leads::Unsafe(step) => Some(step.to_string()),
            Leads::OutOfRoot => Some("it leads out of the root prefix".to_owned()),
            Leads::Elsewhere | Leads::NotFollowed => Some("it does not lead to a directory".to_owned()),
        },
        by_unsafe_step: matches!(leads, Leads::Unsafe(_)),
    });
    let refused =
        refused_ways(&wanted, &facts).map(|(path, step)| WayFound { path: path.to_owned(), refused: step.to_string() });
    Ok((found.collect(), refused.collect()))
}

impl FileFound {
    fn of(exposed: &Exposed) -> Self {
        let (problem, remedy) = (exposure::text(exposed), exposure::by_hand(std::slice::from_ref(exposed)));
        Self { path: exposed.place.path.clone(), problem, remedy }
    }
}

impl DirectoryFound {
    fn of(exposed: &Exposed) -> Self {
        let place = &exposed.place;
        Self {
            path: place.path.clone(),
            uid: place.uid,
            gid: place.gid,
            mode: format!("{:04o}", place.mode),
            problem: exposure::text(exposed),
            mendable: exposed.rule == Rule::Own,
        }
    }
}

fn text(findings: &Findings) -> String {
    let mut lines = Vec::new();
    let config = findings.agent_config.display();
    lines.push(match findings.agent_config_exists {
        true => format!("configuration    {config} is read"),
        false => format!("configuration    {config} does not exist: the CodeDeploy agent's defaults are used"),
    });
    if !findings.keys_without_effect.is_empty() {
        lines.push(format!("                 without effect: {}", findings.keys_without_effect.join(", ")));
    }
    if let Some(arn) = &findings.on_premises {
        lines.push(format!("this host        {arn}, by the on-premises file"));
    }
    lines.push(match findings.running {
        Some(pid) => format!("CodeDeploy agent runs (process {pid})"),
        None => "CodeDeploy agent does not run".to_owned(),
    });
    if let Some(path) = &findings.started_by {
        lines.push(format!("                 {} starts it", path.display()));
    }
    for command in &findings.unfinished_commands {
        lines.push(format!("                 unfinished command {command}"));
    }
    for group in &findings.groups {
        let bundle = if group.bundle_is_here {
            "its ApplicationStop runs before the next deployment"
        } else {
            "its bundle is gone, so its ApplicationStop is left out"
        };
        lines.push(format!("group            {}: {} is on the host; {bundle}", group.id, group.last_successful));
        for WayFound { path, refused } in group.unsafe_ways.iter().take(NAMED_WAYS) {
            let path = path.display();
            lines.push(format!("                 way to {path}: REFUSED without unsafe_paths: warn: {refused}"));
        }
        if let Some(more) = group.unsafe_ways.len().checked_sub(NAMED_WAYS).filter(|more| *more > 0) {
            lines.push(format!("                 and {more} more ways like these, which --json lists"));
        }
        for LinkFound { path, target, refused, .. } in &group.links {
            let verdict = match refused {
                None => "it is followed, as by the CodeDeploy agent".to_owned(),
                Some(why) => format!("deployments through it are REFUSED: {why}"),
            };
            let (path, target) = (path.display(), target.display());
            lines.push(format!("                 link {path} -> {target} below a destination: {verdict}"));
        }
    }
    for found in &findings.directories {
        lines.push(match (!findings.done.is_empty(), found.mendable) {
            (true, _) => format!("was open         {}", found.problem),
            (false, true) => format!("open to others   {}; --apply gives it to root", found.problem),
            (false, false) => {
                format!("open to others   {}; change that by hand, hostler does not start before", found.problem)
            }
        });
    }
    for FileFound { problem, remedy, .. } in &findings.files {
        lines.push(format!("open to others   {problem}; change that by hand: {remedy}"));
    }
    for path in &findings.mended {
        lines.push(format!("given to root    {}", path.display()));
    }
    let writes = findings.writes.display();
    if findings.needs_unsafe_paths() {
        let sets = if !findings.done.is_empty() { "is written" } else { "would be written" };
        lines.push(format!(
            "unsafe paths     unsafe_paths: warn {sets} beside it, so that deployments go on as before; each deployment warns \
             of such a way and notes the place, and once none warns any more the setting can go"
        ));
    }
    for (number, done) in findings.done.iter().enumerate() {
        lines.push(format!("{:<17}{done}", if number == 0 { "done" } else { "" }));
    }
    if findings.done.is_empty() {
        lines.push(format!(
            "would change     {writes} is written, hostler is started and waits, then the CodeDeploy agent is stopped and \
             disabled: hostler migrate --apply"
        ));
    }
    lines.join("\n") + "\n"
}
