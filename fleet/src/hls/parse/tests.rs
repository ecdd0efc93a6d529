use super::*;
use crate::hls::{render_media_playlist, render_multivariant_playlist};
use proptest::prelude::*;

fn media(text: &str) -> MediaPlaylist {
    match parse(text) {
        Ok(Playlist::Media(playlist)) => playlist,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ranges_without_offset_follow_the_one_before() {
    let playlist = media(
        "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:10\n\
         #EXTINF:9.009,title, with comma\n#EXT-X-BYTERANGE:100@50\nall.ts\n\
         #EXTINF:9,\n#EXT-X-BYTERANGE:70\nall.ts\n# a comment\n#EXT-X-ENDLIST\n",
    );
    let ranges: Vec<_> = playlist.segments.iter().filter_map(|segment| segment.byte_range).collect();
    assert_eq!(ranges, [ByteRange { offset: 50, length: 100 }, ByteRange { offset: 150, length: 70 }]);
    assert!(playlist.ended && (playlist.duration() - 18.009).abs() < 1e-9);
}

#[test]
fn maps_and_keys_hold_until_the_next_one() {
    let playlist = media(
        "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MAP:URI=\"a.mp4\",BYTERANGE=\"9@3\"\r\n#EXTINF:4,\r\n1.m4s\r\n\
         #EXTINF:4,\r\n2.m4s\r\n#EXT-X-DISCONTINUITY\r\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\r\n\
         #EXT-X-MAP:URI=\"b.mp4\"\r\n#EXT-X-GAP\r\n#EXTINF:4,\r\n3.m4s\r\n",
    );
    let maps: Vec<_> = playlist.segments.iter().map(|segment| segment.map.as_ref().unwrap().uri.as_str()).collect();
    assert_eq!(maps, ["a.mp4", "a.mp4", "b.mp4"]);
    assert_eq!(playlist.segments[0].map.as_ref().unwrap().byte_range, Some(ByteRange { offset: 3, length: 9 }));
    let last = &playlist.segments[2];
    assert!(last.discontinuity && last.gap && last.encrypted && !playlist.segments[1].encrypted && !playlist.ended);
    assert_eq!(playlist.version, 1);
}

#[test]
fn malformed_playlists_are_refused_with_the_line() {
    let bad = |line, tag, what| PlaylistError::BadTag { line, tag, what };
    for (text, error) in [
        ("", PlaylistError::NotAPlaylist),
        ("\u{feff}#EXTM3U\n", PlaylistError::NotAPlaylist),
        ("#EXTM3U8\n", PlaylistError::NotAPlaylist),
        ("#EXTM3U\n", PlaylistError::MissingTag("EXT-X-TARGETDURATION")),
        ("#EXTM3U\na.ts\n", PlaylistError::StrayUri { line: 2, tag: "EXTINF" }),
        ("#EXTM3U\n\n#EXTINF:x,\n", bad(3, "EXTINF", "is not a number")),
        ("#EXTM3U\n#EXTINF:-1,\n", bad(2, "EXTINF", "is not a duration")),
        ("#EXTM3U\n#EXTINF:nan,\n", bad(2, "EXTINF", "is not a duration")),
        ("#EXTM3U\n#EXTINF:4,\n", PlaylistError::MissingUri("EXTINF")),
        ("#EXTM3U\n#EXT-X-MAP:BYTERANGE=\"1@0\"\n", bad(2, "EXT-X-MAP", "has no URI")),
        (
            "#EXTM3U\n#EXTINF:4,\n#EXT-X-BYTERANGE:9\na.ts\n",
            bad(4, "EXT-X-BYTERANGE", "has no offset and no range to follow"),
        ),
        ("#EXTM3U\n#EXT-X-STREAM-INF:CODECS=\"a\"\nb.m3u8\n", bad(2, "EXT-X-STREAM-INF", "has no BANDWIDTH")),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", PlaylistError::MissingUri("EXT-X-STREAM-INF")),
        ("#EXTM3U\n#EXT-X-MEDIA:TYPE=SMELL\n", bad(2, "EXT-X-MEDIA", "has no known TYPE")),
        (
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=1920\n",
            bad(2, "EXT-X-STREAM-INF", "has a malformed RESOLUTION"),
        ),
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn playlists_with_too_many_entries_are_refused() {
    let mut text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n".to_owned();
    text.push_str(&"#EXTINF:1,\na\n".repeat(MAX_ENTRIES + 1));
    assert!(matches!(parse(&text), Err(PlaylistError::TooLong(_))));
    let comment = format!("#EXTM3U\n#{}", "x".repeat(MAX_PLAYLIST_BYTES));
    assert!(matches!(parse(&comment), Err(PlaylistError::TooLong(_))));
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let range = proptest::option::of((0..1_u64 << 40, 1..1_u64 << 30));
    (1..20_000_u32, "[a-z]{1,8}\\.m4s", range, any::<[bool; 3]>()).prop_map(
        |(ms, uri, range, [map, gap, discontinuity])| {
            let map = map.then(|| Arc::new(Map { uri: "init.mp4".into(), byte_range: None }));
            let byte_range = range.map(|(offset, length)| ByteRange { offset, length });
            Segment { byte_range, gap, discontinuity, ..Segment::new(uri, f64::from(ms) / 1000.0, map) }
        },
    )
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(
        mut segments in proptest::collection::vec(any_segment(), 0..20),
        iframes in any::<bool>(),
    ) {
        // A map holds for all segments after it: there is no tag to end one.
        if let Some(first) = segments.iter().position(|segment| segment.map.is_some()) {
            let map = segments[first].map.clone();
            segments[first..].iter_mut().for_each(|segment| segment.map = map.clone());
        }
        let playlist = if iframes {
            MediaPlaylist::iframes(segments)
        } else {
            MediaPlaylist::new(PlaylistType::Vod, 20, segments)
        };
        prop_assert_eq!(parse(&render_media_playlist(&playlist)), Ok(Playlist::Media(playlist)));
    }

    #[test]
    fn names_survive_rendering_and_reading(name in "[^\"\\p{Cc}]{0,20}", bandwidth in any::<u64>(), both in any::<bool>()) {
        let variant = Variant {
            uri: "v.m3u8".into(),
            bandwidth,
            audio: Some(name.clone()),
            codecs: vec!["avc1.640028".into()],
            frame_rate: both.then_some(29.97),
            ..Variant::default()
        };
        let rendition = Rendition {
            kind: MediaKind::Audio,
            group_id: name.clone(),
            name,
            language: Some("en".into()),
            default: both,
            autoselect: true,
            channels: both.then(|| "2".into()),
            uri: Some("a.m3u8".into()),
        };
        let playlist = MultivariantPlaylist::new(vec![variant], vec![rendition], vec![]);
        prop_assert_eq!(parse(&render_multivariant_playlist(&playlist)), Ok(Playlist::Multivariant(playlist)));
    }

    #[test]
    fn any_text_is_read_or_refused(
        lines in proptest::collection::vec(prop_oneof![
            Just("#EXTINF:4,".to_owned()), Just("#EXT-X-TARGETDURATION:4".to_owned()), Just("a.ts".to_owned()),
            "#EXT-X-(MAP|KEY|MEDIA|STREAM-INF|BYTERANGE|VERSION|I-FRAME-STREAM-INF):[A-Z]{0,4}=?\"?[0-9a-z@,]{0,6}\"?",
            ".{0,12}",
        ], 0..20),
    ) {
        parse(&format!("#EXTM3U\n{}", lines.join("\n"))).ok();
    }
}
