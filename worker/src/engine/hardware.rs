//! Starts the GPU before the lock, and tries it under the lock by using it: encoding a few frames. Runs in an engine
//! process, because a broken driver can hang or crash, and because what counts is what works under the lock.

use media::device::CudaDevice;
use media::encode::{Encoder, VideoSettings};
use media::graph::Graph;
use media::{Rational, Received};

use crate::protocol::Hardware;

/// Opens the GPU and has its driver do once what it will do later, so that files it opens only then are open; `None`
/// without a usable one, for which the log has the reason.
pub(crate) fn warm() -> Option<CudaDevice> {
    media::process::keep_gpu_libraries();
    let device = CudaDevice::open(0).inspect_err(|error| tracing::warn!(%error, "the GPU does not open")).ok()?;
    for name in ["h264_nvenc", "hevc_nvenc"] {
        if let Err(error) = encode_some(name) {
            tracing::info!(%error, name, "does not encode here");
        }
    }
    Some(device)
}

/// What works, and why the rest does not.
pub(crate) fn try_out(device: Option<&CudaDevice>) -> Hardware {
    let mut hardware = Hardware { cuda: device.is_some(), ..Hardware::default() };
    if device.is_none() {
        hardware.reasons.push("no GPU opens; the engine's log says why".to_owned());
        return hardware;
    }
    for (name, works) in [("h264_nvenc", &mut hardware.h264_nvenc), ("hevc_nvenc", &mut hardware.hevc_nvenc)] {
        match encode_some(name) {
            Ok(()) => *works = true,
            Err(error) => hardware.reasons.push(format!("{name}: {error}")),
        }
    }
    hardware
}

fn encode_some(name: &str) -> media::Result<()> {
    let settings = VideoSettings {
        encoder: name.to_owned(),
        width: 640,
        height: 360,
        rate: Rational::new(25, 1),
        pixel_format: "yuv420p".to_owned(),
        bit_rate: 500_000,
        max_rate: 1_000_000,
        buffer_bits: 1_000_000,
        gop: 50,
        colour: [1, 1, 1, 1],
        options: vec![("preset".to_owned(), "p4".to_owned())],
    };
    let mut encoder = Encoder::video(&settings, None)?;
    let mut picture = Graph::generate("color=c=gray:s=640x360:r=25,format=yuv420p")?;
    for number in 0..5 {
        let Received::Item(mut frame) = picture.pull(0)? else { break };
        frame.set_pts(number);
        encoder.send(&frame)?;
        while let Received::Item(_) = encoder.receive()? {}
    }
    encoder.send_end()?;
    while let Received::Item(_) = encoder.receive()? {}
    Ok(())
}
