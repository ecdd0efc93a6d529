//! Names under which browsers save files (RFC 6266): as people wrote them, as far as file systems take them.

use std::fmt::Write;

/// Longest of the two titles, in characters: file systems hold names of 255 bytes.
const LONGEST: usize = 60;

/// The name of a clip's file: the match, the clip, and where it begins in the match.
pub(super) fn of(game: &str, clip: &str, start_ms: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "media times")]
    let at = fleet::timeline::clock(start_ms as f64 / 1000.0).replace(':', ".");
    let words = [plain(game), plain(clip)];
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    let title = if words.is_empty() { "Clip".to_owned() } else { words.join(" - ") };
    format!("{title} {at}.mp4")
}

/// Text without what some file system does not take, shortened.
fn plain(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() || r#"/\:*?"<>|"#.contains(c) { ' ' } else { c }).collect();
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect();
    text.trim_matches(['.', ' ']).to_owned()
}

/// The header that has a file saved under this name: in ASCII for old programs, and as it is for all others.
pub(super) fn disposition(name: &str) -> String {
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\';
    let ascii: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        // attr-char of RFC 8187.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else if write!(encoded, "%{byte:02X}").is_err() {
            break;
        }
    }
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_letters_and_lose_what_no_file_may_be_called() {
        for (game, clip, name) in [
            ("Köln – Łódź", "Tor! 2:1", "Köln – Łódź - Tor! 2 1 1.02.03.mp4"),
            ("../../etc/passwd", "", "etc passwd 1.02.03.mp4"),
            ("", "", "Clip 1.02.03.mp4"),
            ("a\"b\r\nSet-Cookie: x", ".", "a b Set-Cookie x 1.02.03.mp4"),
        ] {
            assert_eq!(of(game, clip, 3_723_900), name);
        }
        assert!(of(&"ß".repeat(500), &"é".repeat(500), 0).len() <= 255);
    }

    #[test]
    fn the_header_is_plain_and_says_the_whole_name() {
        let header = disposition("Łódź \"1\" 0.07.mp4");
        let (plain, whole) = ("__d_ _1_ 0.07.mp4", "%C5%81%C3%B3d%C5%BA%20%221%22%200.07.mp4");
        assert_eq!(header, format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"));
        assert!(axum::http::HeaderValue::from_str(&header).is_ok());
    }
}
