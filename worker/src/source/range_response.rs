//! Checking what a server sends for a range, alike for S3 and the web.

use bytes::{Bytes, BytesMut};

use super::SourceError;

/// A range that was asked for, and the length of the source it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) len: usize,
    /// Bytes in the whole source.
    pub(super) total: u64,
}

impl Range {
    /// The value of the request's `Range` header (RFC 9110 section 14.2). `len` is not zero.
    pub(super) fn header(offset: u64, len: usize) -> String {
        format!("bytes={offset}-{}", offset.saturating_add(len as u64).saturating_sub(1))
    }

    /// Requires the answer to be this range of a source of this length. `content_range` and `content_length` are
    /// the answer's headers; without the former it is the whole body, which will do where the whole was asked for.
    pub(super) fn check(
        &self,
        input: &str,
        content_range: Option<&str>,
        content_length: Option<u64>,
    ) -> Result<(), SourceError> {
        let Some(content_range) = content_range else {
            let is_whole = self.offset == 0 && self.len as u64 == self.total && content_length == Some(self.total);
            return if is_whole { Ok(()) } else { Err(SourceError::RangesUnsupported { input: input.to_owned() }) };
        };
        let Some(sent) = ContentRange::parse(content_range) else {
            return Err(SourceError::invalid(input, "bad content-range header"));
        };
        if sent.total != self.total {
            return Err(SourceError::Changed { input: input.to_owned() });
        }
        if sent.bytes != Some((self.offset, self.offset + (self.len as u64 - 1))) {
            return Err(SourceError::invalid(input, "a range that was not asked for"));
        }
        Ok(())
    }
}

/// The header `Content-Range: bytes first-last/total` or `bytes */total` (RFC 9110 section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// First and last byte; `None` in the answer to a range that cannot be satisfied.
    pub(super) bytes: Option<(u64, u64)>,
    pub(super) total: u64,
}

impl ContentRange {
    /// `None` for malformed text, other units and unknown totals.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim_start().split_once('/')?;
        let total = number(total)?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        if range == "*" {
            return Some(Self { bytes: None, total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        (first <= last && last < total).then_some(Self { bytes: Some((first, last)), total })
    }
}

/// Digits only: the standard parser also takes a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A body of known length while it arrives.
pub(super) struct ExactBody<'a> {
    input: &'a str,
    bytes: BytesMut,
    len: usize,
}

impl<'a> ExactBody<'a> {
    /// `len` is at most the block length.
    pub(super) fn new(input: &'a str, len: usize) -> Self {
        Self { input, bytes: BytesMut::with_capacity(len), len }
    }

    /// Takes the next piece, and refuses more than was announced.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), SourceError> {
        if piece.len() > self.len - self.bytes.len() {
            return Err(SourceError::invalid(self.input, "a body longer than the range asked for"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The whole body; one that ended early may be complete next time.
    pub(super) fn finish(self) -> Result<Bytes, SourceError> {
        if self.bytes.len() < self.len {
            let reason = format!("the body ended after {} of {} bytes", self.bytes.len(), self.len);
            return Err(SourceError::unavailable(self.input, reason));
        }
        Ok(self.bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_strictly() {
        let read = |text| ContentRange::parse(text).map(|range| (range.bytes, range.total));
        assert_eq!(read("bytes 0-99/1000"), Some((Some((0, 99)), 1000)));
        assert_eq!(read("Bytes 5-5/6"), Some((Some((5, 5)), 6)));
        assert_eq!(read("bytes */0"), Some((None, 0)));
        for text in [
            "",
            "bytes",
            "bytes 0-99",
            "bytes 0-99/*",
            "bytes 9-0/10",
            "bytes 0-10/10",
            "bytes -5/10",
            "bytes 0-/10",
            "items 0-9/10",
            "bytes 0-+9/10",
            "bytes 0-99999999999999999999/999999999999999999999",
            "bytes /10",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_answer_is_taken_only_for_the_range_asked_for() {
        let whole = Range { offset: 0, len: 10, total: 10 };
        let middle = Range { offset: 4, len: 3, total: 10 };
        let verdict =
            |range: Range, content_range, content_length| match range.check("m.mp4", content_range, content_length) {
                Ok(()) => "taken",
                Err(SourceError::RangesUnsupported { .. }) => "ranges unsupported",
                Err(SourceError::Changed { .. }) => "changed",
                Err(SourceError::InvalidResponse { .. }) => "invalid",
                Err(error) => panic!("{error}"),
            };
        assert_eq!(verdict(middle, Some("bytes 4-6/10"), Some(3)), "taken");
        assert_eq!(verdict(middle, Some("bytes 4-6/11"), Some(3)), "changed");
        assert_eq!(verdict(middle, Some("bytes 4-5/10"), Some(2)), "invalid");
        assert_eq!(verdict(middle, Some("bytes */10"), None), "invalid");
        assert_eq!(verdict(middle, Some("bytes four"), None), "invalid");
        assert_eq!(verdict(middle, None, Some(10)), "ranges unsupported");
        assert_eq!(verdict(whole, None, Some(10)), "taken");
        assert_eq!(verdict(whole, None, Some(11)), "ranges unsupported");
        assert_eq!(verdict(whole, None, None), "ranges unsupported");
    }

    #[test]
    fn a_body_is_neither_longer_nor_shorter_than_announced() {
        let mut body = ExactBody::new("m.mp4", 4);
        body.push(b"abc").unwrap();
        assert!(matches!(body.push(b"de"), Err(SourceError::InvalidResponse { .. })));
        body.push(b"d").unwrap();
        assert_eq!(body.finish().unwrap().as_ref(), b"abcd");
        assert!(ExactBody::new("m.mp4", 1).finish().unwrap_err().retryable());
    }
}
