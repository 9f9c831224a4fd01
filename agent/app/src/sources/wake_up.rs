//! A queue that reports changes of a channel, so that the next poll comes early.

use std::sync::Arc;
use std::time::Duration;

use hostler_aws::signed_call::SignedCalls;
use hostler_aws::sqs::Queue;
use hostler_core::ids::GroupKey;
use hostler_core::wake_up::is_about_release;
use tokio::sync::Notify;

use crate::setup::SetupWatch;
use crate::stores::Stores;

/// The first pause after a failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause: the channel is still polled, so only speed is lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Listens for as long as the channel is followed, with the AWS clients in force. Failures are logged once and retried.
pub async fn listen(mut setup_watch: SetupWatch, group: &GroupKey, url: &str, changed: &Notify) {
    loop {
        let setup = setup_watch.now();
        tokio::select! {
            () = rounds(&setup.stores, group, url, changed) => {}
            () = replaced(&mut setup_watch, &setup.stores) => {}
        }
    }
}

/// Waits until a reload has replaced the AWS clients.
async fn replaced(setup_watch: &mut SetupWatch, stores: &Arc<Stores>) {
    while Arc::ptr_eq(&setup_watch.now().stores, stores) {
        setup_watch.changed().await;
    }
}

async fn rounds(stores: &Stores, group: &GroupKey, url: &str, changed: &Notify) {
    let mut pause = FIRST_PAUSE;
    let mut queue = None;
    loop {
        let problem = match round(stores, group, url, &mut queue, changed).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                continue;
            }
            Err(problem) => problem,
        };
        if pause == FIRST_PAUSE {
            log::warn!(group:% = group, queue = url; "{group}: the wake-up queue cannot be read, the channel is only polled: {url}: {problem}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn round(
    stores: &Stores,
    group: &GroupKey,
    url: &str,
    queue: &mut Option<Queue>,
    changed: &Notify,
) -> Result<(), String> {
    let queue = match queue {
        Some(queue) => queue,
        None => {
            let clients = stores.clients().map_err(|e| e.one_line())?;
            let calls = SignedCalls::of_clients(&clients).await.map_err(|e| e.to_string())?;
            queue.insert(Queue::new(&calls, url))
        }
    };
    let messages = queue.receive().await.map_err(|e| e.to_string())?;
    if messages.is_empty() {
        return Ok(());
    }
    if messages.iter().any(|message| is_about_release(&message.body, group)) {
        changed.notify_one();
    }
    // Messages without meaning too: they would come back forever.
    queue.delete(&messages).await.map_err(|e| e.to_string())
}
