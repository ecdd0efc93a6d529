//! What a local fleet's owner signs in with. Both lie in the fleet's folder, readable for its owner alone.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fleet::store::Store;
use fleet::store::jobs::DEFAULT_ORGANISATION;

use super::{LocalError, io_error, secret};
use crate::api::Scope;
use crate::api::secret_key::{self, SecretKey};

/// File with the owner's API key.
pub const KEY_FILE: &str = "key";
/// File with the address that the fleet listens on.
pub const ADDRESS_FILE: &str = "address";
const SECRET_FILE: &str = "secret";

/// The secret that signs playback links; the same after a restart, so that links live on.
pub(super) fn signing_secret(dir: &Path) -> Result<String, LocalError> {
    let path = dir.join(SECRET_FILE);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path.display().to_string())(error)),
        _ => {
            let text = secret().map_err(io_error("/dev/urandom"))?;
            write_private(&path, &text)?;
            Ok(text)
        }
    }
}

/// The owner's key; made when there is none, or when the database does not know it any more.
pub(super) async fn key(dir: &Path, store: &Store) -> Result<String, LocalError> {
    let path = dir.join(KEY_FILE);
    if let Ok(text) = fs::read_to_string(&path)
        && let Some(prefix) = secret_key::prefix(text.trim())
        && let Some(check) = store.key_check(prefix).await?
        && check.hash == secret_key::hash(text.trim())
    {
        return Ok(text.trim().to_owned());
    }
    let key = SecretKey::generate().map_err(|e| io_error("randomness")(io::Error::other(e)))?;
    let organisation = store.ensure_organisation(DEFAULT_ORGANISATION, 1).await?;
    let tenant = store.tenant(organisation);
    let mut tx = tenant.begin().await?;
    tenant.create_key(&mut tx, &key.as_new("owner of this machine".to_owned(), Scope::ALL, None)).await?;
    // The file first: a key in the database that nobody has would stay for ever.
    write_private(&path, &key.text)?;
    tx.commit().await.map_err(|e| LocalError::Store(e.into()))?;
    Ok(key.text)
}

/// Tells people at a terminal where the page is. The key is in the fragment, which browsers do not send.
pub(super) fn greet(address: &SocketAddr, key: &str) {
    let mut out = io::stderr().lock();
    if !out.is_terminal() {
        return;
    }
    if let Err(error) = writeln!(out, "\nOpen http://{address}/#key={key}\n") {
        tracing::debug!(%error, "standard error is closed");
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), LocalError> {
    let failed = || io_error(format!("{} cannot be written", path.display()));
    let part = path.with_extension("part");
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&part).map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())?;
    fs::rename(&part, path).map_err(failed())
}
