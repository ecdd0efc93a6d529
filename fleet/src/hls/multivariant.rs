//! The multivariant playlist: which renditions there are and what each needs.

/// A multivariant playlist (RFC 8216: master playlist).
#[derive(Clone, Debug, PartialEq)]
pub struct MultivariantPlaylist {
    /// `EXT-X-VERSION`; 1 when the tag is absent.
    pub version: u32,
    /// `EXT-X-INDEPENDENT-SEGMENTS`: holds for every media playlist.
    pub independent_segments: bool,
    /// `EXT-X-STREAM-INF` entries; a player begins with the first.
    pub variants: Vec<Variant>,
    /// `EXT-X-MEDIA` entries.
    pub renditions: Vec<Rendition>,
    /// `EXT-X-I-FRAME-STREAM-INF` entries.
    pub iframe_variants: Vec<IframeVariant>,
}

/// One `EXT-X-STREAM-INF`: a video rendition and the sound that goes with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// Where the media playlist lies, relative to this one.
    pub uri: String,
    /// `BANDWIDTH`: largest sum of peak bit rates of the renditions played together, in bit/s.
    pub bandwidth: u64,
    /// `AVERAGE-BANDWIDTH` in bit/s.
    pub average_bandwidth: Option<u64>,
    /// `CODECS`: every format of video and sound, RFC 6381.
    pub codecs: Vec<String>,
    /// `RESOLUTION`: width and height in pixels.
    pub resolution: Option<(u32, u32)>,
    /// `FRAME-RATE` in frames per second, written with three decimals.
    pub frame_rate: Option<f64>,
    /// `VIDEO-RANGE`; left out when everything is SDR.
    pub video_range: Option<String>,
    /// `AUDIO`: group of [`Rendition`]s.
    pub audio: Option<String>,
    /// `SUBTITLES`: group of [`Rendition`]s.
    pub subtitles: Option<String>,
    /// `CLOSED-CAPTIONS`.
    pub closed_captions: Option<ClosedCaptions>,
    /// `SCORE`.
    pub score: Option<f64>,
}

/// Value of `CLOSED-CAPTIONS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClosedCaptions {
    /// `NONE`: no variant has captions.
    None,
    /// Group of [`Rendition`]s.
    Group(String),
}

/// One `EXT-X-MEDIA`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendition {
    /// `TYPE`.
    pub kind: MediaKind,
    /// `GROUP-ID`.
    pub group_id: String,
    /// `NAME`, shown to people, unique in its group.
    pub name: String,
    /// `LANGUAGE`, a BCP 47 tag.
    pub language: Option<String>,
    /// `DEFAULT`: chosen when nobody says otherwise.
    pub default: bool,
    /// `AUTOSELECT`: may be chosen for the player's language; true wherever `default` is.
    pub autoselect: bool,
    /// `CHANNELS`: number of channels, for sound.
    pub channels: Option<String>,
    /// Where the media playlist lies; none when the variants carry the rendition themselves.
    pub uri: Option<String>,
}

/// Value of `TYPE` in `EXT-X-MEDIA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `AUDIO`
    Audio,
    /// `VIDEO`
    Video,
    /// `SUBTITLES`
    Subtitles,
    /// `CLOSED-CAPTIONS`
    ClosedCaptions,
}

impl MediaKind {
    /// All kinds with their names in the playlist.
    pub(super) const NAMES: [(Self, &'static str); 4] = [
        (Self::Audio, "AUDIO"),
        (Self::Video, "VIDEO"),
        (Self::Subtitles, "SUBTITLES"),
        (Self::ClosedCaptions, "CLOSED-CAPTIONS"),
    ];
}

/// One `EXT-X-I-FRAME-STREAM-INF`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IframeVariant {
    /// Where the I-frame playlist lies, relative to this one.
    pub uri: String,
    /// `BANDWIDTH`: peak in bit/s.
    pub bandwidth: u64,
    /// `AVERAGE-BANDWIDTH` in bit/s.
    pub average_bandwidth: Option<u64>,
    /// `CODECS` of the video.
    pub codecs: Vec<String>,
    /// `RESOLUTION`: width and height in pixels.
    pub resolution: Option<(u32, u32)>,
    /// `VIDEO-RANGE`; left out when everything is SDR.
    pub video_range: Option<String>,
}

impl MultivariantPlaylist {
    /// A playlist of independent segments whose first variant is the one to begin with.
    #[must_use]
    pub fn new(
        mut variants: Vec<Variant>,
        renditions: Vec<Rendition>,
        mut iframe_variants: Vec<IframeVariant>,
    ) -> Self {
        put_start_variant_first(&mut variants);
        iframe_variants.sort_by_key(|variant| std::cmp::Reverse(variant.bandwidth));
        // Media groups work from version 1 on, but a server may ask for 4 to keep out clients that do not know them
        // (RFC 8216 section 7).
        let version = if renditions.is_empty() { 1 } else { 4 };
        Self { version, independent_segments: true, variants, renditions, iframe_variants }
    }
}

/// The bit rate a player should begin with, in bit/s (Apple HLS Authoring Specification 1.32).
const START_BANDWIDTH: u64 = 2_000_000;

/// Orders variants by falling bandwidth, after the one that is nearest to 2000 kbit/s on average.
pub fn put_start_variant_first(variants: &mut [Variant]) {
    variants.sort_by_key(|variant| std::cmp::Reverse(variant.bandwidth));
    let distance = |variant: &Variant| variant.average_bandwidth.unwrap_or(variant.bandwidth).abs_diff(START_BANDWIDTH);
    if let Some(start) = (0..variants.len()).min_by_key(|&index| distance(&variants[index])) {
        variants[..=start].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variant_near_two_megabits_comes_first_and_the_rest_fall() {
        let variant = |average: u64| Variant {
            uri: average.to_string(),
            bandwidth: average * 3 / 2,
            average_bandwidth: Some(average),
            ..Variant::default()
        };
        let mut variants: Vec<Variant> = [700_000, 6_000_000, 1_900_000, 3_500_000].map(variant).into();
        put_start_variant_first(&mut variants);
        let order: Vec<&str> = variants.iter().map(|variant| variant.uri.as_str()).collect();
        assert_eq!(order, ["1900000", "6000000", "3500000", "700000"]);
        put_start_variant_first(&mut []);
    }
}
