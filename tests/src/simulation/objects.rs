//! The output store: whole objects, versions, conditions. What is written late is written all the same.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fleet::objects::{ETag, ObjectError, ObjectFacts, ObjectMeta, ObjectStore, PutCondition};
use time::OffsetDateTime;

use super::memory::Ms;
use super::network::{Client, Server, Unreachable};
use super::world::World;

/// Objects that one list names at most.
const PAGE: usize = 1000;

/// All objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) all: BTreeMap<String, Object>,
    version: u64,
    /// What changed since somebody looked: key, and what was there before.
    pub(crate) changed: Vec<(String, Option<Bytes>)>,
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) modified: Ms,
    version: u64,
}

impl Objects {
    fn put(&mut self, now: Ms, key: String, bytes: Bytes, condition: &PutCondition) -> Result<ETag, ObjectError> {
        let there = self.all.get(&key).map(|o| o.version);
        let holds = match condition {
            PutCondition::Always => true,
            PutCondition::IfAbsent => there.is_none(),
            PutCondition::IfMatch(etag) => there.is_some_and(|v| v.to_string() == etag.0),
        };
        if !holds {
            return Err(ObjectError::PreconditionFailed { key });
        }
        self.version += 1;
        let object = Object { bytes, modified: now, version: self.version };
        let before = self.all.insert(key.clone(), object).map(|o| o.bytes);
        self.changed.push((key, before));
        Ok(ETag(self.version.to_string()))
    }

    fn delete(&mut self, keys: &[String]) {
        for key in keys {
            if let Some(object) = self.all.remove(key) {
                self.changed.push((key.clone(), Some(object.bytes)));
            }
        }
    }

    /// An object's text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(&self.all.get(key)?.bytes).ok()
    }
}

/// Virtual time as the trait has it.
pub(crate) fn moment(at: Ms) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(at)
}

/// The store as a process reaches it.
#[derive(Clone, Debug)]
pub(crate) struct ObjectClient(pub(crate) Client);

impl ObjectClient {
    async fn ask<T: Debug + Send + 'static>(
        &self,
        name: &'static str,
        key: &str,
        op: impl FnOnce(&mut World) -> Result<T, ObjectError> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let silent = |Unreachable| ObjectError::Unavailable { key: key.to_owned(), reason: "no answer".to_owned() };
        self.0.call(Server::Objects, name, op).await.map_err(silent)?
    }
}

#[async_trait]
impl ObjectStore for ObjectClient {
    async fn put(&self, key: &str, bytes: Bytes, _: ObjectMeta, condition: PutCondition) -> Result<ETag, ObjectError> {
        let name = key.to_owned();
        let put = move |world: &mut World| {
            world.say(|_| format!("  {name} ({} bytes, {condition:?})", bytes.len()));
            let now = world.now;
            world.objects.put(now, name, bytes, &condition)
        };
        self.ask("put", key, put).await
    }

    async fn put_file(&self, key: &str, _: &Path, _: ObjectMeta) -> Result<ETag, ObjectError> {
        Err(ObjectError::Invalid { key: key.to_owned(), reason: "no files are uploaded here".to_owned() })
    }

    async fn get(&self, key: &str, _: u64) -> Result<(Bytes, ETag), ObjectError> {
        let name = key.to_owned();
        let get = move |world: &mut World| match world.objects.all.get(&name) {
            Some(object) => Ok((object.bytes.clone(), ETag(object.version.to_string()))),
            None => Err(ObjectError::NotFound { key: name }),
        };
        self.ask("get", key, get).await
    }

    async fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, ObjectError> {
        let (bytes, _) = self.get(key, u64::MAX).await?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(bytes.len());
        Ok(bytes.slice(from..to))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectFacts>, ObjectError> {
        Ok(self.list(key, None).await?.into_iter().find(|o| o.key == key))
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectFacts>, ObjectError> {
        let (from, after) = (prefix.to_owned(), after.map(str::to_owned));
        let list = move |world: &mut World| {
            let of_prefix = world.objects.all.range(from.clone()..).take_while(|(key, _)| key.starts_with(&from));
            let page = of_prefix.filter(|(key, _)| after.as_ref().is_none_or(|a| *key > a)).take(PAGE);
            Ok(page
                .map(|(key, object)| ObjectFacts {
                    key: key.clone(),
                    size: object.bytes.len() as u64,
                    etag: ETag(object.version.to_string()),
                    modified: moment(object.modified),
                })
                .collect())
        };
        self.ask("list", prefix, list).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), ObjectError> {
        let names = keys.to_vec();
        let delete = move |world: &mut World| {
            world.objects.delete(&names);
            Ok(())
        };
        self.ask("delete", "", delete).await
    }

    async fn abort_stale_uploads(&self, _: Duration) -> Result<u64, ObjectError> {
        Ok(0)
    }
}
