//! Rules on sound and on the groups that renditions form.

use std::collections::HashSet;

use super::NO_SOUND;
use crate::conformance::tally::{Finding, Tally};
use crate::conformance::view::View;
use crate::hls::{ClosedCaptions, MediaKind};

pub(super) fn stereo_aac(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let known = || view.audio.iter().filter_map(|seen| Some((seen.init?, seen.init?.audio?)));
    if known().next().is_some() {
        let stereo = known().any(|(init, audio)| init.codec.starts_with("mp4a.40.") && audio.channels == 2);
        tally.check(stereo, || {
            known()
                .map(|(init, audio)| format!("{} with {} channels", init.codec, audio.channels))
                .collect::<Vec<_>>()
                .join(", ")
        });
    }
    tally.finish(|| format!("{} audio playlists", view.audio.len()), NO_SOUND)
}

pub(super) fn he_aac(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in &view.audio {
        let efficient = seen.init.is_some_and(|init| matches!(init.codec.as_str(), "mp4a.40.5" | "mp4a.40.29"));
        if let (true, Some(bandwidth)) = (efficient, seen.measured.bandwidth) {
            tally.check(bandwidth.average <= 64_000, || format!("{}: {} bit/s", seen.uri(), bandwidth.average));
        }
    }
    tally.finish_counted("playlists", "no HE-AAC")
}

pub(super) fn bit_rate(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in &view.audio {
        let stereo =
            seen.init.is_some_and(|init| init.codec == "mp4a.40.2" && init.audio.is_some_and(|a| a.channels <= 2));
        if let (true, Some(bandwidth)) = (stereo, seen.measured.bandwidth) {
            // Boxes come on top of the coded sound: a few percent.
            tally.check((32_000..=170_000).contains(&bandwidth.average), || {
                format!("{}: {} bit/s", seen.uri(), bandwidth.average)
            });
        }
    }
    tally.finish_counted("playlists", NO_SOUND)
}

pub(super) fn unmuxed(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    for seen in view.media() {
        if let Some(init) = seen.init {
            tally.check(init.other_codecs.is_empty(), || {
                format!("{}: {} and {}", seen.uri(), init.codec, init.other_codecs.join(", "))
            });
        }
    }
    tally.finish_counted("playlists", super::NO_FACTS)
}

pub(super) fn language(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let renditions = view.presentation.multivariant.renditions.iter();
    for rendition in renditions.filter(|rendition| rendition.kind != MediaKind::Video) {
        tally.check(rendition.language.as_ref().is_some_and(|language| !language.is_empty()), || {
            format!("{} in group {}", rendition.name, rendition.group_id)
        });
    }
    tally.finish_counted("renditions", "no EXT-X-MEDIA")
}

pub(super) fn channels(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let renditions = view.presentation.multivariant.renditions.iter();
    for rendition in renditions.filter(|rendition| rendition.kind == MediaKind::Audio) {
        let track = view.audio.iter().find(|seen| Some(seen.uri()) == rendition.uri.as_deref());
        let there = track.and_then(|seen| seen.measured.channels);
        let declared = rendition.channels.as_deref();
        // "16/JOC": the number comes first.
        let number = declared.and_then(|text| text.split('/').next()).and_then(|count| count.parse::<u16>().ok());
        tally.check(number.is_some() && there.is_none_or(|there| Some(there) == number), || {
            let there = there.map_or_else(|| "an unknown number".to_owned(), |there| there.to_string());
            format!("{}: CHANNELS {}, {there} in the init segment", rendition.name, declared.unwrap_or("absent"))
        });
    }
    tally.finish_counted("renditions", "no audio rendition")
}

pub(super) fn groups(view: &View<'_>) -> Finding {
    let mut tally = Tally::default();
    let playlist = &view.presentation.multivariant;
    let groups: HashSet<(MediaKind, &str)> =
        playlist.renditions.iter().map(|r| (r.kind, r.group_id.as_str())).collect();
    for variant in &playlist.variants {
        let captions = match &variant.closed_captions {
            Some(ClosedCaptions::Group(group)) => Some(group),
            _ => None,
        };
        let named = [
            (MediaKind::Audio, variant.audio.as_ref()),
            (MediaKind::Subtitles, variant.subtitles.as_ref()),
            (MediaKind::ClosedCaptions, captions),
        ];
        for (kind, group) in named.into_iter().filter_map(|(kind, group)| Some((kind, group?))) {
            tally.check(groups.contains(&(kind, group.as_str())), || format!("{}: no group {group}", variant.uri));
        }
    }
    let (mut names, mut defaults) = (HashSet::new(), HashSet::new());
    for rendition in &playlist.renditions {
        let group = (rendition.kind, rendition.group_id.as_str());
        tally.check(names.insert((group, rendition.name.as_str())), || {
            format!("{} twice in group {}", rendition.name, rendition.group_id)
        });
        tally.check(!rendition.default || defaults.insert(group), || {
            format!("two defaults in group {}", rendition.group_id)
        });
        tally.check(!rendition.default || rendition.autoselect, || {
            format!("{}: DEFAULT without AUTOSELECT", rendition.name)
        });
    }
    tally.finish(|| format!("{} groups", groups.len()), "no groups")
}
