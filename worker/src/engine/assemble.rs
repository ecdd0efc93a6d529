//! Packets to CMAF segments of one rendition.

use fleet::cmaf::{
    NalCodec, Sample, annexb_to_length_prefixed, avc_has_idr, hevc_has_irap, write_fragment, write_styp,
};
use fleet::ladder::Codec;
use fleet::timeline::{FrameRate, Grid, PRESENTATION_DELAY_MS};

use super::EngineError;
use super::outbox::Outbox;
use crate::protocol::{Event, SegmentEvent};

/// Collects the packets of one video rendition and sends each segment when it is complete: one fragment a GOP, so that
/// every IDR has a byte range of its own.
pub(crate) struct Assembler {
    name: String,
    codec: NalCodec,
    /// Whether packets come with start codes rather than lengths.
    start_codes: bool,
    grid: Grid,
    ticks: i64,
    delay: i64,
    outbox: Outbox,
    samples: Vec<Sample>,
    payload: Vec<u8>,
    segment: Vec<u8>,
    segment_start: u64,
    gop_start: u64,
}

impl Assembler {
    pub(crate) fn new(
        name: &str,
        codec: Codec,
        start_codes: bool,
        grid: &Grid,
        rate: FrameRate,
        first_frame: u64,
        outbox: Outbox,
    ) -> Self {
        Self {
            name: name.to_owned(),
            codec: match codec {
                Codec::H264 => NalCodec::Avc,
                Codec::Hevc => NalCodec::Hevc,
            },
            start_codes,
            grid: grid.clone(),
            ticks: i64::from(rate.frame_ticks()),
            delay: i64::from(rate.timescale()) * PRESENTATION_DELAY_MS / 1000,
            outbox,
            samples: Vec::new(),
            payload: Vec::new(),
            segment: Vec::new(),
            segment_start: first_frame,
            gop_start: first_frame,
        }
    }

    /// Takes the packet that shows output frame `frame`, in decoding order.
    pub(crate) fn packet(&mut self, frame: u64, is_key: bool, data: &[u8]) -> Result<(), EngineError> {
        if is_key && !self.samples.is_empty() {
            self.close_gop(frame)?;
            if self.grid.segment_of(frame) != self.grid.segment_of(self.segment_start) {
                self.close_segment(frame)?;
            }
        }
        let before = self.payload.len();
        if self.start_codes {
            annexb_to_length_prefixed(data, self.codec, &mut self.payload).map_err(EngineError::internal)?;
        } else {
            self.payload.extend_from_slice(data);
        }
        if self.samples.is_empty() {
            let sample = &self.payload[before..];
            let starts_clean = match self.codec {
                NalCodec::Avc => avc_has_idr(sample),
                NalCodec::Hevc => hevc_has_irap(sample),
            };
            if !is_key || !starts_clean || frame != self.gop_start {
                return Err(EngineError::internal(format!(
                    "{}: a GOP begins at frame {frame} (expected {}) without an IDR",
                    self.name, self.gop_start
                )));
            }
        }
        let size = u32::try_from(self.payload.len() - before).map_err(EngineError::internal)?;
        let pts = i64::try_from(frame).map_err(EngineError::internal)? * self.ticks;
        self.samples.push(Sample { pts, size, sync: is_key });
        Ok(())
    }

    /// The rendition ends before frame `end`.
    pub(crate) fn finish(&mut self, end: u64) -> Result<(), EngineError> {
        if !self.samples.is_empty() {
            self.close_gop(end)?;
        }
        if !self.segment.is_empty() {
            self.close_segment(end)?;
        }
        Ok(())
    }

    fn close_gop(&mut self, end: u64) -> Result<(), EngineError> {
        if self.samples.len() as u64 != end.saturating_sub(self.gop_start) {
            return Err(EngineError::internal(format!(
                "{}: {} frames from {} to {end}",
                self.name,
                self.samples.len(),
                self.gop_start
            )));
        }
        if self.segment.is_empty() {
            write_styp(&mut self.segment);
        }
        let sequence = u32::try_from(self.gop_start + 1).map_err(EngineError::internal)?;
        let end_pts = i64::try_from(end).map_err(EngineError::internal)? * self.ticks;
        write_fragment(&mut self.segment, sequence, &self.samples, &self.payload, end_pts, self.delay)
            .map_err(EngineError::internal)?;
        self.samples.clear();
        self.payload.clear();
        self.gop_start = end;
        Ok(())
    }

    fn close_segment(&mut self, end: u64) -> Result<(), EngineError> {
        let event = SegmentEvent {
            rendition: self.name.clone(),
            index: self.grid.segment_of(self.segment_start),
            first: self.segment_start,
            count: end - self.segment_start,
        };
        self.outbox.send(&Event::Segment(event), &self.segment)?;
        self.segment.clear();
        self.segment_start = end;
        Ok(())
    }
}
