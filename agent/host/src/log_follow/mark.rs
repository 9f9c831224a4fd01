//! The logs at one moment, and whether they were shipped since: for a caller that waits for it while lines go on
//! coming.

use std::collections::BTreeMap;

use super::Tail;
use super::tracked_file::FileState;

/// How far each file went at one moment.
#[derive(Debug)]
pub struct Mark(BTreeMap<u64, u64>);

impl Tail {
    /// Notes all present content. From now on nothing is gathered, until [`Tail::gather_again`].
    pub fn mark(&mut self, now_ms: u64) -> Mark {
        self.flush(now_ms);
        let unread = self.files.values().filter(|file| file.unread() > 0);
        Mark(unread.map(|file| (file.id, file.size)).collect())
    }

    /// Whether everything up to a mark was acknowledged or is lost. Of a journal, which has no length, nothing may
    /// wait.
    pub fn is_shipped(&self, mark: &Mark) -> bool {
        let shipped = |(id, size): (&u64, &u64)| {
            self.files.get(id).is_none_or(|file| file.position.offset >= *size || file.place == FileState::Gone)
        };
        mark.0.iter().all(shipped) && self.journals.values().all(|journal| journal.due_ms(true).is_none())
    }

    /// No caller waits any more.
    pub fn gather_again(&mut self) {
        self.flushing = false;
    }
}
