//! What players and caches are told about an object, by its name.

use super::ObjectMeta;

/// Written once under a name of its own: never asked for again.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Grows while a match is encoded: asked for each time.
const GROWING: &str = "no-cache";
/// Final, under a fixed name: a retried job may write it again.
const FINAL: &str = "public, max-age=60";

/// Type and cache rules for a key.
#[must_use]
pub fn meta_for(key: &str) -> ObjectMeta {
    let file = key.rsplit('/').next().unwrap_or_default();
    let extension = file.rsplit_once('.').map_or("", |(_, e)| e);
    let content_type = match extension {
        "m3u8" => "application/vnd.apple.mpegurl",
        // `video/iso.segment` is the registered type of segments alone, but tables of servers, CDNs and players know it
        // less often than `video/mp4`, by which the same bytes play.
        "m4s" | "mp4" => "video/mp4",
        "jpg" => "image/jpeg",
        "vtt" => "text/vtt",
        "json" => "application/json",
        _ => "application/octet-stream",
    };
    let cache_control = match extension {
        "m4s" => FOREVER,
        "mp4" if file.starts_with("init_") => FOREVER,
        "jpg" if file.starts_with("pic_") => FOREVER,
        "m3u8" if file.starts_with("watch") => GROWING,
        _ => FINAL,
    };
    ObjectMeta { content_type, cache_control }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_playlists_are_never_cached_and_segments_always() {
        assert_eq!(meta_for("o/j/v720/watch.m3u8").cache_control, GROWING);
        assert_eq!(meta_for("o/j/v720/seg_00001_a1.m4s").cache_control, FOREVER);
        assert_eq!(meta_for("o/j/master.m3u8").content_type, "application/vnd.apple.mpegurl");
        assert_eq!(meta_for("o/j/master.m3u8").cache_control, FINAL);
        assert_eq!(meta_for("o/j/watch.m3u8").cache_control, GROWING);
        for file in ["v720/init_0011223344556677.mp4", "storyboard/pic_00001_a1.jpg", "poster/pic_00001_a1.jpg"] {
            assert_eq!(meta_for(&format!("o/j/{file}")).cache_control, FOREVER, "{file}");
        }
    }

    #[test]
    fn every_kind_of_file_has_its_type() {
        let types =
            ["a.m4s", "a.mp4", "a.jpg", "a.vtt", "a.json", "watch.d/none"].map(|key| meta_for(key).content_type);
        let expected = ["video/mp4", "video/mp4", "image/jpeg", "text/vtt", "application/json"];
        assert_eq!(types[..5], expected);
        assert_eq!(types[5], "application/octet-stream");
    }
}
