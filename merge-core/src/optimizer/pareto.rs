//! Pareto fronts, the volume that they dominate, and the crowding of their points (Deb et al., IEEE
//! Transactions on Evolutionary Computation 6(2), 2002).

/// True if `a` is at least as good as `b` in every objective, and better in one. Greater is better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a >= b) && a.iter().zip(b).any(|(a, b)| a > b)
}

/// Positions of the points that no other point dominates, in their order; equal points are all kept.
pub fn front<P: AsRef<[f64]>>(points: &[P]) -> Vec<usize> {
    let beaten = |point: &P| points.iter().any(|other| dominates(other.as_ref(), point.as_ref()));
    (0..points.len()).filter(|position| !beaten(&points[*position])).collect()
}

/// The volume of all that is dominated by one of the points and dominates `reference`: exact, by
/// slicing along the last objective, in O(n^(d-1) log n).
pub fn hypervolume<P: AsRef<[f64]>>(points: &[P], reference: &[f64]) -> f64 {
    let above = points.iter().map(|point| point.as_ref().to_vec());
    let mut above: Vec<Vec<f64>> =
        above.filter(|point| point.iter().zip(reference).all(|(x, r)| x > r && x.is_finite())).collect();
    let Some(last) = reference.len().checked_sub(1) else { return 0.0 };
    above.sort_by(|a, b| b[last].total_cmp(&a[last]));
    if last == 0 {
        return above.first().map_or(0.0, |best| best[0] - reference[0]);
    }
    // Slices between neighbours along the last objective; the points that reach a slice count in it.
    let slice = |number: usize| {
        let lower = above.get(number + 1).map_or(reference[last], |next| next[last]);
        let height = above[number][last] - lower;
        let reach: Vec<&[f64]> = above[..=number].iter().map(|point| &point[..last]).collect();
        if height > 0.0 { height * hypervolume(&reach, &reference[..last]) } else { 0.0 }
    };
    (0..above.len()).map(slice).sum()
}

/// Positions of the points of each front: points that none dominates, points that only these dominate, and so on.
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

/// The crowding distance of each point of a front: the distance between its neighbours divided by
/// the front's extent, summed over the goals. The outermost points have `f64::MAX`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_whom_nobody_beats() {
        let points = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.4, 0.5], [0.5, 0.5]];
        assert_eq!(front(&points), [0, 1, 2, 4]);
        assert_eq!(front(&[[f64::NEG_INFINITY, 1.0], [0.0, 1.0]]), [1]);
        assert!(front::<[f64; 2]>(&[]).is_empty());
    }

    /// Compares with a count of the cells of a grid.
    #[test]
    fn measures_the_volume_below_a_front() {
        let points = [[3.0, 1.0, 2.0], [1.0, 3.0, 3.0], [2.0, 2.0, 1.0], [1.0, 1.0, 4.0], [0.0, 9.0, 9.0]];
        let reference = [0.0, 0.0, 0.0];
        let mut cells = 0;
        for cell in 0..1000 {
            let corner = [cell / 100, cell / 10 % 10, cell % 10].map(|x| f64::from(x) + 1.0);
            cells += u32::from(points.iter().any(|point| point.iter().zip(&corner).all(|(p, c)| p >= c)));
        }
        // The last point touches the reference and has no volume.
        assert_eq!(hypervolume(&points, &reference).to_bits(), f64::from(cells).to_bits());
        assert_eq!(hypervolume(&[[2.0]], &[0.5]).to_bits(), 1.5f64.to_bits());
    }
}
