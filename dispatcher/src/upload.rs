//! `dispatcher upload`: sends files to a fleet over its HTTP interface, in parts. The fleet knows a file again by its
//! fingerprint, so the same command goes on where any earlier one was cut off, from this machine or another.

mod client;
mod file;
mod send;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use self::client::{Client, JobWish, Upload, UploadWish};
use self::file::LocalFile;
use crate::cli::UploadArgs;
use crate::local::{ADDRESS_FILE, KEY_FILE};

/// Rounds of sending what is missing, where the fleet and we count differently.
const ROUNDS: usize = 3;

/// Why a file was not uploaded.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A file.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No address or no key.
    #[error("{0}")]
    Where(String),
    /// The server did not answer, or not as it should, for a long time.
    #[error("{server}: {reason}; run the same command again to go on where it was")]
    Unavailable {
        /// Its address.
        server: String,
        /// What happened last.
        reason: String,
    },
    /// The server refuses.
    #[error("{title} ({code})")]
    Refused {
        /// Stable code.
        code: String,
        /// What happened and what to do.
        title: String,
    },
    /// The file is there, the job is not.
    #[error("{file} was uploaded as {upload}, but its job was not started: {title}")]
    NoJob {
        /// File.
        file: String,
        /// Upload, which a job may name as its source.
        upload: String,
        /// What happened and what to do.
        title: String,
    },
}

impl UploadError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Where(_) | Self::Refused { .. } | Self::NoJob { .. } => 2,
            Self::Unavailable { .. } => 3,
        }
    }
}

/// What became of the files.
#[derive(Debug)]
pub struct Uploaded {
    /// The file.
    pub path: PathBuf,
    /// The upload, as the fleet tells of it.
    pub upload: serde_json::Value,
    /// What to call it by: the job when there is one.
    pub id: String,
}

/// Where the fleet is: as given, else the local one in `dir`.
///
/// # Errors
/// Neither is known.
pub fn find(args: &UploadArgs, dir: Option<&Path>) -> Result<(String, String), UploadError> {
    let read = |name: &str| {
        let text = dir.and_then(|dir| std::fs::read_to_string(dir.join(name)).ok())?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let is_local = args.server.is_none();
    let server =
        args.server.clone().or_else(|| read(ADDRESS_FILE)).ok_or_else(|| {
            UploadError::Where("give --server, or start a fleet here with `dispatcher local`".to_owned())
        })?;
    // The local fleet's key is nobody else's business.
    let key = args.key.clone().or_else(|| is_local.then(|| read(KEY_FILE)).flatten());
    let key = key.ok_or_else(|| UploadError::Where("give the API key in TOUCHLINE_KEY".to_owned()))?;
    Ok((server, key))
}

/// Uploads the files, one after the other, and hands each to `done`. `None` when it was stopped.
///
/// # Errors
/// [`UploadError`] of the first file that fails.
pub async fn run(
    args: &UploadArgs,
    (server, key): (String, String),
    mut stop: watch::Receiver<bool>,
    mut done: impl FnMut(Uploaded),
) -> Result<Option<()>, UploadError> {
    let client = Client::new(&server, key)?;
    for path in &args.files {
        let one = one(&client, args, path);
        let uploaded = tokio::select! {
            uploaded = one => uploaded?,
            _ = stop.wait_for(|stopped| *stopped) => return Ok(None),
        };
        done(uploaded);
    }
    Ok(Some(()))
}

async fn one(client: &Client, args: &UploadArgs, path: &Path) -> Result<Uploaded, UploadError> {
    let file = LocalFile::open(path).await?;
    let wish = UploadWish {
        filename: file.name(),
        size_bytes: file.size(),
        content_type: file.content_type(),
        fingerprint: file.fingerprint(),
        checksum: "sha256",
        job: (!args.no_job).then(|| JobWish { title: args.title.clone(), ladder: args.ladder.clone() }),
    };
    let bar = progress(args, &file);
    let mut upload = client.create(&wish, &bar).await?;
    bar.set_position(upload.received_bytes);
    bar.reset_eta();
    if upload.received_bytes > 0 {
        bar.println(format!("{}: going on with upload {}", wish.filename, upload.id));
    }
    let mut round = 1;
    loop {
        send::send(client, &file, &upload, &bar, args).await?;
        if !file.is_unchanged().await {
            client.abort(&upload.id, &bar).await?;
            let reason = "it was changed while it was uploaded; upload it again".to_owned();
            return Err(UploadError::File { path: path.to_owned(), reason });
        }
        match client.complete(&upload.id, &bar).await {
            Err(UploadError::Refused { code, .. }) if code == "upload_incomplete" && round < ROUNDS => {
                upload = client.get(&upload.id, &bar).await?;
                bar.set_position(upload.received_bytes);
                round += 1;
            }
            other => {
                bar.finish_and_clear();
                return finished(path, &wish.filename, other?);
            }
        }
    }
}

fn finished(path: &Path, name: &str, answer: serde_json::Value) -> Result<Uploaded, UploadError> {
    let upload: Upload = client::read(&answer)?;
    if let Some(problem) = upload.job_problem {
        return Err(UploadError::NoJob { file: name.to_owned(), upload: upload.id, title: problem.title });
    }
    Ok(Uploaded { path: path.to_owned(), id: upload.job_id.unwrap_or(upload.id), upload: answer })
}

fn progress(args: &UploadArgs, file: &LocalFile) -> ProgressBar {
    let is_shown = !args.json && std::io::stderr().is_terminal();
    let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(file.size()), target);
    let style = ProgressStyle::with_template(
        "{spinner} {prefix} [{bar:32}] {percent:>3}% of {total_bytes}, {bytes_per_sec}, {eta} left {msg}",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(file.name());
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    bar
}
