//! Errors of FFmpeg calls, and a result that keeps *again*, *end* and *error* apart.

use ffmpeg_next::ffi;

/// A failed FFmpeg call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was attempted, for example `open input`.
    pub op: &'static str,
    /// FFmpeg's negative error number.
    pub code: i32,
    /// More about it, for example the name of an option; may be empty.
    pub detail: String,
}

/// Result of the fence.
pub type Result<T> = std::result::Result<T, Error>;

/// What a `receive` gave when it did not fail.
#[derive(Debug)]
pub enum Received<T> {
    /// One item.
    Item(T),
    /// Nothing until more input is sent.
    NeedInput,
    /// Nothing ever again.
    End,
}

impl Error {
    pub(crate) fn new(op: &'static str, code: i32) -> Self {
        Self { op, code, detail: String::new() }
    }

    pub(crate) fn with(op: &'static str, code: i32, detail: impl Into<String>) -> Self {
        Self { op, code, detail: detail.into() }
    }

    /// Out of memory, which for a GPU encoder also means: no session free.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.code == ffi::AVERROR(libc::ENOMEM)
    }

    /// The input is not what it should be.
    #[must_use]
    pub fn is_invalid_data(&self) -> bool {
        self.code == ffi::AVERROR_INVALIDDATA
    }

    /// The custom input reported an I/O error.
    #[must_use]
    pub fn is_io(&self) -> bool {
        self.code == ffi::AVERROR(libc::EIO)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.op, text(self.code))?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

fn text(code: i32) -> String {
    let mut buffer = [0u8; 128];
    // SAFETY: the buffer is valid for its length, and av_strerror always terminates it with NUL.
    unsafe { ffi::av_strerror(code, buffer.as_mut_ptr().cast(), buffer.len()) };
    std::ffi::CStr::from_bytes_until_nul(&buffer)
        .map_or_else(|_| format!("error {code}"), |s| s.to_string_lossy().into_owned())
}

/// `Ok(value)` for a value that is not negative.
pub(crate) fn check(op: &'static str, value: i32) -> Result<i32> {
    if value < 0 { Err(Error::new(op, value)) } else { Ok(value) }
}

/// Error for a null pointer from an allocating call.
pub(crate) fn no_memory(op: &'static str) -> Error {
    Error::new(op, ffi::AVERROR(libc::ENOMEM))
}

/// Sorts the return value of a `receive` call.
pub(crate) fn received<T>(op: &'static str, value: i32, item: T) -> Result<Received<T>> {
    if value >= 0 {
        Ok(Received::Item(item))
    } else if value == ffi::AVERROR(libc::EAGAIN) {
        Ok(Received::NeedInput)
    } else if value == ffi::AVERROR_EOF {
        Ok(Received::End)
    } else {
        Err(Error::new(op, value))
    }
}

/// A C string; an inner NUL is an error, since names may come from files.
pub(crate) fn c_string(op: &'static str, text: &str) -> Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(|_| Error::with(op, ffi::AVERROR(libc::EINVAL), "text holds a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn again_end_and_corrupt_are_three_different_things() {
        assert!(matches!(received("x", 0, 7), Ok(Received::Item(7))));
        assert!(matches!(received("x", ffi::AVERROR(libc::EAGAIN), ()), Ok(Received::NeedInput)));
        assert!(matches!(received("x", ffi::AVERROR_EOF, ()), Ok(Received::End)));
        let error = received("decode", ffi::AVERROR_INVALIDDATA, ()).unwrap_err();
        assert!(error.is_invalid_data());
        assert_eq!(error.to_string(), "decode: Invalid data found when processing input");
    }
}
