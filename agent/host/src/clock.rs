//! The only caller of the system's clocks in this crate and in the program, and of its randomness for ids.
//! `clippy.toml` holds both to it; measuring how long something takes is free everywhere (`Instant`).

use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hostler_core::ids::DeploymentId;
use hostler_core::lifecycle::Clocks;
use jiff::tz::TimeZone;
use nix::time::{ClockId, clock_gettime};

/// The time as file systems give it.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970; 0 on a clock before that.
pub fn now_ms() -> u64 {
    system_time().duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}

/// Time since the boot, suspension included; nothing where the kernel lacks that clock. No setting of the clock changes
/// it.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// The same in milliseconds.
pub fn since_boot_ms() -> u64 {
    milliseconds(since_boot())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A duration of so many seconds, at most a hundred years, so that adding it to a clock does not overflow.
pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(100 * 366 * 24 * 3600))
}

/// The clocks by which the agent notices a hibernation and a changed clock; `None` where the kernel lacks one of them.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn clocks() -> Option<Clocks> {
    let milliseconds = |clock| {
        let time = clock_gettime(clock).ok()?;
        let milliseconds = time.tv_sec().checked_mul(1000)?.checked_add(time.tv_nsec() / 1_000_000)?;
        u64::try_from(milliseconds).ok()
    };
    let boot_ms = milliseconds(ClockId::CLOCK_BOOTTIME)?;
    let awake_ms = milliseconds(ClockId::CLOCK_MONOTONIC)?;
    Some(Clocks { wall_ms: milliseconds(ClockId::CLOCK_REALTIME)?, boot_ms, awake_ms })
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The local time.
pub(crate) fn local_now() -> jiff::civil::DateTime {
    now().to_zoned(local_zone()).datetime()
}

/// How long a zone that was read is used: an administrator may change it while the daemon runs.
const ZONE_AGE: Duration = Duration::from_mins(5);

/// The local zone: of `TZ`, or else of `/etc/localtime`; UTC where neither says.
///
/// jiff's own search lists the whole database of zones for a name that is not needed here: some forty directories, in
/// each process that writes a time.
pub fn local_zone() -> TimeZone {
    static READ: Mutex<Option<(Instant, TimeZone)>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, zone)) = read.as_ref()
        && at.elapsed() < ZONE_AGE
    {
        return zone.clone();
    }
    let zone = read_zone(std::env::var_os("TZ").is_some_and(|zone| !zone.is_empty()), Path::new("/etc/localtime"));
    *read = Some((Instant::now(), zone.clone()));
    zone
}

fn read_zone(is_in_environment: bool, localtime: &Path) -> TimeZone {
    let read = || TimeZone::tzif("", &std::fs::read(localtime).ok()?).ok();
    let read = if is_in_environment { None } else { read() };
    read.unwrap_or_else(TimeZone::system)
}

/// A time for people: local, to the second, with the zone's offset.
pub fn local_time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().to_zoned(local_zone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// A local time as `scripts.log` has it (`2026-11-30 18:20:18`), with the offset of this host's zone at that time. What is
/// no such time stays as it is.
pub fn with_zone(time: &str) -> String {
    let zoned = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).and_then(|time| time.to_zoned(local_zone()));
    zoned.map_or_else(|_| time.to_owned(), |zoned| zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string())
}

/// The name of this host as the kernel has it.
pub fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}

/// The id of this boot, as the kernel gives it; `unknown` where /proc is missing.
pub fn boot_id() -> String {
    read_boot_id().unwrap_or_else(|_| "unknown".to_owned())
}

/// As [`boot_id`], for callers that must not take two unknown boots for one.
///
/// # Errors
/// When /proc is missing.
pub(crate) fn read_boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Random bytes from the kernel.
///
/// # Errors
/// When /dev/urandom cannot be read.
pub fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A random number for spreading load; if the kernel gives none, always the same number.
pub fn random() -> u64 {
    random_bytes().map_or(0, u64::from_le_bytes)
}

/// A fresh deployment id in CodeDeploy's form: `d-` and nine capital letters and digits.
///
/// # Errors
/// When there is no randomness.
pub fn fresh_deployment_id() -> std::io::Result<DeploymentId> {
    const SIGNS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let signs = random_bytes::<9>()?.map(|b| char::from(SIGNS[usize::from(b % 32)]));
    let text: String = ['d', '-'].into_iter().chain(signs).collect();
    text.parse().map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of zoneinfo: one offset, without a change.
    fn zone_file(name: &str, hours: i32) -> Vec<u8> {
        let block = || {
            let counts = [0_u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
            let offset = (hours * 3600).to_be_bytes();
            [b"TZif2".as_slice(), &[0; 15], &counts, &offset, &[0, 0], name.as_bytes(), b"\0"].concat()
        };
        [block(), block(), format!("\n{name}{}\n", -hours).into_bytes()].concat()
    }

    #[test]
    fn the_local_zone_is_that_of_etc_localtime_unless_the_environment_names_one() {
        let directory = tempfile::tempdir().unwrap();
        let localtime = directory.path().join("localtime");
        std::fs::write(&localtime, zone_file("XST", 5)).unwrap();
        let hour = |zone: TimeZone| jiff::Timestamp::UNIX_EPOCH.to_zoned(zone).hour();
        assert_eq!(hour(read_zone(false, &localtime)), 5);
        let system = hour(TimeZone::system());
        assert_eq!(hour(read_zone(true, &localtime)), system);
        assert_eq!(hour(read_zone(false, &directory.path().join("absent"))), system);
        std::fs::write(&localtime, "no zone").unwrap();
        assert_eq!(hour(read_zone(false, &localtime)), system);
    }
}
