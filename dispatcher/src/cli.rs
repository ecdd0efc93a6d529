//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use capacity::money::MicroDollars;
use clap::{Args, Parser, Subcommand};
use fleet::profiles;

use crate::commands::simulate::SimulateArgs;

/// Runs a transcoding fleet and its jobs.
#[derive(Debug, Parser)]
#[command(name = "dispatcher", version, about, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Where the fleet is.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

const EXAMPLES: &str = "Examples:
  dispatcher local                                the whole fleet on this machine
  dispatcher submit match.mp4 --follow            hand in a match and watch it being made
  dispatcher submit s3://matches/final.mov        a match in S3
  dispatcher upload match.mp4                     send a match to a fleet elsewhere (TOUCHLINE_SERVER, TOUCHLINE_KEY)
  dispatcher jobs                                 what there is
  dispatcher why 0192f                            what a job waits for (the first letters of its id are enough)
  dispatcher focus 0192f 43:10                    this minute first
  dispatcher quote match.mp4                      what it will cost; `dispatcher receipt 0192f`: what it cost
  dispatcher play 0192f                           where it can be watched; `dispatcher delete 0192f --yes`: for good
  dispatcher key create --organisation 'FC Example' --scope all
  dispatcher serve --config touchline.toml        the dispatcher of a fleet in the cloud

Commands find the local fleet in --dir (default ~/.local/share/touchline), or the one that --config describes.
Exit codes: 0 done, 2 bad input, 3 try again later, 4 a defect, 5 the job failed, 6 worse than the baseline, 130 stopped.";

/// Where the fleet is.
#[derive(Clone, Debug, Args)]
pub struct FleetArgs {
    /// Folder of the local fleet
    #[arg(long, global = true, value_name = "DIR", env = "TOUCHLINE_DIR")]
    pub dir: Option<PathBuf>,
    /// Configuration of a fleet in the cloud (TOML); goes before --dir
    #[arg(long, global = true, value_name = "FILE", env = "TOUCHLINE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// A verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the whole fleet on this machine: database, queue, objects, workers from zero
    Local(LocalArgs),
    /// Run a dispatcher for the fleet that --config describes
    Serve,
    /// Bring the database's schema to this version
    Migrate {
        /// Also let this login work as a worker (`grant touchline_worker to LOGIN`)
        #[arg(long, value_name = "LOGIN")]
        worker_login: Option<String>,
    },
    /// Hand in a job
    Submit(SubmitArgs),
    /// Upload files over the HTTP interface, and have them made watchable; again to go on where it was cut off
    Upload(UploadArgs),
    /// List jobs, the newest first
    Jobs {
        /// Only those in this state
        #[arg(long)]
        state: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one job with its chunks and events
    Show {
        /// Id, or its first letters
        job: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say in sentences what a job waits for
    Why {
        /// Id, or its first letters
        job: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Follow a job until it ends
    Follow {
        /// Id, or its first letters
        job: String,
        /// Print events as JSON, one a line
        #[arg(long)]
        json: bool,
    },
    /// Cancel a job; what is committed stays for a retry
    Cancel {
        /// Id, or its first letters
        job: String,
    },
    /// Try a failed or cancelled job again, from where it was
    Retry {
        /// Id, or its first letters
        job: String,
    },
    /// Rename a match
    Rename {
        /// Id, or its first letters
        job: String,
        /// What it is to be called
        #[arg(value_parser = title)]
        title: String,
    },
    /// Delete a match that has ended for good: the match, its clips, and the file that was uploaded for it alone
    Delete {
        /// Id, or its first letters
        job: String,
        /// Do it; without this, only say what would be deleted
        #[arg(long)]
        yes: bool,
    },
    /// Release the match from this time on first
    Focus {
        /// Id, or its first letters
        job: String,
        /// `SECONDS`, `M:SS` or `H:MM:SS`
        #[arg(value_parser = time)]
        at: f64,
    },
    /// Say what a match will cost, and when it can be watched
    Quote(QuoteArgs),
    /// Say what a job cost: time of machines by pool, with booting, idle time and waste
    Receipt {
        /// Id, or its first letters
        job: String,
        /// Print CSV
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the address under which a job can be played
    Play {
        /// Id, or its first letters
        job: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Organisations: list, make, change
    #[command(subcommand)]
    Organisation(OrganisationVerb),
    /// API keys of an organisation: list, make, withdraw
    #[command(subcommand)]
    Key(KeyVerb),
    /// Print the `OpenAPI` document of the HTTP interface
    Openapi,
    /// Empty the dead-letter queues and try all failed jobs again
    Redrive {
        /// Only jobs that failed with this code
        #[arg(long)]
        code: Option<String>,
    },
    /// List workers
    Workers {
        /// Also those that are gone
        #[arg(long)]
        gone: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List devices that encode, those in quarantine first
    Devices {
        /// End the quarantine of this one
        #[arg(long, value_name = "NAME")]
        trust: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask a worker to finish what it has and end
    Drain {
        /// Id of the worker
        worker: uuid::Uuid,
    },
    /// Show machines by pool, what failed, and the last decision
    Pools {
        /// Only check this fleet.toml and show what it says
        #[arg(long, value_name = "FILE")]
        fleet: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show queues and regions
    Queues {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the fleet in virtual time: what policies cost, and what they miss
    Simulate(SimulateArgs),
    /// Delete what is kept no longer: rows, objects of lost attempts, unfinished uploads
    Sweep {
        /// Jobs that ended without success longer ago than this many days
        #[arg(long, default_value_t = 30.0, value_parser = days)]
        days: f64,
        /// Objects that lost attempts left, of jobs that ended longer ago than this many hours
        #[arg(long, default_value_t = 24.0, value_parser = hours)]
        orphan_hours: f64,
    },
}

/// What is done with organisations.
#[derive(Debug, Subcommand)]
pub enum OrganisationVerb {
    /// List them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make one
    Create {
        /// Name
        name: String,
        /// Tier, which sets its limits: unlimited, club, trial, or one of your own
        #[arg(long, default_value = "club")]
        tier: String,
        /// Share of the fleet when others wait too
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1000))]
        weight: i32,
    },
    /// Change tier or weight
    Set {
        /// Name
        name: String,
        /// Tier
        #[arg(long)]
        tier: Option<String>,
        /// Share of the fleet when others wait too
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..=1000))]
        weight: Option<i32>,
        /// What it may spend on machines in a calendar month (UTC), in US dollars; `none` for no cap
        #[arg(long, value_name = "USD", value_parser = monthly_cap)]
        monthly_cap: Option<MonthlyCap>,
    },
}

/// A monthly cap as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthlyCap(pub Option<MicroDollars>);

/// What is done with API keys.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// List the keys of an organisation
    List {
        /// Organisation
        #[arg(long, default_value = "default")]
        organisation: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a key and print it; it is shown this once
    Create {
        /// Organisation
        #[arg(long, default_value = "default")]
        organisation: String,
        /// What it is for
        #[arg(long, default_value = "command line")]
        name: String,
        /// What it may do: all (within the organisation), ops (the whole fleet), jobs:read, jobs:write, uploads:write,
        /// clips:write, webhooks, keys, usage:read
        #[arg(long = "scope", value_name = "SCOPE", default_values_t = ["all".to_owned()])]
        scopes: Vec<String>,
        /// Days after which it ends by itself
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3650))]
        expires_in: Option<u16>,
    },
    /// Withdraw a key
    Revoke {
        /// Its public part, `tl_…`
        prefix: String,
        /// Organisation
        #[arg(long, default_value = "default")]
        organisation: String,
    },
}

/// Arguments of `local`.
#[derive(Clone, Debug, Args)]
pub struct LocalArgs {
    /// Address for playback and health
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Worker processes at most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Chunks that one worker encodes at once; by default as many as the machine carries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub slots: Option<u32>,
    /// Seconds without work after which workers end
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = seconds)]
    pub idle: f64,
    /// End when there has been no work for this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub exit_after: Option<f64>,
    /// Seconds between heartbeats; a lost worker is noticed after four and a half
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", hide = true, value_parser = heartbeat)]
    pub heartbeat: f64,
}

/// Arguments of `submit`.
#[derive(Clone, Debug, Args)]
pub struct SubmitArgs {
    /// Files, `s3://bucket/key` or `https://` addresses
    #[arg(required = true)]
    pub sources: Vec<String>,
    /// Name of a ladder (`worker ladders`) or a YAML file
    #[arg(long, default_value = profiles::DEFAULT, value_name = "NAME|FILE")]
    pub ladder: String,
    /// Encoder: auto, nvenc or x264
    #[arg(long, default_value = "auto", value_parser = ["auto", "nvenc", "x264"])]
    pub encoder: String,
    /// For people; the file's name when missing
    #[arg(long)]
    pub title: Option<String>,
    /// Organisation that owns the job; made when there is none of this name
    #[arg(long, default_value = "default")]
    pub organisation: String,
    /// Share of the fleet that a new organisation gets when others wait too
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub weight: i32,
    /// Minutes from now by which it should be ready
    #[arg(long, value_name = "MINUTES", value_parser = within_a_year)]
    pub ready_in: Option<f64>,
    /// Region; by default that of the source's bucket
    #[arg(long)]
    pub region: Option<String>,
    /// Stay and show progress until the job ends; Ctrl-C leaves it running
    #[arg(long)]
    pub follow: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `quote`.
#[derive(Clone, Debug, Args)]
pub struct QuoteArgs {
    /// A file, whose size tells the length of the video roughly
    #[arg(required_unless_present = "minutes")]
    pub file: Option<PathBuf>,
    /// Length of the video
    #[arg(long, value_parser = minutes)]
    pub minutes: Option<f64>,
    /// Lines of the picture's shorter side
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(16..=4320))]
    pub height: Option<u32>,
    /// Frames a second
    #[arg(long, value_parser = frame_rate)]
    pub fps: Option<f64>,
    /// Name of a ladder (`worker ladders`) or a YAML file
    #[arg(long, default_value = profiles::DEFAULT, value_name = "NAME|FILE")]
    pub ladder: String,
    /// Region; by default the first
    #[arg(long)]
    pub region: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `upload`.
#[derive(Clone, Debug, Args)]
pub struct UploadArgs {
    /// Files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// For people; the file's name when missing
    #[arg(long)]
    pub title: Option<String>,
    /// Name of a ladder
    #[arg(long, value_name = "NAME")]
    pub ladder: Option<String>,
    /// Only upload; make a job of it later
    #[arg(long, conflicts_with_all = ["title", "ladder"])]
    pub no_job: bool,
    /// Address of the fleet; by default the local one of --dir
    #[arg(long, value_name = "URL", env = "TOUCHLINE_SERVER")]
    pub server: Option<String>,
    /// API key; better in the variable, where other users of this machine do not see it
    #[arg(long, value_name = "KEY", env = "TOUCHLINE_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Parts on their way at once
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub parallel: u32,
    /// Print JSON, a line for each part
    #[arg(long)]
    pub json: bool,
}

fn title(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_one = (1..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if is_one { Ok(text.to_owned()) } else { Err("give 1 to 500 printable characters".to_owned()) }
}

fn number(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (low..=high).contains(n));
    number.ok_or_else(|| format!("give a number from {low} to {high}"))
}

fn days(text: &str) -> Result<f64, String> {
    number(text, 0.0, 36_500.0)
}

fn hours(text: &str) -> Result<f64, String> {
    number(text, 0.0, 876_000.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 604_800.0)
}

/// A lease is four and a half heartbeats, and `timing.lease` at most an hour.
fn heartbeat(text: &str) -> Result<f64, String> {
    number(text, 0.1, 800.0)
}

/// Minutes.
fn within_a_year(text: &str) -> Result<f64, String> {
    number(text, 0.0, 525_600.0)
}

fn minutes(text: &str) -> Result<f64, String> {
    number(text, 0.0, 480.0)
}

fn frame_rate(text: &str) -> Result<f64, String> {
    number(text, 1.0, 1000.0)
}

fn monthly_cap(text: &str) -> Result<MonthlyCap, String> {
    if text == "none" {
        return Ok(MonthlyCap(None));
    }
    let usd = text.parse().ok().and_then(MicroDollars::from_usd);
    usd.map(|usd| MonthlyCap(Some(usd))).ok_or_else(|| "give US dollars, or none".to_owned())
}

fn time(text: &str) -> Result<f64, String> {
    let problem = || "give seconds, M:SS or H:MM:SS".to_owned();
    let mut seconds = 0.0;
    for part in text.split(':') {
        let n: f64 = part.parse().map_err(|_| problem())?;
        if !n.is_finite() || n < 0.0 {
            return Err(problem());
        }
        seconds = seconds * 60.0 + n;
    }
    if seconds <= 86_400.0 { Ok(seconds) } else { Err(problem()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn titles_are_what_people_can_read() {
        assert_eq!(title(" Cup final ").as_deref(), Ok("Cup final"));
        assert!(title(" ").is_err() && title("a\nb").is_err() && title(&"x".repeat(501)).is_err());
    }

    #[test]
    fn caps_are_dollars_or_none() {
        assert_eq!(monthly_cap("12.50"), Ok(MonthlyCap(Some(MicroDollars(12_500_000)))));
        assert_eq!(monthly_cap("none"), Ok(MonthlyCap(None)));
        assert!(monthly_cap("-1").is_err() && monthly_cap("nan").is_err() && monthly_cap("").is_err());
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(time("90"), Ok(90.0));
        assert_eq!(time("43:10"), Ok(2590.0));
        assert_eq!(time("1:02:03.5"), Ok(3723.5));
        assert!(time("a").is_err() && time("-1").is_err() && time("99:99:99:99").is_err());
    }
}
