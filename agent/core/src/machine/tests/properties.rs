//! What holds whatever fails, whenever the agent crashes, and in whichever order things end.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 32))]

    /// Crashes after each persisted point lead to the same end as a run without crashes, and run no script twice.
    #[test]
    fn crashes_do_not_change_the_end(
        failures in prop::collection::vec(any_failure(), 1..4),
        crashes in prop::collection::vec(any::<bool>(), 400),
    ) {
        let play = |crashes: &mut dyn FnMut() -> bool| {
            let mut host = Host::default();
            for (number, fail_at) in failures.iter().enumerate() {
                host.fail_at = *fail_at;
                let number = u64::try_from(number).unwrap() + 1;
                let mut r = request("prod", Some(number));
                r.policy.ignore_application_stop_failures = number % 2 == 0;
                let effects = host.deploy(number, r).unwrap();
                host.run(effects, &mut *crashes);
            }
            host
        };
        let plain = play(&mut never);
        let mut plan = crashes.into_iter();
        let crashed = play(&mut || plan.next().unwrap_or(false));
        prop_assert_eq!(&plain.ran, &crashed.ran);
        prop_assert_eq!(plain.outcomes("prod"), crashed.outcomes("prod"));
        prop_assert_eq!(&plain.state.groups, &crashed.state.groups);
    }

    /// Deployments of several groups interleave in any order; each group has one at a time and Installs never overlap
    /// (checked after every step).
    #[test]
    fn groups_go_on_side_by_side(order in prop::collection::vec(0..3_usize, 1..40)) {
        let mut host = Host::default();
        host.deploy_side_by_side(1, &order);
        prop_assert_eq!(host.state.all_active().count(), 0);
    }

    /// A repeated result, or one for an effect that no deployment waits for, changes nothing.
    #[test]
    fn late_results_change_nothing(effect in any::<u64>()) {
        let mut host = Host::default();
        let effects = host.deploy(1, request("prod", None)).unwrap();
        prop_assume!(effect != effects[0].number);
        let before = host.state.clone();
        let result = Box::new(WorkResult::Finished { warnings: vec![] });
        let begun = host.step(Event::Finished { effect, result }).unwrap();
        prop_assert!(begun.is_empty());
        prop_assert_eq!(before, host.state);
    }
}
