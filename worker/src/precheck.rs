//! A look at the boxes of an MP4 or MOV before FFmpeg sees them: bounded, without recursion, a few hundred bytes a track.
//!
//! Demuxers of C are taken over through tables that claim more than they hold, boxes in boxes, and features that a match
//! film has no use for. Those are found here, in memory-safe code, and refused by name: encryption, compressed or external
//! media, still pictures. Tables are not read; what they claim is compared with the room they have.
//!
//! Containers that begin otherwise are none of this module's business, and FFmpeg is then not offered the demuxer that
//! reads boxes: see [`Kind`].

#[cfg(test)]
mod tests;
mod walk;

use std::io;

use fleet::failure::FailureCode;
use media::io::ReadAt;

/// Boxes before the index at the top of a file.
const MAX_TOP: u32 = 1024;
/// Largest index in bytes; eight hours of film and sound have about 40 MB.
const MAX_MOOV: u64 = 256 << 20;

/// What a file begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Boxes, checked.
    Boxes,
    /// Something else.
    Other,
}

/// Why a file is not even shown to FFmpeg.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It could not be read.
    #[error("reading the boxes: {0}")]
    Unreadable(#[from] io::Error),
    /// It is not what is accepted.
    #[error("{what}")]
    Because {
        /// Stable code.
        code: FailureCode,
        /// What was found, and where.
        what: String,
    },
}

impl Refused {
    fn because(code: FailureCode, what: impl Into<String>) -> Self {
        Self::Because { code, what: what.into() }
    }
}

/// The header of a box in a file.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: [u8; 4],
    /// First byte of the body.
    body: u64,
    /// First byte after the box.
    end: u64,
}

impl std::fmt::Display for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "box '{}' with its body at {}", self.kind.escape_ascii(), self.body)
    }
}

/// Reads the header at `at` of a box that must end by `limit`; `None` where less than a header is left, or a zero that
/// ends a list.
fn header(source: &mut dyn ReadAt, at: u64, limit: u64) -> Result<Option<Header>, Refused> {
    let mut bytes = [0; 16];
    let filled = fill(source, at, &mut bytes)?;
    if limit.saturating_sub(at) < 8 || filled < 8 {
        return Ok(None);
    }
    let short = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let kind = [bytes[4], bytes[5], bytes[6], bytes[7]];
    let (size, length) = match short {
        0 if kind == [0; 4] => return Ok(None),
        // To the end of what is around it.
        0 => (limit - at, 8),
        1 if filled == 16 => {
            let [_, _, _, _, _, _, _, _, long @ ..] = bytes;
            (u64::from_be_bytes(long), 16)
        }
        _ => (u64::from(short), 8),
    };
    let end = at.checked_add(size).filter(|end| size >= length && *end <= limit);
    let whole = end.map(|end| Header { kind, body: at + length, end });
    whole.map(Some).ok_or_else(|| {
        let what = format!("box '{}' at {at} claims {size} bytes of {}", kind.escape_ascii(), limit - at);
        Refused::because(FailureCode::Undecodable, what)
    })
}

/// Reads as much as there is; gives the number of bytes.
fn fill(source: &mut dyn ReadAt, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read_at(at.saturating_add(filled as u64), &mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Checks a file.
///
/// # Errors
/// [`Refused`]: nothing of it should reach FFmpeg.
pub fn check(source: &mut dyn ReadAt) -> Result<Kind, Refused> {
    let mut head = [0; 8];
    let known: [&[u8; 4]; 9] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid"];
    if fill(source, 0, &mut head)? < 8 || !known.iter().any(|k| head[4..] == **k) {
        return Ok(Kind::Other);
    }
    let length = source.len();
    let mut at = 0;
    let mut has_media = false;
    for _ in 0..MAX_TOP {
        let Some(found) = top(source, at, length)? else { break };
        match &found.kind {
            b"moov" => {
                if found.end - found.body > MAX_MOOV {
                    let what = format!("an index of {} bytes; {MAX_MOOV} are the most", found.end - found.body);
                    return Err(Refused::because(FailureCode::LimitExceeded, what));
                }
                return walk::moov(source, &found).map(|()| Kind::Boxes);
            }
            b"meta" if walk::holds_pictures(source, &found)? => {
                return Err(Refused::because(FailureCode::StillPicture, "a still picture in boxes (HEIF)"));
            }
            kind => {
                has_media |= kind == b"mdat";
                at = found.end;
            }
        }
    }
    Err(if has_media {
        Refused::because(FailureCode::IncompleteFile, "media without an index (moov)")
    } else {
        Refused::because(FailureCode::NotMedia, "boxes with neither an index (moov) nor media")
    })
}

/// A box at the top of the file. Media and index end after the file does when it was cut off.
fn top(source: &mut dyn ReadAt, at: u64, length: u64) -> Result<Option<Header>, Refused> {
    let limit = if at >= length { return Ok(None) } else { length };
    match header(source, at, limit) {
        Err(Refused::Because { what, .. }) => {
            let mut kind = [0; 4];
            let filled = fill(source, at + 4, &mut kind)?;
            let is_cut = filled == kind.len() && matches!(&kind, b"mdat" | b"moov");
            Err(Refused::because(if is_cut { FailureCode::IncompleteFile } else { FailureCode::NotMedia }, what))
        }
        other => other,
    }
}
