//! Objects as viewers see them: what is named is there, whole, and stays.

use std::str::FromStr;

use fleet::keys;
use fleet::state::JobState;
use uuid::Uuid;

use crate::simulation::memory::Job;
use crate::simulation::world::World;

type Verdict = Result<(), String>;

/// A key's parts: prefix of the plan's outputs with its slash, job, folder (empty for none), file.
struct Key<'a> {
    prefix: &'a str,
    job: Uuid,
    folder: &'a str,
    file: &'a str,
}

impl<'a> Key<'a> {
    fn of(key: &'a str) -> Option<Self> {
        let mut parts = key.split('/');
        let (organisation, job) = (parts.next()?, parts.next()?);
        let mut length = organisation.len() + job.len() + 2;
        let mut rest = &key[length..];
        if let Some((generation, below)) = rest.split_once('/').filter(|(g, _)| g.starts_with('g')) {
            length += generation.len() + 1;
            rest = below;
        }
        let (folder, file) = rest.split_once('/').unwrap_or(("", rest));
        Some(Self { prefix: &key[..length], job: Uuid::from_str(job).ok()?, folder, file })
    }
}

/// Files that a playlist names.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// What is named within tags: `URI="…"`.
fn in_tags(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|l| l.starts_with('#')).filter_map(|l| l.split_once("URI=\"")?.1.split('"').next())
}

impl World {
    pub(super) fn look_at_object(&self, key: &str, before: Option<&[u8]>) -> Verdict {
        let Some(at) = Key::of(key) else { return Err("is no key of a job".to_owned()) };
        // Nobody finds what is written or deleted of a job whose rows are gone.
        let Some(job) = self.store.jobs.get(&at.job) else { return Ok(()) };
        let job = Some(job).filter(|j| keys::job_prefix(j.organisation, at.job, j.generation) == at.prefix);
        let Some(now) = self.objects.all.get(key) else { return self.deleted(&at, job) };
        let changed = before.is_some_and(|before| before != now.bytes);
        if !key.ends_with(".m3u8") {
            return if changed { Err("was there with other bytes".to_owned()) } else { Ok(()) };
        }
        let text = std::str::from_utf8(&now.bytes).map_err(|e| e.to_string())?;
        let before = before.map(|b| String::from_utf8_lossy(b).into_owned());
        match (at.folder, at.file) {
            ("", keys::MASTER) if changed => Err("changed after it was written".to_owned()),
            ("", keys::MASTER) => self.complete(&at, text),
            ("", _) => self.names_what_is_there(&at, text),
            (_, keys::WATCH) => self.grew(&at, job, text, before.as_deref()),
            _ if changed && self.is_published(&at) => Err("changed after it was published".to_owned()),
            _ => self.lists_what_is_there(&at, job, text),
        }
    }

    fn is_published(&self, at: &Key<'_>) -> bool {
        self.objects.all.contains_key(&format!("{}{}", at.prefix, keys::MASTER))
    }

    fn names_what_is_there(&self, at: &Key<'_>, text: &str) -> Verdict {
        let folder = if at.folder.is_empty() { String::new() } else { format!("{}/", at.folder) };
        for file in named(text).chain(in_tags(text)) {
            let key = format!("{}{folder}{file}", at.prefix);
            if !self.objects.all.contains_key(&key) {
                return Err(format!("names {key}, which is not there"));
            }
        }
        Ok(())
    }

    /// Every file is there, and is that of a row with its size.
    fn lists_what_is_there(&self, at: &Key<'_>, job: Option<&Job>, text: &str) -> Verdict {
        self.names_what_is_there(at, text)?;
        let Some(job) = job else { return Ok(()) };
        for (index, file) in named(text).enumerate() {
            let row = job.segments.get(&(at.folder.to_owned(), index as u64));
            let Some(row) = row.filter(|r| r.uri == file) else {
                return Err(format!("lists {file} as number {index}, which is not its row's"));
            };
            let key = format!("{}{}/{file}", at.prefix, at.folder);
            let size = self.objects.all.get(&key).map(|o| o.bytes.len() as u64);
            if size != Some(row.bytes) {
                return Err(format!("lists {file} with {} bytes, stored: {size:?}", row.bytes));
            }
        }
        Ok(())
    }

    /// A growing playlist only grows, and ends once.
    fn grew(&self, at: &Key<'_>, job: Option<&Job>, text: &str, before: Option<&str>) -> Verdict {
        if let Some(before) = before {
            let (old, new): (Vec<&str>, Vec<&str>) = (named(before).collect(), named(text).collect());
            if !new.starts_with(&old) {
                return Err(format!("listed {} segments, now {} or others", old.len(), new.len()));
            }
            if before.contains("#EXT-X-ENDLIST") && before != text {
                return Err("changed after its end".to_owned());
            }
        }
        self.lists_what_is_there(at, job, text)
    }

    /// The master playlist names complete playlists: every frame of the film, once.
    fn complete(&self, at: &Key<'_>, text: &str) -> Verdict {
        self.names_what_is_there(at, text)?;
        let (Some(film), Some(job)) = (self.films.get(&at.job), self.store.jobs.get(&at.job)) else { return Ok(()) };
        for playlist in named(text).chain(in_tags(text)) {
            let key = format!("{}{playlist}", at.prefix);
            let listed = self.objects.text(&key).unwrap_or_default();
            let folder = playlist.split('/').next().unwrap_or_default();
            let mut next = 0;
            for (index, file) in named(listed).enumerate() {
                let row = job.segments.get(&(folder.to_owned(), index as u64));
                let row = row
                    .filter(|r| r.uri == file && r.first == next)
                    .ok_or_else(|| format!("{key}: {file} is out of place"))?;
                next = row.first + row.count;
            }
            if next != film.frames {
                return Err(format!("{key} holds {next} of {} frames", film.frames));
            }
        }
        Ok(())
    }

    /// Nothing is deleted that a viewer may ask for, or that a row names.
    fn deleted(&self, at: &Key<'_>, job: Option<&Job>) -> Verdict {
        let Some(job) = job else { return Ok(()) };
        if job.state == JobState::Succeeded && at.file == keys::MASTER {
            return Err("was deleted, its job has succeeded".to_owned());
        }
        let is_init = job.renditions.get(at.folder).is_some_and(|r| r.init.as_deref() == Some(at.file));
        if is_init || job.segments.iter().any(|((name, _), s)| name == at.folder && s.uri == at.file) {
            return Err(format!("was deleted; a row of a job that is {} names it", job.state));
        }
        Ok(())
    }
}
