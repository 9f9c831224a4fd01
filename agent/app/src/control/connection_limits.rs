//! Limits for users with read access: how many of them are served at a time; and which users may do more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hostler_host::socket::Connection;
use hostler_host::users::{self, SERVICE_GROUP};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

/// The waiting line has this many times as many places as are served at once.
const IN_LINE: usize = 4;

/// The places on the local socket for users who may only read.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    places: Slots,
    /// The waiting line: a monitoring user asks several questions at once, and each is answered within milliseconds.
    line: Slots,
    /// A hanging directory service blocks one thread, not all.
    look_up: Arc<Semaphore>,
}

/// A limit for all users together, and a limit for each user.
#[derive(Debug, Clone)]
struct Slots {
    taken: Arc<Mutex<HashMap<u32, usize>>>,
    given_back: Arc<Notify>,
    most: usize,
    most_each: usize,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    places: Slots,
    uid: u32,
}

impl Slots {
    fn new(most: usize, most_each: usize) -> Self {
        Self { taken: Arc::default(), given_back: Arc::default(), most, most_each }
    }

    /// Takes a place for a user, if that user and all users together have one left.
    fn place(&self, uid: u32) -> Option<Slot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&uid).copied().unwrap_or_default());
        if all >= self.most || own >= self.most_each {
            return None;
        }
        taken.insert(uid, own + 1);
        Some(Slot { places: self.clone(), uid })
    }
}

impl ConnectionLimits {
    /// `most` places for all users together, `most_each` for each of them.
    pub fn new(most: usize, most_each: usize) -> Self {
        let (places, line) = (Slots::new(most, most_each), Slots::new(IN_LINE * most, IN_LINE * most_each));
        Self { places, line, look_up: Arc::new(Semaphore::new(1)) }
    }

    /// Takes a place for a user, waiting at most this long; `None` if none became free or too many wait already.
    pub async fn place(&self, uid: u32, patience: Duration) -> Option<Slot> {
        if let Some(place) = self.places.place(uid) {
            return Some(place);
        }
        let _in_line = self.line.place(uid)?;
        let wait = async {
            loop {
                let given_back = self.places.given_back.notified();
                if let Some(place) = self.places.place(uid) {
                    return place;
                }
                given_back.await;
            }
        };
        timeout(patience, wait).await.ok()
    }

    /// Whether the group database lists the peer's user in the service's group; this includes a user who was added
    /// after the login. If the database does not answer in time, the user may only read.
    pub async fn is_member(&self, uid: u32, patience: Duration) -> bool {
        let look_up = async {
            let place = Arc::clone(&self.look_up).acquire_owned().await.ok()?;
            let found = tokio::task::spawn_blocking(move || {
                let found = users::is_member(uid, SERVICE_GROUP);
                drop(place);
                found
            });
            found.await.ok()
        };
        timeout(patience, look_up).await.ok().flatten().unwrap_or(false)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
            match taken.get_mut(&self.uid) {
                Some(own) if *own > 1 => *own -= 1,
                _ => drop(taken.remove(&self.uid)),
            }
        }
        self.places.given_back.notify_waiters();
    }
}

/// Whether the kernel's credentials alone let the peer act: root, the agent's own user, or a process in the service's
/// group.
pub fn acts_by_credentials(connection: &Connection) -> bool {
    let uid = connection.peer_uid();
    let service = || users::service_group().is_some_and(|gid| connection.peer_has_group(gid));
    uid == 0 || uid == users::own_uid() || service()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_takes_few_places_and_leaves_the_others_theirs() {
        let places = Slots::new(6, 4);
        let mut greedy: Vec<Slot> = (0..10).filter_map(|_| places.place(1000)).collect();
        assert_eq!(greedy.len(), 4);
        let others: Vec<Slot> = (2000..2010).filter_map(|uid| places.place(uid)).collect();
        assert_eq!(others.len(), 2, "all together");
        greedy.pop();
        assert!(places.place(3000).is_some(), "a place that was given back");
        drop((greedy, others));
        assert!(places.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn a_user_with_many_questions_waits_for_a_place_and_holds_no_more_than_a_line() {
        let connections = ConnectionLimits::new(6, 4);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let soon = Duration::from_millis(1);
            let mut held = Vec::new();
            for _ in 0..4 {
                held.push(connections.place(1000, soon).await.unwrap());
            }
            assert!(connections.place(1000, soon).await.is_none(), "none becomes free");
            let asked = |connections: ConnectionLimits| async move {
                connections.place(1000, Duration::from_secs(60)).await.is_some()
            };
            let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(asked(connections.clone()))).collect();
            tokio::task::yield_now().await;
            held.clear();
            let mut heard = 0;
            for one in waiting {
                heard += usize::from(one.await.unwrap());
            }
            assert_eq!(heard, IN_LINE * 4, "those in line, one after the other; the others are sent away at once");
            assert!(connections.line.taken.lock().unwrap().is_empty());
        });
    }

    #[test]
    fn a_group_database_that_hangs_holds_a_peer_no_longer_than_the_patience() {
        let connections = ConnectionLimits::new(6, 4);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let _hangs = connections.look_up.acquire().await.unwrap();
            assert!(!connections.is_member(0, Duration::from_millis(1)).await);
        });
    }
}
