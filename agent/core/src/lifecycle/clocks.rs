//! What the clocks say about the time between two looks: hibernation, or a change of the clock.

/// Differences below this many milliseconds are ordinary drift.
const NOTICEABLE_MS: u64 = 5000;

/// Three clocks at one moment, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Since 1970; it jumps when it is set (CLOCK_REALTIME).
    pub wall_ms: u64,
    /// Since the boot, including sleep (CLOCK_BOOTTIME).
    pub boot_ms: u64,
    /// Since the boot, while the host was awake (CLOCK_MONOTONIC).
    pub awake_ms: u64,
}

/// What happened between two readings apart from time passing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// Milliseconds for which the host slept; 0 for none.
    pub slept_ms: u64,
    /// Milliseconds by which the clock was set, forward or back; 0 for none.
    pub stepped_ms: i64,
}

impl Clocks {
    /// The passage since an earlier reading in the same boot.
    pub fn since(self, before: Self) -> Passage {
        let passed_ms = self.boot_ms.saturating_sub(before.boot_ms);
        let awake_ms = self.awake_ms.saturating_sub(before.awake_ms);
        let slept_ms = passed_ms.saturating_sub(awake_ms);
        let expected_ms = before.wall_ms.saturating_add(passed_ms);
        let by_ms = i64::try_from(self.wall_ms.abs_diff(expected_ms)).unwrap_or(i64::MAX);
        let stepped_ms = if self.wall_ms >= expected_ms { by_ms } else { -by_ms };
        Passage {
            slept_ms: if slept_ms < NOTICEABLE_MS { 0 } else { slept_ms },
            stepped_ms: if stepped_ms.unsigned_abs() < NOTICEABLE_MS { 0 } else { stepped_ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEFORE: Clocks = Clocks { wall_ms: 1_000_000_000, boot_ms: 500_000, awake_ms: 400_000 };

    fn after(wall_ms: u64, boot_ms: u64, awake_ms: u64) -> Passage {
        let now = Clocks {
            wall_ms: BEFORE.wall_ms + wall_ms,
            boot_ms: BEFORE.boot_ms + boot_ms,
            awake_ms: BEFORE.awake_ms + awake_ms,
        };
        now.since(BEFORE)
    }

    #[test]
    fn sleep_and_a_clock_that_was_set_are_told_apart() {
        let day = 86_400_000;
        assert_eq!(after(5000, 5000, 5000), Passage::default());
        assert_eq!(after(5700, 5000, 5000), Passage::default(), "time servers correct a little all the time");
        // Hibernated for a day, and the clock went on.
        assert_eq!(after(day, day, 5000), Passage { slept_ms: day - 5000, stepped_ms: 0 });
        // Resumed with the clock of the day before, which is set later.
        assert_eq!(after(5000, 5000 + day, 5000).stepped_ms, -(day as i64));
        assert_eq!(after(5000 + day, 5000, 5000), Passage { slept_ms: 0, stepped_ms: day as i64 });
    }

    proptest! {
        #[test]
        fn no_reading_is_too_strange(a: [u64; 3], b: [u64; 3]) {
            let clocks = |r: [u64; 3]| Clocks { wall_ms: r[0], boot_ms: r[1], awake_ms: r[2] };
            let passage = clocks(b).since(clocks(a));
            prop_assert!(passage.slept_ms == 0 || passage.slept_ms >= NOTICEABLE_MS);
            prop_assert_eq!(clocks(a).since(clocks(a)), Passage::default());
        }
    }
}
