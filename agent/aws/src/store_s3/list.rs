//! The names below a prefix, page by page.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use hostler_core::store::{Key, Listed, StoreError};
use jiff::Timestamp;

use super::{S3Store, store_error};
use crate::fault::Fault;

/// S3's own bound of a page.
const PAGE: usize = 1000;

impl S3Store {
    pub(super) async fn list_now(
        &self,
        directory: &Key,
        prefix: &str,
        at_most: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let below = self.key(directory);
        let listed = |page: ListObjectsV2Output| {
            let objects = page.contents.unwrap_or_default().into_iter();
            let named = objects.filter_map(|object| {
                let name = object.key()?.strip_prefix(&below)?.strip_prefix('/')?;
                // A name that is no key was not put here by a store.
                let key = format!("{directory}/{name}").parse::<Key>().ok()?;
                let size = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                let modified = object.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok());
                Some(Listed { key, size, modified })
            });
            named.collect()
        };
        let mut found = self.pages(format!("{below}/{prefix}"), at_most, listed).await?;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.truncate(at_most);
        Ok(found)
    }

    pub(super) async fn directories_now(&self, below: Option<&Key>, at_most: usize) -> Result<Vec<Key>, StoreError> {
        let prefix = match below {
            Some(key) => format!("{}/", self.key(key)),
            None if self.prefix.is_empty() => String::new(),
            None => format!("{}/", self.prefix),
        };
        let named = |page: ListObjectsV2Output| {
            let prefixes = page.common_prefixes.unwrap_or_default().into_iter();
            let keys = prefixes.filter_map(|common| {
                let name = common.prefix()?.strip_prefix(&prefix)?.strip_suffix('/')?;
                below.map_or_else(|| name.to_owned(), |below| format!("{below}/{name}")).parse::<Key>().ok()
            });
            keys.collect()
        };
        let mut found = self.pages(prefix.clone(), at_most, named).await?;
        found.sort();
        found.truncate(at_most);
        Ok(found)
    }

    /// Asks for pages until there are enough entries or no more.
    async fn pages<T>(
        &self,
        prefix: String,
        at_most: usize,
        entries: impl Fn(ListObjectsV2Output) -> Vec<T>,
    ) -> Result<Vec<T>, StoreError> {
        let (mut found, mut from) = (Vec::new(), None::<String>);
        loop {
            let page = async |client: Client| {
                let list = client.list_objects_v2().bucket(&self.bucket.name);
                let list = list.set_prefix((!prefix.is_empty()).then(|| prefix.clone()));
                let list = list.delimiter("/").max_keys(i32::try_from(at_most.min(PAGE)).unwrap_or(i32::MAX));
                let sent = list.set_continuation_token(from.clone()).send().await;
                sent.map_err(|e| Fault::of(e, "s3:ListBucket"))
            };
            let page = self.bucket.call(page).await.map_err(|fault| {
                let place = format!("s3://{}/{prefix}", self.bucket.name);
                store_error("list", place.trim_end_matches('/').to_owned(), fault)
            })?;
            from = page.next_continuation_token.clone();
            found.extend(entries(page));
            if from.is_none() || found.len() >= at_most {
                return Ok(found);
            }
        }
    }
}
