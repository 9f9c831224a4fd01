//! The speed of a download: [`hostler_core::flow`] with a clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostler_core::flow::{MinThroughput, RateLimiter};
use hostler_core::limits::Limits;
use hostler_core::transfer::Meter;
use tokio::time::Instant;

/// One connection's pieces, as long as it brings enough of them.
pub(crate) struct Flow {
    floor: MinThroughput,
    patience: Duration,
}

impl Flow {
    pub(crate) fn new(limits: &Limits) -> Self {
        let patience = Duration::from_secs(limits.download_stall_seconds);
        Self { floor: MinThroughput::new(patience, limits.download_floor_bytes), patience }
    }

    /// Waits for the next piece, whose length `bytes` gives.
    ///
    /// # Errors
    /// Too little came; the text is for people.
    pub(crate) async fn next<T>(
        &mut self,
        piece: impl Future<Output = T>,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<T, &'static str> {
        let asked = Instant::now();
        let Ok(piece) = tokio::time::timeout(self.patience, piece).await else {
            return Err("nothing came for too long");
        };
        if self.floor.note(asked.elapsed(), bytes(&piece) as u64) {
            Ok(piece)
        } else {
            Err("too few bytes came for too long")
        }
    }
}

/// The bandwidth that all connections of a download share, and what came through them.
pub(crate) struct SharedRateLimiter {
    start: Instant,
    meter: Arc<Meter>,
    limiter: Mutex<RateLimiter>,
}

impl SharedRateLimiter {
    pub(crate) fn new(per_second: Option<u64>, meter: Option<&Arc<Meter>>) -> Self {
        let meter = meter.cloned().unwrap_or_default();
        Self { start: Instant::now(), meter, limiter: Mutex::new(RateLimiter::new(per_second)) }
    }

    /// So many bytes of the whole are here already; 0 is an unknown whole.
    pub(crate) fn begin(&self, here: u64, whole: u64) {
        self.meter.begin(here, whole);
    }

    /// Waits until so many bytes may pass.
    pub(crate) async fn pass(&self, bytes: usize) {
        let now = self.start.elapsed();
        let passed = self.limiter.lock().unwrap_or_else(PoisonError::into_inner).pass(now, bytes as u64);
        if passed > now {
            tokio::time::sleep_until(self.start + passed).await;
        }
        self.meter.add(bytes as u64);
    }
}
