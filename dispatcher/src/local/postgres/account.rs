//! Who runs the server: ourselves, or another account when we are root, which Postgres refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{PostgresError, io_error};

/// User and group, as numbers.
#[derive(Clone, Copy, Debug)]
struct Ids {
    uid: u32,
    gid: u32,
}

/// The account.
#[derive(Debug)]
pub(super) struct Account {
    other: Option<Ids>,
    /// A folder above is closed to the account, as the home of root is.
    is_shut_out: bool,
}

impl Account {
    /// The account for a folder, which it can enter but not change: we write there ourselves, and must not follow a link
    /// that the account laid.
    pub(super) fn find(home: &Path) -> Result<Self, PostgresError> {
        let me = fs::metadata("/proc/self").map_err(io_error("/proc/self"))?.uid();
        let other = if me == 0 { Some(unprivileged()?) } else { None };
        let failed = || io_error(format!("{} cannot be taken over", home.display()));
        if other.is_some() {
            chown(home, Some(0), Some(0)).map_err(failed())?;
        }
        let mode = if other.is_some() { 0o711 } else { 0o700 };
        fs::set_permissions(home, fs::Permissions::from_mode(mode)).map_err(failed())?;
        let is_shut_out = other.is_some_and(|ids| !home.ancestors().all(|folder| can_enter(folder, ids)));
        Ok(Self { other, is_shut_out })
    }

    /// That the capability, where it is needed, is there and helps.
    pub(super) fn check_entry(&self, home: &Path) -> Result<(), PostgresError> {
        if !self.is_shut_out {
            return Ok(());
        }
        let output = self
            .command(Path::new("sh"), None)
            .args(["-c", "cd -- \"$0\""])
            .arg(home)
            .stdin(Stdio::null())
            .output()
            .map_err(io_error("`setpriv` of util-linux cannot be started"))?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PostgresError::Closed { folder: home.to_owned(), output })
    }

    /// Gives a file or folder to the account.
    pub(super) fn give(&self, path: &Path) -> Result<(), PostgresError> {
        let Some(Ids { uid, gid }) = self.other else { return Ok(()) };
        let what = format!("{} cannot be given to the database's account", path.display());
        chown(path, Some(uid), Some(gid)).map_err(io_error(what))
    }

    /// A command under the account, which gets `signal` when we end.
    pub(super) fn command(&self, program: &Path, signal: Option<&str>) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(Ids { uid, gid }) = self.other {
            command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups"]);
            if self.is_shut_out {
                command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
            }
        }
        if let Some(signal) = signal {
            command.args(["--pdeathsig", signal]);
        }
        command.arg("--").arg(program);
        // The environment may hold keys of ours, and settings for other servers.
        command.env_clear().env("LC_ALL", "C");
        for name in ["PATH", "LD_LIBRARY_PATH", "TZ"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // Ctrl-C in a terminal goes to the whole group; the server ends after those who use it.
        command.current_dir("/").process_group(0);
        command
    }
}

/// The account that Postgres' own packages make, or that of nobody.
fn unprivileged() -> Result<Ids, PostgresError> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(io_error("/etc/passwd"))?;
    let ids = |name: &str| {
        let line = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Ids { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    let missing = || {
        let output = "it does not run as root, and there is neither an account `postgres` nor `nobody`".to_owned();
        PostgresError::Failed { program: "postgres", output }
    };
    ids("postgres").or_else(|| ids("nobody")).ok_or_else(missing)
}

/// Whether the mode lets the account into a folder.
fn can_enter(folder: &Path, ids: Ids) -> bool {
    let Ok(metadata) = fs::metadata(folder) else { return false };
    let bit = if metadata.uid() == ids.uid {
        0o100
    } else if metadata.gid() == ids.gid {
        0o010
    } else {
        0o001
    };
    metadata.mode() & bit != 0
}
