//! Charts: named lines, points, bars and bands over two axes, as SVG with a legend in HTML.

use std::ops::Range;

use maud::{Markup, PreEscaped, Render, html};
use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;

/// What a chart measures on a page of its own width, in CSS pixels.
const SIZE: (u32, u32) = (420, 300);
/// Plotters draws on whole pixels; on a larger canvas lines come out smooth.
const SCALE: u32 = 4;
/// Stands for the page's text colour while drawing: SVG knows it as `currentColor`, plotters has no name for it.
const TEXT: RGBColor = RGBColor(0x01, 0x02, 0x03);
const TEXT_IN_SVG: &str = "\"#010203\"";
/// Colours of series in their order; each has a contrast of at least 3 on white and on near black.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x2f, 0x7f, 0xd6),
    RGBColor(0xd9, 0x66, 0x1f),
    RGBColor(0x1f, 0x9d, 0x63),
    RGBColor(0x9a, 0x62, 0xd8),
    RGBColor(0xd6, 0x40, 0x6f),
    RGBColor(0x7f, 0x87, 0x90),
];

/// A chart in the making. Points that are not finite are left out; a range that is not given is that of the points.
#[derive(Debug, Clone)]
pub struct Chart {
    title: String,
    x: String,
    y: String,
    x_range: Option<Range<f64>>,
    y_range: Option<Range<f64>>,
    names: Vec<String>,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone)]
struct Mark {
    colour: RGBColor,
    shape: Shape,
}

#[derive(Debug, Clone)]
enum Shape {
    Line(Vec<(f64, f64)>),
    Points(Vec<(f64, f64)>),
    /// `(from, to, height)`.
    Bars(Vec<(f64, f64, f64)>),
    /// `(x, low, high)`.
    Band(Vec<(f64, f64, f64)>),
    Guide(Vec<(f64, f64)>),
}

impl Chart {
    /// An empty chart; `x` and `y` name the axes and their units.
    pub fn new(title: impl Into<String>, x: impl Into<String>, y: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            x: x.into(),
            y: y.into(),
            x_range: None,
            y_range: None,
            names: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// The x axis from `range.start` to `range.end`; what lies outside is drawn at the border.
    pub fn x_range(mut self, range: Range<f64>) -> Self {
        self.x_range = Some(range);
        self
    }

    /// The y axis, like [`x_range`](Self::x_range).
    pub fn y_range(mut self, range: Range<f64>) -> Self {
        self.y_range = Some(range);
        self
    }

    /// A line through `(x, y)` points in their order.
    pub fn line(self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.series(name, Shape::Line(finite(points)))
    }

    /// Dots at `(x, y)`.
    pub fn points(self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.series(name, Shape::Points(finite(points)))
    }

    /// Bars `(from, to, height)` that stand on 0.
    pub fn bars(self, name: impl Into<String>, bars: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        self.series(name, Shape::Bars(finite3(bars)))
    }

    /// A pale band `(x, low, high)` in the colour of the series before it, for an interval around it.
    pub fn band(mut self, band: impl IntoIterator<Item = (f64, f64, f64)>) -> Self {
        let colour = colour(self.names.len().saturating_sub(1));
        self.marks.push(Mark { colour, shape: Shape::Band(finite3(band)) });
        self
    }

    /// Dots without a name, in the colour of the series before them.
    pub fn dots(mut self, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let colour = colour(self.names.len().saturating_sub(1));
        self.marks.push(Mark { colour, shape: Shape::Points(finite(points)) });
        self
    }

    /// A thin line without a name, such as the diagonal of a perfect calibration.
    pub fn guide(mut self, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.marks.push(Mark { colour: TEXT, shape: Shape::Guide(finite(points)) });
        self
    }

    fn series(mut self, name: impl Into<String>, shape: Shape) -> Self {
        self.marks.push(Mark { colour: colour(self.names.len()), shape });
        self.names.push(name.into());
        self
    }

    /// The drawing alone, without title and legend, as an SVG element that scales with its place.
    pub fn svg(&self) -> String {
        let (width, height) = (SIZE.0 * SCALE, SIZE.1 * SCALE);
        let mut svg = String::new();
        // Only the file below a drawing can fail, and a string has none.
        self.draw(SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area())
            .expect("drawing into a string");
        let size = format!("<svg width=\"{width}\" height=\"{height}\"");
        let label = html! { (self.title) }.into_string();
        svg.replacen(&size, &format!("<svg role=\"img\" aria-label=\"{label}\""), 1)
            .replace(TEXT_IN_SVG, "\"currentColor\"")
    }

    fn draw(&self, area: DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let (x_range, y_range) = (self.range(self.x_range.as_ref(), 0), self.range(self.y_range.as_ref(), 1));
        let cell = |range: &Range<f64>, pixels: u32| (range.end - range.start) / f64::from(pixels);
        let cell = (cell(&x_range, SIZE.0), cell(&y_range, SIZE.1));
        // Plotters' font sizes are 1.24 times those of SVG.
        let font = |pixels: f64| ("sans-serif", pixels * 1.24 * f64::from(SCALE)).into_font().color(&TEXT);
        let mut chart = ChartBuilder::on(&area)
            .margin(2 * SCALE)
            .margin_right(14 * SCALE)
            .margin_top(10 * SCALE)
            .x_label_area_size(42 * SCALE)
            .y_label_area_size(58 * SCALE)
            .build_cartesian_2d(x_range, y_range)?;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .x_desc(self.x.as_str())
            .y_desc(self.y.as_str())
            .label_style(font(13.0))
            .axis_desc_style(font(14.0))
            .axis_style(TEXT.mix(0.6).stroke_width(SCALE))
            .bold_line_style(TEXT.mix(0.15).stroke_width(SCALE))
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(3 * SCALE)
            .draw()?;
        for Mark { colour, shape } in &self.marks {
            match shape {
                Shape::Line(points) => {
                    let style = colour.stroke_width(2 * SCALE);
                    chart.draw_series([PathElement::new(thinned(points, cell), style)])?;
                }
                Shape::Guide(points) => {
                    chart.draw_series([PathElement::new(points.clone(), TEXT.mix(0.45).stroke_width(SCALE))])?;
                }
                Shape::Points(points) => {
                    let dots = thinned(points, cell).into_iter();
                    chart.draw_series(dots.map(|point| Circle::new(point, 4 * SCALE, colour.filled())))?;
                }
                Shape::Bars(bars) => {
                    let style = colour.mix(0.8).filled();
                    let bars = bars.iter();
                    chart.draw_series(bars.map(|&(from, to, y)| Rectangle::new([(from, 0.0), (to, y)], style)))?;
                }
                Shape::Band(band) => {
                    let low = band.iter().map(|&(x, low, _)| (x, low));
                    let high = band.iter().rev().map(|&(x, _, high)| (x, high));
                    let outline: Vec<_> = low.chain(high).collect();
                    chart.draw_series([Polygon::new(outline, colour.mix(0.2).filled())])?;
                }
            }
        }
        area.present()
    }

    /// The range given, or that of all marks along `axis` (0 is x, 1 is y, with a little air), never empty.
    fn range(&self, given: Option<&Range<f64>>, axis: usize) -> Range<f64> {
        let pick = |(x, y): (f64, f64)| if axis == 0 { x } else { y };
        let values = self.marks.iter().flat_map(|mark| match &mark.shape {
            Shape::Line(points) | Shape::Points(points) | Shape::Guide(points) => points.clone(),
            Shape::Bars(bars) => bars.iter().flat_map(|&(from, to, y)| [(from, 0.0), (to, y)]).collect(),
            Shape::Band(band) => band.iter().flat_map(|&(x, low, high)| [(x, low), (x, high)]).collect(),
        });
        let found = values.map(pick).fold(None, |range: Option<Range<f64>>, value| {
            Some(range.map_or(value..value, |range| range.start.min(value)..range.end.max(value)))
        });
        let range = given.cloned().or(found).unwrap_or(0.0..1.0);
        let width = range.end - range.start;
        if width <= 0.0 || !width.is_finite() {
            return range.start - 0.5..range.start + 0.5;
        }
        let air = if given.is_none() && axis == 1 { 0.05 * width } else { 0.0 };
        range.start - air..range.end + air
    }
}

/// The figure: title, drawing, and a legend if there is more than one series.
impl Render for Chart {
    fn render(&self) -> Markup {
        html! {
            figure {
                figcaption { (self.title) }
                (PreEscaped(self.svg()))
                @if self.names.len() > 1 {
                    ul.legend {
                        @for (at, name) in self.names.iter().enumerate() {
                            @let RGBColor(red, green, blue) = colour(at);
                            li { span style={ "background:rgb(" (red) "," (green) "," (blue) ")" } {} (name) }
                        }
                    }
                }
            }
        }
    }
}

fn colour(series: usize) -> RGBColor {
    COLOURS[series % COLOURS.len()]
}

fn finite(points: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

fn finite3(points: impl IntoIterator<Item = (f64, f64, f64)>) -> Vec<(f64, f64, f64)> {
    points.into_iter().filter(|(a, b, c)| a.is_finite() && b.is_finite() && c.is_finite()).collect()
}

/// Without the points that fall on the pixel of the one before: curves over thousands of rows stay small files.
fn thinned(points: &[(f64, f64)], (width, height): (f64, f64)) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for (at, &(x, y)) in points.iter().enumerate() {
        let is_near = |&(last_x, last_y): &(f64, f64)| (x - last_x).abs() < width && (y - last_y).abs() < height;
        if at + 1 == points.len() || !kept.last().is_some_and(is_near) {
            kept.push((x, y));
        }
    }
    kept
}

/// A tick's value as people write it: no more digits than it needs, powers of ten where it is tiny or huge.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_read_like_numbers() {
        let ticks = [0.1 + 0.2, 0.0, -0.0, 1500.0, 2e-5, 3e7, -0.25].map(number);
        assert_eq!(ticks, ["0.3", "0", "0", "1500", "2.0e-5", "3.0e7", "-0.25"]);
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out_and_an_empty_chart_is_a_chart() {
        let nothing = Chart::new("x", "x", "y").line("a", [(f64::NAN, 1.0), (0.0, f64::INFINITY)]).svg();
        assert!(nothing.ends_with("</svg>\n") && !nothing.contains("NaN"), "{nothing}");
        let one = Chart::new("x", "x", "y").points("a", [(3.0, 3.0)]).svg();
        assert!(one.contains("<circle"), "{one}");
    }

    #[test]
    fn text_takes_the_colour_of_its_page_and_names_are_escaped() {
        let chart =
            Chart::new("a < b \"c\"", "x & y", "y").line("<i>", [(0.0, 0.0), (1.0, 1.0)]).line("b", [(0.0, 1.0)]);
        let figure = chart.render().into_string();
        assert!(figure.contains("currentColor") && !figure.contains("#010203"), "{figure}");
        assert!(figure.contains("a &lt; b &quot;c&quot;") && figure.contains("x &amp; y") && !figure.contains("<i>"));
    }

    #[test]
    fn a_curve_over_many_rows_stays_small_and_keeps_its_spikes() {
        let mut curve: Vec<_> = (0..100_000).map(|at| (f64::from(at), 0.0)).collect();
        curve[5_000].1 = 1.0;
        let kept = thinned(&curve, (100_000.0 / 420.0, 1.0 / 300.0));
        assert!(kept.len() < 1_000 && kept.contains(&(5_000.0, 1.0)), "{}", kept.len());
        assert_eq!(kept.last(), curve.last());
    }
}
