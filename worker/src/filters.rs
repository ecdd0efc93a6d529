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

/// Description of the scaling graph: `[in]` to `[out0]`, `[out1]`, … by way of a cascade, each size made from the next
/// larger one: sharper than scaling each from the source, and about 40 % cheaper.
#[must_use]
pub fn scaling(input: InputPicture<'_>, wanted: &Wanted<'_>) -> String {
    let stays_on_gpu = wanted.turn == Turn::None && !wanted.to_sdr && !is_full_range(input, wanted);
    if input.on_gpu && stays_on_gpu {
        return on_gpu(input, wanted, "");
    }
    if input.on_gpu {
        // No CUDA filter turns, tone-maps or changes the range: bring the picture to memory, once.
        let download = format!("hwdownload,format={},", input.pixel_format);
        return in_memory(input, wanted, &download);
    }
    if wanted.gpu_encoder && stays_on_gpu {
        return on_gpu(input, wanted, "format=nv12,hwupload,");
    }
    in_memory(input, wanted, "")
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
    let finish = if wanted.gpu_encoder { "" } else { ",hwdownload,format=nv12,format=yuv420p" };
    cascade(wanted.sizes, |i, (w, h)| {
        let (before, same_size) = if i == 0 { (before, (input.width, input.height) == (w, h)) } else { ("", false) };
        let algorithm = match wanted.scaler {
            // A picture of the right size is copied, for it belongs to a decoder that has few (see `Decoder::open`).
            _ if same_size => "nearest",
            Scaler::Lanczos => "lanczos",
            Scaler::Bicubic => "bicubic",
        };
        let scale = format!("scale_cuda=w={w}:h={h}:interp_algo={algorithm}:format=nv12:passthrough=0");
        (format!("{before}{scale}"), finish.to_owned())
    })
}

fn is_full_range(input: InputPicture<'_>, wanted: &Wanted<'_>) -> bool {
    wanted.colour[0] == 2 || input.pixel_format.starts_with("yuvj")
}

fn in_memory(input: InputPicture<'_>, wanted: &Wanted<'_>, before: &str) -> String {
    let kernel = match wanted.scaler {
        Scaler::Lanczos => "f=lanczos",
        Scaler::Bicubic => "f=bicubic:param_a=0:param_b=0.6",
    };
    let full_range = is_full_range(input, wanted);
    let is_rgb = wanted.colour[1] == 0 && (input.pixel_format.contains("rgb") || input.pixel_format.starts_with("gbr"));
    let deep = ["10", "12", "14", "16"].iter().any(|bits| input.pixel_format.contains(bits));
    cascade(wanted.sizes, |i, (w, h)| {
        if i > 0 {
            return (format!("zscale=w={w}:h={h}:{kernel}"), String::new());
        }
        let turned = if wanted.turn.swaps_sides() { (input.height, input.width) } else { (input.width, input.height) };
        let same_size = turned == (w, h);
        // zimg refuses an odd side of subsampled pictures: drop the last column or row.
        let odd = (input.width | input.height) & 1 == 1;
        let crop =
            if odd { format!("crop={}:{}:0:0:exact=1,", input.width & !1, input.height & !1) } else { String::new() };
        let turn = format!("{crop}{}", wanted.turn.filters());
        if wanted.to_sdr {
            return (format!("{before}{turn}{}", to_sdr(wanted, kernel, w, h)), String::new());
        }
        if same_size && input.pixel_format == "yuv420p" && !full_range {
            let turn = turn.trim_end_matches(',');
            let chain = if before.is_empty() && turn.is_empty() { "null" } else { turn };
            return (format!("{before}{chain}").trim_end_matches(',').to_owned(), String::new());
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
        (format!("{before}{turn}{scale},format=yuv420p"), String::new())
    })
}

/// HDR or wide gamut to SDR BT.709, at the largest output size: tone mapping costs about as much as encoding, so it is
/// done once, before the cascade.
fn to_sdr(wanted: &Wanted<'_>, kernel: &str, w: u32, h: u32) -> String {
    let [_, _, _, transfer] = wanted.colour;
    let range = if wanted.colour[0] == 2 { "full" } else { "limited" };
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

/// `[in]step0,split[out0][c1];[c1]step1,split[out1][c2];…`, with something after each branch to an output.
fn cascade(sizes: &[(u32, u32)], mut step: impl FnMut(usize, (u32, u32)) -> (String, String)) -> String {
    let mut text = String::new();
    let mut from = "in".to_owned();
    for (i, &size) in sizes.iter().enumerate() {
        let (filters, finish) = step(i, size);
        if i > 0 {
            text.push(';');
        }
        if i + 1 == sizes.len() {
            text.push_str(&format!("[{from}]{filters}{finish}[out{i}]"));
        } else if finish.is_empty() {
            text.push_str(&format!("[{from}]{filters},split[out{i}][c{i}]"));
        } else {
            let finish = finish.trim_start_matches(',');
            text.push_str(&format!("[{from}]{filters},split[b{i}][c{i}];[b{i}]{finish}[out{i}]"));
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
    fn full_range_leaves_the_gpu_to_become_limited_range() {
        for gpu_encoder in [true, false] {
            let wanted = Wanted { colour: [2, 1, 1, 1], gpu_encoder, ..wanted() };
            let text = scaling(picture(true, "nv12"), &wanted);
            assert!(text.starts_with("[in]hwdownload,format=nv12,zscale=w=1920:h=1080"), "{text}");
            assert!(text.contains("rin=full:r=limited") && !text.contains("cuda"), "{text}");
            let text = scaling(picture(false, "yuvj420p"), &wanted);
            assert!(!text.contains("cuda") && !text.contains("hwupload"), "{text}");
        }
    }

    #[test]
    fn a_gpu_without_nvenc_decodes_and_scales_then_downloads_each_size() {
        let text = scaling(picture(true, "nv12"), &wanted());
        assert_eq!(text.matches("hwdownload").count(), 2, "{text}");
        assert_eq!(text.matches("scale_cuda").count(), 2, "{text}");
    }

    #[test]
    fn software_decoded_pictures_go_up_to_the_gpu_once_for_nvenc() {
        let text = scaling(picture(false, "yuv422p10le"), &Wanted { gpu_encoder: true, ..wanted() });
        assert!(text.starts_with("[in]format=nv12,hwupload,scale_cuda"), "{text}");
    }

    #[test]
    fn hdr_is_tone_mapped_once_in_memory() {
        let text = scaling(
            picture(true, "p010le"),
            &Wanted { colour: [1, 9, 9, 18], to_sdr: true, gpu_encoder: true, ..wanted() },
        );
        assert!(text.starts_with("[in]hwdownload,format=p010le,zscale=w=1920"), "{text}");
        assert_eq!(text.matches("tonemap=").count(), 2, "one filter, whose option has its name: {text}");
    }
}
