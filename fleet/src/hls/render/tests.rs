use super::*;
use crate::hls::{Playlist, Segment, parse};

fn map() -> Option<Arc<Map>> {
    Some(Arc::new(Map { uri: "init.mp4".into(), byte_range: None }))
}

#[test]
fn vod_playlist_has_this_text() {
    let segments = vec![Segment::new("seg_00000.m4s", 6.006, map()), Segment::new("seg_00001.m4s", 1.0 / 3.0, map())];
    let playlist = MediaPlaylist::new(PlaylistType::Vod, 6, segments);
    let text = render_media_playlist(&playlist);
    assert_eq!(
        text,
        "#EXTM3U\n\
         #EXT-X-VERSION:6\n\
         #EXT-X-TARGETDURATION:6\n\
         #EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MAP:URI=\"init.mp4\"\n\
         #EXTINF:6.006000,\n\
         seg_00000.m4s\n\
         #EXTINF:0.333333,\n\
         seg_00001.m4s\n\
         #EXT-X-ENDLIST\n"
    );
}

#[test]
fn event_playlist_stays_open_and_only_gains_lines() {
    let segment = |n: usize| Segment::new(format!("seg_{n:05}.m4s"), 6.0, map());
    let text = |n| render_media_playlist(&MediaPlaylist::new(PlaylistType::Event, 6, (0..n).map(segment).collect()));
    assert!(text(2).contains("#EXT-X-PLAYLIST-TYPE:EVENT\n") && !text(2).contains("ENDLIST"));
    assert!(text(3).starts_with(&text(2)));
}

#[test]
fn iframe_playlist_has_this_text() {
    let entry = |offset, length| Segment {
        byte_range: Some(ByteRange { offset, length }),
        ..Segment::new("seg_00000.m4s", 2.0, map())
    };
    assert_eq!(
        render_media_playlist(&MediaPlaylist::iframes(vec![entry(24, 5000), entry(90_000, 4800)])),
        "#EXTM3U\n\
         #EXT-X-VERSION:5\n\
         #EXT-X-TARGETDURATION:2\n\
         #EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-I-FRAMES-ONLY\n\
         #EXT-X-MAP:URI=\"init.mp4\"\n\
         #EXTINF:2.000000,\n\
         #EXT-X-BYTERANGE:5000@24\n\
         seg_00000.m4s\n\
         #EXTINF:2.000000,\n\
         #EXT-X-BYTERANGE:4800@90000\n\
         seg_00000.m4s\n\
         #EXT-X-ENDLIST\n"
    );
}

fn multivariant() -> MultivariantPlaylist {
    let variant = Variant {
        uri: "v1080/index.m3u8".into(),
        bandwidth: 6_500_000,
        average_bandwidth: Some(5_000_000),
        codecs: vec!["avc1.640028".into(), "mp4a.40.2".into()],
        resolution: Some((1920, 1080)),
        frame_rate: Some(30_000.0 / 1001.0),
        audio: Some("audio".into()),
        closed_captions: Some(ClosedCaptions::None),
        ..Variant::default()
    };
    let rendition = Rendition {
        kind: MediaKind::Audio,
        group_id: "audio".into(),
        name: "English".into(),
        language: Some("en".into()),
        default: true,
        autoselect: true,
        channels: Some("2".into()),
        uri: Some("audio-eng/index.m3u8".into()),
    };
    let iframe = IframeVariant {
        uri: "v1080/iframe.m3u8".into(),
        bandwidth: 600_000,
        average_bandwidth: Some(500_000),
        codecs: vec!["avc1.640028".into()],
        resolution: Some((1920, 1080)),
        video_range: None,
    };
    MultivariantPlaylist::new(vec![variant], vec![rendition], vec![iframe])
}

#[test]
fn multivariant_playlist_has_this_text() {
    assert_eq!(
        render_multivariant_playlist(&multivariant()),
        "#EXTM3U\n\
         #EXT-X-VERSION:4\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"English\",LANGUAGE=\"en\",DEFAULT=YES,AUTOSELECT=YES,\
         CHANNELS=\"2\",URI=\"audio-eng/index.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=6500000,AVERAGE-BANDWIDTH=5000000,CODECS=\"avc1.640028,mp4a.40.2\",\
         RESOLUTION=1920x1080,FRAME-RATE=29.970,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n\
         v1080/index.m3u8\n\
         #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=600000,AVERAGE-BANDWIDTH=500000,CODECS=\"avc1.640028\",\
         RESOLUTION=1920x1080,URI=\"v1080/iframe.m3u8\"\n"
    );
}

#[test]
fn hostile_names_cannot_break_out_of_their_line() {
    let mut playlist = multivariant();
    playlist.renditions[0].name = "a\"\n#EXT-X-ENDLIST\r,X=\"".into();
    playlist.variants[0].uri = "a b\n.m3u8".into();
    let text = render_multivariant_playlist(&playlist);
    assert_eq!(text.lines().count(), 7);
    assert!(text.contains("NAME=\"a'#EXT-X-ENDLIST,X='\","));
    let Ok(Playlist::Multivariant(read)) = parse(&text) else { panic!("{text}") };
    assert_eq!(read.variants[0].uri, "a%20b%0A.m3u8");
}
