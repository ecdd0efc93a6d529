//! Arrivals that are made up: match days, one Saturday, or a steady stream.

use super::Arrival;
use crate::moment::Moment;
use crate::pools::{Fleet, RegionName};
use crate::simulate::random::Stream;

/// Monday, 2026-06-01, 00:00 UTC: every generated month begins here.
const MONDAY: Moment = Moment(1_780_272_000_000);
const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;

/// Share of a week's matches on each day, from Monday on: evenings in the week, most at the weekend.
const DAYS: [f64; 7] = [0.02, 0.04, 0.06, 0.03, 0.05, 0.50, 0.30];

/// What is made up.
#[derive(Clone, Debug, PartialEq)]
pub struct Generator {
    /// How arrivals are spread over time.
    pub shape: Shape,
    /// Matches: a month (weekend) or in all.
    pub matches: f64,
    /// Months of thirty days.
    pub months: f64,
    /// Median length, minutes.
    pub minutes: f64,
    /// Share that is recorded at 60 frames a second and weighs twice.
    pub share60: f64,
    /// Organisations.
    pub clubs: f64,
    /// Hours from hand-in to ready-by; 0 for none.
    pub ready_h: f64,
    /// Median time of an upload, minutes.
    pub upload_min: f64,
    /// Only this region, else all of the fleet.
    pub region: Option<String>,
}

/// How arrivals are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Weeks with two match days.
    Weekend,
    /// Everything within two hours of one afternoon.
    Saturday,
    /// A Poisson stream.
    Steady,
}

impl Generator {
    /// Reads `weekend:…`, `saturday:…` or `steady:…`; `None` when it is something else, an error when a parameter is wrong.
    pub(super) fn parse(text: &str) -> Option<Result<Self, ()>> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let shape = match name {
            "weekend" => Shape::Weekend,
            "saturday" => Shape::Saturday,
            "steady" => Shape::Steady,
            _ => return None,
        };
        let mut generator = Self {
            shape,
            matches: if shape == Shape::Saturday { 40.0 } else { 200.0 },
            months: 1.0,
            minutes: 90.0,
            share60: 0.25,
            clubs: 20.0,
            ready_h: 4.0,
            upload_min: 12.0,
            region: None,
        };
        for pair in parameters.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            if generator.set(pair).is_none() {
                return Some(Err(()));
            }
        }
        Some(Ok(generator))
    }

    fn set(&mut self, pair: &str) -> Option<()> {
        let (name, text) = pair.split_once('=')?;
        if name.trim() == "region" {
            self.region = Some(text.trim().to_owned());
            return Some(());
        }
        let value: f64 = text.trim().parse().ok().filter(|v: &f64| v.is_finite() && (0.0..=1e8).contains(v))?;
        match name.trim() {
            "matches" => self.matches = value,
            "per_hour" => self.matches = value * 720.0,
            "months" if value > 0.0 => self.months = value,
            "minutes" if value > 0.0 => self.minutes = value,
            "share60" if value <= 1.0 => self.share60 = value,
            "clubs" if value >= 1.0 => self.clubs = value.floor(),
            "ready_h" => self.ready_h = value,
            "upload_min" => self.upload_min = value,
            _ => return None,
        }
        Some(())
    }

    pub(super) fn generate(&self, fleet: &Fleet, seed: u64) -> Vec<Arrival> {
        let mut stream = Stream::new(seed, "arrivals", 0);
        let own = self.region.as_deref().map(RegionName::from);
        let regions: Vec<RegionName> = match own {
            Some(own) => vec![own],
            None => fleet.regions.iter().map(|r| r.name.clone()).collect(),
        };
        let whole = match self.shape {
            Shape::Saturday => self.matches,
            Shape::Weekend | Shape::Steady => self.matches * self.months,
        };
        let count = whole.round() as usize;
        (0..count).map(|n| self.one(n, &regions, &mut stream)).collect()
    }

    fn one(&self, n: usize, regions: &[RegionName], stream: &mut Stream) -> Arrival {
        let at = MONDAY.plus_s(self.time_s(stream));
        // Matches differ by overtime, and by what is left on the recording.
        let seconds = self.minutes * 60.0 * stream.log_normal(1.0, 0.08);
        let weight = if stream.chance(self.share60) { 2.0 } else { 1.0 };
        let upload_s = self.upload_min * 60.0 * stream.log_normal(1.0, 0.6);
        let club = stream.below(self.clubs as usize);
        // A match a region in turn, so that a small count is spread evenly.
        let region = regions[n % regions.len().max(1)].clone();
        let arrival = Arrival::of_length(at, region, seconds);
        Arrival {
            upload_began: (self.upload_min > 0.0).then(|| at.plus_s(-upload_s)),
            organisation: format!("club {club}"),
            encode_s: arrival.encode_s * weight,
            gigabytes: arrival.gigabytes * weight,
            ready_by: (self.ready_h > 0.0).then(|| at.plus_s(self.ready_h * HOUR_S)),
            ..arrival
        }
    }

    /// Seconds after the first Monday at which an upload is complete.
    fn time_s(&self, stream: &mut Stream) -> f64 {
        match self.shape {
            Shape::Steady => stream.unit() * self.months * 30.0 * DAY_S,
            Shape::Saturday => 5.0 * DAY_S + 15.0 * HOUR_S + stream.unit() * 2.0 * HOUR_S,
            Shape::Weekend => loop {
                let week = (stream.unit() * self.months * 30.0 / 7.0).floor();
                let mut left = stream.unit();
                let day = DAYS.iter().position(|share| {
                    left -= share;
                    left < 0.0
                });
                let day = day.unwrap_or(DAYS.len() - 1);
                // Matches end about three hours into the afternoon at weekends, at nine in the evening in the week.
                let hour = if day >= 5 { 15.5 + 2.5 * stream.normal() } else { 21.0 + stream.normal() };
                let at_s = (week * 7.0 + day as f64) * DAY_S + hour.clamp(8.0, 23.9) * HOUR_S;
                if at_s < self.months * 30.0 * DAY_S {
                    return at_s;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        Fleet::parse(include_str!("../../../../../infra/fleet.toml")).unwrap()
    }

    #[test]
    fn a_month_of_match_days_has_its_matches_and_most_of_them_at_the_weekend() {
        let arrivals = super::super::parse("weekend:matches=700", &fleet(), 1).unwrap().jobs;
        assert_eq!(arrivals.len(), 700);
        let day = |a: &Arrival| (a.at.since_ms(MONDAY) / 86_400_000) % 7;
        let weekend = arrivals.iter().filter(|a| day(a) >= 5).count();
        assert!((500..620).contains(&weekend), "{weekend}");
        assert!(arrivals.iter().all(|a| a.at >= MONDAY && a.at < MONDAY.plus_s(30.0 * DAY_S)));
        assert!(arrivals.iter().all(|a| a.ready_by == Some(a.at.plus_s(4.0 * HOUR_S))));
        assert!(arrivals.windows(2).all(|w| w[0].at <= w[1].at));
        let again = super::super::parse("weekend:matches=700", &fleet(), 1).unwrap().jobs;
        assert_eq!(arrivals, again);
    }

    #[test]
    fn a_wrong_parameter_is_refused() {
        for bad in ["weekend:match=1", "steady:per_hour=x", "saturday:share60=2", "fortnight:matches=2"] {
            assert!(super::super::parse(bad, &fleet(), 1).is_err(), "{bad}");
        }
        assert!(super::super::parse("weekend:matches=0", &fleet(), 1).unwrap_err().to_string().contains("no arrivals"));
    }
}
