//! worker

pub mod source;
