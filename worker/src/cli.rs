//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::confinement::Layers;
use crate::hardware::EncoderChoice;
use crate::profiles;

/// Turns match video into HLS.
#[derive(Debug, Parser)]
#[command(name = "worker", version, about, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

const EXAMPLES: &str = "Examples:
  worker transcode match.mp4 out                        every rendition of the default ladder
  worker transcode match.mp4 out --ladder quick         soonest to watch
  worker transcode s3://matches/final.mov out --json    from S3, events for a script
  worker probe phone.mov                                what is in a file
  worker sandbox                                        is a hostile file locked in on this machine?
  worker check out                                      the HLS rules, on any HLS folder

Exit codes: 0 done, 2 bad input, 3 try again later, 4 failed checks or a defect, 130 stopped.";

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make HLS from a video; run again after a stop, it goes on where it was
    Transcode(TranscodeArgs),
    /// Work for a fleet: take chunks from a region's queue until asked to end
    Run(RunArgs),
    /// Tell what a video holds
    Probe {
        /// File, `s3://bucket/key` or `https://` address
        input: OsString,
        /// Run the engine without its sandbox: a hostile file can then do what this process can
        #[arg(long)]
        insecure_engine: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell whether engines are locked in on this machine, trying what must not be possible
    Sandbox {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the ladders that come with the worker
    Ladders {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check an HLS folder against the HLS authoring rules
    Check {
        /// The folder
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Used by the worker itself: decodes and encodes in a process of its own
    #[command(hide = true)]
    Engine {
        /// Locks
        #[arg(long, value_enum, default_value_t)]
        layers: Layers,
        /// Start the GPU driver, and leave open what it needs
        #[arg(long)]
        gpu: bool,
    },
}

/// Arguments of `transcode`.
#[derive(Debug, clap::Args)]
pub struct TranscodeArgs {
    /// File, `s3://bucket/key` or `https://` address
    pub input: OsString,
    /// Folder for the result; made when missing
    pub out: PathBuf,
    /// Name of a ladder (`worker ladders`) or a YAML file
    #[arg(long, default_value = profiles::DEFAULT, value_name = "NAME|FILE")]
    pub ladder: String,
    /// Encoder; auto takes NVENC where it works
    #[arg(long, value_enum, default_value_t = EncoderArg::Auto)]
    pub encoder: EncoderArg,
    /// Engines at work at once; by default as many as cores or GPU carry
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub slots: Option<u32>,
    /// Length of the pieces that engines take, in seconds; rounded to whole segments
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub chunk: Option<f64>,
    /// Run engines without their sandbox: a hostile file can then do what this process can
    #[arg(long)]
    pub insecure_engine: bool,
    /// Replace the output of another video in the folder
    #[arg(long)]
    pub overwrite: bool,
    /// Print events as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration of the fleet (TOML), a file or `s3://bucket/key`
    #[arg(long, value_name = "FILE", env = fleet::config::CONFIG)]
    pub config: PathBuf,
    /// Region to work in
    #[arg(long, env = "TOUCHLINE_REGION")]
    pub region: String,
    /// Encoder; auto takes NVENC where it works
    #[arg(long, value_enum, default_value_t = EncoderArg::Auto)]
    pub encoder: EncoderArg,
    /// Chunks at work at once; by default as many as cores or GPU carry
    #[arg(long, value_name = "N", env = "TOUCHLINE_SLOTS", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub slots: Option<u32>,
    /// Run engines without their sandbox: a hostile file can then do what this process can
    #[arg(long, env = "TOUCHLINE_INSECURE_ENGINE")]
    pub insecure_engine: bool,
    /// Pool that the machine belongs to, for the books
    #[arg(long, default_value = "", env = "TOUCHLINE_POOL")]
    pub pool: String,
    /// Name of the machine at its provider, for the books
    #[arg(long, default_value = "", env = "TOUCHLINE_INSTANCE", hide = true)]
    pub instance: String,
    /// Address for /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// The machine is EC2's: learn its id and pool, and hand work back when a spot notice comes
    #[arg(long)]
    pub spot: bool,
    /// End after this long without work
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub idle_exit: Option<f64>,
    /// How long a drain waits for segments to be finished
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = positive)]
    pub drain: f64,
    /// End when the parent process does
    #[arg(long)]
    pub with_parent: bool,
    /// Test double: sleep as long as encoding at this multiple of real time would take, and make nothing
    #[arg(long, hide = true, value_name = "SPEED", value_parser = positive)]
    pub pretend: Option<f64>,
    /// Test double of a slow machine: hold each segment back for this long
    #[arg(long, hide = true, value_name = "SECONDS", value_parser = positive)]
    pub pause: Option<f64>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 && n <= 86_400.0 => Ok(n),
        _ => Err("give a number of seconds above 0, at most 86400".to_owned()),
    }
}

/// `--encoder`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EncoderArg {
    /// NVENC where it works, else x264
    Auto,
    /// NVENC or failure
    Nvenc,
    /// x264 (x265 for HEVC)
    X264,
}

impl From<EncoderArg> for EncoderChoice {
    fn from(arg: EncoderArg) -> Self {
        match arg {
            EncoderArg::Auto => Self::Auto,
            EncoderArg::Nvenc => Self::Nvenc,
            EncoderArg::X264 => Self::X264,
        }
    }
}
