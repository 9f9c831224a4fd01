//! Messages to systemd (sd_notify(3)); none are sent if no systemd listens.

use std::time::Duration;

use sd_notify::NotifyState;

/// The daemon takes requests.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// The daemon ends.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

/// One line that `systemctl status` shows.
pub fn status(text: &str) {
    send(&NotifyState::Status(&text.replace('\n', " ")));
}

/// The daemon reads its configuration again; [`ready`] ends it.
pub fn reloading() {
    // One message: systemd takes its time as the time of the reload.
    let now = NotifyState::monotonic_usec_now().ok();
    let states: Vec<NotifyState<'_>> = [Some(NotifyState::Reloading), now].into_iter().flatten().collect();
    if let Err(error) = sd_notify::notify(&states) {
        log::warn!(error:%; "systemd could not be told that the configuration is read again: {error}");
    }
}

/// How long systemd waits for [`alive`] before it restarts the daemon; `None` without a watchdog.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The daemon's loop turns.
pub fn alive() {
    send(&NotifyState::Watchdog);
}

fn send(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        log::warn!(error:%; "systemd could not be told the daemon's state: {error}");
    }
}
