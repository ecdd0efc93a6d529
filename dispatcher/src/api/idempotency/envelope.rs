//! Keeps an answer so that the database alone gives nothing away: AES-256-GCM under a key made of the dispatcher's secret
//! and the client's `Idempotency-Key`, which is not kept either; the row is found by a keyed digest of it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use uuid::Uuid;

use crate::api::Signer;

/// See the module. One for each organisation and `Idempotency-Key`.
pub(super) struct Envelope {
    name: String,
    key: [u8; 32],
}

impl Envelope {
    pub(super) fn of(signer: &Signer, organisation: Uuid, key: &str) -> Self {
        let whose = [organisation.as_bytes(), key.as_bytes()].concat();
        let name = signer.derive("idempotency name", &whose);
        Self {
            name: name.iter().map(|byte| format!("{byte:02x}")).collect(),
            key: signer.derive("idempotency answer", &whose),
        }
    }

    /// What the row is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Closes an answer to the request of this digest: nonce, ciphertext, tag. `None` when there is no randomness.
    pub(super) fn seal(&self, request: &[u8], mut answer: Vec<u8>) -> Option<Vec<u8>> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key).ok()?;
        let nonce = key.seal_in_place_append_tag(Aad::from(request), &mut answer).ok()?;
        Some([nonce.as_ref().as_slice(), &answer].concat())
    }

    /// Opens it again; `None` when it was closed otherwise.
    pub(super) fn open(&self, request: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key).ok()?;
        let (nonce, answer) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        Some(key.open_in_place(nonce, Aad::from(request), answer).ok()?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORGANISATION: Uuid = Uuid::from_u128(1);

    fn envelope(secret: &str, organisation: Uuid, key: &str) -> Envelope {
        Envelope::of(&Signer::new(secret), organisation, key)
    }

    #[test]
    fn only_the_same_key_of_the_same_organisation_and_dispatcher_opens_an_answer() {
        let own = envelope("secret", ORGANISATION, "key");
        let sealed = own.seal(b"request", b"tl_abc_secret".to_vec()).unwrap();
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(own.open(b"request", sealed.clone()).unwrap(), b"tl_abc_secret");
        assert_eq!(own.open(b"another", sealed.clone()), None);
        for other in [
            envelope("other", ORGANISATION, "key"),
            envelope("secret", Uuid::from_u128(2), "key"),
            envelope("secret", ORGANISATION, "yek"),
        ] {
            assert_ne!(other.name(), own.name());
            assert_eq!(other.open(b"request", sealed.clone()), None);
        }
    }

    #[test]
    fn what_was_cut_or_changed_is_not_opened() {
        let own = envelope("secret", ORGANISATION, "key");
        let sealed = own.seal(b"request", b"answer".to_vec()).unwrap();
        assert_ne!(own.seal(b"request", b"answer".to_vec()).unwrap(), sealed);
        for length in 0..sealed.len() {
            assert_eq!(own.open(b"request", sealed[..length].to_vec()), None, "{length}");
        }
        let mut changed = sealed;
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(own.open(b"request", changed), None);
    }
}
