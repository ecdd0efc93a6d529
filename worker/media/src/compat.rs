//! The few struct fields that moved between FFmpeg 5.1 and 8, each behind one function.

use ffmpeg_next::ffi;

/// Whether a decoded picture holds two fields.
pub(crate) fn is_interlaced(frame: &ffi::AVFrame) -> bool {
    #[cfg(ffmpeg_6_1)]
    {
        frame.flags & ffi::AV_FRAME_FLAG_INTERLACED as i32 != 0
    }
    #[cfg(not(ffmpeg_6_1))]
    {
        frame.interlaced_frame != 0
    }
}

/// How long a decoded picture lasts, in the time base of its stream; 0 when unknown.
pub(crate) fn duration(frame: &ffi::AVFrame) -> i64 {
    #[cfg(ffmpeg_6_0)]
    {
        frame.duration
    }
    #[cfg(not(ffmpeg_6_0))]
    {
        frame.pkt_duration
    }
}

/// Side data of a stream as bytes.
///
/// # Safety
/// `stream` must be a stream of an open format context that outlives the returned slice.
pub(crate) unsafe fn side_data<'a>(stream: *const ffi::AVStream, kind: ffi::AVPacketSideDataType) -> Option<&'a [u8]> {
    #[cfg(ffmpeg_6_1)]
    // SAFETY: by the caller, the stream and so its codec parameters live; the lookup reads only the array it is given.
    unsafe {
        let parameters = &*(*stream).codecpar;
        let entry = ffi::av_packet_side_data_get(parameters.coded_side_data, parameters.nb_coded_side_data, kind);
        if entry.is_null() || (*entry).data.is_null() {
            return None;
        }
        Some(std::slice::from_raw_parts((*entry).data, (*entry).size))
    }
    #[cfg(not(ffmpeg_6_1))]
    // SAFETY: by the caller, the stream lives; the call returns its own array and that array's size.
    unsafe {
        let mut size = 0;
        let data = ffi::av_stream_get_side_data(stream, kind, &raw mut size);
        if data.is_null() { None } else { Some(std::slice::from_raw_parts(data, size)) }
    }
}
