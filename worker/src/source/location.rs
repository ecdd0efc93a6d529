//! Where the source lies: a path, `s3://bucket/key`, or an HTTP URL.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::SourceError;

/// S3's limit on the length of a key in bytes (Amazon S3 User Guide, "Naming Amazon S3 objects").
const MAX_KEY_LEN: usize = 1024;

/// The place of one source.
///
/// `Display` and `Debug` show it without the user, password, query and fragment of a URL, because a presigned URL
/// is a credential and both end up in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceLocation(pub(super) Place);

/// The three kinds of places.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    S3 { bucket: String, key: String },
    Http(Url),
}

impl SourceLocation {
    /// Reads what a user wrote as INPUT.
    ///
    /// `s3://`, `http://`, `https://` and `file://` are recognised whatever their case; everything without a
    /// scheme is a path, byte for byte. The key of an `s3://` location is taken literally: it is not
    /// percent-decoded, so `?`, `#`, `%` and spaces in it are part of the key. A file whose name looks like a URL
    /// can be given as `./name`.
    ///
    /// # Errors
    ///
    /// [`SourceError::BadLocation`] for empty text, other schemes, URLs that do not parse, bad bucket names and
    /// empty or overlong keys.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let bad = |reason: &str| SourceError::BadLocation {
            input: without_secrets(text).into_owned(),
            reason: reason.to_owned(),
        };
        if text.is_empty() {
            return Err(SourceError::BadLocation { input: "input".to_owned(), reason: "is empty".to_owned() });
        }
        if text.contains('\0') {
            return Err(bad("contains a nul byte"));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Ok(Self(Place::File(PathBuf::from(text))));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "s3" => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                if !is_bucket_name(bucket) {
                    return Err(bad("is not of the form s3://bucket/key: bad bucket name"));
                }
                if key.is_empty() {
                    return Err(bad("is not of the form s3://bucket/key: the key is empty"));
                }
                if key.len() > MAX_KEY_LEN {
                    return Err(bad("the key is longer than 1024 bytes"));
                }
                Ok(Self(Place::S3 { bucket: bucket.to_owned(), key: key.to_owned() }))
            }
            "http" | "https" => match Url::parse(text) {
                Ok(url) => Ok(Self(Place::Http(url))),
                Err(error) => Err(bad(&format!("is not a valid url: {error}"))),
            },
            "file" => match Url::parse(text).ok().and_then(|url| url.to_file_path().ok()) {
                Some(path) => Ok(Self(Place::File(path))),
                None => Err(bad("is not a file url of this machine")),
            },
            _ => Err(bad("unsupported scheme: use a path, s3://, http:// or https://")),
        }
    }

    /// Like [`parse`](Self::parse) for an argument that may not be valid Unicode; then it can only be a path.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn from_os(text: &OsStr) -> Result<Self, SourceError> {
        match text.to_str() {
            Some(text) => Self::parse(text),
            None => Ok(Self(Place::File(PathBuf::from(text)))),
        }
    }

    /// Whether the bytes come over a network.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !matches!(self.0, Place::File(_))
    }

    /// The last part of the path, key or URL path, decoded and printable, to call the source by in messages.
    /// The whole location where there is no such part.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = match &self.0 {
            Place::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            Place::S3 { key, .. } => key.rsplit('/').next().map(str::to_owned),
            Place::Http(url) => url.path().rsplit('/').next().map(percent_decoded),
        };
        match name {
            Some(name) if !name.is_empty() => printable(&name).into_owned(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::File(path) => f.write_str(&printable(&path.to_string_lossy())),
            Place::S3 { bucket, key } => write!(f, "s3://{bucket}/{}", printable(key)),
            Place::Http(url) => {
                write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
                if let Some(port) = url.port() {
                    write!(f, ":{port}")?;
                }
                f.write_str(url.path())
            }
        }
    }
}

impl fmt::Debug for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceLocation({self})")
    }
}

/// Splits `scheme://rest` (RFC 3986 section 3.1); `None` where the text does not begin with a scheme.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let starts_with_letter = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    (starts_with_letter && scheme.bytes().all(is_scheme)).then_some((scheme, rest))
}

/// Looser than AWS's rule on purpose (old buckets and other vendors allow more), but nothing that could leave its
/// place in a URL.
fn is_bucket_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// The text of a location that did not parse, cut where secrets could begin.
fn without_secrets(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = split_scheme(text) else {
        return printable(text);
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // A password may hold a slash when the URL is malformed, so everything up to the last `@` goes.
    let rest = rest.rsplit('@').next().unwrap_or_default();
    Cow::Owned(format!("{scheme}://{}", printable(rest)))
}

/// Control characters written out, so that a hostile name cannot drive the terminal or forge a log line.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Decodes `%XX` (RFC 3986 section 2.1), leaving anything malformed as it is. For display only.
fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = match tail {
            [high, low, ..] if byte == b'%' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            decoded.push(high * 16 + low);
            rest = &tail[2..];
        } else {
            decoded.push(byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_shown_and_named_without_secrets() {
        let cases = [
            ("match.mp4", "match.mp4", "match.mp4"),
            ("/data/Füchse – Kiel.mp4", "/data/Füchse – Kiel.mp4", "Füchse – Kiel.mp4"),
            ("-rf", "-rf", "-rf"),
            ("it's \"the\" final.mkv", "it's \"the\" final.mkv", "it's \"the\" final.mkv"),
            ("a:b.mp4", "a:b.mp4", "a:b.mp4"),
            ("1x://a", "1x://a", "a"),
            ("bell\u{7}.mp4", "bell\\u{7}.mp4", "bell\\u{7}.mp4"),
            ("..", "..", ".."),
            ("S3://Clips/2026/Kö ln?#%20.mp4", "s3://Clips/2026/Kö ln?#%20.mp4", "Kö ln?#%20.mp4"),
            ("s3://clips//a", "s3://clips//a", "a"),
            ("s3://clips/folder/", "s3://clips/folder/", "s3://clips/folder/"),
            ("https://u:p@h:8443/a/b%20%C3%A9.mp4?X-Amz-Signature=s#f", "https://h:8443/a/b%20%C3%A9.mp4", "b é.mp4"),
            ("HTTP://h", "http://h/", "http://h/"),
            ("file:///tmp/a%20b.mp4", "/tmp/a b.mp4", "a b.mp4"),
        ];
        for (text, shown, name) in cases {
            let location = SourceLocation::parse(text).unwrap();
            assert_eq!(location.to_string(), shown, "{text}");
            assert_eq!(location.file_name(), name, "{text}");
            assert!(!format!("{location:?}").contains("Signature"), "{text}");
        }
    }

    #[test]
    fn the_key_of_an_s3_location_is_taken_literally() {
        let location = SourceLocation::parse("s3://clips/a/%20 ü?x=1").unwrap();
        let Place::S3 { bucket, key } = location.0 else {
            panic!("not an s3 location");
        };
        assert_eq!((bucket.as_str(), key.as_str()), ("clips", "a/%20 ü?x=1"));
    }

    #[test]
    fn bad_locations_are_refused_without_repeating_secrets() {
        let long_key = format!("s3://clips/{}", "k".repeat(MAX_KEY_LEN + 1));
        let cases = [
            "",
            "a\0b",
            "s3://",
            "s3://clips",
            "s3://clips/",
            "s3:///key",
            "s3://cl ips/key",
            "s3://user@clips/key",
            "ftp://user:secret@host/a?secret",
            "https://user:secret@ho st/a?secret#secret",
            "https://",
            "https://user:sec/ret@[::1/a",
            "file://elsewhere/a",
            long_key.as_str(),
        ];
        for text in cases {
            let error = SourceLocation::parse(text).unwrap_err();
            assert!(matches!(error, SourceError::BadLocation { .. }), "{text:?}: {error:?}");
            assert!(!error.to_string().contains("sec"), "{text:?}: {error}");
            assert!(!error.retryable());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_unicode_is_a_path() {
        use std::os::unix::ffi::OsStrExt;
        let location = SourceLocation::from_os(OsStr::from_bytes(b"s3://\xff")).unwrap();
        assert!(!location.is_remote());
    }
}
