use super::*;

fn group(min: u64, desired: u64, max: u64) -> GroupFacts {
    let name = "web-asg".to_owned();
    GroupFacts { name, min, max, desired, target_groups: vec!["arn:t".to_owned()], ..GroupFacts::default() }
}

fn settings(mode: TrafficMode) -> TrafficSettings {
    TrafficSettings { mode, ..TrafficSettings::default() }
}

#[test]
fn each_way_is_gone_only_where_it_fits() {
    use TrafficMode::{None, Standby, TargetGroups};
    let surge = TrafficSettings { surge: true, ..settings(Standby) };
    let forced = TrafficSettings { despite_elb_health_checks: true, ..settings(TargetGroups) };
    let elb = |facts| GroupFacts { elb_health_checks: true, ..facts };
    let suspended = GroupFacts { launch_suspended: true, ..group(1, 2, 3) };
    let classic = GroupFacts { classic_load_balancers: vec!["old".to_owned()], ..group(1, 2, 3) };
    let lattice = GroupFacts { other_sources: vec!["lattice".to_owned()], ..group(1, 2, 3) };
    let bare = GroupFacts { target_groups: vec![], ..group(1, 2, 3) };
    for (settings, facts, problem) in [
        (settings(None), elb(group(2, 2, 2)), ""),
        (settings(Standby), group(1, 2, 2), ""),
        (settings(Standby), classic.clone(), ""),
        (settings(Standby), group(2, 2, 3), "below the minimum"),
        (settings(Standby), suspended.clone(), "Launch of web-asg is suspended"),
        (surge.clone(), group(2, 2, 3), ""),
        (surge, group(2, 3, 3), "no room for a surge"),
        (settings(TargetGroups), group(2, 2, 2), ""),
        (settings(TargetGroups), elb(group(1, 2, 2)), "load balancer health checks"),
        (forced, elb(group(2, 2, 2)), ""),
        (settings(TargetGroups), classic, "classic load balancers (old)"),
        (settings(TargetGroups), lattice, "no target groups (lattice)"),
        (settings(TargetGroups), bare, "has no target groups"),
    ] {
        match fits(&settings, &facts) {
            Ok(()) => assert_eq!(problem, "", "{settings:?} {facts:?}"),
            Err(misfit) => assert!(!problem.is_empty() && misfit.problem.contains(problem), "{misfit}"),
        }
    }
}

#[test]
fn the_commonest_set_up_is_named_with_all_that_there_is() {
    let facts = GroupFacts { elb_health_checks: true, ..group(2, 2, 2) };
    let remedy = common_misfit(&facts).unwrap().remedy;
    for way in ["maximum", "lower the minimum", "surge: true", "target_groups", "despite_elb_health_checks"] {
        assert!(remedy.contains(way), "{remedy}");
    }
    assert_eq!(common_misfit(&group(2, 2, 2)), None);
    assert_eq!(common_misfit(&GroupFacts { desired: 3, ..facts }), None);
}

#[test]
fn a_host_of_no_group_is_taken_out_of_target_groups_that_are_named_and_of_nothing_else() {
    let named = TrafficSettings { target_groups: vec!["arn:x".to_owned()], ..settings(TrafficMode::TargetGroups) };
    assert_eq!(choose(&named, None), Ok(Way::TargetGroups(vec!["arn:x".to_owned()])));
    assert_eq!(choose(&settings(TrafficMode::TargetGroups), None), Ok(Way::Nothing));
    assert_eq!(choose(&settings(TrafficMode::Standby), None), Ok(Way::Nothing));
    let suppressing = TrafficSettings { suppress_status_checks: true, ..TrafficSettings::default() };
    assert_eq!(choose(&suppressing, Some(&group(1, 1, 1))), Ok(Way::InPlace));
    let standby = choose(&settings(TrafficMode::Standby), Some(&group(1, 2, 2)));
    assert_eq!(standby, Ok(Way::Standby { lowers_desired_capacity: true }));
}

#[test]
fn what_was_asked_for_is_not_asked_for_twice() {
    assert_eq!(in_standby(Some("InService")), Next::Ask);
    assert_eq!(in_standby(Some("EnteringStandby")), Next::Wait);
    assert_eq!(in_standby(Some("Standby")), Next::Done);
    assert_eq!(out_of_standby(Some("Standby")), Next::Ask);
    assert_eq!(out_of_standby(Some("Pending")), Next::Wait);
    assert_eq!(out_of_standby(Some("InService")), Next::Done);
    for gone in [None, Some("Terminating:Wait"), Some("Detached"), Some("NewStateOf2027")] {
        assert_eq!((in_standby(gone), out_of_standby(gone)), (Next::Gone, Next::Gone), "{gone:?}");
    }
    let health = |state: &str, reason: &str| TargetHealth {
        state: state.to_owned(),
        reason: reason.to_owned(),
        description: String::new(),
    };
    for (state, reason, out, back) in [
        ("initial", "Elb.RegistrationInProgress", Next::Ask, Next::Wait),
        ("healthy", "", Next::Ask, Next::Done),
        ("unhealthy", "Target.ResponseCodeMismatch", Next::Ask, Next::Wait),
        ("draining", "Target.DeregistrationInProgress", Next::Wait, Next::Wait),
        ("unused", "Target.NotRegistered", Next::Done, Next::Ask),
        ("unused", "Target.NotInUse", Next::Ask, Next::Done),
        ("unavailable", "Target.HealthCheckDisabled", Next::Ask, Next::Done),
        ("something new", "", Next::Ask, Next::Wait),
    ] {
        let health = health(state, reason);
        assert_eq!((deregistered(&health), registered(&health)), (out, back), "{health}");
        assert_eq!(drained(&health) == Next::Wait, state == "draining");
    }
}
