//! The status line that `systemctl status` shows.

use std::future::pending;

use hostler_core::status::one_line;
use hostler_host::notify;
use tokio::sync::watch;

use crate::controller::{Controller, View, Wake};

/// Keeps the line up to date.
pub struct StateLine {
    not_followed: watch::Receiver<Option<String>>,
    shown: String,
    show: fn(&str),
}

impl StateLine {
    /// Nothing is shown yet. `not_followed`: why the CodeDeploy service is not followed, if it is not.
    pub fn new(not_followed: watch::Receiver<Option<String>>) -> Self {
        Self { not_followed, shown: String::new(), show: notify::status }
    }
}

impl Controller for StateLine {
    const NAME: &'static str = "state line";

    async fn reconcile(&mut self, view: &View) -> Wake {
        let not_followed = self.not_followed.borrow_and_update().clone();
        let line = one_line(&view.state, &view.health);
        let line = not_followed.into_iter().chain([line]).collect::<Vec<_>>().join("; ");
        if line != self.shown {
            (self.show)(&line);
            self.shown = line;
        }
        Wake::on_change()
    }

    async fn own_change(&mut self) {
        if self.not_followed.changed().await.is_err() {
            pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use hostler_core::machine::State;

    use super::*;
    use crate::controller::start;
    use crate::test_support::{Host, setup};

    thread_local! {
        static SHOWN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    async fn shown() -> Vec<String> {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        SHOWN.take()
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_shown_when_it_changes_and_not_at_each_change_of_the_state() {
        let host = Host::new(setup("/nowhere".as_ref(), ""));
        let (why_not, not_followed) = watch::channel(None);
        let show = |line: &str| SHOWN.with_borrow_mut(|shown| shown.push(line.to_owned()));
        start(&host.sources, move || StateLine { show, ..StateLine::new(not_followed.clone()) });
        let first = shown().await;
        assert_eq!(first, [one_line(&State::default(), &Default::default())]);
        host.touch_state();
        host.health.send_modify(|_| {});
        assert_eq!(shown().await, [""; 0]);
        why_not.send_replace(Some("the CodeDeploy agent runs".to_owned()));
        assert_eq!(shown().await, [format!("the CodeDeploy agent runs; {}", first[0])]);
        drop(why_not);
        host.touch_state();
        assert_eq!(shown().await, [""; 0], "it goes on");
        host.state.send_modify(|state| std::sync::Arc::make_mut(state).instance = Some("i-1".parse().unwrap()));
        shown().await;
    }
}
