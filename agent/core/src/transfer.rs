//! How far a transfer of bytes is. Its connections count, and others look.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The bytes of one transfer so far.
#[derive(Debug, Default)]
pub struct Meter {
    here: AtomicU64,
    total: AtomicU64,
}

/// What a [`Meter`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// Bytes that are at their destination, with those of an earlier try.
    pub bytes: u64,
    /// Bytes of the whole, if they are known.
    pub total: Option<u64>,
}

impl Meter {
    /// Begins a transfer, also once more. `here` of `total` bytes are at their destination; 0 is an unknown total.
    pub fn begin(&self, here: u64, total: u64) {
        self.here.store(here, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// So many more bytes came or went.
    pub fn add(&self, bytes: u64) {
        self.here.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What it shows now; `None` before anything came. A piece that is fetched twice counts twice, so the bytes are cut
    /// at the total.
    pub fn now(&self) -> Option<Transferred> {
        let (here, total) = (self.here.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let total = (total > 0).then_some(total);
        (here > 0 || total.is_some()).then(|| Transferred { bytes: total.map_or(here, |total| here.min(total)), total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_shows_what_came_and_never_more_than_the_whole() {
        let meter = Meter::default();
        assert_eq!(meter.now(), None);
        meter.add(5);
        assert_eq!(meter.now(), Some(Transferred { bytes: 5, total: None }));
        meter.begin(10, 30);
        meter.add(15);
        assert_eq!(meter.now(), Some(Transferred { bytes: 25, total: Some(30) }));
        meter.add(15);
        assert_eq!(meter.now(), Some(Transferred { bytes: 30, total: Some(30) }));
    }
}
