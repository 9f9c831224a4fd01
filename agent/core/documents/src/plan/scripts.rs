//! What the scripts of a revision need on the host before they can start: their user, their interpreter, modes that let
//! the user read them, and a mount that allows execution.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::facts::AgentFact;
use super::problem::{Problem, ProblemCode, shown};
use super::problems::Problems;
use crate::appspec::keys::EVENTS;
use crate::appspec::lint::bundle_path;
use crate::appspec::spec::{AppSpec, HookScript, Position};
use crate::bundle::BundleListing;
use crate::elf::{self, Emulation, HostMachine};
use crate::health_check::Probe;

mod closed;
mod programs;

use programs::Program;

/// The scripts of a revision, and how the agent runs them.
#[derive(Debug, Clone, Copy)]
pub struct Scripts<'a> {
    /// The appspec that names them.
    pub spec: &'a AppSpec,
    /// The bundle that holds them.
    pub listing: &'a BundleListing,
    /// The first bytes of each script that is a plain file, by its path in the bundle.
    pub heads: &'a BTreeMap<PathBuf, Vec<u8>>,
    /// The user of scripts that name none; `None` is the agent's own.
    pub default_user: Option<&'a str>,
    /// The search path of hooks, as far as known.
    pub search_path: SearchPath<'a>,
}

/// Where `env` looks for a program.
#[derive(Debug, Clone, Copy)]
pub enum SearchPath<'a> {
    /// In these directories, unless the appspec gives the script others.
    Known(&'a str),
    /// Probably in these; a profile of the host may say otherwise.
    Likely(&'a str),
}

/// The questions to ask the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptQuestions {
    /// Users, by name or number.
    pub users: BTreeSet<String>,
    /// Absolute paths at which programs may be.
    pub programs: BTreeSet<PathBuf>,
}

/// The host's answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptFacts {
    /// The users that exist.
    pub users: BTreeMap<String, ScriptUser>,
    /// The paths with an executable program.
    pub programs: BTreeSet<PathBuf>,
    /// The mount point of the file system for unpacked bundles, if it forbids execution.
    pub noexec: Option<PathBuf>,
    /// The machine type of this host, if known.
    pub machine: Option<HostMachine>,
    /// The user that the agent runs as, which owns the unpacked bundle.
    pub agent: AgentFact,
}

/// A user as the kernel sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptUser {
    /// User id.
    pub uid: u32,
    /// All group ids.
    pub gids: Vec<u32>,
}

/// A reason why a script cannot start on the host in its current state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptProblem {
    /// The reason.
    pub problem: Problem,
    /// What may still fix it in time.
    pub remedy: Remedy,
}

/// What may fix a problem before the script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing: no earlier script of the deployment runs.
    Nothing,
    /// An earlier script, from BeforeInstall on; any script, if only the next deployment runs this one.
    EarlierScript,
    /// There may be no problem: the needed file may be in a place that was not searched.
    Uncertain,
}

/// Sorts problems into errors and warnings. With `recheck`, problems that an earlier script may fix are no errors yet.
pub fn judge_scripts(found: Vec<ScriptProblem>, recheck: bool) -> (Problems, Vec<Problem>) {
    let (mut errors, mut warnings) = (Problems::default(), Problems::default());
    for ScriptProblem { problem, remedy } in found {
        let list = match remedy {
            Remedy::EarlierScript if recheck => &mut warnings,
            Remedy::Nothing | Remedy::EarlierScript => &mut errors,
            Remedy::Uncertain => &mut warnings,
        };
        list.push(problem);
    }
    (errors, warnings.into())
}

const FIRST_LINE: &str = "or correct the first line of the script";
const LOADER: &str = "or build the program for the C library that this host has, or statically";

/// A script, and the scripts that run before it.
#[derive(Clone, Copy)]
struct Turn<'a> {
    script: &'a HookScript,
    remedy: Remedy,
    after_install: bool,
}

impl<'a> Scripts<'a> {
    /// The questions to ask the host.
    pub fn questions(self) -> ScriptQuestions {
        let turns = self.turns();
        let programs = self.programs(&turns).into_iter().flat_map(|(_, program)| program.places);
        ScriptQuestions {
            users: self.users(&turns).into_iter().map(|need| need.name.to_owned()).collect(),
            programs: programs.collect(),
        }
    }

    /// All reasons why scripts cannot start; each user and interpreter once, for the first script that needs it.
    pub fn problems(self, facts: &ScriptFacts) -> Vec<ScriptProblem> {
        let turns = self.turns();
        let mut problems = Vec::new();
        problems.extend(noexec(&turns, facts));
        problems.extend(self.unknown_users(&turns, facts));
        problems.extend(self.forbidden_users(&turns, facts));
        problems.extend(self.of_other_machines(&turns, facts));
        problems.extend(self.missing_programs(&turns, facts));
        problems.extend(self.closed(&turns, facts));
        problems
    }

    /// All scripts in execution order. The events that stop an application come last: this revision's run in the next
    /// deployment.
    fn turns(self) -> Vec<Turn<'a>> {
        let (stop, start) = EVENTS.split_at(EVENTS.iter().position(|event| *event == "BeforeInstall").unwrap_or(0));
        let mut turns = Vec::new();
        for event in start.iter().chain(stop) {
            for script in self.spec.scripts(event) {
                let earlier = !turns.is_empty() || stop.contains(event);
                let remedy = if earlier { Remedy::EarlierScript } else { Remedy::Nothing };
                turns.push(Turn { script, remedy, after_install: *event != "BeforeInstall" });
            }
        }
        turns
    }

    fn user_of(self, script: &'a HookScript) -> Option<&'a str> {
        script.user().or(self.default_user)
    }

    fn users(self, turns: &[Turn<'a>]) -> Vec<UserNeed<'a>> {
        let of_scripts = turns.iter().filter_map(|turn| {
            let (name, at) = (self.user_of(turn.script)?, turn.script.runas_at.unwrap_or(turn.script.at));
            Some(UserNeed { name, who: format!("the script {:?}", turn.script.location), at, remedy: turn.remedy })
        });
        let any_before = if turns.is_empty() { Remedy::Nothing } else { Remedy::EarlierScript };
        let of_checks = self.spec.extension.health.iter().filter_map(move |check| match &check.check.probe {
            Probe::Command { runas: Some(name), location } => {
                let who = format!("the health check {location:?}");
                Some(UserNeed { name, who, at: check.at, remedy: any_before })
            }
            _ => None,
        });
        let mut seen = BTreeSet::new();
        of_scripts.chain(of_checks).filter(|need| seen.insert(need.name)).collect()
    }

    fn unknown_users(self, turns: &[Turn<'a>], facts: &ScriptFacts) -> Vec<ScriptProblem> {
        let unknown = self.users(turns).into_iter().filter(|need| !facts.users.contains_key(need.name));
        let problem = |need: UserNeed<'_>| {
            let message = format!("the user {:?}, whom {} runs as, is unknown on this host", need.name, need.who);
            let hint = supply("create the user", need.remedy, "or correct the name");
            let problem = Problem::new(ProblemCode::UnknownUser, message, hint).at(need.at);
            ScriptProblem { problem, remedy: need.remedy }
        };
        unknown.map(problem).collect()
    }

    /// Users to whom an agent that is not root cannot change. No script before can help.
    fn forbidden_users(self, turns: &[Turn<'a>], facts: &ScriptFacts) -> Vec<ScriptProblem> {
        let own = facts.agent.uid;
        let is_other = |need: &UserNeed<'_>| facts.users.get(need.name).is_some_and(|user| user.uid != own);
        let forbidden = self.users(turns).into_iter().filter(|need| own != 0 && is_other(need));
        let problem = |need: UserNeed<'_>| {
            let message = format!(
                "{} runs as the user {:?}, and hostler runs as user {own}: only root can change to another user",
                need.who, need.name
            );
            let hint = "run hostler as root, or leave out `runas` and `sudo`";
            let problem = Problem::new(ProblemCode::UserNotPermitted, message, hint).at(need.at);
            ScriptProblem { problem, remedy: Remedy::Nothing }
        };
        forbidden.map(problem).collect()
    }

    /// The programs that scripts need; each script once.
    fn programs(self, turns: &[Turn<'a>]) -> Vec<(Turn<'a>, Program)> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for turn in turns {
            let Some(path) = bundle_path(&turn.script.location) else { continue };
            let Some(head) = self.heads.get(&path).filter(|_| seen.insert(path)) else { continue };
            found.extend(programs::of(turn.script, head, self.search_path).into_iter().map(|program| (*turn, program)));
        }
        found
    }

    /// Programs in the place of scripts that are built for another machine; each once.
    fn of_other_machines(self, turns: &[Turn<'a>], facts: &ScriptFacts) -> Vec<ScriptProblem> {
        let Some(HostMachine { machine: host, emulation }) = facts.machine else { return Vec::new() };
        if emulation == Emulation::Present {
            return Vec::new();
        }
        let mut told = BTreeSet::new();
        let mut problems = Vec::new();
        for Turn { script, remedy, .. } in turns {
            let Some(path) = bundle_path(&script.location) else { continue };
            let Some(program) = self.heads.get(&path).and_then(|head| elf::read(head)) else { continue };
            if program.machine.runs_on(host) || !told.insert(path) {
                continue;
            }
            let (built_for, host) = (program.machine.name(), host.name());
            let message =
                format!("the program {:?} is built for {built_for}, and this host is {host}", script.location);
            let hint = format!("build it for {host}, or deploy this bundle to hosts of {built_for} only");
            let problem = Problem::new(ProblemCode::WrongArchitecture, message, hint).at(script.at);
            let remedy = if emulation == Emulation::Absent { *remedy } else { Remedy::Uncertain };
            problems.push(ScriptProblem { problem, remedy });
        }
        problems
    }

    fn missing_programs(self, turns: &[Turn<'a>], facts: &ScriptFacts) -> Vec<ScriptProblem> {
        let mut told = BTreeSet::new();
        let mut problems = Vec::new();
        let is_ours = |program: &Program| match (program.machine, facts.machine) {
            (Some(machine), Some(host)) => machine.runs_on(host.machine),
            // The loader of another machine's program may be where the emulator expects it.
            (Some(_), None) => false,
            (None, _) => true,
        };
        for (turn, program) in self.programs(turns).into_iter().filter(|(_, program)| is_ours(program)) {
            if program.places.iter().any(|place| facts.programs.contains(place)) {
                continue;
            }
            let brought = |place: &PathBuf| programs::is_installed(self.spec, self.listing, place);
            if turn.after_install && program.places.iter().any(brought) || !told.insert(program.name.clone()) {
                continue;
            }
            let below = program.places.iter().any(|place| programs::is_below_destination(self.spec, place));
            // A hook often builds it there: a virtual environment, or modules with their own programs.
            let remedy = match turn.remedy {
                _ if !program.is_sure => Remedy::Uncertain,
                Remedy::EarlierScript if below => Remedy::Uncertain,
                remedy => remedy,
            };
            let location = &turn.script.location;
            let (name, needed_by) = (&program.name, if program.machine.is_some() { "program" } else { "script" });
            let message = format!("this host has no {name:?}, which the {needed_by} {location:?} is run with");
            let hint = supply("install it", remedy, if program.machine.is_some() { LOADER } else { FIRST_LINE });
            let problem = Problem::new(ProblemCode::InterpreterMissing, message, hint).at(turn.script.at);
            problems.push(ScriptProblem { problem, remedy });
        }
        problems
    }

    /// Scripts that their users may not read, each once.
    fn closed(self, turns: &[Turn<'a>], facts: &ScriptFacts) -> Vec<ScriptProblem> {
        let mut told = BTreeSet::new();
        let mut problems = Vec::new();
        for turn in turns {
            let Some((name, user)) = self.user_of(turn.script).and_then(|name| facts.users.get_key_value(name)) else {
                continue;
            };
            let Some(path) = bundle_path(&turn.script.location) else { continue };
            let is_text = !self.heads.get(&path).is_some_and(|head| head.starts_with(b"\x7fELF"));
            let Some(closed) = closed::to(user, &facts.agent, self.listing, &path, is_text) else { continue };
            if !told.insert(closed.path.to_owned()) {
                continue;
            }
            let message = format!(
                "the script {:?} runs as {name:?}, who may not {} {} of the bundle (mode {:04o})",
                turn.script.location,
                closed.what,
                shown(closed.path),
                closed.mode
            );
            let hint = format!("run `chmod go+rx {}` before the bundle is packed", shown(closed.path));
            let problem =
                Problem::new(ProblemCode::ScriptClosedToUser, message, hint).path(closed.path).at(turn.script.at);
            problems.push(ScriptProblem { problem, remedy: turn.remedy });
        }
        problems
    }
}

struct UserNeed<'a> {
    name: &'a str,
    who: String,
    at: Position,
    remedy: Remedy,
}

fn noexec(turns: &[Turn<'_>], facts: &ScriptFacts) -> Option<ScriptProblem> {
    let (first, mount) = (turns.first()?, facts.noexec.as_ref()?);
    let mount = shown(mount);
    let message = format!("bundles are unpacked on {mount}, which is mounted noexec: none of their scripts can start");
    let hint = format!("run `mount -o remount,exec {mount}`, or have the agent's state on another mount");
    let problem = Problem::new(ProblemCode::NoexecMount, message, hint).at(first.script.at);
    // No script can start, so none can fix it.
    Some(ScriptProblem { problem, remedy: Remedy::Nothing })
}

/// The remedy for something that the host lacks.
fn supply(how: &str, remedy: Remedy, or: &str) -> String {
    match remedy {
        Remedy::Nothing | Remedy::Uncertain => format!("{how} when the image is made, {or}"),
        Remedy::EarlierScript => format!(
            "{how} when the image is made, or in BeforeInstall with `hostler: {{install: {{recheck_after: \
             BeforeInstall}}}}`, {or}"
        ),
    }
}

#[cfg(test)]
mod tests;
