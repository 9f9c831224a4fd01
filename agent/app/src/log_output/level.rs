//! Which records are logged: by the flags, then HOSTLER_LOG, then the configuration's `log_level`.

use std::ffi::OsStr;

use hostler_core::codes::ExitCode;
use hostler_core::config::settings::LogLevel;
use hostler_core::values::word;
use log::LevelFilter;

use crate::cli::Display;
use crate::failure::Failure;

/// The variable of the environment.
pub const VARIABLE: &str = "HOSTLER_LOG";

/// The level of the configuration.
pub fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

/// The level that the flags ask for, or the variable; `None` if neither does. `usual` is the verb's own level: the daemon
/// logs its work already, so once verbose is debugging there.
///
/// # Errors
/// A usage failure for a value of the variable that is no level.
pub fn asked(display: &Display, usual: LevelFilter, variable: Option<&OsStr>) -> Result<Option<LevelFilter>, Failure> {
    match (display.quiet, display.verbose) {
        (true, _) => return Ok(Some(LevelFilter::Error)),
        (false, 0) => {}
        (false, 1) if usual < LevelFilter::Info => return Ok(Some(LevelFilter::Info)),
        (false, _) => return Ok(Some(LevelFilter::Debug)),
    }
    let Some(value) = variable.filter(|value| !value.is_empty()) else { return Ok(None) };
    match word(&value.to_string_lossy().to_ascii_lowercase(), LogLevel::WORDS) {
        Ok(level) => Ok(Some(filter(level))),
        Err(unfit) => Err(Failure::say(
            ExitCode::Usage,
            format!("{VARIABLE} must be {}, not `{}`", unfit.expected, value.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorWhen;

    fn of(quiet: bool, verbose: u8, usual: LevelFilter, variable: Option<&str>) -> Option<LevelFilter> {
        let display = Display { color: ColorWhen::Auto, quiet, verbose };
        asked(&display, usual, variable.map(OsStr::new)).unwrap()
    }

    #[test]
    fn flags_win_over_the_variable_and_the_variable_over_the_configuration() {
        use LevelFilter::{Debug, Error, Info, Warn};
        assert_eq!(of(false, 0, Error, None), None, "the configuration decides");
        assert_eq!(of(false, 0, Info, Some("")), None);
        assert_eq!(of(false, 0, Info, Some("warn")), Some(Warn));
        assert_eq!(of(false, 0, Info, Some("DEBUG")), Some(Debug), "in any case");
        assert_eq!(of(true, 0, Info, Some("debug")), Some(Error));
        assert_eq!(of(false, 1, Error, Some("error")), Some(Info));
        assert_eq!(of(false, 2, Error, None), Some(Debug));
        assert_eq!(of(false, 1, Info, None), Some(Debug), "a daemon logs information anyway");
    }

    #[test]
    fn a_variable_that_is_no_level_is_a_mistake() {
        let display = Display { color: ColorWhen::Auto, quiet: false, verbose: 0 };
        let refused = asked(&display, LevelFilter::Info, Some(OsStr::new("loud"))).unwrap_err();
        assert_eq!(refused.code, ExitCode::Usage);
        assert!(refused.one_line().contains("HOSTLER_LOG must be error, warn, info or debug, not `loud`"));
    }
}
