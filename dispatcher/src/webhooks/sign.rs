//! Signatures of Standard Webhooks 1.0.0, symmetric: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What stands before a secret where people see it.
pub const SECRET_PREFIX: &str = "whsec_";

/// Why a message cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error("a signing secret is not base64")]
pub struct BadSecret(#[from] base64::DecodeError);

/// The header `webhook-signature`: one signature for each secret (base64, without prefix), the newest first. A receiver
/// accepts a message when one of them is right, so that a secret can be replaced without a gap.
///
/// # Errors
/// [`BadSecret`].
pub fn signatures(secrets: &[&str], id: &str, timestamp: i64, body: &[u8]) -> Result<String, BadSecret> {
    let signatures: Result<Vec<String>, BadSecret> =
        secrets.iter().map(|secret| signature(secret, id, timestamp, body)).collect();
    Ok(signatures?.join(" "))
}

fn signature(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Result<String, BadSecret> {
    let key = BASE64_STANDARD.decode(secret)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of every length");
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    #[test]
    fn a_message_is_signed_as_the_reference_libraries_do() {
        let signed = signatures(&[SECRET], ID, 1_614_265_330, BODY).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn during_a_rotation_both_secrets_sign() {
        let other = BASE64_STANDARD.encode([7; 32]);
        let both = signatures(&[&other, SECRET], ID, 1_614_265_330, BODY).unwrap();
        let (new, old) = both.split_once(' ').unwrap();
        assert_eq!(new, signatures(&[&other], ID, 1_614_265_330, BODY).unwrap());
        assert_eq!(old, signatures(&[SECRET], ID, 1_614_265_330, BODY).unwrap());
    }

    #[test]
    fn whatever_changes_the_signature_changes_too() {
        let signed = |id, at, body| signatures(&[SECRET], id, at, body).unwrap();
        let right = signed(ID, 1, BODY);
        assert_ne!(right, signed("msg_2", 1, BODY));
        assert_ne!(right, signed(ID, 2, BODY));
        assert_ne!(right, signed(ID, 1, b"{}"));
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused() {
        assert!(signatures(&["whsec_!"], ID, 1, BODY).is_err());
    }
}
