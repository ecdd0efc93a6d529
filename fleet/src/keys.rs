//! Names of objects: `{organisation}/{job}/…` below the output store's root.
//!
//! Segments and pictures carry the attempt that made them: one try writes them, once. Init segments are named by what they
//! hold and playlists have fixed names: every try writes those again. A delete may arrive late, when the job is tried
//! again, so what is swept away carries an attempt ([`is_of_one_attempt`]).

use uuid::Uuid;

/// The multivariant playlist: the commit point of a presentation.
pub const MASTER: &str = "master.m3u8";
/// The multivariant playlist of a presentation that still grows.
pub const WATCH: &str = "watch.m3u8";
/// Folder of the strips of thumbnails.
pub const STORYBOARD: &str = "storyboard";
/// Folder of the poster's versions.
pub const POSTER: &str = "poster";

/// Prefix of all objects of a job, with the closing slash. A plan that replaces another has a folder of its own.
#[must_use]
pub fn job_prefix(organisation: Uuid, job: Uuid, generation: i32) -> String {
    if generation <= 1 { format!("{organisation}/{job}/") } else { format!("{organisation}/{job}/g{generation}/") }
}

/// File of a segment, below its rendition's folder.
#[must_use]
pub fn segment(index: u64, attempt: i32) -> String {
    format!("seg_{index:05}_a{attempt}.m4s")
}

/// File of an init segment, below its rendition's folder. It is named by its content, so that every attempt that makes
/// the same one writes the same object.
#[must_use]
pub fn init(bytes: &[u8]) -> String {
    // FNV-1a, 64 bits: names, not secrets; whoever differs is refused by comparing names.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    format!("init_{hash:016x}.mp4")
}

/// File of a strip of thumbnails or of a poster, below its folder.
#[must_use]
pub fn picture(index: u64, attempt: i32) -> String {
    format!("pic_{index:05}_a{attempt}.jpg")
}

/// Whether only one attempt ever writes a file of this name below a rendition's folder.
#[must_use]
pub fn is_of_one_attempt(file: &str) -> bool {
    let Some((name, _)) = file.rsplit_once('.') else { return false };
    let numbered = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.split_once("_a"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbered("seg_").or_else(|| numbered("pic_")).is_some_and(|(index, attempt)| is_number(index) && is_number(attempt))
}

/// File of a clip for download, below the folder of the match's presentation; `job` makes it.
#[must_use]
pub fn download(clip: Uuid, job: Uuid, attempt: i32) -> String {
    format!("clips/{clip}/{job}_a{attempt}.mp4")
}

/// Whether a key is that of a clip for download.
#[must_use]
pub fn is_download(key: &str) -> bool {
    let mut parts = key.rsplit('/');
    let (file, folder) = (parts.next().unwrap_or_default(), parts.nth(1));
    folder == Some("clips") && file.ends_with(".mp4")
}

/// Key of an uploaded file. Its name is kept as far as every store, shell and console takes it.
#[must_use]
pub fn upload(organisation: Uuid, upload: Uuid, filename: &str) -> String {
    const LONGEST: usize = 100;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: Vec<char> = filename.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    // The end of a long name, with the extension. No name that begins with a dot.
    let name: String = plain[plain.len().saturating_sub(LONGEST)..].iter().collect();
    let name = name.trim_start_matches('.');
    format!("{organisation}/{upload}/{}", if name.is_empty() { "file" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_attempts_and_contents_apart() {
        assert_ne!(segment(1, 1), segment(1, 2));
        assert_eq!(init(b"same"), init(b"same"));
        assert_ne!(init(b"same"), init(b"samf"));
        assert!(is_of_one_attempt(&segment(3, 12)) && is_of_one_attempt(&picture(3, 12)));
        for shared in [&init(b"same"), MASTER, WATCH, "index.m3u8", "poster.jpg", "seg_1.m4s", "seg_00001_a.m4s"] {
            assert!(!is_of_one_attempt(shared), "{shared}");
        }
        let id = Uuid::nil();
        assert!(is_download(&format!("{}{}", job_prefix(id, id, 2), download(id, id, 3))));
        assert!(!is_download(&upload(id, id, "clips.mp4")) && !is_download("o/j/clips/c/index.m3u8"));
        for (name, kept) in [
            ("final.mp4", "final.mp4"),
            ("Spiel Größe/../#1?.mov", "Spiel_Gr__e_..__1_.mov"),
            ("..", "file"),
            ("", "file"),
        ] {
            assert_eq!(upload(id, id, name), format!("{id}/{id}/{kept}"), "{name}");
        }
        assert!(upload(id, id, &format!("{}.mp4", "é".repeat(500))).ends_with("_.mp4"));
        assert!(job_prefix(id, id, 2).starts_with(&job_prefix(id, id, 1)));
    }
}
