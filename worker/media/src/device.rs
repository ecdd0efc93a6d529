//! A CUDA device as FFmpeg sees it.

use ffmpeg_next::ffi;

use crate::error::{Result, c_string, check};

/// One GPU, opened. Cheap to share between decoder, graph and encoders.
#[derive(Debug)]
pub struct CudaDevice(*mut ffi::AVBufferRef);

// SAFETY: owned by this value alone; reference counts are atomic and FFmpeg pushes the CUDA context around each use.
unsafe impl Send for CudaDevice {}

impl CudaDevice {
    /// Opens GPU `index`. Takes 0.2 to 0.5 s for the first use in a process.
    ///
    /// # Errors
    /// No driver, no such GPU, or a driver too old.
    pub fn open(index: u32) -> Result<Self> {
        let name = c_string("open CUDA device", &index.to_string())?;
        let mut device = std::ptr::null_mut();
        // SAFETY: writes one reference into `device`; the name is valid for the call.
        check("open CUDA device", unsafe {
            ffi::av_hwdevice_ctx_create(
                &raw mut device,
                ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA,
                name.as_ptr(),
                std::ptr::null_mut(),
                0,
            )
        })?;
        Ok(Self(device))
    }

    /// A new reference for an FFmpeg struct that will own it.
    pub(crate) fn reference(&self) -> *mut ffi::AVBufferRef {
        // SAFETY: the device reference is valid; null on lack of memory, which the owners treat as no device.
        unsafe { ffi::av_buffer_ref(self.0) }
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::av_buffer_unref(&raw mut self.0) }
    }
}

/// The pool that GPU pictures of one size come from; what an encoder needs to take them as they are.
#[derive(Debug)]
pub struct GpuFrames(*mut ffi::AVBufferRef);

// SAFETY: as for `CudaDevice`.
unsafe impl Send for GpuFrames {}

impl GpuFrames {
    /// # Safety
    /// `frames` must be null or a valid reference to an `AVHWFramesContext`.
    pub(crate) unsafe fn from_borrowed(frames: *mut ffi::AVBufferRef) -> Option<Self> {
        if frames.is_null() {
            return None;
        }
        // SAFETY: by the caller.
        let own = unsafe { ffi::av_buffer_ref(frames) };
        (!own.is_null()).then_some(Self(own))
    }

    pub(crate) fn reference(&self) -> *mut ffi::AVBufferRef {
        // SAFETY: the reference is valid.
        unsafe { ffi::av_buffer_ref(self.0) }
    }
}

impl Drop for GpuFrames {
    fn drop(&mut self) {
        // SAFETY: owned, freed once.
        unsafe { ffi::av_buffer_unref(&raw mut self.0) }
    }
}
