//! The fence around FFmpeg: the only crate with `unsafe` code, and the only one that sees an FFmpeg pointer.
//!
//! `ffmpeg-next` gives the bindings (`ffi`); its own wrappers are not used where they are unsound or lack what is
//! needed: frames of a GPU, options that are checked, and a result that keeps *again*, *end* and *corrupt* apart.
//!
//! Rules of the house:
//! - one type owns one pointer and frees it in `Drop`; no type here is `Sync`;
//! - every fallible call gives [`Error`] or [`Received`], in which only `Err` is an error;
//! - bytes from outside reach FFmpeg only through [`io::ReadAt`]; nothing is opened by name;
//! - no callback unwinds into C.
//!
//! Reading order: [`io`] → [`demux`] → [`decode`] → [`graph`] → [`encode`] → [`init`]. [`process`] and [`forbidden`] are
//! the system calls behind an engine's sandbox that no safe crate offers, [`clock`] one behind a worker's leases.

pub mod clock;
pub mod compat;
pub mod decode;
pub mod demux;
pub mod device;
pub mod encode;
pub mod error;
pub mod forbidden;
pub mod frame;
pub mod graph;
pub mod init;
pub mod io;
pub mod log;
pub mod options;
pub mod packet;
pub mod process;

pub use error::{Error, Received, Result};
pub use frame::Frame;
pub use packet::Packet;

/// An exact fraction, as FFmpeg gives it: the denominator may be zero when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rational {
    /// Numerator.
    pub num: i32,
    /// Denominator.
    pub den: i32,
}

impl Rational {
    /// `num/den`.
    #[must_use]
    pub const fn new(num: i32, den: i32) -> Self {
        Self { num, den }
    }

    /// As a float; `None` when it is not a number above zero.
    #[must_use]
    pub fn positive(self) -> Option<f64> {
        (self.num > 0 && self.den > 0).then(|| f64::from(self.num) / f64::from(self.den))
    }
}

impl From<ffi::AVRational> for Rational {
    fn from(r: ffi::AVRational) -> Self {
        Self { num: r.num, den: r.den }
    }
}

impl From<Rational> for ffi::AVRational {
    fn from(r: Rational) -> Self {
        Self { num: r.num, den: r.den }
    }
}

use ffmpeg_next::ffi;

/// The linked FFmpeg release as text, for logs and reports.
#[must_use]
pub fn version() -> String {
    // SAFETY: returns a static NUL-terminated string.
    unsafe { std::ffi::CStr::from_ptr(ffi::av_version_info()) }.to_string_lossy().into_owned()
}

/// Caps a single allocation inside FFmpeg, in bytes; process-wide.
pub fn limit_allocations(bytes: usize) {
    // SAFETY: stores one number.
    unsafe { ffi::av_max_alloc(bytes) }
}
