//! The table of rules.
//!
//! To add a rule: write a function from [`View`] to [`Finding`] in the file of its subject and a line here. A rule
//! is a `must` only where its source says so and every legal source can fulfil it: a broken `must` stops publication.

mod bandwidth;
mod integrity;
mod media_playlists;
mod multivariant;
mod sound;
mod timing;
mod trick_play;
mod video;

use super::Presentation;
use super::report::{Level, Report, RuleResult};
use super::tally::Finding;
use super::view::View;

/// A rule: identifier, level, title, and how it is checked.
type Rule = (&'static str, Level, &'static str, Check);

enum Check {
    /// Looks at the presentation.
    Look(fn(&View<'_>) -> Finding),
    /// Cannot be seen in a presentation; why.
    Unseen(&'static str),
}

use Check::{Look, Unseen};
use Level::{Must, Should};

const DELIVERY: &str = "belongs to delivery, not to the files";
const NOT_READ: &str = "is not read from the coded pictures or sound";

const RULES: &[Rule] = &[
    // Everything that is named is there.
    ("touchline:files-readable", Must, "every listed file exists, is whole and can be read", Look(integrity::files)),
    ("touchline:no-partial-files", Must, "no unfinished file lies beside the presentation", Look(integrity::partial)),
    ("touchline:contents-seen", Should, "the contents of all segments can be checked", Look(integrity::contents)),
    // Video.
    ("apple-1.5", Must, "HEVC only in fMP4", Look(video::hevc_container)),
    ("apple-1.10", Should, "parameter sets in the sample entry: avc1 or hvc1", Look(video::sample_entries)),
    ("apple-1.3", Must, "H.264 profile at most High, level at most 5.2", Look(video::levels)),
    ("apple-1.3a", Should, "some H.264 variant is at most level 4.1", Look(video::modest_level)),
    ("apple-1.4", Should, "H.264 uses High profile", Look(video::high_profile)),
    ("apple-1.12", Should, "some variant is H.264", Look(video::some_avc)),
    ("apple-1.13", Should, "an IDR at least every 2 s", Look(video::idr_interval)),
    ("apple-1.14", Must, "no interlaced pictures", Unseen(NOT_READ)),
    ("apple-1.19", Must, "at most 60 frames per second", Look(video::frame_rate_limit)),
    ("apple-1.21", Must, "one colour space in all variants", Look(video::one_colour)),
    ("apple-1.33", Must, "the same aspect ratio in all variants", Look(video::one_aspect)),
    ("touchline:even-sizes", Should, "even widths and heights, square pixels", Look(video::even_sizes)),
    // Bit rates.
    ("apple-1.26", Must, "average bit rate within 10 % of AVERAGE-BANDWIDTH", Look(bandwidth::average)),
    ("apple-1.27", Must, "measured peak bit rate within 10 % of BANDWIDTH", Look(bandwidth::peak)),
    ("rfc8216bis:bandwidth-bound", Must, "no peak bit rate above BANDWIDTH", Look(bandwidth::bound)),
    ("apple-1.30", Should, "peak bit rate at most 200 % of the average", Look(bandwidth::peak_to_average)),
    ("apple-1.32", Should, "the first variant is the one nearest 2000 kbit/s", Look(bandwidth::first_variant)),
    ("apple-9.9", Should, "several bit rates", Look(bandwidth::several)),
    // Sound.
    ("apple-2.3", Must, "sound is there as stereo AAC", Look(sound::stereo_aac)),
    ("apple-2.4", Must, "no HE-AAC above 64 kbit/s", Look(sound::he_aac)),
    ("apple-2.9", Should, "stereo AAC at 32 to 160 kbit/s", Look(sound::bit_rate)),
    ("apple-2.17", Must, "one elementary stream per fMP4 segment", Look(sound::unmuxed)),
    ("apple-2.18", Should, "loudness metadata in the sound", Unseen(NOT_READ)),
    ("apple-8.10", Must, "LANGUAGE on every EXT-X-MEDIA but video", Look(sound::language)),
    ("rfc8216bis:channels", Should, "CHANNELS on every audio rendition, as in its init segment", Look(sound::channels)),
    ("rfc8216bis:groups", Must, "groups exist, names in them are unique, one DEFAULT at most", Look(sound::groups)),
    // Trick play.
    ("apple-6.1", Must, "there is an I-frame playlist", Look(trick_play::present)),
    ("apple-6.2", Should, "one I-frame a second", Look(trick_play::dense)),
    ("apple-6.6", Should, "several I-frame playlists", Look(trick_play::several)),
    ("apple-6.8", Must, "I-frame playlists have EXT-X-I-FRAMES-ONLY", Look(trick_play::tagged)),
    ("apple-6.10", Must, "I-frame ranges go from moof to the end of the first sample", Look(trick_play::ranges)),
    ("touchline:iframes-complete", Must, "no I-frame is missing", Look(trick_play::complete)),
    ("touchline:iframe-bandwidth", Should, "I-frame bit rate within BANDWIDTH", Look(trick_play::bandwidth)),
    // Time.
    ("apple-7.1", Must, "decode times are continuous", Look(timing::continuous)),
    ("touchline:composition-offsets", Should, "no negative composition offset, no edit list", Look(timing::offsets)),
    ("apple-7.4", Must, "every video segment begins with an IDR", Look(timing::segment_idr)),
    ("apple-7.5", Should, "target duration of 6 s", Look(timing::target)),
    ("apple-7.7", Must, "no segment longer than target duration + 0.5 s", Look(timing::longest)),
    ("apple-8.1", Must, "EXTINF within one frame of the media, each and in sum", Look(timing::extinf)),
    ("rfc8216bis:same-start", Must, "video variants start at the same time", Look(timing::video_starts)),
    ("touchline:sound-start", Should, "sound starts with the pictures", Look(timing::sound_starts)),
    ("rfc8216bis:same-content", Must, "video variants last equally long", Look(timing::video_durations)),
    ("apple-8.3", Should, "sound and pictures last equally long", Look(timing::sound_durations)),
    ("apple-8.22", Should, "segment borders are aligned", Look(timing::aligned)),
    // Media playlists.
    ("rfc8216bis:target-duration", Must, "rounded EXTINF at most EXT-X-TARGETDURATION", Look(media_playlists::rounded)),
    ("apple-8.2", Must, "the same target duration for sound and pictures", Look(media_playlists::one_target)),
    ("apple-8.6", Must, "EXT-X-PLAYLIST-TYPE, and EXT-X-ENDLIST for VOD", Look(media_playlists::kind)),
    ("rfc8216bis:one-type", Must, "the same playlist type in all", Look(media_playlists::one_kind)),
    ("apple-8.20", Must, "fMP4 segments have EXT-X-MAP", Look(media_playlists::map)),
    ("touchline:one-init", Should, "one init segment, no discontinuity", Look(media_playlists::one_init)),
    ("rfc8216bis:version", Must, "EXT-X-VERSION allows what is used", Look(media_playlists::version)),
    (
        "touchline:lowest-version",
        Should,
        "EXT-X-VERSION is the lowest that fits",
        Look(media_playlists::lowest_version),
    ),
    ("rfc8216bis:program-date-time", Must, "EXT-X-PROGRAM-DATE-TIME in all or none", Look(media_playlists::date_time)),
    ("apple-9.12", Must, "EXT-X-INDEPENDENT-SEGMENTS", Look(media_playlists::independent)),
    // Multivariant playlist.
    ("apple-9.1", Must, "CODECS names every format, as the init segments do", Look(multivariant::codecs)),
    ("apple-9.2", Must, "RESOLUTION on every video variant, as in the bitstream", Look(multivariant::resolution)),
    ("apple-9.3", Must, "CODECS and RESOLUTION on I-frame variants", Look(multivariant::iframe_attributes)),
    ("apple-9.14", Must, "AVERAGE-BANDWIDTH on every variant", Look(multivariant::average_bandwidth)),
    ("apple-9.15", Must, "FRAME-RATE on every video variant, as in the bitstream", Look(multivariant::frame_rate)),
    ("apple-9.16", Must, "VIDEO-RANGE unless everything is SDR", Look(multivariant::video_range)),
    ("apple-9.19", Must, "SCORE on all variants or none", Look(multivariant::score)),
    ("rfc8216bis:closed-captions", Must, "CLOSED-CAPTIONS=NONE on all variants or none", Look(multivariant::captions)),
    // Delivery.
    ("apple-8.18", Must, "no redirects between playlists and segments", Unseen(DELIVERY)),
    ("apple-10.1", Should, "playlists are sent gzipped", Unseen(DELIVERY)),
    ("apple-10.4", Must, "MIME types of playlists and segments", Unseen(DELIVERY)),
    ("apple-11", Must, "delivery over TLS", Unseen(DELIVERY)),
];

/// Checks every rule on a presentation.
#[must_use]
pub fn evaluate(presentation: &Presentation) -> Report {
    let view = View::new(presentation);
    let rules = RULES.iter().map(|(id, level, title, check)| {
        let finding = match check {
            Look(look) => look(&view),
            Unseen(reason) => Finding::NotApplicable((*reason).to_owned()),
        };
        RuleResult::new(id, *level, title, finding)
    });
    let rules = rules.collect();
    Report::new(view.all().map(|seen| seen.measured.clone()).collect(), rules)
}

/// What rules say that have nothing to look at.
const NO_FACTS: &str = "no fMP4 segment could be read";
const NO_VIDEO: &str = "no video could be read";
const NO_SOUND: &str = "no sound";
