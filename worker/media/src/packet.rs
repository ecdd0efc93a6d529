//! A reference-counted packet of compressed media.

use ffmpeg_next::ffi;

use crate::error::{Result, no_memory};

/// One packet. [`share`](Packet::share) is cheap; the bytes are never copied.
#[derive(Debug)]
pub struct Packet(*mut ffi::AVPacket);

// SAFETY: owned by this value alone; the reference count of the bytes is atomic.
unsafe impl Send for Packet {}

impl Packet {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: allocation; checked.
        let packet = unsafe { ffi::av_packet_alloc() };
        if packet.is_null() { Err(no_memory("allocate packet")) } else { Ok(Self(packet)) }
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::AVPacket {
        self.0
    }

    fn raw(&self) -> &ffi::AVPacket {
        // SAFETY: never null after `new`, freed only in `Drop`.
        unsafe { &*self.0 }
    }

    /// A second reference to the same bytes.
    ///
    /// # Errors
    /// Out of memory.
    pub fn share(&self) -> Result<Self> {
        // SAFETY: the source packet is valid; the result is checked.
        let packet = unsafe { ffi::av_packet_clone(self.0) };
        if packet.is_null() { Err(no_memory("share packet")) } else { Ok(Self(packet)) }
    }

    /// Stream of the demuxer it belongs to.
    #[must_use]
    pub fn stream(&self) -> usize {
        usize::try_from(self.raw().stream_index).unwrap_or(usize::MAX)
    }

    /// Presentation time in ticks of the stream.
    #[must_use]
    pub fn pts(&self) -> Option<i64> {
        known(self.raw().pts)
    }

    /// Decode time in ticks of the stream.
    #[must_use]
    pub fn dts(&self) -> Option<i64> {
        known(self.raw().dts)
    }

    /// Duration in ticks of the stream; 0 when unknown.
    #[must_use]
    pub fn duration(&self) -> i64 {
        self.raw().duration
    }

    /// Moves both times by `ticks`.
    pub fn shift(&mut self, ticks: i64) {
        // SAFETY: as in `raw`, and `&mut self` is exclusive.
        let packet = unsafe { &mut *self.0 };
        for time in [&mut packet.pts, &mut packet.dts] {
            if *time != ffi::AV_NOPTS_VALUE {
                *time = time.saturating_add(ticks);
            }
        }
    }

    /// Whether decoding can begin here.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.raw().flags & ffi::AV_PKT_FLAG_KEY != 0
    }

    /// Whether the demuxer found the bytes damaged.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.raw().flags & ffi::AV_PKT_FLAG_CORRUPT != 0
    }

    /// Whether an edit list hides it: it is decoded, but not shown.
    #[must_use]
    pub fn is_discarded(&self) -> bool {
        self.raw().flags & ffi::AV_PKT_FLAG_DISCARD != 0
    }

    /// Whether its bytes are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        // SAFETY: reads the packet's own side data array.
        unsafe {
            !ffi::av_packet_get_side_data(
                self.0,
                ffi::AVPacketSideDataType::AV_PKT_DATA_ENCRYPTION_INFO,
                std::ptr::null_mut(),
            )
            .is_null()
        }
    }

    /// The compressed bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let packet = self.raw();
        match usize::try_from(packet.size) {
            // SAFETY: libavcodec keeps `size` bytes at `data` alive as long as the packet.
            Ok(size) if !packet.data.is_null() => unsafe { std::slice::from_raw_parts(packet.data, size) },
            _ => &[],
        }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        // SAFETY: owned, freed once; the call accepts what `new` and `share` made.
        unsafe { ffi::av_packet_free(&raw mut self.0) }
    }
}

pub(crate) fn known(time: i64) -> Option<i64> {
    (time != ffi::AV_NOPTS_VALUE).then_some(time)
}
