//! Starts the GPU before the lock, and tries it under the lock by using it as a job would: decoding, deinterlacing, scaling
//! and encoding a few frames. Runs in an engine process, because a broken driver can hang or crash, and because what counts
//! is what works under the lock.

use fleet::ladder::{Codec, Effort, Rung, Scaler};
use fleet::timeline::FrameRate;
use media::decode::Decoder;
use media::demux::StreamParameters;
use media::device::CudaDevice;
use media::encode::{Encoder, VideoSettings};
use media::graph::Graph;
use media::{Frame, Packet, Rational, Received};

use super::EngineError;
use super::golden::{self, SIZE};
use crate::encoder::{self, Backend};
use crate::facts::Turn;
use crate::filters::{self, InputPicture, Wanted};
use crate::protocol::Hardware;

/// Frames of each try: enough for what keeps some of them back.
const FRAMES: i64 = 5;
/// Times count in milliseconds where only their order matters.
const TICK: Rational = Rational::new(1, 1000);

/// Opens the GPU and has its driver do once what it will do later, so that files it opens only then are open; `None`
/// without a usable one, for which the log has the reason.
pub(crate) fn warm() -> Option<CudaDevice> {
    media::process::keep_gpu_libraries();
    let device = CudaDevice::open(0).inspect_err(|error| tracing::warn!(%error, "the GPU does not open")).ok()?;
    let encoders = ["h264_nvenc", "hevc_nvenc"].map(|name| encode_some(name, &device));
    let stays = encoders[0].is_ok();
    // The deinterlacer is compiled by the driver as the scaler is, in a fraction of the time.
    let decoder = decode_some(&device).and_then(|p| if stays { deinterlace(&p).map(drop) } else { Ok(()) });
    for error in encoders.into_iter().chain([decoder]).filter_map(Result::err) {
        tracing::info!("does not work here: {}", error.message);
    }
    Some(device)
}

/// What works, and why the rest does not.
pub(crate) fn try_out(device: Option<&CudaDevice>) -> Hardware {
    let mut hardware = Hardware::default();
    let Some(device) = device else {
        hardware.reasons.push("no GPU opens; the engine's log says why".to_owned());
        return hardware;
    };
    let mut works = |name: &str, tried: Result<(), EngineError>| {
        tried.map_err(|error| hardware.reasons.push(format!("{name}: {}", error.message))).is_ok()
    };
    let [h264_nvenc, hevc_nvenc] = ["h264_nvenc", "hevc_nvenc"].map(|name| works(name, encode_some(name, device)));
    // Only for NVENC pictures stay on the GPU.
    let filtered =
        |pictures: Vec<Frame>| if h264_nvenc { deinterlace(&pictures).and_then(|p| scale(&p)) } else { Ok(()) };
    let cuda = works("NVDEC", decode_some(device).and_then(filtered));
    Hardware { cuda, h264_nvenc, hevc_nvenc, ..hardware }
}

/// Encodes pictures that lie on the GPU, with the options that ladders use: not every generation has all of them.
fn encode_some(name: &str, device: &CudaDevice) -> Result<(), EngineError> {
    let pictures = pictures()?;
    let mut upload = graph(&pictures[0], "[in]format=nv12,hwupload[out0]", 1, Some(device))?;
    let uploaded = through(&mut upload, &pictures)?;
    let codec = if name.starts_with("hevc") { Codec::Hevc } else { Codec::H264 };
    let rung = Rung { height: SIZE.1, codec, quality: 23.0, max_kbps: 1000, buffer_seconds: 1.0 };
    let rate = FrameRate::new(25, 1).ok_or_else(|| EngineError::internal("no such rate"))?;
    let options = encoder::settings(Backend::Nvenc, Effort::Balanced, &rung, rate, 50).options;
    let settings = VideoSettings { options, ..golden::settings(name, "p5") };
    let mut encoder = Encoder::video(&settings, upload.gpu_frames(0).as_ref()).map_err(internal)?;
    let packets = encode(&mut encoder, &uploaded)?;
    if packets.is_empty() { Err(EngineError::internal("no packet came out")) } else { Ok(()) }
}

/// Decodes pictures on the GPU, and takes one to memory.
fn decode_some(device: &CudaDevice) -> Result<Vec<Frame>, EngineError> {
    let mut encoder = Encoder::video(&golden::settings("libx264", "ultrafast"), None).map_err(internal)?;
    let parameters = StreamParameters::of_encoder(&encoder).map_err(internal)?;
    let packets = encode(&mut encoder, &pictures()?)?;
    let mut decoder = Decoder::open(&parameters, 1, Some(device)).map_err(internal)?;
    let mut decoded = Vec::new();
    for packet in packets.iter().map(Some).chain([None]) {
        golden::decode(&mut decoder, packet, &mut |frame| {
            decoded.push(frame.share().map_err(internal)?);
            Ok(())
        })?;
    }
    match decoded.first() {
        Some(first) if first.is_on_gpu() => first.download().map_err(internal)?,
        _ => return Err(EngineError::internal("does not take H.264; the engine's log says why")),
    };
    Ok(decoded)
}

/// Pictures on the GPU, one a field.
fn deinterlace(pictures: &[Frame]) -> Result<Vec<Frame>, EngineError> {
    through(&mut graph(&pictures[0], filters::deinterlacing(true), 1, None)?, pictures)
}

/// Scales pictures on the GPU to half their size.
fn scale(pictures: &[Frame]) -> Result<(), EngineError> {
    let format = pictures[0].pixel_format();
    let input = InputPicture { on_gpu: true, width: SIZE.0, height: SIZE.1, pixel_format: &format };
    let wanted = Wanted {
        sizes: &[(SIZE.0 / 2, SIZE.1 / 2)],
        turn: Turn::None,
        scaler: Scaler::Lanczos,
        colour: [1, 1, 1, 1],
        to_sdr: false,
        gpu_encoder: true,
    };
    let scaled = through(&mut graph(&pictures[0], &filters::scaling(input, &wanted), 1, None)?, pictures)?;
    let is_scaled = scaled.iter().all(|p| p.is_on_gpu() && p.shape().width == SIZE.0.cast_signed() / 2);
    if is_scaled { Ok(()) } else { Err(EngineError::internal("scale_cuda made something else")) }
}

fn pictures() -> Result<Vec<Frame>, EngineError> {
    let mut film = golden::film()?;
    let numbered = |number| {
        let mut frame = golden::next(&mut film)?;
        frame.set_pts(number);
        Ok(frame)
    };
    (0..FRAMES).map(numbered).collect()
}

fn graph(like: &Frame, text: &str, outputs: usize, device: Option<&CudaDevice>) -> Result<Graph, EngineError> {
    Graph::video(like, TICK, text, outputs, device).map_err(internal)
}

/// All frames that come out of a graph with one output; at least one.
fn through(graph: &mut Graph, frames: &[Frame]) -> Result<Vec<Frame>, EngineError> {
    for frame in frames {
        graph.push(frame).map_err(internal)?;
    }
    graph.push_end().map_err(internal)?;
    let mut made = Vec::new();
    while let Received::Item(frame) = graph.pull(0).map_err(internal)? {
        made.push(frame);
    }
    if made.is_empty() { Err(EngineError::internal("no picture came out of a filter")) } else { Ok(made) }
}

fn encode(encoder: &mut Encoder, frames: &[Frame]) -> Result<Vec<Packet>, EngineError> {
    let mut packets = Vec::new();
    for frame in frames.iter().map(Some).chain([None]) {
        match frame {
            Some(frame) => encoder.send(frame),
            None => encoder.send_end(),
        }
        .map_err(internal)?;
        while let Received::Item(packet) = encoder.receive().map_err(internal)? {
            packets.push(packet);
        }
    }
    Ok(packets)
}

fn internal(error: media::Error) -> EngineError {
    EngineError::internal(error)
}
