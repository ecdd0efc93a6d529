//! What dispatcher and worker share: words and pure rules first, then the three places where state lives.
//!
//! Reading order:
//! 1. [`failure`]: every way a job can fail, as a stable code with a sentence for a coach and one for ops.
//! 2. [`timeline`]: frame rates and the grid of GOPs and segments; everything is counted in frames.
//! 3. [`ladder`]: the set of renditions as validated data.
//! 4. [`cmaf`]: the fragment writer and the box parser.
//! 5. [`hls`]: playlists as text.
//! 6. [`conformance`]: the HLS authoring rules, evaluated on a finished presentation.
//! 7. [`plan`] and [`presentation`]: what a job will make, and the playlists of what it made.
//! 8. [`state`]: the machines of jobs and chunks; [`store`]: Postgres, the truth.
//! 9. [`queue`] only wakes; [`objects`] holds media.
//! 10. [`internet`]: which addresses strangers may have us connect to.
//! 11. [`fault`]: where tests make calls of all three fail.

pub mod clip;
pub mod cmaf;
pub mod config;
pub mod conformance;
pub mod failure;
pub mod fault;
pub mod hls;
pub mod internet;
pub mod keys;
pub mod ladder;
pub mod objects;
pub mod plan;
pub mod presentation;
pub mod profiles;
pub mod queue;
pub mod state;
pub mod store;
pub mod timeline;
