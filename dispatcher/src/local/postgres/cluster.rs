//! The cluster on disk: its binaries, its password, how it is made.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::account::Account;
use super::{PostgresError, SUPERUSER, io_error};

/// Where packages put versions side by side: Debian, Homebrew, Red Hat.
const ROOTS: [&str; 4] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt", "/usr"];

/// Name of the folder's server among the processes of this machine; another path to the folder gives the same.
pub(super) fn name(home: &Path) -> Result<String, PostgresError> {
    let metadata = fs::metadata(home).map_err(io_error(home.display().to_string()))?;
    Ok(format!("touchline-{:x}-{:x}", metadata.dev(), metadata.ino()))
}

/// Whether there is a cluster. One that cannot be looked at is an error, not a reason to make another.
pub(super) fn exists(data: &Path) -> Result<bool, PostgresError> {
    data.join("PG_VERSION").try_exists().map_err(io_error(format!("{} cannot be read", data.display())))
}

/// Folder of the binaries: those of the cluster's own version, or for a new one the first in `PATH`, or the newest.
pub(super) fn binaries(data: &Path) -> Result<PathBuf, PostgresError> {
    let mut found = candidates();
    if found.is_empty() {
        return Err(PostgresError::Missing);
    }
    if !exists(data)? {
        return Ok(found.swap_remove(0));
    }
    let text = fs::read_to_string(data.join("PG_VERSION")).map_err(io_error("PG_VERSION"))?;
    let wanted = text.trim();
    let of_version = found.into_iter().find(|bin| version(bin).as_deref() == Some(wanted));
    of_version.ok_or_else(|| PostgresError::Version { data: data.to_owned(), version: wanted.to_owned() })
}

/// All folders with binaries, the preferred first.
fn candidates() -> Vec<PathBuf> {
    let is_whole = |bin: &PathBuf| bin.join("initdb").is_file() && bin.join("postgres").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path).filter(is_whole).collect();
    let mut versions: Vec<(u32, PathBuf)> = ROOTS
        .iter()
        .filter_map(|root| fs::read_dir(root).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.trim_start_matches("postgresql@").trim_start_matches("pgsql-");
            let bin = entry.path().join("bin");
            Some((number.parse().ok()?, bin))
        })
        .filter(|(_, bin)| is_whole(bin))
        .collect();
    versions.sort();
    found.extend(versions.into_iter().rev().map(|(_, bin)| bin));
    found
}

/// Major version of the binaries in a folder.
fn version(bin: &Path) -> Option<String> {
    let output = Command::new(bin.join("postgres")).arg("--version").stdin(Stdio::null()).output().ok()?;
    // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`
    let said = String::from_utf8_lossy(&output.stdout);
    let number = said.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(number.to_owned())
}

/// Makes a cluster beside its place and renames it into it, so that a death in between leaves nothing that looks whole.
pub(super) fn initialise(bin: &Path, home: &Path, account: &Account, password: &str) -> Result<(), PostgresError> {
    let part = home.join("data.part");
    let failed = || io_error(format!("{} cannot be made", part.display()));
    let password_file = home.join("initial-password");
    write_secret(&password_file, password)?;
    account.give(&password_file)?;
    let initdb = |locale: &str| -> Result<Output, PostgresError> {
        if part.exists() {
            fs::remove_dir_all(&part).map_err(io_error(format!("{} cannot be removed", part.display())))?;
        }
        fs::DirBuilder::new().mode(0o700).create(&part).map_err(failed())?;
        account.give(&part)?;
        account
            // What is half made is of no use to anyone.
            .command(&bin.join("initdb"), Some("KILL"))
            .arg("-D")
            .arg(&part)
            .args(["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale", locale, "--pwfile"])
            .arg(&password_file)
            .stdin(Stdio::null())
            .output()
            .map_err(io_error("initdb cannot be started; `setpriv` of util-linux is needed too"))
    };
    let mut output = initdb("C.UTF-8")?;
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("invalid locale") {
        // Older systems do not have it; it differs in the case of letters beyond ASCII only.
        output = initdb("C")?;
    }
    fs::remove_file(&password_file).map_err(io_error("password file"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let signal = output.status.signal().map_or_else(String::new, |s| format!(" (signal {s})"));
        return Err(PostgresError::failed("initdb", format!("{}{signal}", said.trim()), home));
    }
    fs::rename(&part, home.join("data")).map_err(failed())?;
    sync(home)
}

/// The password of this cluster; made once.
pub(super) fn password(home: &Path) -> Result<String, PostgresError> {
    let path = home.join("password");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => Ok(text.trim().to_owned()),
        Ok(_) => {
            let output = format!("{} holds less than 32 characters", path.display());
            Err(PostgresError::Failed { program: "reading the password", output })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let mut random = [0_u8; 24];
            File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut random)).map_err(io_error("/dev/urandom"))?;
            let text: String = random.iter().map(|b| format!("{b:02x}")).collect();
            write_secret(&path, &text)?;
            // The cluster will know no other.
            sync(home)?;
            Ok(text)
        }
        Err(e) => Err(io_error(format!("{} cannot be read", path.display()))(e)),
    }
}

fn write_secret(path: &Path, text: &str) -> Result<(), PostgresError> {
    let write = || -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(io_error(format!("{} cannot be written", path.display())))
}

/// Renames in a folder outlive a loss of power from here on.
fn sync(folder: &Path) -> Result<(), PostgresError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(io_error(folder.display().to_string()))
}
