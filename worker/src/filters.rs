//! Filter graph descriptions: pure text, so that the GPU paths are tested without a GPU.

use fleet::ladder::Scaler;

use crate::facts::{TRANSFER_PQ, Turn};

/// One picture as it comes from the decoder.
#[derive(Clone, Copy, Debug)]
pub struct InputPicture<'a> {
    /// Whether it lives on the GPU.
    pub on_gpu: bool,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixel format in memory (of a GPU picture: what the GPU holds).
    pub pixel_format: &'a str,
}

/// What is asked of the graph; the same for a whole job.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Sizes of the outputs, the largest first.
    pub sizes: &'a [(u32, u32)],
    /// How the picture is turned.
    pub turn: Turn,
    /// Kernel.
    pub scaler: Scaler,
    /// Numbers of range, matrix, primaries and transfer of the source.
    pub colour: [u32; 4],
    /// Whether brightness or gamut must be brought to SDR BT.709.
    pub to_sdr: bool,
    /// Whether the encoders take GPU pictures.
    pub gpu_encoder: bool,
}

impl Wanted<'_> {
    /// Whether pictures that were decoded on the GPU stay there up to the encoders. No CUDA filter turns, tone-maps or changes
    /// the range. For encoders in memory the GPU only decodes: `scale_cuda` takes seconds to be compiled, for what
    /// is a few percent of their work.
    #[must_use]
    pub fn stays_on_gpu(&self) -> bool {
        self.gpu_encoder && self.turn == Turn::None && !self.to_sdr && self.colour[0] != FULL_RANGE
    }
}

/// FFmpeg's number of the range that begins at 0.
const FULL_RANGE: u32 = 2;

/// Description of the scaling graph: `[in]` to `[out0]`, `[out1]`, … by way of a cascade, each size made from the next
/// larger one: sharper than scaling each from the source, and about 40 % cheaper.
#[must_use]
pub fn scaling(input: InputPicture<'_>, wanted: &Wanted<'_>) -> String {
    if input.on_gpu {
        on_gpu(input, wanted, "")
    } else if wanted.stays_on_gpu() {
        on_gpu(input, wanted, "format=nv12,hwupload,")
    } else {
        in_memory(input, wanted)
    }
}

/// Description of the deinterlacing graph that runs before frames are chosen: one frame a field.
#[must_use]
pub fn deinterlacing(on_gpu: bool) -> &'static str {
    if on_gpu {
        "[in]yadif_cuda=mode=send_field:deint=interlaced[out0]"
    } else {
        "[in]bwdif=mode=send_field:deint=interlaced[out0]"
    }
}

fn on_gpu(input: InputPicture<'_>, wanted: &Wanted<'_>, before: &str) -> String {
    cascade(wanted.sizes, |i, (w, h)| {
        let (before, same_size) = if i == 0 { (before, (input.width, input.height) == (w, h)) } else { ("", false) };
        let algorithm = match wanted.scaler {
            // A picture of the right size is copied, for it belongs to a decoder that has few (see `Decoder::open`).
            _ if same_size => "nearest",
            Scaler::Lanczos => "lanczos",
            Scaler::Bicubic => "bicubic",
        };
        format!("{before}scale_cuda=w={w}:h={h}:interp_algo={algorithm}:format=nv12:passthrough=0")
    })
}

fn in_memory(input: InputPicture<'_>, wanted: &Wanted<'_>) -> String {
    let kernel = match wanted.scaler {
        Scaler::Lanczos => "f=lanczos",
        Scaler::Bicubic => "f=bicubic:param_a=0:param_b=0.6",
    };
    let full_range = wanted.colour[0] == FULL_RANGE || input.pixel_format.starts_with("yuvj");
    let is_rgb = wanted.colour[1] == 0 && (input.pixel_format.contains("rgb") || input.pixel_format.starts_with("gbr"));
    // As GPUs hold them: the same samples in another order.
    let reordered = input.pixel_format == "nv12";
    let deep = !reordered && ["10", "12", "14", "16"].iter().any(|bits| input.pixel_format.contains(bits));
    cascade(wanted.sizes, |i, (w, h)| {
        if i > 0 {
            return format!("zscale=w={w}:h={h}:{kernel}");
        }
        let turned = if wanted.turn.swaps_sides() { (input.height, input.width) } else { (input.width, input.height) };
        let same_size = turned == (w, h);
        // zimg refuses an odd side of subsampled pictures: drop the last column or row.
        let odd = (input.width | input.height) & 1 == 1;
        let crop =
            if odd { format!("crop={}:{}:0:0:exact=1,", input.width & !1, input.height & !1) } else { String::new() };
        let turn = format!("{crop}{}", wanted.turn.filters());
        if wanted.to_sdr {
            return format!("{turn}{}", to_sdr(wanted, kernel, w, h));
        }
        if same_size && !full_range && (reordered || input.pixel_format == "yuv420p") {
            let chain = format!("{turn}{}", if reordered { "format=yuv420p" } else { "" });
            return if chain.is_empty() { "null".to_owned() } else { chain.trim_end_matches(',').to_owned() };
        }
        let mut scale = format!("zscale=w={w}:h={h}:{kernel}");
        if full_range {
            scale.push_str(":rin=full:r=limited");
        }
        if is_rgb {
            scale.push_str(":m=709");
        }
        if deep {
            // 10 bits to 8 without dither shows bands in a clear sky.
            scale.push_str(":d=ordered");
        }
        format!("{turn}{scale},format=yuv420p")
    })
}

/// HDR or wide gamut to SDR BT.709, at the largest output size: tone mapping costs about as much as encoding, so it is
/// done once, before the cascade.
fn to_sdr(wanted: &Wanted<'_>, kernel: &str, w: u32, h: u32) -> String {
    let [_, _, _, transfer] = wanted.colour;
    let range = if wanted.colour[0] == FULL_RANGE { "full" } else { "limited" };
    let source = |transfer: &str| format!("pin=2020:min=2020_ncl:tin={transfer}:rin={range}");
    let scale = format!("zscale=w={w}:h={h}:{kernel}");
    match transfer {
        TRANSFER_PQ | crate::facts::TRANSFER_HLG => {
            let tin = if transfer == TRANSFER_PQ { "smpte2084" } else { "arib-std-b67" };
            format!(
                "{scale},zscale={}:t=linear:npl=100,format=gbrpf32le,zscale=p=709,\
                 tonemap=tonemap=hable:desat=0,zscale=p=709:t=709:m=709:r=limited,format=yuv420p",
                source(tin)
            )
        }
        _ => format!("{scale}:{}:p=709:m=709:t=709:r=limited,format=yuv420p", source("2020_10")),
    }
}

/// `[in]step0,split[out0][c0];[c0]step1,split[out1][c1];…`
fn cascade(sizes: &[(u32, u32)], mut step: impl FnMut(usize, (u32, u32)) -> String) -> String {
    let mut text = String::new();
    let mut from = "in".to_owned();
    for (i, &size) in sizes.iter().enumerate() {
        let filters = step(i, size);
        if i > 0 {
            text.push(';');
        }
        if i + 1 == sizes.len() {
            text.push_str(&format!("[{from}]{filters}[out{i}]"));
        } else {
            text.push_str(&format!("[{from}]{filters},split[out{i}][c{i}]"));
        }
        from = format!("c{i}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [(u32, u32); 2] = [(1920, 1080), (1280, 720)];

    fn picture(on_gpu: bool, pixel_format: &str) -> InputPicture<'_> {
        InputPicture { on_gpu, width: 1920, height: 1080, pixel_format }
    }

    fn wanted() -> Wanted<'static> {
        Wanted {
            sizes: &SIZES,
            turn: Turn::None,
            scaler: Scaler::Lanczos,
            colour: [1, 1, 1, 1],
            to_sdr: false,
            gpu_encoder: false,
        }
    }

    #[test]
    fn a_source_of_the_top_size_is_passed_on_untouched() {
        assert_eq!(
            scaling(picture(false, "yuv420p"), &wanted()),
            "[in]null,split[out0][c0];[c0]zscale=w=1280:h=720:f=lanczos[out1]"
        );
    }

    #[test]
    fn phone_video_is_turned_and_brought_to_limited_range() {
        let text = scaling(
            picture(false, "yuvj420p"),
            &Wanted { turn: Turn::Right, colour: [2, 1, 1, 1], sizes: &[(1080, 1920)], ..wanted() },
        );
        assert_eq!(text, "[in]transpose=clock,zscale=w=1080:h=1920:f=lanczos:rin=full:r=limited,format=yuv420p[out0]");
    }

    #[test]
    fn nvdec_to_nvenc_never_leaves_the_gpu() {
        let text = scaling(picture(true, "nv12"), &Wanted { gpu_encoder: true, ..wanted() });
        assert!(!text.contains("hwdownload") && !text.contains("zscale"), "{text}");
        assert!(text.starts_with("[in]scale_cuda=w=1920:h=1080:interp_algo=nearest"), "{text}");
    }

    #[test]
    fn the_encoder_holds_copies_of_what_nvdec_decoded() {
        let text = scaling(picture(true, "nv12"), &Wanted { gpu_encoder: true, ..wanted() });
        assert_eq!(text.matches("passthrough=0").count(), 2, "{text}");
    }

    #[test]
    fn what_cuda_filters_cannot_do_or_encoders_in_memory_want_leaves_the_gpu() {
        let on_gpu = Wanted { gpu_encoder: true, ..wanted() };
        assert!(on_gpu.stays_on_gpu());
        for leaves in [
            wanted(),
            Wanted { colour: [FULL_RANGE, 1, 1, 1], ..on_gpu },
            Wanted { turn: Turn::Right, ..on_gpu },
            Wanted { to_sdr: true, ..on_gpu },
        ] {
            assert!(!leaves.stays_on_gpu(), "{leaves:?}");
            let text = scaling(picture(false, "nv12"), &leaves);
            assert!(!text.contains("cuda") && !text.contains("hwupload"), "{text}");
        }
        let full = Wanted { colour: [FULL_RANGE, 1, 1, 1], ..on_gpu };
        let text = scaling(picture(false, "nv12"), &full);
        assert!(text.contains("rin=full:r=limited") && !text.contains("d=ordered"), "{text}");
    }

    #[test]
    fn what_a_gpu_only_decoded_is_put_in_order_without_scaling() {
        let text = scaling(picture(false, "nv12"), &wanted());
        assert!(text.starts_with("[in]format=yuv420p,split[out0]"), "{text}");
        let turned = Wanted { turn: Turn::Half, ..wanted() };
        assert!(scaling(picture(false, "nv12"), &turned).starts_with("[in]hflip,vflip,format=yuv420p,split[out0]"));
    }

    #[test]
    fn software_decoded_pictures_go_up_to_the_gpu_once_for_nvenc() {
        let text = scaling(picture(false, "yuv422p10le"), &Wanted { gpu_encoder: true, ..wanted() });
        assert!(text.starts_with("[in]format=nv12,hwupload,scale_cuda"), "{text}");
    }

    #[test]
    fn hdr_is_tone_mapped_once_in_memory() {
        let text = scaling(
            picture(false, "p010le"),
            &Wanted { colour: [1, 9, 9, 18], to_sdr: true, gpu_encoder: true, ..wanted() },
        );
        assert!(text.starts_with("[in]zscale=w=1920"), "{text}");
        assert_eq!(text.matches("tonemap=").count(), 2, "one filter, whose option has its name: {text}");
    }
}
