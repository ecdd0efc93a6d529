//! Turns the FFmpeg release that `ffmpeg-sys-next` found into `cfg`s for the few structs that differ between releases.

fn main() {
    for version in ["6_0", "6_1"] {
        println!("cargo::rustc-check-cfg=cfg(ffmpeg_{version})");
        // `ffmpeg-sys-next` publishes `ffmpeg_6_1=true` for 6.1 and everything newer.
        if std::env::var(format!("DEP_FFMPEG_FFMPEG_{version}")).as_deref() == Ok("true") {
            println!("cargo::rustc-cfg=ffmpeg_{version}");
        }
    }
}
