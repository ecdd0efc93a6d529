//! Storyboard thumbnails as `WebVTT` cues.

use std::fmt::Write as _;

/// One thumbnail: the picture that stands for a span of the match.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumbnail {
    /// Where the span begins, in milliseconds of the presentation.
    pub start_ms: u64,
    /// Where it ends, in milliseconds of the presentation.
    pub end_ms: u64,
    /// Name of the storyboard image, relative to the `WebVTT` file.
    pub image: String,
    /// Left edge in the image, in pixels.
    pub x: u32,
    /// Top edge in the image, in pixels.
    pub y: u32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// The text of a `WebVTT` file whose cues are media fragments of storyboard images
/// (`storyboard_000.jpg#xywh=x,y,w,h`, W3C Media Fragments 4.2.2), as players expect for the scrub bar.
#[must_use]
pub fn render_thumbnails(thumbnails: &[Thumbnail]) -> String {
    let mut text = String::with_capacity(16 + 80 * thumbnails.len());
    text.push_str("WEBVTT\n");
    for cue in thumbnails {
        // A line break in a name would end the cue.
        let image: String = cue.image.chars().filter(|c| !c.is_control()).collect();
        writeln!(
            text,
            "\n{} --> {}\n{image}#xywh={},{},{},{}",
            timestamp(cue.start_ms),
            timestamp(cue.end_ms),
            cue.x,
            cue.y,
            cue.width,
            cue.height
        )
        .expect("writing to a string does not fail");
    }
    text
}

/// `hh:mm:ss.ttt`
fn timestamp(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_name_a_rectangle_of_an_image() {
        let cue = |start_ms, x| Thumbnail {
            start_ms,
            end_ms: start_ms + 5000,
            image: "storyboard_000.jpg".into(),
            x,
            y: 90,
            width: 160,
            height: 90,
        };
        assert_eq!(
            render_thumbnails(&[cue(0, 0), cue(5_405_678, 160)]),
            "WEBVTT\n\
             \n00:00:00.000 --> 00:00:05.000\nstoryboard_000.jpg#xywh=0,90,160,90\n\
             \n01:30:05.678 --> 01:30:10.678\nstoryboard_000.jpg#xywh=160,90,160,90\n"
        );
    }
}
