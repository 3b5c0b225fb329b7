//! A chart with two axes.

use crate::draw::escaped;
use std::fmt::Write as _;

/// Default width of a chart, and the margins for the labels of the axes, in pixels.
pub(crate) const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
const STRING: &str = "a String takes all that is written";

/// Range, name and number format of an axis.
pub(crate) struct PlotAxis<'a> {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) name: &'a str,
    pub(crate) show: &'a dyn Fn(f64) -> String,
    /// Smallest distance of two ticks.
    least_step: f64,
}

/// Two axes, and the shapes drawn between them.
pub(crate) struct Field<'a> {
    x: PlotAxis<'a>,
    y: PlotAxis<'a>,
    width: f64,
    height: f64,
    body: String,
}

impl<'a> PlotAxis<'a> {
    /// An axis over all finite values, with a small margin on both sides.
    pub(crate) fn over(values: impl Iterator<Item = f64>, name: &'a str, show: &'a dyn Fn(f64) -> String) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let room = if high > low { 0.04 * (high - low) } else { 0.05 * high.abs().max(1.0) };
        Self { low: low - room, high: high + room, name, show, least_step: 0.0 }
    }

    /// The same axis with ticks at whole numbers only.
    pub(crate) fn whole(self) -> Self {
        Self { least_step: 1.0, ..self }
    }

    fn at(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// About six round numbers in the range.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|n| n * power)
            .find(|step| *step >= rough)
            .unwrap_or(rough)
            .max(self.least_step);
        let first = (self.low / step).ceil();
        (0..12).map(|i| (first + f64::from(i)) * step).take_while(|tick| *tick <= self.high).collect()
    }
}

impl<'a> Field<'a> {
    pub(crate) fn new(x: PlotAxis<'a>, y: PlotAxis<'a>, height: f64) -> Self {
        Self { x, y, width: WIDTH, height, body: String::new() }
    }

    /// Sets the width in pixels.
    pub(crate) fn of_width(self, width: f64) -> Self {
        Self { width, ..self }
    }

    /// Position of a point in pixels.
    pub(crate) fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let across = LEFT + self.x.at(x) * (self.width - LEFT - RIGHT);
        (across, TOP + (1.0 - self.y.at(y)) * (self.height - TOP - BOTTOM))
    }

    /// Draws a line through points.
    pub(crate) fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let points = self.points(points);
        writeln!(self.body, "<polyline class='{class}' points='{points}'/>").expect(STRING);
    }

    /// Draws a filled polygon.
    pub(crate) fn area(&mut self, class: &str, points: &[(f64, f64)]) {
        let points = self.points(points);
        writeln!(self.body, "<polygon class='{class}' points='{points}'/>").expect(STRING);
    }

    /// Draws a dot that shows `says` under the mouse pointer.
    pub(crate) fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64, says: &str) {
        let (x, y) = self.place(x, y);
        let says = escaped(says);
        writeln!(
            self.body,
            "<circle class='{class}' cx='{x:.1}' cy='{y:.1}' r='{radius}'><title>{says}</title></circle>"
        )
        .expect(STRING);
    }

    fn points(&self, points: &[(f64, f64)]) -> String {
        let drawn = points.iter().map(|(x, y)| self.place(*x, *y)).map(|(x, y)| format!("{x:.1},{y:.1}"));
        drawn.collect::<Vec<_>>().join(" ")
    }

    /// The finished SVG; `says` describes it to screen readers.
    pub(crate) fn svg(self, says: &str) -> String {
        let (right, bottom) = (self.width - RIGHT, self.height - BOTTOM);
        let mut axes = String::new();
        for tick in self.y.ticks() {
            let (_, y) = self.place(self.x.low, tick);
            let (name, base) = (escaped(&(self.y.show)(tick)), y + 4.0);
            writeln!(axes, "<line class='grid' x1='{LEFT}' x2='{right}' y1='{y:.1}' y2='{y:.1}'/>").expect(STRING);
            writeln!(axes, "<text class='soft end' x='{}' y='{base:.1}'>{name}</text>", LEFT - 8.0).expect(STRING);
        }
        for tick in self.x.ticks() {
            let (x, _) = self.place(tick, self.y.low);
            let name = escaped(&(self.x.show)(tick));
            writeln!(axes, "<line class='axis' x1='{x:.1}' x2='{x:.1}' y1='{bottom}' y2='{}'/>", bottom + 4.0)
                .expect(STRING);
            writeln!(axes, "<text class='soft mid' x='{x:.1}' y='{}'>{name}</text>", bottom + 18.0).expect(STRING);
        }
        let (width, height) = (self.width, self.height);
        format!(
            "<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' aria-label='{says}'>\n{axes}\
             <line class='axis' x1='{LEFT}' x2='{right}' y1='{bottom}' y2='{bottom}'/>\n{body}\
             <text class='soft end' x='{right}' y='{below}'>{x} →</text>\n<text class='soft' x='4' y='12'>↑ {y}</text>\n</svg>\n",
            says = escaped(says),
            body = self.body,
            below = height - 8.0,
            x = escaped(self.x.name),
            y = escaped(self.y.name),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within() {
        let show = |x: f64| format!("{x}");
        let axis = |low, high| PlotAxis { low, high, name: "", show: &show, least_step: 0.0 };
        assert_eq!(axis(0.0, 100.0).ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(axis(-3.0, 11.0).ticks(), [0.0, 5.0, 10.0]);
        assert_eq!(axis(0.96, 2.04).whole().ticks(), [1.0, 2.0]);
        // Equal values still give a range.
        let flat = PlotAxis::over([7.0, 7.0].into_iter(), "", &show);
        assert!(flat.low < 7.0 && flat.high > 7.0 && !flat.ticks().is_empty());
    }
}
