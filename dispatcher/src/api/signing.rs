//! Tokens that stand by themselves: what they allow is in them, and a signature over it (HMAC-SHA256).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 2048;

/// Makes and checks tokens. Each purpose has signatures of its own, so that a token of one is none of another.
#[derive(Clone)]
pub struct Signer {
    secret: Vec<u8>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// A token is not one, was not made here, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It was not made here for this purpose, or was changed.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Sealed<T> {
    /// Unix second at which it ends.
    e: i64,
    #[serde(flatten)]
    grant: T,
}

impl Signer {
    /// A signer with this secret.
    #[must_use]
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self { secret: secret.into() }
    }

    fn mac(&self, purpose: &str, payload: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.secret).expect("a key of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(payload);
        mac
    }

    /// A key of 256 bits for `purpose` and what is named: who has the secret and the name can make it again.
    pub(super) fn derive(&self, purpose: &str, name: &[u8]) -> [u8; 32] {
        self.mac(purpose, name).finalize().into_bytes().into()
    }

    /// A token for `grant` until the Unix second `until`: base64url, so that it fits into a path.
    #[must_use]
    pub fn seal<T: Serialize>(&self, purpose: &str, grant: &T, until: i64) -> String {
        let payload = serde_json::to_vec(&Sealed { e: until, grant }).unwrap_or_default();
        let tag = self.mac(purpose, &payload).finalize().into_bytes();
        // Half the tag still is 128 bits (RFC 2104, section 5), and links stay short.
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(&tag[..16]))
    }

    /// What a token grants.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn open<T: DeserializeOwned>(&self, purpose: &str, token: &str, now: i64) -> Result<T, BadToken> {
        if token.len() > MAX_TOKEN {
            return Err(BadToken::Invalid);
        }
        let (payload, tag) = token.split_once('.').ok_or(BadToken::Invalid)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| BadToken::Invalid)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| BadToken::Invalid)?;
        if tag.len() != 16 {
            return Err(BadToken::Invalid);
        }
        self.mac(purpose, &payload).verify_truncated_left(&tag).map_err(|_| BadToken::Invalid)?;
        let sealed: Sealed<T> = serde_json::from_slice(&payload).map_err(|_| BadToken::Invalid)?;
        if sealed.e <= now { Err(BadToken::Expired) } else { Ok(sealed.grant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Grant {
        p: String,
    }

    fn grant() -> Grant {
        Grant { p: "org/job/".to_owned() }
    }

    #[test]
    fn a_token_grants_until_its_end_what_it_was_made_for() {
        let signer = Signer::new(*b"0123456789abcdef0123456789abcdef");
        let token = signer.seal("media", &grant(), 100);
        assert_eq!(signer.open::<Grant>("media", &token, 99), Ok(grant()));
        assert_eq!(signer.open::<Grant>("media", &token, 100), Err(BadToken::Expired));
        assert_eq!(signer.open::<Grant>("part", &token, 99), Err(BadToken::Invalid));
        let other = Signer::new(*b"another secret, just as long as it");
        assert_eq!(other.open::<Grant>("media", &token, 99), Err(BadToken::Invalid));
    }

    #[test]
    fn a_changed_token_grants_nothing() {
        let signer = Signer::new("secret");
        let token = signer.seal("media", &grant(), 100);
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last letter of base64 without padding holds bits that are not used.
            if URL_SAFE_NO_PAD.decode(changed.split('.').nth(1).unwrap_or("!")).is_ok() {
                assert!(signer.open::<Grant>("media", &changed, 0).is_err(), "{place}");
            }
        }
        for token in ["", ".", "a.b", "e30.e30"] {
            assert_eq!(signer.open::<Grant>("media", token, 0), Err(BadToken::Invalid));
        }
        let long = signer.seal("media", &Grant { p: "x".repeat(MAX_TOKEN) }, 100);
        assert_eq!(signer.open::<Grant>("media", &long, 0), Err(BadToken::Invalid), "longer than any");
    }
}
