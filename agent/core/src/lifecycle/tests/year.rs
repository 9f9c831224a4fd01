//! A simulated year of a host's life: a group, EC2, IMDS and an agent that dies, in random order. The decisions are the
//! real ones; their actions apply to a model of the group that follows AWS's documentation.

use proptest::prelude::*;

use super::*;

/// An event in the host's life.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// This many seconds without any event.
    Pass(u32),
    ScaleIn,
    IntoPool,
    OutOfPool,
    EnterStandby,
    ExitStandby,
    Detach,
    Spot,
    /// EC2 recommends another instance, and later withdraws that.
    Rebalance,
    /// EC2 stops and starts the instance in this many minutes, or calls that off.
    ScheduledStop(u8, bool),
    ScheduledReboot,
    /// The clock is set by this many seconds.
    ClockSet(i32),
    /// The agent dies and starts again; only the journal is left.
    Crash,
    /// IMDS does not answer for this many ticks.
    ImdsOff(u8),
    DescribeOff(u8),
    /// The next completions are accepted and their answers lost.
    AnswersLost(u8),
    /// The next completions come too early and are refused as unknown.
    TooEarly(u8),
    HookDeleted,
    /// The next work fails.
    WorkFails,
    /// An unknown state, for a while.
    StrangeWord(u8),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => (1_u32..7200).prop_map(Fate::Pass),
        2 => (86_400_u32..864_000).prop_map(Fate::Pass),
        1 => Just(Fate::ScaleIn),
        2 => Just(Fate::IntoPool),
        3 => Just(Fate::OutOfPool),
        1 => Just(Fate::EnterStandby),
        2 => Just(Fate::ExitStandby),
        1 => Just(Fate::Detach),
        1 => Just(Fate::Spot),
        1 => Just(Fate::Rebalance),
        1 => (0_u8..60, any::<bool>()).prop_map(|(minutes, off)| Fate::ScheduledStop(minutes, off)),
        1 => Just(Fate::ScheduledReboot),
        1 => (-100_000_i32..100_000).prop_map(Fate::ClockSet),
        4 => Just(Fate::Crash),
        1 => (1_u8..20).prop_map(Fate::ImdsOff),
        1 => (1_u8..20).prop_map(Fate::DescribeOff),
        2 => (1_u8..4).prop_map(Fate::AnswersLost),
        2 => (1_u8..4).prop_map(Fate::TooEarly),
        1 => Just(Fate::HookDeleted),
        1 => Just(Fate::WorkFails),
        1 => (1_u8..10).prop_map(Fate::StrangeWord),
    ]
}

const HEARTBEAT: u64 = 300;

/// A wait of the group for the hook `ours`.
#[derive(Debug, Clone, Default)]
struct Wait {
    id: u64,
    over_ms: u64,
    global_ms: u64,
    /// The results that the agent sent for it.
    sent: Vec<HookOutcome>,
    /// The result that the group accepted.
    result: Option<HookOutcome>,
}

/// The group, EC2 and the host.
#[derive(Debug)]
struct World {
    now_ms: u64,
    current: &'static str,
    target: &'static str,
    wait: Option<Wait>,
    waits: u64,
    hook_exists: bool,
    spot: Option<u64>,
    rebalance: bool,
    /// When EC2 stops the instance, and whether that is called off before.
    stop: Option<(u64, bool)>,
    reboot: bool,
    rebalances: Rebalance,
    /// Milliseconds by which this host's clock is ahead of the world's.
    ahead_ms: i64,
    imds_off: u8,
    describe_off: u8,
    lost: u8,
    early: u8,
    strange: u8,
    work_fails: bool,
    /// The application runs.
    runs: bool,
    /// Ticks that the work still takes.
    work_left: u8,
    gone: bool,
}

impl World {
    fn new(rebalances: Rebalance) -> Self {
        let mut world = Self {
            now_ms: 1_000_000_000,
            current: "Pending",
            target: "InService",
            wait: None,
            waits: 0,
            hook_exists: true,
            spot: None,
            rebalance: false,
            stop: None,
            reboot: false,
            rebalances,
            ahead_ms: 0,
            imds_off: 0,
            describe_off: 0,
            lost: 0,
            early: 0,
            strange: 0,
            work_fails: false,
            runs: false,
            work_left: 0,
            gone: false,
        };
        world.enter("Pending:Wait");
        world
    }

    /// Enters a state in which a hook waits; without a hook the group continues at once.
    fn enter(&mut self, state: &'static str) {
        self.current = state;
        self.work_left = 3;
        if !self.hook_exists {
            self.wait = None;
            return self.leave(HookOutcome::Continue);
        }
        self.waits += 1;
        let global_ms = self.now_ms + HEARTBEAT * 100 * 1000;
        let over_ms = self.now_ms + HEARTBEAT * 1000;
        self.wait = Some(Wait { id: self.waits, over_ms, global_ms, ..Wait::default() });
    }

    /// The wait is over.
    fn leave(&mut self, result: HookOutcome) {
        self.wait = None;
        let launch_failed = result == HookOutcome::Abandon;
        (self.current, self.gone) = match (self.current, self.target) {
            ("Pending:Wait", "InService") if !launch_failed => ("InService", false),
            ("Warmed:Pending:Wait", _) if !launch_failed => ("Warmed:Stopped", false),
            ("Terminating:Wait", "Warmed:Stopped") if !launch_failed => {
                self.enter("Warmed:Pending:Wait");
                return;
            }
            _ => ("Terminated", true),
        };
    }

    fn tick(&mut self, seconds: u64) {
        self.now_ms += seconds * 1000;
        if let Some(wait) = &self.wait
            && self.now_ms >= wait.over_ms.min(wait.global_ms)
        {
            // The default result of a launch is ABANDON, as CodeDeploy sets it.
            let default = if self.current == "Pending:Wait" { HookOutcome::Abandon } else { HookOutcome::Continue };
            self.leave(default);
        }
        if self.spot.is_some_and(|at| self.now_ms >= at) {
            self.gone = true;
        }
        match self.stop {
            Some((at, true)) if self.now_ms + 60_000 >= at => self.stop = None,
            Some((at, false)) if self.now_ms >= at => {
                self.stop = None;
                // The application of a launch that is still to be completed starts again with the host.
                self.runs &= self.current == "Pending:Wait";
            }
            _ => {}
        }
    }

    /// EC2's announcements.
    fn notices(&self) -> Vec<Notice> {
        let spot = self.spot.map(|at| notice(&format!("spot-{at}"), NoticeKind::Interruption, Some(at)));
        let rebalance = self.rebalance.then(|| notice("rebalance-1", NoticeKind::Rebalance, None));
        let stop = self.stop.map(|(at, _)| notice(&format!("e-1@{at}"), NoticeKind::Stop, Some(at)));
        let reboot = self.reboot.then(|| notice("e-2@1", NoticeKind::Reboot, Some(1)));
        [spot, rebalance, stop, reboot].into_iter().flatten().collect()
    }

    /// The time on this host's clock.
    fn clock_ms(&self) -> u64 {
        self.now_ms.saturating_add_signed(self.ahead_ms)
    }

    fn meet(&mut self, fate: Fate) {
        match (fate, self.current) {
            (Fate::Pass(_) | Fate::Crash | Fate::ClockSet(_), _) => {}
            (Fate::ScaleIn, "InService" | "Standby" | "Pending:Wait") => {
                self.target = "Terminated";
                self.enter("Terminating:Wait");
            }
            (Fate::ScaleIn, "Warmed:Stopped") => {
                self.target = "Warmed:Terminated";
                self.enter("Warmed:Terminating:Wait");
            }
            (Fate::IntoPool, "InService") => {
                self.target = "Warmed:Stopped";
                self.enter("Terminating:Wait");
            }
            (Fate::OutOfPool, "Warmed:Stopped") => {
                self.target = "InService";
                self.enter("Pending:Wait");
            }
            (Fate::EnterStandby, "InService") => (self.target, self.current) = ("Standby", "Standby"),
            (Fate::ExitStandby, "Standby") => (self.target, self.current) = ("InService", "InService"),
            (Fate::Detach, "InService" | "Pending:Wait") => {
                (self.target, self.current, self.wait) = ("Detached", "Detached", None);
            }
            (Fate::Spot, _) if self.spot.is_none() => self.spot = Some(self.now_ms + 120_000),
            (Fate::Rebalance, _) => self.rebalance = !self.rebalance,
            (Fate::ScheduledStop(minutes, off), _) if self.stop.is_none() => {
                self.stop = Some((self.now_ms + u64::from(minutes) * 60_000, off));
            }
            (Fate::ScheduledReboot, _) => self.reboot = !self.reboot,
            (Fate::ImdsOff(ticks), _) => self.imds_off = ticks,
            (Fate::DescribeOff(ticks), _) => self.describe_off = ticks,
            (Fate::AnswersLost(times), _) => self.lost = times,
            (Fate::TooEarly(times), _) => self.early = times,
            (Fate::StrangeWord(ticks), _) => self.strange = ticks,
            (Fate::WorkFails, _) => self.work_fails = true,
            (Fate::HookDeleted, _) => {
                self.hook_exists = false;
                if self.wait.is_some() {
                    // Deleting a hook completes its open actions.
                    self.leave(HookOutcome::Continue);
                }
            }
            _ => {}
        }
    }

    fn look(&mut self) -> Look {
        let spend = |count: &mut u8| {
            let any = *count > 0;
            *count = count.saturating_sub(1);
            any
        };
        let imds_off = spend(&mut self.imds_off);
        let target = (!imds_off).then(|| TargetLifecycleState::read(self.target));
        let notices = (!imds_off).then(|| self.notices());
        let strange = spend(&mut self.strange);
        let word = if strange { "ReplacingRootVolume:Wait" } else { self.current };
        let current = (!spend(&mut self.describe_off)).then(|| LifecycleState::read(word));
        let (now_ms, rebalance) = (self.clock_ms(), self.rebalances);
        Look { now_ms, target, current, group: Some("asg".to_owned()), notices, rebalance }
    }

    /// CompleteLifecycleAction. `true`: a good answer came.
    fn complete(&mut self, result: HookOutcome) -> Result<bool, TestCaseError> {
        let early = self.early > 0;
        self.early = self.early.saturating_sub(1);
        let Some(wait) = self.wait.as_mut().filter(|_| !early) else { return Ok(false) };
        prop_assert!(wait.sent.iter().all(|before| *before == result), "two results for wait {}: {:?}", wait.id, wait);
        wait.sent.push(result);
        wait.result = Some(result);
        match self.current {
            "Pending:Wait" if result == HookOutcome::Continue => prop_assert!(self.runs, "in service and not deployed"),
            "Terminating:Wait" | "Warmed:Terminating:Wait" | "Warmed:Pending:Wait" => {
                prop_assert!(!self.runs, "ended before it was stopped")
            }
            _ => {}
        }
        self.leave(result);
        let lost = self.lost > 0;
        self.lost = self.lost.saturating_sub(1);
        Ok(!lost)
    }

    fn heartbeat(&mut self) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms;
        if let Some(wait) = &mut self.wait {
            prop_assert!(wait.sent.is_empty(), "a heartbeat after the completion of {wait:?}");
            wait.over_ms = now_ms + HEARTBEAT * 1000;
        }
        Ok(())
    }
}

/// The agent: the journal survives, the rest does not.
#[derive(Debug, Default)]
struct Agent {
    journal: Lifecycle,
    beaten_ms: Option<u64>,
}

impl Agent {
    fn change(&mut self, change: Change, now_ms: u64) {
        let before = self.journal.entries;
        self.journal.take(change, now_ms);
        // Nothing else outlives a crash.
        let document = serde_json::to_vec(&self.journal).unwrap();
        self.journal = serde_json::from_slice(&document).unwrap();
        if self.journal.entries != before {
            self.beaten_ms = None;
        }
    }

    fn set_clock(&mut self, world: &mut World, ahead_ms: i64) {
        let by_ms = ahead_ms - world.ahead_ms;
        world.ahead_ms = ahead_ms;
        self.change(Change::ClockSet(by_ms), world.clock_ms());
        self.beaten_ms = None;
    }

    /// One look and its consequences.
    fn tick(&mut self, world: &mut World) -> Result<(), TestCaseError> {
        let look = world.look();
        for _ in 0..10 {
            match decide(&self.journal, &look) {
                Next::Nothing => break,
                Next::Change(change) => self.change(change, world.clock_ms()),
                Next::OpenForHooks(kind) => {
                    let found = if world.hook_exists {
                        vec![Hook { heartbeat_seconds: HEARTBEAT, global_seconds: HEARTBEAT * 100, ..hook("ours") }]
                    } else {
                        vec![]
                    };
                    let group = Some("asg".to_owned());
                    let opening = Opening { kind, group, hooks: found, deadline_ms: None };
                    self.change(Change::Open(opening), world.clock_ms());
                }
                Next::Work => {
                    self.beat(world)?;
                    self.work(world);
                    break;
                }
                Next::Complete => {
                    self.complete(world)?;
                    break;
                }
            }
        }
        // The followers' own work, wherever it is allowed.
        if self.journal.instance_state == InstanceState::InService && self.journal.action.is_none() && !world.gone {
            world.runs = true;
        }
        Ok(())
    }

    fn beat(&mut self, world: &mut World) -> Result<(), TestCaseError> {
        let Some(action) = &self.journal.action else { return Ok(()) };
        for hook in &action.hooks {
            if heartbeat_is_due(action, hook, self.beaten_ms, world.clock_ms(), 0) {
                world.heartbeat()?;
                self.beaten_ms = Some(world.clock_ms());
            }
        }
        Ok(())
    }

    fn work(&mut self, world: &mut World) {
        world.work_left = world.work_left.saturating_sub(1);
        let Some(action) = self.journal.action.clone().filter(|_| world.work_left == 0) else { return };
        if action.decided.is_some() {
            return;
        }
        let fails = std::mem::take(&mut world.work_fails);
        let launch = action.kind == ActionKind::Launch;
        if launch || action.stops {
            world.runs = launch && !fails;
        }
        let result = if launch && fails { HookOutcome::Abandon } else { HookOutcome::Continue };
        self.change(Change::Decide(action.entry, Decided { result, why: String::new() }), world.clock_ms());
    }

    fn complete(&mut self, world: &mut World) -> Result<(), TestCaseError> {
        let action = self.journal.action.clone().unwrap();
        let decided = action.decided.clone().unwrap();
        for hook in action.hooks.iter().filter(|hook| hook.is_open()) {
            let name = hook.name.clone();
            let change = if world.complete(decided.result)? {
                Change::Completed(action.entry, name)
            } else {
                Change::UnknownToGroup(action.entry, name)
            };
            self.change(change, world.clock_ms());
        }
        Ok(())
    }
}

/// Calm days: all services answer, and the group wants the host in service.
fn calm(world: &mut World, agent: &mut Agent) -> Result<(), TestCaseError> {
    (world.imds_off, world.describe_off, world.lost, world.early, world.strange) = (0, 0, 0, 0, 0);
    world.work_fails = false;
    (world.rebalance, world.stop, world.reboot) = (false, None, false);
    agent.set_clock(world, 0);
    // Long enough for a stop announced for the next hour.
    for round in 0..1200 {
        match world.current {
            "Standby" => world.meet(Fate::ExitStandby),
            "Warmed:Stopped" if round > 50 => world.meet(Fate::OutOfPool),
            _ => {}
        }
        world.tick(5);
        if world.gone {
            return Ok(());
        }
        agent.tick(world)?;
    }
    let serves = matches!(world.current, "InService" | "Detached");
    prop_assert!(serves, "it is held in {}: {agent:?} {world:?}", world.current);
    prop_assert!(agent.journal.action.is_none(), "an action stays open: {agent:?} {world:?}");
    prop_assert_eq!(agent.journal.instance_state, InstanceState::InService);
    prop_assert!(world.runs, "in service without its application: {agent:?} {world:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 8))]
    #[test]
    fn a_year_of_a_hosts_life_keeps_its_promises(
        fates in prop::collection::vec(fate(), 1..160),
        rebalances in prop_oneof![Just(Rebalance::Note), Just(Rebalance::Hold), Just(Rebalance::Drain)],
    ) {
        let (mut world, mut agent) = (World::new(rebalances), Agent::default());
        for fate in fates {
            world.meet(fate);
            match fate {
                Fate::Crash => agent.beaten_ms = None,
                Fate::ClockSet(seconds) => agent.set_clock(&mut world, i64::from(seconds) * 1000),
                // The agent does not look: it is down, or the host is.
                Fate::Pass(seconds) if seconds >= 3600 => world.tick(u64::from(seconds)),
                _ => {}
            }
            let ticks = if let Fate::Pass(seconds) = fate { (seconds % 40).max(1) } else { 3 };
            for _ in 0..ticks {
                world.tick(5);
                if world.gone {
                    // Another instance begins its life.
                    (world, agent) = (World::new(rebalances), Agent::default());
                }
                agent.tick(&mut world)?;
            }
        }
        calm(&mut world, &mut agent)?;
    }
}
