//! What is said of a script that was ended at its deadline.

use super::host::{hook_result, hooks};
use crate::appspec::spec::HookScript;
use crate::event_order::LifecycleEvent;
use crate::hook::{HookOutcome, HookResult};
use crate::machine::state::Script;

#[test]
fn a_script_that_timed_out_says_after_how_long_and_which_line_gave_it_no_more() {
    let hook = hooks(&[LifecycleEvent::ValidateService], false)[0].scripts[0].clone();
    let script = |hook: &HookScript| Script::new("d-1".parse().unwrap(), hook);
    let ended_after = |finished_ms, killed: &[&str]| HookResult {
        finished_ms,
        ..hook_result(HookOutcome::TimedOut { killed: killed.iter().map(|name| (*name).to_owned()).collect() })
    };
    // The appspec's timeout, with the grace after it.
    let text = script(&hook).result_text(&ended_after(65_010, &["7 sleep"]));
    assert_eq!(text, "timed out after 60 s (timeout: 60, line 12 of the appspec); had to be killed: 7 sleep");
    // The default, which no line of the appspec says; what an older agent began knows no line either.
    let text = script(&HookScript { timeout_line: None, ..hook.clone() }).result_text(&ended_after(60_010, &[]));
    assert_eq!(text, "timed out after 60 s");
    // The host had to be gone earlier.
    assert_eq!(script(&hook).result_text(&ended_after(20_400, &[])), "timed out after 20 s");
    // A clock that was set back.
    assert_eq!(script(&hook).result_text(&ended_after(0, &[])), "timed out after 1 s");
    let exited = hook_result(HookOutcome::Exited { code: 3 });
    assert_eq!(script(&hook).result_text(&exited), "exit status 3");
}
