//! HLS authoring rules.
