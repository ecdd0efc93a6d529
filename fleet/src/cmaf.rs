//! CMAF: the fragment writer of the engine and a bounded parser for what any packager made.
//!
//! Box layouts are those of ISO/IEC 14496-12 (ISO base media file format) and ISO/IEC 23000-19 (CMAF), NAL units
//! in samples those of ISO/IEC 14496-15. Times are in units of the track's timescale unless a name says otherwise.
//!
//! Writing ([`write_fragment`]) takes presentation times only and derives decode times from them, so fragments
//! made apart, by other encoders or after a restart, join without a seam. Reading ([`parse_init`],
//! [`parse_segment`]) takes bytes from strangers: every length is checked against the bytes that are there, every
//! count is bounded, and what is wrong comes back as a [`CmafError`].
//!
//! [`movie_header`] writes what goes before the same samples in an ordinary MP4 file.

mod boxes;
mod codec;
mod fragment;
mod init;
mod movie;
mod nal;
mod segment;

pub use boxes::{CmafError, FourCc};
pub use fragment::{FragmentError, Sample, write_fragment, write_styp};
pub use init::{AudioFacts, Colour, InitFacts, SampleDefaults, TrackKind, VideoFacts, parse_init};
pub use movie::{MovieError, MovieTrack, movie_header, movie_order};
pub use nal::{NalCodec, NalError, annexb_to_length_prefixed, avc_has_idr, hevc_has_irap};
pub use segment::{
    ByteRange, FragmentFacts, MAX_SAMPLES, SampleFacts, SegmentFacts, foreign_box, parse_samples, parse_segment,
};

/// Init segments for the tests of other modules.
#[cfg(test)]
pub(crate) use init::tests::{aac_entry, avc_entry, movie};
