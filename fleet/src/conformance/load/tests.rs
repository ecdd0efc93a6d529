use super::*;
use crate::conformance::tests::good;
use crate::conformance::{Verdict, evaluate};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fleet-load-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with_good_presentation() -> Self {
        let folder = Self::new();
        good().write(&folder.0);
        folder
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn broken(folder: &Folder) -> Vec<(&'static str, String)> {
    let report = evaluate(&load_folder(&folder.0).unwrap());
    report.rules.into_iter().filter(|rule| rule.verdict == Verdict::Fail).map(|rule| (rule.id, rule.measured)).collect()
}

#[test]
fn folder_yields_the_facts_it_was_written_from() {
    let folder = Folder::with_good_presentation();
    let loaded = load_folder(&folder.0).unwrap();
    let made = good().presentation;
    assert_eq!(loaded.multivariant, made.multivariant);
    assert_eq!(loaded.tracks.len(), made.tracks.len());
    for track in &made.tracks {
        let read = loaded.tracks.iter().find(|read| read.uri == track.uri).unwrap();
        assert_eq!((&read.playlist, &read.init), (&track.playlist, &track.init));
        assert_eq!((&read.segments, &read.faults), (&track.segments, &Vec::new()));
    }
    assert_eq!(broken(&folder), []);
}

#[test]
fn missing_short_and_unfinished_files_are_named() {
    let folder = Folder::with_good_presentation();
    fs::remove_file(folder.0.join("v360/seg_00001.m4s")).unwrap();
    folder.write("v720/seg_00002.m4s", [0, 0, 0, 9]);
    folder.write("v720/seg_00003.m4s.tmp", [0]);
    let broken = broken(&folder);
    let (_, files) = broken.iter().find(|(id, _)| *id == "touchline:files-readable").unwrap();
    assert!(files.contains("v360/index.m3u8: seg_00001.m4s is missing"), "{files}");
    assert!(files.contains("v720/index.m3u8: seg_00002.m4s"), "{files}");
    assert!(broken.contains(&("touchline:no-partial-files", "v720/seg_00003.m4s.tmp".to_owned())), "{broken:?}");
}

#[test]
fn folders_without_a_presentation_are_refused() {
    let folder = Folder::new();
    assert!(matches!(load_folder(&folder.0), Err(LoadError::NoMultivariant(_))));
    folder.write("index.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:6\n");
    assert!(matches!(load_folder(&folder.0), Err(LoadError::NoMultivariant(_))));
    folder.write("master.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:6\n");
    assert!(matches!(load_folder(&folder.0), Err(LoadError::Multivariant { .. })));
    folder.write("master.m3u8", [0xff, 0xfe]);
    assert!(matches!(load_folder(&folder.0), Err(LoadError::Multivariant { .. })));
    assert!(matches!(load_folder(&folder.0.join("none")), Err(LoadError::Folder { .. })));
}

#[test]
fn transport_stream_of_another_packager_is_judged_by_its_playlists() {
    let folder = Folder::new();
    folder.write("play.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1500000,RESOLUTION=640x360\nindex.m3u8\n");
    folder.write(
        "index.m3u8",
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXTINF:9.9,\n0.ts\n#EXTINF:9.9,\n1.ts\n#EXT-X-ENDLIST\n",
    );
    folder.write("0.ts", vec![0x47; 1_800_000]);
    folder.write("1.ts", vec![0x47; 1_800_000]);
    let report = evaluate(&load_folder(&folder.0).unwrap());
    let verdict = |id| report.rules.iter().find(|rule| rule.id == id).unwrap().verdict;
    assert_eq!(verdict("touchline:files-readable"), Verdict::Pass);
    assert_eq!(verdict("apple-1.27"), Verdict::Pass);
    assert_eq!(verdict("apple-9.1"), Verdict::Fail);
    assert_eq!(verdict("apple-7.1"), Verdict::NotApplicable);
    assert_eq!(verdict("touchline:contents-seen"), Verdict::Warn);
}

#[test]
fn uris_never_lead_out_of_the_folder() {
    let base = Path::new("v360");
    for (uri, expected) in [
        ("seg.m4s", Some("v360/seg.m4s")),
        ("./a/../seg.m4s?x=1#y", Some("v360/seg.m4s")),
        ("../v720/seg%20m.m4s", Some("v720/seg m.m4s")),
        ("../../etc/passwd", None),
        ("%2e%2e/%2e%2e/etc/passwd", None),
        ("/etc/passwd", None),
        ("%2Fetc/passwd", None),
        ("https://example.org/a.m4s", None),
        ("file:///etc/passwd", None),
        ("a%zz", None),
        ("a%0", None),
        ("..\\..\\a", None),
    ] {
        assert_eq!(local_path(base, uri).ok(), expected.map(PathBuf::from), "{uri}");
    }
}
