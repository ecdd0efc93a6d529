//! From a ladder's words to encoder options: x264, x265 and NVENC with the same meaning. Pure.

use fleet::ladder::{Codec, Effort, Rung};
pub use fleet::plan::{Backend, EncoderSettings};
use fleet::timeline::FrameRate;

/// Settings for one rung on one backend. `pixels` is the real picture size, which decides whether NVENC takes it.
#[must_use]
pub fn settings(backend: Backend, effort: Effort, rung: &Rung, rate: FrameRate, gop: u32) -> EncoderSettings {
    let max_rate = i64::from(rung.max_kbps) * 1000;
    #[expect(clippy::cast_possible_truncation, reason = "at most 100 Mbit/s × 10 s, and saturating")]
    let buffer_bits = (f64::from(rung.max_kbps) * 1000.0 * rung.buffer_seconds) as i32;
    let gop = i32::try_from(gop).unwrap_or(i32::MAX);
    let mut options: Vec<(&str, String)> = Vec::new();
    let (encoder, bit_rate) = match (backend, rung.codec) {
        (Backend::X264, Codec::H264) => {
            options.extend([
                ("preset", x26x_preset(effort).to_owned()),
                ("crf", quality(rung.quality)),
                ("profile", "high".to_owned()),
                // Key frames come from the grid alone.
                ("sc_threshold", "0".to_owned()),
                ("forced-idr", "1".to_owned()),
            ]);
            ("libx264", 0)
        }
        (Backend::X264, Codec::Hevc) => {
            options.extend([
                ("preset", x26x_preset(effort).to_owned()),
                ("crf", quality(rung.quality)),
                ("forced-idr", "1".to_owned()),
                (
                    "x265-params",
                    "open-gop=0:scenecut=0:pools=none:frame-threads=1:repeat-headers=0:log-level=error".to_owned(),
                ),
            ]);
            ("libx265", 0)
        }
        (Backend::Nvenc, codec) => {
            // Only options that FFmpeg 5.1 and 9 both know; names and ranges are checked by a test without a GPU.
            let lookahead = rate.as_f64().clamp(8.0, 20.0).round();
            options.extend([
                ("preset", nvenc_preset(effort).to_owned()),
                ("tune", "hq".to_owned()),
                ("rc", "vbr".to_owned()),
                // NVENC's constant quality is about one step sharper than x264's number.
                ("cq", quality(rung.quality + 1.0)),
                ("multipass", if effort == Effort::Fast { "disabled" } else { "qres" }.to_owned()),
                ("rc-lookahead", format!("{lookahead:.0}")),
                ("spatial-aq", "1".to_owned()),
                ("temporal-aq", "1".to_owned()),
                ("b_ref_mode", "middle".to_owned()),
                ("forced-idr", "1".to_owned()),
                ("no-scenecut", "1".to_owned()),
                ("bf", "3".to_owned()),
            ]);
            // `vbr` with `cq` needs a target; 70 % of the cap leaves the quality in charge.
            match codec {
                Codec::H264 => {
                    options.push(("profile", "high".to_owned()));
                    ("h264_nvenc", max_rate * 7 / 10)
                }
                Codec::Hevc => {
                    options.push(("profile", "main".to_owned()));
                    ("hevc_nvenc", max_rate * 7 / 10)
                }
            }
        }
    };
    EncoderSettings {
        encoder: encoder.to_owned(),
        bit_rate,
        max_rate,
        buffer_bits,
        gop,
        options: options.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
    }
}

fn x26x_preset(effort: Effort) -> &'static str {
    match effort {
        Effort::Fast => "veryfast",
        Effort::Balanced => "medium",
        Effort::Best => "slow",
    }
}

fn nvenc_preset(effort: Effort) -> &'static str {
    match effort {
        Effort::Fast => "p4",
        Effort::Balanced => "p5",
        Effort::Best => "p7",
    }
}

fn quality(value: f64) -> String {
    let value = value.clamp(1.0, 51.0);
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles;

    #[test]
    fn every_option_of_every_profile_exists_in_the_linked_ffmpeg_and_parses() {
        let rate = FrameRate::new(30000, 1001).unwrap();
        let mut checked = 0;
        for ladder in profiles::all() {
            for rung in &ladder.renditions {
                for backend in [Backend::X264, Backend::Nvenc] {
                    for effort in [Effort::Fast, Effort::Balanced, Effort::Best] {
                        let settings = settings(backend, effort, rung, rate, 60);
                        media::options::check_encoder_options(&settings.encoder, &settings.options)
                            .unwrap_or_else(|e| panic!("{} {}p: {e}", ladder.name, rung.height));
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked >= 100, "{checked}");
    }

    #[test]
    fn caps_and_buffers_are_those_of_the_ladder() {
        let rung = Rung { height: 720, codec: Codec::H264, quality: 22.5, max_kbps: 3000, buffer_seconds: 2.0 };
        let x264 = settings(Backend::X264, Effort::Fast, &rung, FrameRate::new(25, 1).unwrap(), 50);
        assert_eq!((x264.max_rate, x264.buffer_bits, x264.gop, x264.bit_rate), (3_000_000, 6_000_000, 50, 0));
        assert!(x264.options.contains(&("crf".into(), "22.5".into())));
    }
}
