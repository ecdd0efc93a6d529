//! A bounded reader for ISO base media boxes: never reads, allocates or recurses past what the bytes hold.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A four-character code: the type of a box, a brand, or the name of a sample entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FourCc(pub [u8; 4]);

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{self}'")
    }
}

impl From<FourCc> for String {
    /// One character a byte (Latin-1), so that any code survives a round trip through JSON.
    fn from(code: FourCc) -> Self {
        code.0.iter().map(|&byte| char::from(byte)).collect()
    }
}

impl TryFrom<String> for FourCc {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a four-character code"))
    }
}

/// What is wrong with the bytes of an init or media segment.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CmafError {
    /// A box says it is longer than what is left, or shorter than its own header.
    #[error("box {kind} at byte {offset} has size {size}, {left} bytes are left")]
    BoxSize {
        /// Type of the box.
        kind: FourCc,
        /// Where it begins, in bytes from the start of the file.
        offset: usize,
        /// The size it claims, in bytes.
        size: u64,
        /// Bytes left in the file or in the box around it.
        left: usize,
    },
    /// The fields of a box go on past its end.
    #[error("box {0} ends within its fields")]
    Truncated(FourCc),
    /// A box that must be there is not.
    #[error("box {0} is missing")]
    Missing(FourCc),
    /// A field has a value that its specification does not allow.
    #[error("box {kind}: {what}")]
    Invalid {
        /// Type of the box.
        kind: FourCc,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More samples than any real segment has.
    #[error("more than {0} samples in one segment")]
    TooManySamples(u32),
    /// A sample lies outside the file.
    #[error("sample {sample} of the fragment at byte {offset} lies outside the {size} bytes of the segment")]
    SampleOutside {
        /// Index of the sample in its fragment.
        sample: u32,
        /// Where the fragment's `moof` begins.
        offset: usize,
        /// Size of the segment in bytes.
        size: usize,
    },
    /// No fragment of the track that the init segment describes.
    #[error("no fragment of track {0}")]
    NoFragment(u32),
}

/// One box: its type, where it lies in the file, and its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mp4Box<'a> {
    pub(super) kind: FourCc,
    /// First byte of its header, from the start of the file.
    pub(super) offset: usize,
    /// What follows the header.
    pub(super) body: &'a [u8],
    /// First byte of `body`, from the start of the file.
    pub(super) body_offset: usize,
}

impl<'a> Mp4Box<'a> {
    /// The boxes in the body.
    pub(super) fn children(&self) -> Boxes<'a> {
        self.children_after(0)
    }

    /// The boxes in the body after `skip` bytes of fields.
    pub(super) fn children_after(&self, skip: usize) -> Boxes<'a> {
        let skip = skip.min(self.body.len());
        Boxes { rest: &self.body[skip..], offset: self.body_offset + skip }
    }

    /// The first child of type `kind`.
    pub(super) fn child(&self, kind: &[u8; 4]) -> Result<Mp4Box<'a>, CmafError> {
        self.find(kind)?.ok_or(CmafError::Missing(FourCc(*kind)))
    }

    /// The first child of type `kind`, if there is one.
    pub(super) fn find(&self, kind: &[u8; 4]) -> Result<Option<Mp4Box<'a>>, CmafError> {
        self.children().find_kind(kind)
    }

    /// The fields of the body.
    pub(super) fn fields(&self) -> Fields<'a> {
        Fields { kind: self.kind, rest: self.body }
    }

    /// Version, flags and the fields after them.
    pub(super) fn full_fields(&self) -> Result<(u8, u32, Fields<'a>), CmafError> {
        let mut fields = self.fields();
        let word = fields.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff, fields))
    }

    pub(super) fn invalid(&self, what: &'static str) -> CmafError {
        CmafError::Invalid { kind: self.kind, what }
    }
}

/// Iterates over the boxes of a file or of another box; stops after the first error.
#[derive(Clone, Debug)]
pub(super) struct Boxes<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Boxes<'a> {
    /// The boxes of a whole file.
    pub(super) fn of_file(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// The first box of type `kind`, if there is one.
    pub(super) fn find_kind(self, kind: &[u8; 4]) -> Result<Option<Mp4Box<'a>>, CmafError> {
        for item in self {
            let item = item?;
            if item.kind.0 == *kind {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn parse(&mut self) -> Result<Mp4Box<'a>, CmafError> {
        let left = self.rest.len();
        let mut head = Fields { kind: FourCc(*b"file"), rest: self.rest };
        let short = u64::from(head.u32()?);
        let kind = head.four_cc()?;
        let (size, header) = match short {
            // To the end of what is around it.
            0 => (left as u64, 8),
            1 => (head.u64()?, 16),
            _ => (short, 8),
        };
        let offset = self.offset;
        let bad = CmafError::BoxSize { kind, offset, size, left };
        let size = usize::try_from(size).ok().filter(|&size| size >= header && size <= left).ok_or(bad)?;
        let (whole, rest) = self.rest.split_at(size);
        self.rest = rest;
        self.offset += size;
        Ok(Mp4Box { kind, offset, body: &whole[header..], body_offset: offset + header })
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<Mp4Box<'a>, CmafError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.parse();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// Reads big-endian fields off the front of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    kind: FourCc,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields of `bytes`, named `kind` in errors.
    pub(super) fn new(kind: FourCc, bytes: &'a [u8]) -> Self {
        Self { kind, rest: bytes }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], CmafError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CmafError::Truncated(self.kind))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CmafError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CmafError::Truncated(self.kind))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn left(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> Result<u8, CmafError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, CmafError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, CmafError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, CmafError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, CmafError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn four_cc(&mut self) -> Result<FourCc, CmafError> {
        Ok(FourCc(self.array()?))
    }
}
