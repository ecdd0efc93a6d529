//! A known film through encoder and decoder: what comes out is known too. Reads no source.

use media::decode::Decoder;
use media::demux::StreamParameters;
use media::device::CudaDevice;
use media::encode::{Encoder, VideoSettings};
use media::graph::Graph;
use media::{Frame, Packet, Rational, Received};

use super::EngineError;
use super::likeness::{look, ratio};
use crate::protocol::Golden;

/// The film: moving shapes and a counter, the same on every machine.
const FILM: &str = "testsrc2=s=640x360:r=25,format=yuv420p";
/// Its size; small, but not below what NVDEC and NVENC take.
pub(super) const SIZE: (u32, u32) = (640, 360);
/// Frames of it.
pub(crate) const FRAMES: u64 = 60;

/// Encodes and decodes the film; the decoder uses the GPU when there is one.
pub(crate) fn run(encoder: &str, gpu: Option<&CudaDevice>) -> Result<Golden, EngineError> {
    let preset = if encoder.ends_with("_nvenc") { "p4" } else { "veryfast" };
    let settings = settings(encoder, preset);
    let mut encoder = Encoder::video(&settings, None).map_err(EngineError::internal)?;
    let parameters = StreamParameters::of_encoder(&encoder).map_err(EngineError::internal)?;
    let mut decoder = Decoder::open(&parameters, 1, gpu).map_err(EngineError::internal)?;
    let (mut given, mut wanted) = (film()?, film()?);
    let mut found = Golden { frames: 0, worst_db: f64::INFINITY };
    let mut looks = [None, None];
    let mut compare = |made: &Frame| -> Result<(), EngineError> {
        let [a, b] = &mut looks;
        let alike = ratio(&look(a, &next(&mut wanted)?)?, &look(b, made)?);
        found.frames += 1;
        found.worst_db = found.worst_db.min(alike);
        Ok(())
    };
    for number in 0..=FRAMES {
        if number == FRAMES {
            encoder.send_end().map_err(EngineError::internal)?;
        } else {
            let mut frame = next(&mut given)?;
            frame.set_pts(i64::try_from(number).map_err(EngineError::internal)?);
            encoder.send(&frame).map_err(EngineError::internal)?;
        }
        while let Received::Item(packet) = encoder.receive().map_err(EngineError::internal)? {
            decode(&mut decoder, Some(&packet), &mut compare)?;
        }
    }
    decode(&mut decoder, None, &mut compare)?;
    Ok(Golden { worst_db: if found.frames == 0 { 0.0 } else { found.worst_db }, ..found })
}

/// How an encoder is opened for the film.
pub(super) fn settings(encoder: &str, preset: &str) -> VideoSettings {
    VideoSettings {
        encoder: encoder.to_owned(),
        width: SIZE.0.cast_signed(),
        height: SIZE.1.cast_signed(),
        rate: Rational::new(25, 1),
        pixel_format: "yuv420p".to_owned(),
        bit_rate: 2_000_000,
        max_rate: 4_000_000,
        buffer_bits: 4_000_000,
        gop: 30,
        colour: [1, 1, 1, 1],
        options: vec![("preset".to_owned(), preset.to_owned())],
    }
}

/// Hands on what a packet, or the end of the film, lets the decoder give.
pub(super) fn decode(
    decoder: &mut Decoder,
    packet: Option<&Packet>,
    take: &mut impl FnMut(&Frame) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    match packet {
        Some(packet) => decoder.send(packet),
        None => decoder.send_end(),
    }
    .map_err(EngineError::undecodable)?;
    while let Received::Item(frame) = decoder.receive().map_err(EngineError::undecodable)? {
        take(&frame)?;
    }
    Ok(())
}

/// The film from its beginning.
pub(super) fn film() -> Result<Graph, EngineError> {
    Graph::generate(FILM).map_err(EngineError::internal)
}

/// Its next picture.
pub(super) fn next(film: &mut Graph) -> Result<Frame, EngineError> {
    match film.pull(0).map_err(EngineError::internal)? {
        Received::Item(frame) => Ok(frame),
        Received::NeedInput | Received::End => Err(EngineError::internal("the known film has no more frames")),
    }
}
