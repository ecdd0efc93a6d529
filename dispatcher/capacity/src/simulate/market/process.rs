//! Up and down times that are log-normal: most are short, the mean is made by a few long ones, as the traces have it
//! (means of hours beside medians of half an hour).

use crate::moment::Moment;
use crate::simulate::random::Stream;

/// Up and down times of a market.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Mean time that instances can be had, hours.
    pub up_h: f64,
    /// Mean time that they cannot, hours.
    pub down_h: f64,
    /// Share of the outages that hit all pools of a region at once.
    pub shared: f64,
    /// Deviation of the logarithm of both times; 1.8 makes the mean five times the median.
    pub sigma: f64,
    /// Chance of an instance to be taken back in an hour while the market is up.
    pub hazard: f64,
}

impl Process {
    /// One instance in five a month, and the market always up: what AWS's advisor says of a type in the band 15-20 %.
    pub const CALM: Self = Self { up_h: f64::INFINITY, down_h: 0.0, shared: 0.0, sigma: 0.0, hazard: 0.0003 };
    /// About the mean over nine zones of V100 traces of 2023: available 70 % of the time, outages of two hours.
    pub const ROUGH: Self = Self { up_h: 5.0, down_h: 2.0, shared: 0.7, sigma: 1.8, hazard: 0.0 };

    /// This process with `name=value` parameters, separated by commas.
    pub(super) fn parsed(mut self, text: &str) -> Option<Self> {
        for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let value: f64 = value.trim().parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0)?;
            match name.trim() {
                "up_h" if value > 0.0 => self.up_h = value,
                "down_h" => self.down_h = value,
                "shared" if value <= 1.0 => self.shared = value,
                "sigma" if value <= 4.0 => self.sigma = value,
                "hazard" => self.hazard = value,
                _ => return None,
            }
        }
        Some(self)
    }

    /// The part of the process that has `share` of the outages.
    pub(super) fn alternator(&self, share: f64, stream: Stream, start: Moment) -> Alternator {
        let mean_to_median = (self.sigma * self.sigma / 2.0).exp();
        let mut alternator = Alternator {
            up: true,
            until: start,
            up_median_s: self.up_h * 3600.0 / share / mean_to_median,
            down_median_s: self.down_h * 3600.0 / mean_to_median,
            sigma: self.sigma,
            stream,
        };
        if !alternator.up_median_s.is_finite() || alternator.down_median_s <= 0.0 {
            alternator.until = Moment::NEVER;
            return alternator;
        }
        // Somewhere within its life, not at the start of an up time.
        alternator.up = !alternator.stream.chance(self.down_h / (self.up_h / share + self.down_h));
        alternator.draw();
        alternator
    }
}

/// Something that is up, then down, and so on.
#[derive(Clone, Debug)]
pub(super) struct Alternator {
    pub(super) up: bool,
    pub(super) until: Moment,
    up_median_s: f64,
    down_median_s: f64,
    sigma: f64,
    stream: Stream,
}

impl Alternator {
    pub(super) fn step(&mut self) {
        self.up = !self.up;
        self.draw();
    }

    fn draw(&mut self) {
        let median_s = if self.up { self.up_median_s } else { self.down_median_s };
        // The longest outage of the traces lasted 97 hours; without a bound the tail has outages of weeks.
        let lasts_s = self.stream.log_normal(median_s, self.sigma).clamp(60.0, 97.0 * 3600.0);
        self.until = self.until.plus_s(lasts_s);
    }
}
