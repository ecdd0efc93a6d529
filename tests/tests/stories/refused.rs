//! What is not a film gets its code at once.

use std::fs;
use std::path::PathBuf;

use stories::{ffmpeg, made_clip, transcode};
use tempfile::tempdir;

#[test]
fn what_is_not_a_film_is_refused_with_its_code_in_under_five_seconds() {
    let dir = tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let clip = fs::read(made_clip(dir.path(), 4)).unwrap();
    let sound = dir.path().join("sound.m4a");
    let made = ffmpeg(&["-f", "lavfi", "-i", "sine=d=2", "-c:a", "aac", sound.to_str().unwrap()]);
    assert!(made.is_empty());
    let playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n";
    let cases = [
        (write("empty.mp4", b""), "empty_file", 2),
        (write("text.mp4", b"Dear coach, the video will follow tomorrow.\n".repeat(40).as_slice()), "not_media", 2),
        (write("cut before its index.mp4", &clip[..clip.len() / 2]), "incomplete_file", 2),
        (write("playlist.mp4", playlist), "not_media", 2),
        (write("photo.jpg", &[0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0]), "still_picture", 2),
        (sound, "no_video", 2),
        (dir.path().join("there is none.mp4"), "source_not_found", 2),
        (dir.path().to_owned(), "source_not_found", 2),
    ];
    for (input, code, exit) in cases {
        let out = dir.path().join("out");
        let run = transcode(&input, &out, &[]);
        assert_eq!((run.last()["code"].as_str(), run.code), (Some(code), Some(exit)), "{}: {run:?}", input.display());
        assert!(run.took.as_secs() < 5, "{}: {:?}", input.display(), run.took);
        assert!(!out.join("master.m3u8").exists());
        for sentence in ["coach", "ops", "message"] {
            assert!(run.last()[sentence].as_str().is_some_and(|s| !s.is_empty()), "{sentence}");
        }
    }
}

#[test]
fn a_file_cut_off_in_the_middle_is_watchable_as_far_as_it_goes_with_a_warning() {
    let dir = tempdir().unwrap();
    let clip = made_clip(dir.path(), 16);
    let fast = dir.path().join("fast.mp4");
    let made = ffmpeg(&["-i", clip.to_str().unwrap(), "-c", "copy", "-movflags", "+faststart", fast.to_str().unwrap()]);
    assert!(made.is_empty());
    let bytes = fs::read(&fast).unwrap();
    fs::write(&fast, &bytes[..bytes.len() * 6 / 10]).unwrap();
    let ladder = stories::cheap_ladder(dir.path(), &[90]);
    let run = transcode(&fast, &dir.path().join("out"), &["--ladder", ladder.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let frames = run.last()["frames"].as_u64().unwrap();
    assert!((100..300).contains(&frames), "{frames}");
    assert!(run.last()["warnings"].to_string().contains("ends early"), "{}", run.last()["warnings"]);
}
