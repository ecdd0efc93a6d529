//! Times and chances of a scenario.

/// Times and chances of a scenario. All times are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Between two decisions.
    pub decide_every_s: f64,
    /// Until a launch that found no capacity is known to have failed (an auto-scaling group tells late).
    pub detect_s: f64,
    /// Of the plan: probing the source.
    pub plan_s: f64,
    /// Before a chunk's first frame: claim, finding its start, starting the engine.
    pub overhead_s: f64,
    /// From the last segment to the published playlist.
    pub publish_s: f64,
    /// Until the chunks of a worker that fell silent are taken back.
    pub lease_s: f64,
    /// From the announcement of an interruption to the end of the instance.
    pub notice_s: f64,
    /// Share of interruptions that come without an announcement.
    pub silent: f64,
    /// Share of on-demand launches that find no capacity.
    pub on_demand_full: f64,
    /// Deviation of the logarithm of a chunk's time.
    pub scatter: f64,
    /// Share of chunks that take five times as long.
    pub stragglers: f64,
    /// When nothing has been handed in for this long, jobs that are not done are given up.
    pub give_up_s: f64,
    /// Whether the receipt of every job is kept.
    pub receipts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            decide_every_s: 15.0,
            detect_s: 60.0,
            plan_s: 5.0,
            overhead_s: 0.5,
            publish_s: 4.0,
            lease_s: 45.0,
            notice_s: 120.0,
            silent: 0.05,
            on_demand_full: 0.0,
            scatter: 0.1,
            stragglers: 0.0,
            give_up_s: 7.0 * 86_400.0,
            receipts: false,
        }
    }
}
