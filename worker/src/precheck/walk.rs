//! The boxes inside an index.

use fleet::failure::FailureCode;
use media::io::ReadAt;

use super::{Header, Refused, fill, header};

/// Boxes in an index; a film of many tracks has a few hundred.
const MAX_BOXES: u32 = 20_000;
/// Boxes in boxes.
const MAX_DEPTH: usize = 8;
/// Tracks.
const MAX_TRACKS: u32 = 128;
/// Kinds of samples in a track, or places that its media lies in.
const MAX_ENTRIES: u32 = 256;
/// Edits of a track.
const MAX_EDITS: u32 = 4096;

/// Walks an index, keeping its own stack.
pub(super) fn moov(source: &mut dyn ReadAt, moov: &Header) -> Result<(), Refused> {
    // Ends of the boxes around, outermost first.
    let mut around = vec![moov.end];
    let mut at = moov.body;
    let (mut boxes, mut tracks) = (0, 0);
    while let Some(&end) = around.last() {
        let Some(found) = header(source, at, end)? else {
            around.pop();
            at = end;
            continue;
        };
        boxes += 1;
        tracks += u32::from(found.kind == *b"trak");
        if boxes > MAX_BOXES || tracks > MAX_TRACKS {
            let what =
                format!("{tracks} tracks, {boxes} boxes in the index; {MAX_TRACKS} and {MAX_BOXES} are the most");
            return Err(Refused::because(FailureCode::LimitExceeded, what));
        }
        match &found.kind {
            b"trak" | b"mdia" | b"minf" | b"stbl" | b"edts" | b"dinf" | b"mvex" => {
                if around.len() >= MAX_DEPTH {
                    let what = format!("{found} lies in {MAX_DEPTH} others");
                    return Err(Refused::because(FailureCode::LimitExceeded, what));
                }
                around.push(found.end);
                at = found.body;
                continue;
            }
            b"moov" => return Err(Refused::because(FailureCode::Undecodable, "an index in the index")),
            b"cmov" => return Err(Refused::because(FailureCode::UnsupportedFormat, "a compressed index")),
            b"pssh" => return Err(Refused::because(FailureCode::Encrypted, "protection data (pssh)")),
            b"dref" => places(source, &found)?,
            b"stsd" => entries(source, &found)?,
            _ => table(source, &found)?,
        }
        at = found.end;
    }
    Ok(())
}

/// Where media lies: in this file, or not at all.
fn places(source: &mut dyn ReadAt, dref: &Header) -> Result<(), Refused> {
    let mut at = dref.body.saturating_add(8);
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = header(source, at, dref.end)? else { return Ok(()) };
        let mut flags = [0; 4];
        // "Self-contained"; without the flag a name follows, unless there is no room for one.
        let is_outside = fill(source, entry.body, &mut flags)? == 4 && flags[3] & 1 == 0 && entry.end - entry.body > 5;
        if is_outside {
            return Err(Refused::because(FailureCode::UnsupportedFormat, "its media lies in another file"));
        }
        at = entry.end;
    }
    Err(Refused::because(FailureCode::LimitExceeded, format!("more than {MAX_ENTRIES} places of media")))
}

/// Kinds of samples.
fn entries(source: &mut dyn ReadAt, stsd: &Header) -> Result<(), Refused> {
    let mut at = stsd.body.saturating_add(8);
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = header(source, at, stsd.end)? else { return Ok(()) };
        if matches!(&entry.kind, b"encv" | b"enca" | b"enct" | b"encs" | b"drmi" | b"drms") {
            return Err(Refused::because(FailureCode::Encrypted, format!("{entry}: encrypted")));
        }
        at = entry.end;
    }
    Err(Refused::because(FailureCode::LimitExceeded, format!("more than {MAX_ENTRIES} kinds of samples")))
}

/// A table has room for the rows that it claims.
fn table(source: &mut dyn ReadAt, found: &Header) -> Result<(), Refused> {
    let mut fields = [0; 12];
    let filled = fill(source, found.body, &mut fields)?;
    let word = |at: usize| u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
    // Bytes before the rows, the number of rows, bytes of a row.
    let (before, rows, row) = match &found.kind {
        b"stts" | b"ctts" | b"co64" => (8, word(4), 8),
        b"stss" | b"stps" | b"stco" => (8, word(4), 4),
        b"stsc" => (8, word(4), 12),
        // All samples of one size have no rows.
        b"stsz" => (12, if word(4) == 0 { word(8) } else { 0 }, 4),
        b"elst" if word(4) > MAX_EDITS => {
            let what = format!("{} edits; {MAX_EDITS} are the most", word(4));
            return Err(Refused::because(FailureCode::LimitExceeded, what));
        }
        b"elst" => (8, word(4), if fields[0] == 1 { 20 } else { 12 }),
        _ => return Ok(()),
    };
    let room = found.end - found.body;
    if (filled as u64) < before.min(room) || before + u64::from(rows) * row > room {
        let what = format!("{found} claims {rows} rows in {room} bytes");
        return Err(Refused::because(FailureCode::Undecodable, what));
    }
    Ok(())
}

/// Whether a `meta` box describes pictures (ISO/IEC 23008-12) rather than what a camera noted.
pub(super) fn holds_pictures(source: &mut dyn ReadAt, meta: &Header) -> Result<bool, Refused> {
    let mut at = meta.body.saturating_add(4);
    for _ in 0..MAX_ENTRIES {
        match header(source, at, meta.end) {
            Ok(Some(found)) if found.kind == *b"iprp" => return Ok(true),
            Ok(Some(found)) => at = found.end,
            // QuickTime's `meta` has no version in front, and reads as nonsense here.
            Ok(None) | Err(Refused::Because { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
