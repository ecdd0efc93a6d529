//! Plots as SVG text: axes with round numbers, areas, lines, bars and dots.

use std::fmt::Write as _;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 34.0;

/// A plot with linear axes.
pub(super) struct Plot {
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
    body: String,
}

impl Plot {
    /// An empty plot of this height, with the ranges of its axes.
    pub(super) fn new(height: f64, x: (f64, f64), y: (f64, f64)) -> Self {
        Self { height, x, y, body: String::new() }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        self.height - BOTTOM - (y - self.y.0) / (self.y.1 - self.y.0) * (self.height - TOP - BOTTOM)
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.body.write_fmt(text).expect("a String takes everything");
    }

    /// Both axes with their names.
    pub(super) fn axes(&mut self, x_name: &str, y_name: &str) {
        let (left, bottom) = (self.px(self.x.0), self.py(self.y.0));
        let (right, top) = (self.px(self.x.1), self.py(self.y.1));
        self.put(format_args!("<path class=\"axis\" fill=\"none\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>"));
        for x in ticks(self.x) {
            let at = self.px(x);
            self.put(format_args!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                short(x)
            ));
        }
        for y in ticks(self.y) {
            let at = self.py(y);
            self.put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                short(y)
            ));
        }
        let low = self.height - 4.0;
        self.put(format_args!("<text x=\"{right:.1}\" y=\"{low:.1}\" text-anchor=\"end\">{x_name}</text>"));
        self.put(format_args!("<text x=\"{left:.1}\" y=\"11\">{y_name}</text>"));
    }

    /// A band between two heights, in steps.
    pub(super) fn area(&mut self, bands: &[(f64, f64, f64)], colour: &str) {
        let mut path = String::new();
        let mut edge = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            let mut last: Option<(f64, f64)> = None;
            for (x, y) in points {
                let (px, py) = (self.px(x), self.py(y));
                // Of a level stretch only its ends.
                match last {
                    None if path.is_empty() => write!(path, "M{px:.1} {py:.1}"),
                    None => write!(path, "L{px:.1} {py:.1}"),
                    Some((_, before)) if (before - py).abs() > 0.05 => write!(path, "H{px:.1}V{py:.1}"),
                    Some(_) => Ok(()),
                }
                .expect("a String takes everything");
                last = Some((px, py));
            }
            if let Some((px, _)) = last {
                write!(path, "H{px:.1}").expect("a String takes everything");
            }
        };
        edge(&mut bands.iter().map(|(x, _, high)| (*x, *high)));
        edge(&mut bands.iter().rev().map(|(x, low, _)| (*x, *low)));
        self.put(format_args!("<path d=\"{path}Z\" fill=\"{colour}\"/>"));
    }

    /// A line.
    pub(super) fn line(&mut self, points: &[(f64, f64)], colour: &str) {
        // Of a level stretch only its ends.
        let is_corner = |i: usize| {
            i == 0 || i + 1 == points.len() || points[i - 1].1 != points[i].1 || points[i + 1].1 != points[i].1
        };
        let corners = points.iter().enumerate().filter(|(i, _)| is_corner(*i));
        let text: Vec<String> = corners.map(|(_, (x, y))| format!("{:.1},{:.1}", self.px(*x), self.py(*y))).collect();
        let points = text.join(" ");
        self.put(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>"
        ));
    }

    /// A bar of height 1 above `y`.
    pub(super) fn bar(&mut self, from: f64, until: f64, y: f64, colour: &str) {
        let (left, right) = (self.px(from), self.px(until));
        let (top, bottom) = (self.py(y + 1.0), self.py(y));
        let (width, height) = ((right - left).max(0.8), (bottom - top).max(1.2));
        self.put(format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        ));
    }

    /// A dot with a name; names of dots near each other are set at different heights by their number.
    pub(super) fn dot(&mut self, x: f64, y: f64, colour: &str, name: &str, number: usize) {
        let (px, py) = (self.px(x), self.py(y));
        self.put(format_args!("<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"5\" fill=\"{colour}\"/>"));
        let (anchor, offset) = if px > WIDTH * 0.75 { ("end", -9.0) } else { ("start", 9.0) };
        let lift = 4.0 - 12.0 * (number % 4) as f64;
        self.put(format_args!(
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{name}</text>",
            px + offset,
            py + lift
        ));
    }

    /// A vertical line with a name.
    pub(super) fn vertical(&mut self, x: f64, name: &str) {
        let (at, top, bottom) = (self.px(x), self.py(self.y.1), self.py(self.y.0));
        self.put(format_args!(
            "<path d=\"M{at:.1} {top:.1}V{bottom:.1}\" stroke=\"var(--soft)\" stroke-dasharray=\"4 3\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            at + 4.0,
            top + 10.0
        ));
    }

    pub(super) fn finish(self) -> String {
        let Self { height, body, .. } = self;
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">{body}</svg>")
    }
}

/// Round numbers within a range, about six.
fn ticks(range: (f64, f64)) -> Vec<f64> {
    let rough = (range.1 - range.0) / 6.0;
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= rough).unwrap_or(power);
    let first = (range.0 / step).ceil() as i64;
    (first..).map(|n| n as f64 * step).take_while(|t| *t <= range.1).collect()
}

fn short(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks((0.0, 10.0)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks((0.0, 0.13)).len(), 3);
        assert!(ticks((1.0, 1.0)).is_empty());
        assert_eq!([short(0.05), short(2.0), short(1500.0)], ["0.05", "2", "1500"]);
    }
}
