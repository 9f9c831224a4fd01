//! Transient services, asked for from systemd over its own D-Bus socket, as systemd-run does for root.
//!
//! The program systemd-run takes ten milliseconds of processor time to load itself for the one call.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use hostler_core::error_chain::chain;
use zbus::Variant;

use super::launch::LaunchError;

/// systemd's socket for root, without a bus between.
const ADDRESS: &str = "unix:path=/run/systemd/private";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";

/// One property of a transient service, as org.freedesktop.systemd1(5) names it.
pub type Property<'a> = (&'a str, Variant<'a>);

/// A command as `ExecStart` has it: the program, its arguments with its name, and whether its failure counts for nothing.
type Command = (String, Vec<String>, bool);

/// `ExecStart` for one command. systemd expands `$` in the arguments, and `$$` to `$`.
pub fn exec_start<'a>(program: &Path, arguments: &[&OsStr]) -> Result<Property<'a>, LaunchError> {
    let text = |argument: &OsStr| match std::str::from_utf8(argument.as_bytes()) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(LaunchError::Refused { message: format!("{} is not UTF-8", argument.display()) }),
    };
    let program = text(program.as_os_str())?;
    let rest = arguments.iter().map(|argument| Ok(text(argument)?.replace('$', "$$")));
    let arguments = std::iter::once(Ok(program.clone())).chain(rest).collect::<Result<Vec<_>, LaunchError>>()?;
    let commands: Vec<Command> = vec![(program, arguments, false)];
    Ok(("ExecStart", Variant::new(commands)))
}

/// Starts a service with these properties, and returns when systemd has taken the job. Blocks for at most `patience`; not for
/// a thread of an async runtime.
///
/// # Errors
/// systemd cannot be reached, does not answer in time, or refuses.
pub fn start(unit: &str, properties: &[Property<'_>], patience: Duration) -> Result<(), LaunchError> {
    let no_others: [(&str, Vec<Property<'_>>); 0] = [];
    // `fail` where a unit of the name has a job: every launch has a name of its own.
    call(patience, "StartTransientUnit", MANAGER, &(unit, "fail", properties, &no_others[..])).map(drop)
}

/// systemd's version, as `252.39-1~deb12u1`.
///
/// # Errors
/// As for [`start`].
pub fn version(patience: Duration) -> Result<String, LaunchError> {
    let answer = call(patience, "Get", "org.freedesktop.DBus.Properties", &(MANAGER, "Version"))?;
    let body = answer.body();
    let value: Variant<'_> = body.deserialize().map_err(refused)?;
    value.downcast::<String>().map_err(refused)
}

fn call<B>(patience: Duration, method: &str, interface: &str, body: &B) -> Result<zbus::Message, LaunchError>
where
    B: serde::ser::Serialize + zbus::DynamicType,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let unreachable = |source| LaunchError::Run { program: "systemd's socket".to_owned(), source };
    let answer = runtime.map_err(unreachable)?.block_on(tokio::time::timeout(patience, async {
        let connection = zbus::connection::Builder::address(ADDRESS).p2p().build().await?;
        connection.call_method(None::<()>, OBJECT, Some(interface), method, body).await
    }));
    match answer {
        Ok(answer) => answer.map_err(refused),
        Err(_) => Err(LaunchError::Refused { message: format!("no answer in {} seconds", patience.as_secs()) }),
    }
}

fn refused(error: impl std::error::Error) -> LaunchError {
    LaunchError::Refused { message: chain(&error) }
}
