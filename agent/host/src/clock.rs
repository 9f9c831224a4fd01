//! The only caller of the system's clock, and of its randomness for ids.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use hostler_core::ids::DeploymentId;
use hostler_core::lifecycle::Clocks;
use nix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970; 0 on a clock before that.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Milliseconds since the boot, suspension included; 0 where the kernel lacks that clock. Nobody sets it.
pub fn since_boot_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| u64::try_from(std::time::Duration::from(time).as_millis()).unwrap_or(u64::MAX))
}

/// The clocks by which a hibernated host and a clock that was set are noticed; `None` where the kernel lacks one.
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
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A time for people: local, to the second, with the zone's offset.
pub fn local_time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// The name of this host as the kernel has it.
pub fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into_owned())
}

/// The id of this boot, as the kernel gives it; `unknown` where /proc is missing.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or("unknown".to_owned(), |s| s.trim().to_owned())
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

/// A random number for spreading load; the same one again and again where the kernel gives none.
pub fn random() -> u64 {
    random_bytes().map_or(0, u64::from_le_bytes)
}

/// A fresh deployment id as CodeDeploy writes them: `d-` and nine capital letters and digits.
///
/// # Errors
/// When there is no randomness.
pub fn fresh_deployment_id() -> std::io::Result<DeploymentId> {
    const SIGNS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let signs = random_bytes::<9>()?.map(|b| char::from(SIGNS[usize::from(b % 32)]));
    let text: String = ['d', '-'].into_iter().chain(signs).collect();
    text.parse().map_err(std::io::Error::other)
}
