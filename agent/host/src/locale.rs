//! The host's locale, for the agent's child processes: systemd gives it to services, but a script begins with an empty
//! environment.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use hostler_core::hook::parse_locale;

use crate::regular;

/// systemd's file; if there is none, Debian's.
const FILES: [&str; 2] = ["etc/locale.conf", "etc/default/locale"];

/// Bytes of such a file. Prevents: a wrong link that takes the memory.
const MOST_BYTES: usize = 64 << 10;

/// `LANG` and the other locale variables of the host's file. A problem with the file is logged once, and its line left
/// out.
pub fn of_host(root: &Path) -> Vec<(String, String)> {
    for path in FILES.map(|file| root.join(file)) {
        match regular::read_text(&path, MOST_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                say_once(format!("scripts start without the locale of {}: {error}", path.display()));
                return Vec::new();
            }
            Ok(text) => {
                let (variables, faults) = parse_locale(&text);
                if let Some(first) = faults.first() {
                    let more =
                        if faults.len() > 1 { format!(", and {} more", faults.len() - 1) } else { String::new() };
                    say_once(format!("{} is used without {first}{more}", path.display()));
                }
                return variables;
            }
        }
    }
    Vec::new()
}

/// Each script asks.
fn say_once(message: String) {
    static SAID: Mutex<String> = Mutex::new(String::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if *said != message {
        log::warn!("{message}");
        *said = message;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_file_that_is_there_counts_and_none_is_waited_for() {
        let host = tempfile::tempdir().unwrap();
        let at = |file: &str| host.path().join(file);
        let lang = |value: &str| vec![("LANG".to_owned(), value.to_owned())];
        fs::create_dir_all(at("etc/default")).unwrap();
        assert_eq!(of_host(host.path()), []);
        fs::write(at("etc/default/locale"), "LANG=de_DE.UTF-8\n").unwrap();
        assert_eq!(of_host(host.path()), lang("de_DE.UTF-8"));
        fs::write(at("etc/locale.conf"), "nonsense\nLANG=C.UTF-8\n").unwrap();
        assert_eq!(of_host(host.path()), lang("C.UTF-8"));
        fs::remove_file(at("etc/locale.conf")).unwrap();
        nix::unistd::mkfifo(&at("etc/locale.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(of_host(host.path()), []);
        fs::remove_file(at("etc/locale.conf")).unwrap();
        fs::write(at("etc/locale.conf"), "x".repeat(MOST_BYTES + 1)).unwrap();
        assert_eq!(of_host(host.path()), []);
    }
}
