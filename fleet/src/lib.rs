//! What dispatcher and worker share: words, pure rules and text formats, no I/O beyond reading a folder.
//!
//! Reading order:
//! 1. [`failure`]: every way a job can fail, as a stable code with a sentence for a coach and one for ops.
//! 2. [`timeline`]: frame rates and the grid of GOPs and segments; everything is counted in frames.
//! 3. [`ladder`]: the set of renditions as validated data.
//! 4. [`cmaf`]: the fragment writer and the box parser.
//! 5. [`hls`]: playlists as text.
//! 6. [`conformance`]: the HLS authoring rules, evaluated on a finished presentation.

pub mod cmaf;
pub mod conformance;
pub mod failure;
pub mod hls;
pub mod ladder;
pub mod timeline;
