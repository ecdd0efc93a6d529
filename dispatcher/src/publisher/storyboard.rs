//! Which thumbnail is shown at which time.

use fleet::hls::{Thumbnail, render_thumbnails};
use fleet::keys;
use fleet::plan::JobPlan;
use fleet::store::publication::CommittedFile;
use serde::{Deserialize, Serialize};

use super::milliseconds;

/// Facts of a strip of thumbnails, as the worker commits them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StripFacts {
    /// Number of the first thumbnail.
    pub first: u64,
    /// Thumbnails side by side.
    pub tiles: u64,
    /// Width of one in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// The thumbnails before frame `end` that committed strips hold.
pub(crate) fn render_storyboard(plan: &JobPlan, strips: &[CommittedFile], end: u64) -> String {
    let every = plan.video.thumbnail_every.max(1);
    let mut cues = Vec::new();
    for file in strips {
        let Ok(strip) = serde_json::from_value::<StripFacts>(file.facts.clone()) else { continue };
        let frames = (0..strip.tiles).map(|tile| (tile, (strip.first + tile) * every));
        for (tile, frame) in frames.take_while(|(_, frame)| *frame < end) {
            cues.push(Thumbnail {
                start_ms: milliseconds(plan, frame),
                end_ms: milliseconds(plan, (frame + every).min(end)),
                image: format!("{}/{}", keys::STORYBOARD, file.uri),
                x: u32::try_from(tile).unwrap_or(0) * strip.width,
                y: 0,
                width: strip.width,
                height: strip.height,
            });
        }
    }
    cues.sort_by_key(|c| c.start_ms);
    render_thumbnails(&cues)
}
