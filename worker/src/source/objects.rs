//! Objects of the output store, read one after the other as one source: an init segment and media segments are a film.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fleet::objects::{ObjectError, ObjectStore};

use super::SourceError;

/// An object and its length in bytes. Objects that are joined have names of their own attempt, so they never change.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) key: String,
    pub(crate) bytes: u64,
}

/// See the module.
pub(super) struct JoinedObjects {
    input: String,
    objects: Arc<dyn ObjectStore>,
    parts: Vec<Part>,
}

impl JoinedObjects {
    pub(super) fn new(input: String, objects: Arc<dyn ObjectStore>, parts: Vec<Part>) -> Self {
        Self { input, objects, parts }
    }

    pub(super) fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// The names of the parts tell their content.
    pub(super) fn identity(&self) -> String {
        let keys: Vec<&str> = self.parts.iter().map(|part| part.key.as_str()).collect();
        format!("objects:{}", keys.join("+"))
    }

    /// Exactly `len` bytes at `offset`, which the caller keeps within the whole. The store tries again by itself.
    pub(super) async fn get(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        let (mut bytes, mut begins) = (BytesMut::with_capacity(len), 0);
        for part in &self.parts {
            let end = begins + part.bytes;
            let left = (len - bytes.len()) as u64;
            let at = offset + bytes.len() as u64;
            if left > 0 && at < end {
                let wanted = left.min(end - at);
                let piece = self.objects.get_range(&part.key, at - begins, wanted).await;
                let piece = piece.map_err(|error| self.explain(error))?;
                if piece.len() as u64 != wanted {
                    return Err(SourceError::Changed { input: self.input.clone() });
                }
                bytes.extend_from_slice(&piece);
            }
            begins = end;
        }
        Ok(bytes.freeze())
    }

    fn explain(&self, error: ObjectError) -> SourceError {
        let input = self.input.clone();
        match error {
            ObjectError::NotFound { .. } => SourceError::NotFound { input },
            ObjectError::Forbidden { .. } => SourceError::Forbidden { input },
            other => SourceError::unavailable(&input, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet::objects::{FolderStore, PutCondition, meta_for};

    use super::*;
    use crate::source::Source;

    #[tokio::test]
    async fn parts_are_read_as_one_across_their_borders() {
        let dir = tempfile::tempdir().unwrap();
        let objects: Arc<dyn ObjectStore> = Arc::new(FolderStore::open(dir.path()).unwrap());
        let mut parts = Vec::new();
        for (key, text) in [("a/init.mp4", "moov"), ("a/one.m4s", "first"), ("a/two.m4s", "second")] {
            let bytes = Bytes::from_static(text.as_bytes());
            objects.put(key, bytes, meta_for(key), PutCondition::Always).await.unwrap();
            parts.push(Part { key: key.to_owned(), bytes: text.len() as u64 });
        }
        let source = Source::of_objects("clip", objects.clone(), parts.clone());
        assert_eq!(source.len(), 15);
        assert_eq!(&source.read_at(0, 100).await.unwrap()[..], b"moovfirstsecond");
        assert_eq!(&source.read_at(3, 8).await.unwrap()[..], b"vfirstse");
        objects.delete(&["a/two.m4s".to_owned()]).await.unwrap();
        let source = Source::of_objects("clip", objects, parts);
        assert!(matches!(source.read_at(0, 15).await, Err(SourceError::NotFound { .. })));
    }
}
