//! The only caller of the system's clocks in this crate and in the program, and of its randomness for ids.
//! `clippy.toml` holds both to it; measuring how long something takes is free everywhere (`Instant`).

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostler_core::ids::DeploymentId;
use hostler_core::lifecycle::Clocks;
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
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub(crate) fn local_now() -> jiff::civil::DateTime {
    jiff::Zoned::now().datetime()
}

/// A time for people: local, to the second, with the zone's offset.
pub fn local_time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// A local time as `scripts.log` has it (`2026-11-30 18:20:18`), with the offset of this host's zone at that time. What is
/// no such time stays as it is.
pub fn with_zone(time: &str) -> String {
    let zoned = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time)
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::system()));
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
