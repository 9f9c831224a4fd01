//! The effect Reboot: a script ended with status 194. The effect ends in the next boot, when it is resumed.

use std::path::Path;
use std::time::Duration;

use hostler_core::machine::event::WorkFailure;
use hostler_host::{clock, power};

use crate::failure::{chain, fail};
use crate::ports::Job;
use crate::setup::Setup;
use crate::threads::blocking;

/// How long the host may take to go down.
const PATIENCE: Duration = Duration::from_secs(900);

/// Restarts the host, or reports that it has restarted since the effect began.
pub async fn reboot(setup: &Setup, job: &Job) -> Result<(), WorkFailure> {
    if clock::boot_id() != job.effect.boot_id {
        return Ok(());
    }
    if setup.layout.root() != Path::new("/") {
        // A scratch root is a trial on a machine that serves other purposes.
        return Err(fail("a script asked for a reboot (exit status 194), which is not done under --root"));
    }
    blocking(|| {
        power::reboot()
            .map_err(|e| WorkFailure::because(format!("the reboot that a script asked for failed: {}", chain(&e)), &e))
    })
    .await?;
    tokio::time::sleep(PATIENCE).await;
    Err(fail("the reboot that a script asked for has not happened within 15 minutes"))
}
