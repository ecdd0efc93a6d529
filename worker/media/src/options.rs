//! Named options, checked: FFmpeg drops unknown keys silently, which turns a typing error into a worse picture.

use ffmpeg_next::ffi;

use crate::error::{Error, Result, c_string};

/// An `AVDictionary` that is freed.
pub(crate) struct Dictionary(*mut ffi::AVDictionary);

impl Dictionary {
    pub(crate) fn new<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> Result<Self> {
        let mut dictionary = Self(std::ptr::null_mut());
        for (key, value) in pairs {
            let (key, value) = (c_string("set option", key.as_ref())?, c_string("set option", value.as_ref())?);
            // SAFETY: both strings are valid for the call, which copies them.
            let code = unsafe { ffi::av_dict_set(&raw mut dictionary.0, key.as_ptr(), value.as_ptr(), 0) };
            crate::error::check("set option", code)?;
        }
        Ok(dictionary)
    }

    pub(crate) fn as_mut(&mut self) -> *mut *mut ffi::AVDictionary {
        &raw mut self.0
    }

    /// An error that names the first key that nobody took.
    pub(crate) fn expect_used(&self, op: &'static str) -> Result<()> {
        // SAFETY: iterates over the dictionary's own entries; key and value are NUL-terminated.
        let left = unsafe {
            let entry = ffi::av_dict_get(self.0, c"".as_ptr(), std::ptr::null(), ffi::AV_DICT_IGNORE_SUFFIX);
            if entry.is_null() {
                return Ok(());
            }
            std::ffi::CStr::from_ptr((*entry).key).to_string_lossy().into_owned()
        };
        Err(Error::with(op, ffi::AVERROR_OPTION_NOT_FOUND, format!("unknown option {left}")))
    }
}

impl Drop for Dictionary {
    fn drop(&mut self) {
        // SAFETY: frees what av_dict_set made; a null dictionary is allowed.
        unsafe { ffi::av_dict_free(&raw mut self.0) }
    }
}

/// Checks that encoder `name` is linked, knows every option, and takes every value, without opening it: works for
/// `h264_nvenc` on a machine without a GPU.
///
/// # Errors
/// The encoder is missing, or the first option that is unknown or out of range.
pub fn check_encoder_options(name: &str, options: &[(String, String)]) -> Result<()> {
    let op = "check encoder options";
    let c_name = c_string(op, name)?;
    // SAFETY: the name is valid; codec descriptions are static. The context is freed below on every path, and
    // `priv_data` is an options-enabled struct because the codec has a private class.
    unsafe {
        let codec = ffi::avcodec_find_encoder_by_name(c_name.as_ptr());
        if codec.is_null() {
            return Err(Error::with(op, ffi::AVERROR_ENCODER_NOT_FOUND, name));
        }
        let mut context = ffi::avcodec_alloc_context3(codec);
        if context.is_null() {
            return Err(crate::error::no_memory(op));
        }
        let mut outcome = Ok(());
        for (key, value) in options {
            let (c_key, c_value) = (c_string(op, key)?, c_string(op, value)?);
            let mut code = ffi::AVERROR_OPTION_NOT_FOUND;
            if !(*context).priv_data.is_null() {
                code = ffi::av_opt_set((*context).priv_data, c_key.as_ptr(), c_value.as_ptr(), 0);
            }
            if code == ffi::AVERROR_OPTION_NOT_FOUND {
                code = ffi::av_opt_set(context.cast(), c_key.as_ptr(), c_value.as_ptr(), 0);
            }
            if code < 0 {
                outcome = Err(Error::with(op, code, format!("{name}: {key}={value}")));
                break;
            }
        }
        ffi::avcodec_free_context(&raw mut context);
        outcome
    }
}

/// Whether an encoder of this name is linked.
#[must_use]
pub fn has_encoder(name: &str) -> bool {
    check_encoder_options(name, &[]).is_ok()
}

/// Whether a filter of this name is linked.
#[must_use]
pub fn has_filter(name: &str) -> bool {
    // SAFETY: the name is valid for the call; the result is only compared.
    c_string("find filter", name).is_ok_and(|n| unsafe { !ffi::avfilter_get_by_name(n.as_ptr()).is_null() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[test]
    fn a_wrong_key_and_a_wrong_value_are_told_apart_from_a_right_one() {
        assert!(check_encoder_options("libx264", &option("preset", "veryfast")).is_ok());
        let unknown = check_encoder_options("libx264", &option("prest", "veryfast")).unwrap_err();
        assert_eq!(unknown.code, ffi::AVERROR_OPTION_NOT_FOUND);
        let range = check_encoder_options("h264_nvenc", &option("aq-strength", "16")).unwrap_err();
        assert_eq!(range.code, ffi::AVERROR(libc::ERANGE));
        assert!(check_encoder_options("h264_nvenc", &option("preset", "p9")).is_err());
        assert!(!has_encoder("no_such_encoder"));
    }
}
