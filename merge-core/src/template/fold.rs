//! Folds any number into 0..=1, so that an optimizer needs no bounds.

/// Width of the bend inside and outside of 0..=1: `al` and `au` of pycma's `BoxConstraintsLinQuadTransformation`.
const MARGIN: f64 = 0.05;

/// Folds any coordinate into 0..=1 as pycma does: linear inside, quadratic near the bounds, mirrored and periodic beyond.
pub(super) fn fold(x: f64) -> f64 {
    if !x.is_finite() {
        return 0.5;
    }
    let width = 1.0 + 2.0 * MARGIN;
    let y = (x + MARGIN).rem_euclid(2.0 * width);
    let x = y.min(2.0 * width - y) - MARGIN;
    let bend = |beyond: f64| beyond * beyond / (4.0 * MARGIN);
    if x < MARGIN {
        bend(x + MARGIN)
    } else if x > 1.0 - MARGIN {
        1.0 - bend(1.0 + MARGIN - x)
    } else {
        x
    }
}

/// The coordinate nearest to 0..=1 that folds to `u`.
pub(super) fn unfold(u: f64) -> f64 {
    let bend = |inside: f64| 2.0 * (MARGIN * inside).sqrt();
    if u < MARGIN {
        bend(u) - MARGIN
    } else if u > 1.0 - MARGIN {
        1.0 + MARGIN - bend(1.0 - u)
    } else {
        u
    }
}
