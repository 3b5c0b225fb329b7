//! What went up over the search, and what was weighed against what.

use super::{
    super::{curve::CurvePoint, summary::Summary},
    axes::{Field, PlotAxis},
    escaped,
    live::drawn,
};
use crate::draw::screen::{counted, grouped};
use std::fmt::Write as _;

const STRING: &str = "a String takes all that is written";

/// How far the generations are ahead of the best parent, with the figures below from which that was smoothed.
pub(crate) fn convergence(summary: &Summary) -> Option<String> {
    let fitness = fitness(summary)?;
    let Some(ahead) = drawn(&summary.curves, &summary.models, None) else { return Some(fitness) };
    let legend = legend(&[
        ("<line class='best' x1='0' x2='22' y1='8' y2='8'/>", "a generation's mean less the best parent's, smoothed"),
        ("<rect class='band' width='22' height='14'/>", "its 95% interval"),
        ("<line class='parent' x1='0' x2='22' y1='8' y2='8'/>", "the best parent"),
        ("<line class='random' x1='0' x2='22' y1='8' y2='8'/>", "random search"),
    ]);
    let hint = "<p class='hint'>Candidates and parent on the same items, item by item: how hard a generation's items are makes no \
                difference.</p>\n";
    let below = "<details><summary>The fitness of each generation on its own items</summary>\n";
    Some(format!("{legend}{ahead}\n{hint}{below}{fitness}</details>\n"))
}

/// Best, mean and spread of the generations; the step size below, if there is one.
fn fitness(summary: &Summary) -> Option<String> {
    let steps = &summary.convergence;
    let last = steps.last()?;
    let all = steps.iter().chain(&summary.random_search);
    let values = all.clone().flat_map(|step| {
        let interval = step.best_ci95.into_iter().flatten();
        [step.best, step.least, step.mean].into_iter().flatten().chain(interval)
    });
    let (points, count) = (|x: f64| format!("{x:.0}"), |x: f64| grouped(x.max(0.0) as u64));
    let x = PlotAxis::over(all.map(|step| step.evaluations as f64), "item evaluations", &count);
    let mut field = Field::new(x, PlotAxis::over(values.map(|value| 100.0 * value), "fitness × 100", &points), 340.0);

    let at = |of: fn(&CurvePoint) -> Option<f64>, steps: &[CurvePoint]| -> Vec<(f64, f64)> {
        steps.iter().filter_map(|step| Some((step.evaluations as f64, 100.0 * of(step)?))).collect()
    };
    let mut spread = at(|step| step.most, steps);
    spread.extend(at(|step| step.least, steps).into_iter().rev());
    field.area("band", &spread);
    field.line("random", &at(|step| step.best, &summary.random_search));
    for step in steps {
        if let Some([low, high]) = step.best_ci95 {
            field.line("bar", &[(step.evaluations as f64, 100.0 * low), (step.evaluations as f64, 100.0 * high)]);
        }
    }
    field.line("mean", &at(|step| step.mean, steps));
    field.line("best", &at(|step| step.best, steps));
    for step in steps {
        let Some(best) = step.best else { continue };
        field.dot("dot", (step.evaluations as f64, 100.0 * best), 3.0, &said(step));
    }
    let best = if summary.estimated {
        "best of a generation, estimated"
    } else {
        "best of a generation, with its 95% interval"
    };
    let legend = legend(&[
        ("<line class='best' x1='0' x2='22' y1='8' y2='8'/>", best),
        ("<line class='mean' x1='0' x2='22' y1='8' y2='8'/>", "mean"),
        ("<rect class='band' width='22' height='14'/>", "from the worst to the best that was ranked"),
        ("<line class='random' x1='0' x2='22' y1='8' y2='8'/>", "best of random search"),
    ]);
    let says = format!(
        "Fitness over {} and {}",
        counted(steps.len(), "generation"),
        counted(last.evaluations, "item evaluation")
    );
    let mut drawn = legend + &field.svg(&says);
    drawn += if summary.estimated {
        "<p class='hint'>All candidates are scored on the same few items, and what they would score on the many that these stand \
         for is estimated: it grows too good as the search fits these items. Random search meets fresh items.</p>\n"
    } else {
        "<p class='hint'>Each generation is scored on fresh items: what goes up and down by less than the intervals is chance. \
         The intervals are those of right and wrong answers, the widest there can be.</p>\n"
    };
    let sigma: Vec<(f64, f64)> =
        steps.iter().filter_map(|step| Some((step.evaluations as f64, step.sigma?.log10()))).collect();
    if sigma.len() > 1 {
        let power = |x: f64| format!("{:.2}", 10f64.powf(x));
        let x = PlotAxis::over(sigma.iter().map(|point| point.0), "item evaluations", &count);
        let y = PlotAxis::over(sigma.iter().map(|point| point.1), "step size", &power);
        let mut field = Field::new(x, y, 170.0);
        field.line("mean", &sigma);
        drawn += &field.svg("The step size of the search");
    }
    Some(drawn)
}

fn said(step: &CurvePoint) -> String {
    let mut text = format!("generation {}, {} item evaluations", step.generation, grouped(step.evaluations as u64));
    for (name, value) in [("best", step.best), ("mean", step.mean), ("worst", step.least)] {
        if let Some(value) = value {
            write!(text, ", {name} {:.1}", 100.0 * value).expect(STRING);
        }
    }
    text
}

/// Marks with what they stand for.
fn legend(marks: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (mark, says) in marks {
        let svg = format!(
            "<svg class='inline' style='margin-right:4px' width='22' height='14' viewBox='0 0 22 14' aria-hidden='true'>{mark}</svg>"
        );
        writeln!(body, "<span style='margin-right:18px;white-space:nowrap'>{svg} {says}</span>").expect(STRING);
    }
    format!("<p class='hint' style='max-width:none'>\n{body}</p>\n")
}

/// What each candidate scored and cost, and how the front's volume grew; nothing of a single objective.
pub(crate) fn front(summary: &Summary) -> Option<String> {
    let objectives = &summary.objectives;
    if objectives.len() < 2 || summary.candidates.iter().all(|one| one.values.is_none()) {
        return None;
    }
    let mut drawn = legend(&[
        ("<circle class='faint' cx='11' cy='7' r='3'/>", "a candidate, on search items"),
        ("<circle class='dot' cx='11' cy='7' r='5'/>", "a finalist that none beats in everything, on select items"),
        ("<circle class='win' cx='11' cy='7' r='6'/>", "the answer"),
    ]);
    // The first objective against each of the others.
    for other in 1..objectives.len() {
        drawn += &scatter(summary, other);
    }
    if let Some(growth) = &summary.hypervolume {
        let points: Vec<(f64, f64)> = summary
            .convergence
            .iter()
            .zip(&growth.share)
            .map(|(step, share)| (step.evaluations as f64, *share))
            .collect();
        let (count, share) = (|x: f64| grouped(x.max(0.0) as u64), |x: f64| format!("{x:.2}"));
        let x = PlotAxis::over(points.iter().map(|point| point.0), "item evaluations", &count);
        let mut field = Field::new(x, PlotAxis::over(points.iter().map(|point| point.1), "hypervolume", &share), 200.0);
        field.line("best", &points);
        for ((x, y), step) in points.iter().zip(&summary.convergence) {
            field.dot("dot", (*x, *y), 2.5, &format!("generation {}: {y:.4}", step.generation));
        }
        let corner = |values: &[f64]| {
            let all = objectives.iter().zip(values).map(|(one, value)| format!("{} {}", one.name, one.show(*value)));
            escaped(&all.collect::<Vec<_>>().join(", "))
        };
        drawn += "<h3>Hypervolume</h3>\n";
        drawn += &field.svg("The hypervolume of the front over the search");
        writeln!(
            drawn,
            "<p class='hint'>The share of the box between the worst seen ({}) and the best seen ({}) that candidates so far beat.</p>",
            corner(&growth.worst),
            corner(&growth.best)
        )
        .expect(STRING);
    }
    Some(drawn)
}

fn scatter(summary: &Summary, other: usize) -> String {
    let (first, second) = (&summary.objectives[0], &summary.objectives[other]);
    let pair = |values: &[Option<f64>]| values[0].zip(values[other]);
    let candidates: Vec<(f64, f64, String)> = summary
        .candidates
        .iter()
        .filter(|one| one.phase == "evolution")
        .filter_map(|one| {
            let values = one.values.as_ref()?;
            let says = format!("generation {}, candidate {}", one.generation, one.number);
            Some((values[0], values[other], says))
        })
        .collect();
    let finalists = || summary.finalists.iter().filter_map(|one| Some((one, pair(&one.values)?)));
    let (show_x, show_y) = (|x: f64| second.show(x), |y: f64| first.show(y));
    let xs = candidates.iter().map(|point| point.1).chain(finalists().map(|(_, point)| point.1));
    let ys = candidates.iter().map(|point| point.0).chain(finalists().map(|(_, point)| point.0));
    let mut field =
        Field::new(PlotAxis::over(xs, &second.name, &show_x), PlotAxis::over(ys, &first.name, &show_y), 340.0);
    let told = |y: f64, x: f64| format!("{} {}, {} {}", first.name, first.show(y), second.name, second.show(x));
    for (y, x, says) in &candidates {
        field.dot("faint", (*x, *y), 3.0, &format!("{says}: {}", told(*y, *x)));
    }
    let mut edge: Vec<(f64, f64)> = finalists().filter(|(one, _)| one.on_front).map(|(_, (y, x))| (x, y)).collect();
    edge.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    if summary.objectives.len() == 2 {
        field.line("random", &edge);
    }
    // The answer, which is the first, over the others.
    let mut shown: Vec<_> = finalists().enumerate().filter(|(place, (one, _))| one.on_front || *place == 0).collect();
    shown.reverse();
    for (place, (one, (y, x))) in shown {
        let says = format!("{}: {}", one.name, told(y, x));
        let (class, radius) = if place == 0 { ("win", 6.5) } else { ("dot", 5.0) };
        field.dot(class, (x, y), radius, &says);
    }
    field.svg(&format!("{} against {}", first.name, second.name))
}
