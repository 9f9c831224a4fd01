//! What calls a controller, and what does not.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::*;
use crate::test_support::{Host, listen, logged, setup};

/// One call, as the test sees it.
struct Call {
    view: View,
    answer: tokio::sync::oneshot::Sender<Answer>,
}

enum Answer {
    Wake(Wake),
    Panic,
}

/// Hands each call to the test, which answers it.
struct Handed {
    calls: mpsc::UnboundedSender<Call>,
    own: Arc<Notify>,
}

impl Controller for Handed {
    const NAME: &'static str = "handed";

    async fn reconcile(&mut self, view: &View) -> Wake {
        let (answer, wait) = tokio::sync::oneshot::channel();
        self.calls.send(Call { view: view.clone(), answer }).unwrap();
        match wait.await.unwrap() {
            Answer::Wake(wake) => wake,
            Answer::Panic => std::panic::panic_any("as the test wants it"),
        }
    }

    async fn own_change(&mut self) {
        self.own.notified().await;
    }
}

struct Running {
    host: Host,
    calls: mpsc::UnboundedReceiver<Call>,
    own: Arc<Notify>,
    begun: Arc<Mutex<u32>>,
    task: JoinHandle<()>,
}

impl Running {
    fn new() -> Self {
        let host = Host::new(setup("/nowhere".as_ref(), ""));
        let (send, calls) = mpsc::unbounded_channel();
        let (own, begun) = (Arc::new(Notify::new()), Arc::new(Mutex::new(0)));
        let (given, count) = (Arc::clone(&own), Arc::clone(&begun));
        let task = start(&host.sources, move || {
            *count.lock().unwrap() += 1;
            Handed { calls: send.clone(), own: Arc::clone(&given) }
        });
        Self { host, calls, own, begun, task }
    }

    async fn call(&mut self) -> Call {
        tokio::time::timeout(Duration::from_secs(3600), self.calls.recv()).await.expect("a call").expect("a runner")
    }

    /// Takes a call and answers it.
    async fn called(&mut self, wake: Wake) -> View {
        let Call { view, answer } = self.call().await;
        assert!(answer.send(Answer::Wake(wake)).is_ok());
        self.rests().await;
        view
    }

    /// Lets every task that can go on do so; no time passes.
    async fn rests(&self) {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
    }

    async fn is_quiet(&mut self) {
        self.rests().await;
        assert!(self.calls.try_recv().is_err(), "called for nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_is_called_at_its_start_and_by_each_source_that_it_waits_for() {
    let mut running = Running::new();
    let first = running.called(Wake::on_change()).await;
    assert!(first.health.is_empty() && first.now_ms > 0);
    running.is_quiet().await;

    running.host.touch_state();
    running.called(Wake::on_change()).await;
    running.host.health.send_replace(Health::new());
    running.called(Wake::on_change()).await;
    running.host.reload("auto_scaling: {}");
    assert!(running.called(Wake::on_change()).await.setup.settings.auto_scaling.is_some());
    running.own.notify_one();
    running.called(Wake::on_change().after(Duration::from_secs(5))).await;
    let before = Instant::now();
    let timed = running.called(Wake::on_change()).await;
    assert_eq!(timed.now - before, Duration::from_secs(5));
    running.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_it_does_not_wait_for_does_not_call_it() {
    let mut running = Running::new();
    running.called(Wake::on_state()).await;
    running.host.health.send_modify(|_| {});
    running.is_quiet().await;
    running.host.touch_state();
    running.called(Wake::on_reload().after(Duration::from_secs(60))).await;
    let before = Instant::now();
    running.host.touch_state();
    running.host.health.send_modify(|_| {});
    running.is_quiet().await;
    let timed = running.called(Wake::on_reload()).await;
    assert_eq!(timed.now - before, Duration::from_secs(60), "other changes do not move the time");
    running.host.touch_state();
    running.is_quiet().await;
    running.host.reload("");
    running.called(Wake::on_reload()).await;
}

#[tokio::test(start_paused = true)]
async fn changes_during_a_call_are_one_more_call_with_all_of_them() {
    let mut running = Running::new();
    let Call { view, answer } = running.call().await;
    assert!(view.setup.settings.auto_scaling.is_none());
    running.host.touch_state();
    running.host.touch_state();
    running.host.health.send_modify(|_| {});
    running.host.reload("auto_scaling: {}");
    assert!(answer.send(Answer::Wake(Wake::on_change())).is_ok());
    let second = running.called(Wake::on_change()).await;
    assert!(second.setup.settings.auto_scaling.is_some());
    running.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn the_earliest_of_several_times_counts() {
    let (soon, late) = (Instant::now() + Duration::from_secs(1), Instant::now() + Duration::from_secs(9));
    assert_eq!(Wake::on_reload().at(late).at(soon).at(None), Wake::on_reload().at(soon));
    assert_eq!(Wake::on_state().after(Duration::from_secs(1)).at(late), Wake::on_state().at(soon));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_logged_and_a_new_controller_begins_after_a_wait() {
    listen();
    let mut running = Running::new();
    let mut last = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let Call { view, answer } = running.call().await;
        waits.push((view.now - last).as_millis());
        last = view.now;
        assert!(answer.send(Answer::Panic).is_ok());
    }
    assert_eq!(waits[0], 0);
    for (longest, wait) in [1000, 2000, 4000].into_iter().zip(&waits[1..]) {
        assert!((longest / 2..=longest).contains(wait), "{waits:?}");
    }
    running.called(Wake::on_change()).await;
    assert_eq!(*running.begun.lock().unwrap(), 5);
    let logged = logged();
    assert_eq!(logged.len(), 4, "{logged:?}");
    assert!(logged.iter().all(|line| line.contains("the task handed ended by a fault in hostler")), "{logged:?}");
    // It goes on as before.
    running.host.touch_state();
    running.called(Wake::on_change()).await;
}

#[tokio::test(start_paused = true)]
async fn a_runner_ends_with_the_engine_also_where_it_does_not_wait_for_the_state() {
    for wake in [Wake::on_reload().after(Duration::from_secs(60)), Wake::on_change()] {
        let mut running = Running::new();
        running.called(wake).await;
        let Running { host, task, .. } = running;
        drop(host.state);
        task.await.unwrap();
    }
}
