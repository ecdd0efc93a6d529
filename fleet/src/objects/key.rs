//! Which keys every store takes, so that a key that works in a folder works in S3 and the other way round.

use super::ObjectError;

/// Longest key in bytes, with the store's prefix: the limit of S3.
pub(super) const LONGEST: usize = 1024;

/// Refuses keys that would lead elsewhere. Servers and proxies resolve `..` in URLs as file systems do; control
/// characters cannot be in XML, and so not in the requests and lists of S3.
pub(super) fn check(key: &str) -> Result<(), ObjectError> {
    if key.is_empty() || key.len() > LONGEST {
        return Err(invalid(key, "keys have 1 to 1024 bytes"));
    }
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid(key, "a part of the key is empty or points elsewhere"));
    }
    if key.contains(char::is_control) {
        return Err(invalid(key, "a control character is in the key"));
    }
    Ok(())
}

/// The folder that holds all keys of a prefix, which may end within a name; empty for the root. Refuses as [`check`].
pub(super) fn folder_of(prefix: &str) -> Result<&str, ObjectError> {
    let Some((folder, _)) = prefix.rsplit_once('/') else { return Ok("") };
    check(folder).map(|()| folder)
}

pub(super) fn invalid(key: &str, reason: impl Into<String>) -> ObjectError {
    ObjectError::Invalid { key: key.to_owned(), reason: reason.into() }
}

pub(super) fn unavailable(key: &str, reason: impl Into<String>) -> ObjectError {
    ObjectError::Unavailable { key: key.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_that_stay_below_the_root() {
        for good in ["a", "a/b.m4s", "Spiel Größe+1 %41&x=y/日本 ⚽.m3u8", "a/..b", "a/...", " "] {
            assert!(check(good).is_ok(), "{good:?}");
        }
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "nul\0", "line\nbreak", &"x".repeat(1025)] {
            assert!(matches!(check(bad), Err(ObjectError::Invalid { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_may_end_within_a_name_but_not_lead_elsewhere() {
        assert_eq!(folder_of("").unwrap(), "");
        assert_eq!(folder_of("a").unwrap(), "");
        assert_eq!(folder_of("a/b/").unwrap(), "a/b");
        assert_eq!(folder_of("a/b/c").unwrap(), "a/b");
        for bad in ["/", "/x", "../", "a/../b", "a//"] {
            assert!(folder_of(bad).is_err(), "{bad:?}");
        }
    }
}
