//! One plot: how the time of a match falls with the number of workers, beside the ideal, on logarithmic axes.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 48.0;
const MARGIN: f64 = 24.0;

/// A measured point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) workers: u32,
    pub(super) took_s: f64,
    pub(super) ideal_s: f64,
}

/// The plot as SVG.
pub(super) fn render(points: &[Point]) -> String {
    let most = points.iter().map(|p| f64::from(p.workers)).fold(2.0, f64::max).log2();
    let highest = points.iter().map(|p| p.took_s).fold(1.0, f64::max).log10().ceil();
    let x = |workers: u32| LEFT + f64::from(workers).log2() / most * (WIDTH - LEFT - MARGIN);
    let y = |seconds: f64| MARGIN + (1.0 - seconds.max(1.0).log10() / highest) * (HEIGHT - BOTTOM - MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut line = |text: String| writeln!(svg, "{text}").unwrap_or_default();
    let mut decade = 1.0_f64;
    while decade.log10() <= highest {
        let at = y(decade);
        line(format!("<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - MARGIN));
        line(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{decade} s</text>", LEFT - 6.0, at + 4.0));
        decade *= 10.0;
    }
    for point in points {
        let label = HEIGHT - BOTTOM + 16.0;
        line(format!(
            "<text x=\"{:.1}\" y=\"{label}\" text-anchor=\"middle\">{}</text>",
            x(point.workers),
            point.workers
        ));
    }
    let path = |of: fn(&Point) -> f64| {
        let places: Vec<String> = points.iter().map(|p| format!("{:.1} {:.1}", x(p.workers), y(of(p)))).collect();
        format!("M{}", places.join("L"))
    };
    line(format!("<path d=\"{}\" fill=\"none\" stroke=\"#888\" stroke-dasharray=\"5 4\"/>", path(|p| p.ideal_s)));
    line(format!("<path d=\"{}\" fill=\"none\" stroke=\"#1565c0\" stroke-width=\"2\"/>", path(|p| p.took_s)));
    for point in points {
        let (at, above) = (x(point.workers), y(point.took_s));
        line(format!("<circle cx=\"{at:.1}\" cy=\"{above:.1}\" r=\"4\" fill=\"#1565c0\"/>"));
        let share = point.ideal_s / point.took_s * 100.0;
        line(format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{share:.0} %</text>", above - 10.0));
    }
    line(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">workers (dashed: ideal; labels: share of it)</text></svg>",
        WIDTH / 2.0,
        HEIGHT - 8.0
    ));
    svg
}
