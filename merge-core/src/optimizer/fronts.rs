//! Pareto fronts among the points of a generation, and how crowded each point's surroundings are (Deb et al., IEEE
//! Transactions on Evolutionary Computation 6(2), 2002).

/// Whether one is nowhere worse than the other and somewhere better.
pub(super) fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a >= b) && a.iter().zip(b).any(|(a, b)| a > b)
}

/// The positions of the points of each front: of those that nobody dominates, of those that only they dominate, and so on.
pub(super) fn fronts(goals: &[Vec<f64>]) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..goals.len()).collect();
    let mut fronts = Vec::new();
    while !left.is_empty() {
        let (rest, front): (Vec<usize>, Vec<usize>) =
            left.iter().partition(|i| left.iter().any(|j| dominates(&goals[*j], &goals[**i])));
        fronts.push(front);
        left = rest;
    }
    fronts
}

/// The crowding distance of each point of a front: how far apart its neighbours are, summed over the goals, each measured by
/// the front's extent in it. The outermost have the greatest number there is.
pub(super) fn crowding(goals: &[Vec<f64>], front: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0_f64; front.len()];
    let n_goals = front.first().map_or(0, |first| goals[*first].len());
    let all = (0..n_goals).map(|goal| front.iter().map(|at| goals[*at][goal]).collect::<Vec<f64>>());
    for values in all {
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        let (first, last) = (order[0], order[order.len() - 1]);
        let extent = values[last] - values[first];
        distances[first] = f64::MAX;
        distances[last] = f64::MAX;
        for around in order.windows(3).filter(|_| extent > 0.0 && extent.is_finite()) {
            let gap = (values[around[2]] - values[around[0]]) / extent;
            distances[around[1]] = (distances[around[1]] + gap).min(f64::MAX);
        }
    }
    distances
}
