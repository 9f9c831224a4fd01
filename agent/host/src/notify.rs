//! What systemd is told (sd_notify(3)); nothing where no systemd listens.

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

fn send(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        log::warn!(error:%; "systemd could not be told: {state:?}");
    }
}
