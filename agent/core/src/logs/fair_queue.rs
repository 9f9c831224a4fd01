//! Fair turns: each stream sends one batch, then the other ready streams do.

use std::collections::BTreeMap;

/// Remembers when each stream was last served.
#[derive(Debug)]
pub struct FairQueue<K> {
    served: BTreeMap<K, u64>,
    turn: u64,
}

impl<K> Default for FairQueue<K> {
    fn default() -> Self {
        Self { served: BTreeMap::new(), turn: 0 }
    }
}

impl<K: Ord + Clone> FairQueue<K> {
    /// The ready stream that has waited the longest; it counts as served now. A stream that was never served comes
    /// first.
    pub fn next(&mut self, ready: impl IntoIterator<Item = K>) -> Option<K> {
        let chosen = ready.into_iter().min_by_key(|key| (self.served.get(key).copied().unwrap_or(0), key.clone()))?;
        self.turn += 1;
        self.served.insert(chosen.clone(), self.turn);
        Some(chosen)
    }

    /// Forgets a stream that is gone.
    pub fn forget(&mut self, key: &K) {
        self.served.remove(key);
    }
}
