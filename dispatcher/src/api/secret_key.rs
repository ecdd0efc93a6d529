//! API keys as text: `tl_<prefix>_<secret>`. The prefix finds the key, its SHA-256 is all that is kept of the rest.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet::store::organisations::NewKey;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::scope::Scope;

/// Letters of the public part: those that are not mistaken for each other.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567890";
const PREFIX_LETTERS: usize = 12;

/// A key that was just made.
pub struct SecretKey {
    /// The public part, with `tl_`.
    pub prefix: String,
    /// The whole, shown once.
    pub text: String,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// A new key.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut random = [0_u8; PREFIX_LETTERS];
        getrandom::fill(&mut random)?;
        let id: String = random.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect();
        Self::with_prefix(format!("tl_{id}"))
    }

    /// A new secret for a public part that stays.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn with_prefix(prefix: String) -> Result<Self, getrandom::Error> {
        let mut secret = [0_u8; 32];
        getrandom::fill(&mut secret)?;
        let text = format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(secret));
        Ok(Self { prefix, text })
    }

    /// As it is stored.
    #[must_use]
    pub fn as_new(&self, name: String, scopes: &[Scope], expires_at: Option<OffsetDateTime>) -> NewKey {
        NewKey {
            name,
            prefix: self.prefix.clone(),
            hash: self.hash(),
            scopes: scopes.iter().map(|s| s.as_str().to_owned()).collect(),
            expires_at,
        }
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        hash(&self.text)
    }
}

/// SHA-256 of a whole key.
#[must_use]
pub fn hash(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// The public part of a text that looks like a key.
#[must_use]
pub fn prefix(text: &str) -> Option<&str> {
    let end = "tl_".len() + PREFIX_LETTERS;
    let is_one = text.starts_with("tl_") && text.len() == end + 1 + 43 && text.as_bytes().get(end) == Some(&b'_');
    if is_one { text.get(..end) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_prefix_and_known_by_its_hash() {
        let key = SecretKey::generate().unwrap();
        assert_eq!(prefix(&key.text), Some(key.prefix.as_str()));
        assert_eq!(key.hash(), hash(&key.text));
        let other = SecretKey::generate().unwrap();
        assert_ne!(key.prefix, other.prefix);
        assert!(!format!("{key:?}").contains(&key.text));
    }

    #[test]
    fn what_is_no_key_has_no_prefix() {
        for text in ["", "tl_", "eyJhbGciOi.J9.x", "tl_abcdefghjkmn-0123456789012345678901234567890123456789012"] {
            assert_eq!(prefix(text), None, "{text}");
        }
    }
}
