//! Bars with their spread, as SVG written by hand.

use std::fmt::Write as _;

use crate::sample::{Samples, Short};

/// Everything is in units of the picture, which are pixels where it is shown in its own size.
const WIDTH: f64 = 760.0;
const BAR: f64 = 22.0;
const STEP: f64 = 32.0;
const TOP: f64 = 16.0;
/// Where names end and bars begin.
const LEFT: f64 = 300.0;
/// Room for the number behind the longest bar.
const RIGHT: f64 = 110.0;

/// One horizontal bar a row, from zero to the median, with a line from the least to the greatest.
pub fn bars(rows: &[(&str, &Samples)], unit: &str) -> String {
    let greatest = rows.iter().map(|(_, samples)| samples.greatest()).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / greatest;
    let height = TOP * 2.0 + STEP * rows.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (place, (name, samples)) in rows.iter().enumerate() {
        let y = TOP + STEP * place as f64;
        let middle = y + BAR / 2.0;
        let colour = if name.starts_with("p2pchat") { "#2a6f97" } else { "#a9b4bc" };
        let [median, least, most] =
            [samples.median(), samples.least(), samples.greatest()].map(|value| value * scale);
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{median:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#22313a\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{} {unit}</text>\n",
            LEFT - 8.0,
            middle + 4.0,
            escaped(name),
            LEFT + least,
            LEFT + most,
            LEFT + most + 6.0,
            middle + 4.0,
            Short(samples.median()),
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
