//! What a decoder needs to know, apart from the container that said it.

use ffmpeg_next::ffi;

use super::Demuxer;
use crate::Rational;
use crate::encode::Encoder;
use crate::error::{Error, Result, check, no_memory};

/// An owned copy of what a decoder needs to know of a stream.
#[derive(Debug)]
pub struct StreamParameters {
    parameters: *mut ffi::AVCodecParameters,
    /// Ticks of its packets' times.
    pub time_base: Rational,
}

// SAFETY: owned by this value alone.
unsafe impl Send for StreamParameters {}

impl StreamParameters {
    pub(crate) fn as_ptr(&self) -> *const ffi::AVCodecParameters {
        self.parameters
    }

    /// What a decoder of an encoder's packets needs.
    ///
    /// # Errors
    /// Out of memory.
    pub fn of_encoder(encoder: &Encoder) -> Result<Self> {
        let op = "copy encoder parameters";
        // SAFETY: the fresh struct is owned by the result before anything can fail; the context is valid, the call copies.
        unsafe {
            let parameters = ffi::avcodec_parameters_alloc();
            if parameters.is_null() {
                return Err(no_memory(op));
            }
            let result = Self { parameters, time_base: (*encoder.context()).time_base.into() };
            check(op, ffi::avcodec_parameters_from_context(parameters, encoder.context()))?;
            Ok(result)
        }
    }
}

impl Drop for StreamParameters {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::avcodec_parameters_free(&raw mut self.parameters) }
    }
}

impl Demuxer {
    /// What a decoder of stream `index` needs.
    ///
    /// # Errors
    /// No such stream, or out of memory.
    pub fn parameters(&self, index: usize) -> Result<StreamParameters> {
        let op = "copy stream parameters";
        let stream = self.stream_ptr(index).ok_or_else(|| Error::new(op, ffi::AVERROR_STREAM_NOT_FOUND))?;
        // SAFETY: the fresh struct is owned by the result before anything can fail; the call copies.
        unsafe {
            let parameters = ffi::avcodec_parameters_alloc();
            if parameters.is_null() {
                return Err(no_memory(op));
            }
            let result = StreamParameters { parameters, time_base: (*stream).time_base.into() };
            check(op, ffi::avcodec_parameters_copy(parameters, (*stream).codecpar))?;
            Ok(result)
        }
    }
}
