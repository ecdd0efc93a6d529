//! Reads a presentation from a folder.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{LoadedSegment, Presentation, Role, Track};
use crate::cmaf::{ByteRange, InitFacts, parse_init, parse_segment};
use crate::hls::{MAX_PLAYLIST_BYTES, Map, MediaKind, MediaPlaylist, MultivariantPlaylist, Playlist, parse};

/// Largest segment that is read, in bytes: 6 s at 700 Mbit/s. One is in memory at a time.
pub const MAX_SEGMENT_BYTES: u64 = 512 << 20;

/// Largest init segment that is read, in bytes.
const MAX_INIT_BYTES: u64 = 1 << 20;

/// Most media playlists that are read.
const MAX_TRACKS: usize = 200;

/// Most faults that are listed for one media playlist.
const MAX_FAULTS: usize = 50;

/// Why a folder holds no presentation.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder cannot be listed.
    #[error("read folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The multivariant playlist cannot be read.
    #[error("read multivariant playlist {path}: {reason}")]
    Multivariant {
        /// The playlist.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No playlist in the folder names variants.
    #[error("no multivariant playlist in {0}")]
    NoMultivariant(PathBuf),
    /// More media playlists than any presentation has.
    #[error("multivariant playlist {path} names {count} media playlists")]
    TooManyTracks {
        /// The playlist.
        path: PathBuf,
        /// How many it names.
        count: usize,
    },
}

/// Reads the presentation in `folder`: its multivariant playlist (`master.m3u8`, else the first `.m3u8` by name that
/// has variants), the media playlists it names and their segments, one at a time.
///
/// # Errors
///
/// [`LoadError`] when there is no multivariant playlist to read. Whatever is wrong below it becomes a fault of its
/// [`Track`].
pub fn load_folder(folder: &Path) -> Result<Presentation, LoadError> {
    let (path, multivariant) = find_multivariant(folder)?;
    load(folder, path, multivariant)
}

/// Reads what `multivariant` names in `folder`, when the playlist itself is not written yet: a publisher checks before
/// it makes anything visible.
///
/// # Errors
///
/// As [`load_folder`].
pub fn load_tracks(folder: &Path, multivariant: MultivariantPlaylist) -> Result<Presentation, LoadError> {
    load(folder, folder.join("master.m3u8"), multivariant)
}

fn load(folder: &Path, path: PathBuf, multivariant: MultivariantPlaylist) -> Result<Presentation, LoadError> {
    let named = named_playlists(&multivariant);
    if named.len() > MAX_TRACKS {
        return Err(LoadError::TooManyTracks { path, count: named.len() });
    }
    let tracks = named.into_iter().map(|(uri, role)| load_track(folder, uri, role)).collect();
    let partial_files = partial_files(folder, &multivariant)?;
    Ok(Presentation { multivariant, tracks, partial_files })
}

fn find_multivariant(folder: &Path) -> Result<(PathBuf, MultivariantPlaylist), LoadError> {
    let master = folder.join("master.m3u8");
    if master.exists() {
        return match read_playlist(&master) {
            Ok(Playlist::Multivariant(playlist)) => Ok((master, playlist)),
            Ok(Playlist::Media(_)) => {
                Err(LoadError::Multivariant { path: master, reason: "it is a media playlist".to_owned() })
            }
            Err(reason) => Err(LoadError::Multivariant { path: master, reason }),
        };
    }
    for path in list(folder)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "m3u8")) {
        if let Ok(Playlist::Multivariant(playlist)) = read_playlist(&path) {
            return Ok((path, playlist));
        }
    }
    Err(LoadError::NoMultivariant(folder.to_owned()))
}

/// Every media playlist once. One that is both a variant and an audio rendition, as an audio-only variant is, counts as
/// the audio rendition.
fn named_playlists(multivariant: &MultivariantPlaylist) -> Vec<(String, Role)> {
    let audio_and_others = multivariant.renditions.iter().filter_map(|rendition| {
        let role = if rendition.kind == MediaKind::Audio { Role::Audio } else { Role::Other };
        Some((rendition.uri.clone()?, role))
    });
    let mut named: Vec<(String, Role)> = Vec::new();
    let variants = multivariant.variants.iter().map(|variant| (variant.uri.clone(), Role::Variant));
    let iframes = multivariant.iframe_variants.iter().map(|variant| (variant.uri.clone(), Role::Iframe));
    let mut seen = std::collections::HashSet::new();
    for (uri, role) in audio_and_others.chain(variants).chain(iframes) {
        if seen.insert(uri.clone()) {
            named.push((uri, role));
        }
    }
    named
}

fn load_track(folder: &Path, uri: String, role: Role) -> Track {
    let mut track = Track { uri, role, playlist: None, init: None, segments: Vec::new(), faults: Vec::new() };
    let loaded = local_path(Path::new(""), &track.uri).and_then(|path| Ok((read_playlist(&folder.join(&path))?, path)));
    match loaded {
        Err(reason) => track.faults.push(format!("{}: {reason}", track.uri)),
        Ok((Playlist::Multivariant(_), _)) => {
            track.faults.push(format!("{}: a multivariant playlist where a media playlist should be", track.uri));
        }
        Ok((Playlist::Media(playlist), path)) => {
            let place = Place { folder, playlist_folder: path.parent().unwrap_or_else(|| Path::new("")) };
            load_segments(&place, &playlist, &mut track);
            track.playlist = Some(playlist);
        }
    }
    track
}

/// Where the URIs of a playlist lead.
struct Place<'a> {
    folder: &'a Path,
    /// Relative to `folder`.
    playlist_folder: &'a Path,
}

impl Place<'_> {
    fn open(&self, uri: &str) -> Result<(File, u64), String> {
        let path = self.folder.join(local_path(self.playlist_folder, uri)?);
        let describe = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => "is missing".to_owned(),
            _ => error.to_string(),
        };
        // Asked before opening: opening a named pipe would wait for its other end.
        let metadata = fs::metadata(&path).map_err(describe)?;
        if !metadata.is_file() {
            return Err("is not a file".to_owned());
        }
        Ok((File::open(&path).map_err(describe)?, metadata.len()))
    }

    /// The bytes that a URI and range stand for, without reading them: the file, offset and length.
    fn span(&self, uri: &str, range: Option<ByteRange>) -> Result<(File, ByteRange), String> {
        let (file, size) = self.open(uri)?;
        let range = range.unwrap_or(ByteRange { offset: 0, length: size });
        if range.length == 0 {
            return Err("is empty".to_owned());
        }
        if range.offset.checked_add(range.length).is_none_or(|end| end > size) {
            return Err(format!("has {size} bytes, the playlist wants {} from {}", range.length, range.offset));
        }
        Ok((file, range))
    }

    fn read(&self, uri: &str, range: Option<ByteRange>, limit: u64) -> Result<Vec<u8>, String> {
        let (file, range) = self.span(uri, range)?;
        read_span(file, range, limit)
    }
}

fn read_span(mut file: File, range: ByteRange, limit: u64) -> Result<Vec<u8>, String> {
    if range.length > limit {
        return Err(format!("is too large: {} bytes", range.length));
    }
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(range.offset)).and_then(|_| file.take(range.length).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| error.to_string())
}

fn load_segments(place: &Place<'_>, playlist: &MediaPlaylist, track: &mut Track) {
    // The init segment that was read last; playlists have one, or one after each discontinuity.
    let mut current: Option<(Arc<Map>, Option<InitFacts>)> = None;
    for segment in &playlist.segments {
        if let Some(map) = &segment.map
            && current.as_ref().is_none_or(|(last, _)| last != map)
        {
            let bytes = place.read(&map.uri, map.byte_range, MAX_INIT_BYTES);
            let init = bytes.and_then(|bytes| parse_init(&bytes).map_err(|error| error.to_string()));
            let init = init.map_err(|reason| fault(track, &map.uri, &reason)).ok();
            track.init = track.init.take().or_else(|| init.clone());
            current = Some((Arc::clone(map), init));
        }
        if segment.gap {
            track.segments.push(LoadedSegment::default());
            continue;
        }
        let init = current.as_ref().and_then(|(_, init)| init.as_ref());
        match place.span(&segment.uri, segment.byte_range) {
            Err(reason) => {
                fault(track, &segment.uri, &reason);
                track.segments.push(LoadedSegment::default());
            }
            Ok((file, range)) => {
                let mut loaded = LoadedSegment { bytes: Some(range.length), facts: None };
                // An I-frame is a piece of a segment that its video playlist has read already.
                if let (Some(init), false, false) = (init, playlist.iframes_only, segment.encrypted) {
                    let bytes = read_span(file, range, MAX_SEGMENT_BYTES);
                    let facts = bytes.and_then(|bytes| parse_segment(&bytes, init).map_err(|error| error.to_string()));
                    loaded.facts = facts.map_err(|reason| fault(track, &segment.uri, &reason)).ok();
                }
                track.segments.push(loaded);
            }
        }
    }
}

fn fault(track: &mut Track, uri: &str, reason: &str) {
    if track.faults.len() < MAX_FAULTS {
        track.faults.push(format!("{}: {uri} {reason}", track.uri));
    }
}

fn read_playlist(path: &Path) -> Result<Playlist, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_PLAYLIST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    parse(&text).map_err(|error| error.to_string())
}

/// Path of a URI relative to the presentation's folder; never one outside of it.
fn local_path(base: &Path, uri: &str) -> Result<PathBuf, String> {
    let uri = uri.split(['?', '#']).next().unwrap_or("");
    let decoded = percent_decoded(uri).ok_or("is not a readable URI")?;
    let has_scheme = decoded.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/'));
    if has_scheme || decoded.starts_with('/') || decoded.contains(['\\', '\0']) {
        return Err("lies outside the folder and was not read".to_owned());
    }
    let mut path = base.to_owned();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." if path.pop() => {}
            ".." => return Err("lies outside the folder and was not read".to_owned()),
            part => path.push(part),
        }
    }
    Ok(path)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// What an unfinished write leaves, in the folder and in those of its media playlists.
fn partial_files(folder: &Path, multivariant: &MultivariantPlaylist) -> Result<Vec<String>, LoadError> {
    let mut folders = std::collections::BTreeSet::from([PathBuf::new()]);
    for (uri, _) in named_playlists(multivariant) {
        if let Some(parent) = local_path(Path::new(""), &uri).ok().and_then(|path| path.parent().map(Path::to_owned)) {
            folders.insert(parent);
        }
    }
    let mut partial = Vec::new();
    for sub in folders {
        let sub = folder.join(sub);
        if !sub.is_dir() {
            continue;
        }
        for path in list(&sub)? {
            let unfinished =
                path.extension().is_some_and(|ext| ["tmp", "part", "partial"].iter().any(|end| ext == *end));
            if unfinished && partial.len() < MAX_FAULTS {
                partial.push(path.strip_prefix(folder).unwrap_or(&path).display().to_string());
            }
        }
    }
    Ok(partial)
}

/// The entries of a folder, by name.
fn list(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |source| LoadError::Folder { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
