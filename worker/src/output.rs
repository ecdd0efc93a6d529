//! The output folder: what is committed stays committed, whatever dies.
//!
//! A segment is written beside its place, renamed into it, and only then noted in the journal. A line of the journal
//! whose file is missing or of another size does not count; a file without a line is written again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use fleet::cmaf::{InitFacts, SegmentFacts, parse_init, parse_segment};
use fleet::failure::FailureCode;
use fleet::fault::blocking;
use serde::{Deserialize, Serialize};

use crate::failure::JobError;
use crate::plan::JobPlan;
use crate::protocol::SegmentEvent;

/// Folder with the state for a resume.
const STATE: &str = ".touchline";

/// What makes two runs the same job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Version of this file's layout.
    pub version: u32,
    /// Identity of the source's bytes.
    pub source: String,
    /// The plan.
    pub plan: JobPlan,
}

/// A committed segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Committed {
    /// First frame (video) or sample (audio).
    pub first: u64,
    /// Frames or samples.
    pub count: u64,
    /// What its boxes say.
    pub facts: SegmentFacts,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Segment {
        rendition: String,
        index: u64,
        committed: Committed,
    },
    /// Output frames of the whole source.
    End {
        frames: u64,
    },
    /// A sound track is complete.
    TrackEnd {
        rendition: String,
    },
    /// Damage found by a task that is done.
    Damage {
        count: u64,
    },
}

/// What is committed of one rendition.
#[derive(Debug, Default)]
pub struct RenditionState {
    /// The init segment's facts, once known.
    pub init: Option<InitFacts>,
    init_bytes: Option<Vec<u8>>,
    /// Segments by number.
    pub segments: BTreeMap<u64, Committed>,
    /// Whether a sound track is complete.
    pub ended: bool,
}

impl RenditionState {
    /// Number of segments from the first without a hole.
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        self.segments.keys().enumerate().take_while(|(i, k)| *i as u64 == **k).count() as u64
    }
}

/// An open output folder, locked against a second run.
#[derive(Debug)]
pub struct OutputFolder {
    dir: PathBuf,
    journal: File,
    _lock: File,
    renditions: BTreeMap<String, RenditionState>,
    /// Output frames of the whole source, once its end was met.
    pub end: Option<u64>,
    /// Damaged places found.
    pub damaged: u64,
}

impl OutputFolder {
    /// Opens or makes the folder for a job; `overwrite` throws away what another job left.
    ///
    /// # Errors
    /// Another job's output or a running worker holds the folder, or it cannot be written.
    pub fn open(dir: &Path, fingerprint: &Fingerprint, overwrite: bool) -> Result<Self, JobError> {
        let state = dir.join(STATE);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |e: std::io::Error| JobError::output(&path, &e)
        };
        if dir.exists() && !dir.is_dir() {
            let message = format!("{} is not a folder; give one for the result", dir.display());
            return Err(JobError::new(FailureCode::OutputFailed, message));
        }
        fs::create_dir_all(&state).map_err(failed(&state))?;
        let lock_path = state.join("lock");
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        if lock.try_lock().is_err() {
            let message = format!("{}: another worker is writing here", dir.display());
            return Err(JobError::new(FailureCode::OutputInUse, message));
        }
        let plan_path = state.join("plan.json");
        let wanted = serde_json::to_vec_pretty(fingerprint).map_err(JobError::internal)?;
        let same = match fs::read(&plan_path) {
            Ok(bytes) => serde_json::from_slice::<Fingerprint>(&bytes).is_ok_and(|found| found == *fingerprint),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => !dir.join("master.m3u8").exists(),
            Err(e) => return Err(JobError::output(&plan_path, &e)),
        };
        if !same && !overwrite {
            let message = format!(
                "{}: holds the output of another source or ladder; choose another folder, or pass --overwrite",
                dir.display()
            );
            return Err(JobError::new(FailureCode::OutputInUse, message));
        }
        if !same {
            clear(dir)?;
        }
        let journal_path = state.join("journal.jsonl");
        if !plan_path.exists() {
            write_atomic(&plan_path, &wanted)?;
        }
        let mut folder = Self {
            dir: dir.to_owned(),
            journal: OpenOptions::new().create(true).append(true).open(&journal_path).map_err(failed(&journal_path))?,
            _lock: lock,
            renditions: BTreeMap::new(),
            end: None,
            damaged: 0,
        };
        folder.replay(&journal_path)?;
        Ok(folder)
    }

    fn replay(&mut self, journal: &Path) -> Result<(), JobError> {
        let file = File::open(journal).map_err(|e| JobError::output(journal, &e))?;
        let mut ends_in_newline = true;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|e| JobError::output(journal, &e))?;
            // A torn last line is what a kill leaves; its segment is made again.
            match serde_json::from_slice(&line) {
                Ok(Line::Segment { rendition, index, committed }) => {
                    let path = self.segment_path(&rendition, index);
                    if fs::metadata(&path).is_ok_and(|m| m.len() == committed.facts.size) {
                        self.renditions.entry(rendition).or_default().segments.insert(index, committed);
                    }
                }
                Ok(Line::End { frames }) => self.end = Some(frames),
                Ok(Line::TrackEnd { rendition }) => self.renditions.entry(rendition).or_default().ended = true,
                Ok(Line::Damage { count }) => self.damaged += count,
                Err(_) => ends_in_newline = line.is_empty(),
            }
        }
        if !ends_in_newline {
            self.journal.write_all(b"\n").map_err(|e| JobError::output(journal, &e))?;
        }
        for (name, state) in &mut self.renditions {
            if let Ok(bytes) = fs::read(self.dir.join(name).join("init.mp4")) {
                state.init = parse_init(&bytes).ok();
                state.init_bytes = Some(bytes);
            }
            if state.init.is_none() {
                *state = RenditionState::default();
            }
        }
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is committed of a rendition.
    #[must_use]
    pub fn rendition(&self, name: &str) -> Option<&RenditionState> {
        self.renditions.get(name)
    }

    fn segment_path(&self, rendition: &str, index: u64) -> PathBuf {
        self.dir.join(rendition).join(segment_name(index))
    }

    fn note(&mut self, line: &Line) -> Result<(), JobError> {
        let mut text = serde_json::to_vec(line).map_err(JobError::internal)?;
        text.push(b'\n');
        let path = self.dir.join(STATE).join("journal.jsonl");
        blocking("files.journal", || self.journal.write_all(&text)).map_err(|e| JobError::output(&path, &e))
    }

    /// Commits an init segment; a second one must be the same bytes, since one serves all chunks.
    ///
    /// # Errors
    /// It differs, is no init segment, or cannot be written.
    pub fn commit_init(&mut self, rendition: &str, bytes: &[u8]) -> Result<(), JobError> {
        let path = self.dir.join(rendition).join("init.mp4");
        let state = self.renditions.entry(rendition.to_owned()).or_default();
        if let Some(existing) = &state.init_bytes {
            if existing == bytes {
                return Ok(());
            }
            return Err(JobError::internal(format!("{rendition}: two chunks have different init segments")));
        }
        let facts = parse_init(bytes)
            .map_err(|e| JobError::new(FailureCode::EngineProtocol, format!("{rendition}: init segment: {e}")))?;
        fs::create_dir_all(self.dir.join(rendition)).map_err(|e| JobError::output(&path, &e))?;
        write_atomic(&path, bytes)?;
        state.init = Some(facts);
        state.init_bytes = Some(bytes.to_vec());
        Ok(())
    }

    /// Commits a segment; `false` when it already was, and nothing changed.
    ///
    /// # Errors
    /// It is not what it says, or cannot be written.
    pub fn commit_segment(&mut self, event: &SegmentEvent, bytes: &[u8]) -> Result<bool, JobError> {
        let path = self.segment_path(&event.rendition, event.index);
        let hostile = |what: String| {
            let message = format!("{} segment {}: {what}", event.rendition, event.index);
            JobError::new(FailureCode::EngineProtocol, message)
        };
        let state = self.renditions.get_mut(&event.rendition).ok_or_else(|| hostile("no init segment".to_owned()))?;
        if state.segments.contains_key(&event.index) {
            return Ok(false);
        }
        let init = state.init.as_ref().ok_or_else(|| hostile("no init segment".to_owned()))?;
        let facts = parse_segment(bytes, init).map_err(|e| hostile(e.to_string()))?;
        write_atomic(&path, bytes)?;
        let committed = Committed { first: event.first, count: event.count, facts };
        state.segments.insert(event.index, committed.clone());
        self.note(&Line::Segment { rendition: event.rendition.clone(), index: event.index, committed })?;
        Ok(true)
    }

    /// Notes that the source ends after `frames` output frames.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn note_end(&mut self, frames: u64) -> Result<(), JobError> {
        if self.end.is_none_or(|known| known < frames) {
            self.end = Some(frames);
            self.note(&Line::End { frames })?;
        }
        Ok(())
    }

    /// Lets the pictures of these renditions end where they first break off, though there are some behind: a damaged index
    /// may hide from who reads on what it shows to who goes there, and nobody knows how long the gap is. What is left out
    /// is counted as a damaged place.
    pub fn end_at_first_gap(&mut self, pictures: &[String]) {
        let Some(state) = pictures.first().and_then(|name| self.renditions.get(name)) else { return };
        let mut reached = 0;
        // A segment that is not there at all is no matter of the source.
        for (first_beyond, (_, segment)) in (0..).zip(&state.segments).take_while(|(place, (index, _))| place == *index)
        {
            if segment.first != reached {
                for name in pictures {
                    if let Some(state) = self.renditions.get_mut(name) {
                        state.segments.retain(|index, _| *index < first_beyond);
                    }
                }
                self.end = Some(reached);
                self.damaged += 1;
                return;
            }
            reached += segment.count;
        }
    }

    /// Notes that a sound track is complete.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn note_track_end(&mut self, rendition: &str) -> Result<(), JobError> {
        self.renditions.entry(rendition.to_owned()).or_default().ended = true;
        self.note(&Line::TrackEnd { rendition: rendition.to_owned() })
    }

    /// Notes damaged places.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn note_damage(&mut self, count: u64) -> Result<(), JobError> {
        self.damaged += count;
        if count > 0 { self.note(&Line::Damage { count }) } else { Ok(()) }
    }

    /// Keeps a picture (tightly packed RGB, with its size in front) until the end, when it becomes a JPEG.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_picture(&self, name: &str, size: (u32, u32), rgb: &[u8]) -> Result<(), JobError> {
        let dir = self.dir.join(STATE).join("pictures");
        fs::create_dir_all(&dir).map_err(|e| JobError::output(&dir, &e))?;
        let mut bytes = Vec::with_capacity(rgb.len() + 8);
        bytes.extend_from_slice(&size.0.to_le_bytes());
        bytes.extend_from_slice(&size.1.to_le_bytes());
        bytes.extend_from_slice(rgb);
        write_atomic(&dir.join(name), &bytes)
    }

    /// A kept picture; `None` when there is none or it is not whole.
    #[must_use]
    pub fn picture(&self, name: &str) -> Option<((u32, u32), Vec<u8>)> {
        let bytes = fs::read(self.dir.join(STATE).join("pictures").join(name)).ok()?;
        let (head, rgb) = bytes.split_at_checked(8)?;
        let width = u32::from_le_bytes(head[..4].try_into().ok()?);
        let height = u32::from_le_bytes(head[4..].try_into().ok()?);
        (u64::from(width) * u64::from(height) * 3 == rgb.len() as u64).then(|| ((width, height), rgb.to_vec()))
    }

    /// Writes a file of the presentation whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), JobError> {
        write_atomic(&self.dir.join(name), bytes)
    }
}

/// File name of a segment.
#[must_use]
pub fn segment_name(index: u64) -> String {
    format!("seg_{index:05}.m4s")
}

/// Writes beside the place and renames: readers see the old file, the new file, or none, never a part.
fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), JobError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    blocking("files.write", || fs::write(&part, bytes)).map_err(|e| JobError::output(&part, &e))?;
    blocking("files.rename", || fs::rename(&part, path)).map_err(|e| JobError::output(path, &e))
}

/// Removes what a worker made, and nothing else.
fn clear(dir: &Path) -> Result<(), JobError> {
    let entries = fs::read_dir(dir).map_err(|e| JobError::output(dir, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| JobError::output(dir, &e))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_rendition =
            path.is_dir() && path.join("init.mp4").exists() && (name.starts_with('v') || name.starts_with("audio-"));
        let is_file = matches!(name.as_str(), "master.m3u8" | "report.json" | "poster.jpg" | "thumbnails.vtt")
            || (name.starts_with("storyboard_") && name.ends_with(".jpg"));
        let outcome = if is_rendition {
            fs::remove_dir_all(&path)
        } else if is_file {
            fs::remove_file(&path)
        } else {
            Ok(())
        };
        outcome.map_err(|e| JobError::output(&path, &e))?;
    }
    for name in ["plan.json", "journal.jsonl"] {
        let path = dir.join(STATE).join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(JobError::output(&path, &e)),
            _ => {}
        }
    }
    let pictures = dir.join(STATE).join("pictures");
    match fs::remove_dir_all(&pictures) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(JobError::output(&pictures, &e)),
        _ => Ok(()),
    }
}
