//! Measures of classification over all items at once, as scikit-learn defines them.

/// Number of items of each class that were given each answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    /// Counts by (gold, answer), row by row.
    counts: Vec<usize>,
}

impl Confusion {
    /// Counts the classes of golds and answers, item by item; classes are small numbers.
    ///
    /// # Panics
    /// If golds and answers differ in number.
    pub fn of(golds: &[usize], answers: &[usize]) -> Self {
        assert_eq!(golds.len(), answers.len(), "every item has an answer");
        let n_classes = golds.iter().chain(answers).max().map_or(0, |largest| largest + 1);
        let mut confusion = Self { n_classes, counts: vec![0; n_classes * n_classes] };
        for (gold, answer) in golds.iter().zip(answers) {
            let cell = confusion.cell(*gold, *answer);
            confusion.counts[cell] += 1;
        }
        confusion
    }

    /// The mean share of right items, over the classes that have items.
    pub fn balanced_accuracy(&self) -> f64 {
        let shares = (0..self.n_classes).filter_map(|class| {
            let items = self.golds(class);
            (items > 0).then(|| self.right(class) as f64 / items as f64)
        });
        mean(shares)
    }

    /// The F1 of a class; `None` if it has neither items nor answers.
    pub fn f1(&self, class: usize) -> Option<f64> {
        if class >= self.n_classes {
            return None;
        }
        let both = self.golds(class) + self.answers(class);
        (both > 0).then(|| 2.0 * self.right(class) as f64 / both as f64)
    }

    /// The mean F1, over the classes that have items or answers.
    pub fn macro_f1(&self) -> f64 {
        mean((0..self.n_classes).filter_map(|class| self.f1(class)))
    }

    /// Matthews' correlation of golds and answers, for any number of classes (J. Gorodkin, 2004); 0 if either is constant.
    pub fn mcc(&self) -> f64 {
        let classes = || 0..self.n_classes;
        let total: f64 = self.counts.iter().sum::<usize>() as f64;
        let right: f64 = classes().map(|class| self.right(class)).sum::<usize>() as f64;
        let products =
            |of: &dyn Fn(usize) -> (usize, usize)| -> f64 { classes().map(of).map(|(a, b)| a as f64 * b as f64).sum() };
        let both = products(&|class| (self.golds(class), self.answers(class)));
        let golds = total * total - products(&|class| (self.golds(class), self.golds(class)));
        let answers = total * total - products(&|class| (self.answers(class), self.answers(class)));
        if golds * answers > 0.0 { (right * total - both) / (golds * answers).sqrt() } else { 0.0 }
    }

    pub(super) fn cell(&self, gold: usize, answer: usize) -> usize {
        gold * self.n_classes + answer
    }

    pub(super) fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The same classes with other counts.
    pub(super) fn with_counts(&self, counts: Vec<usize>) -> Self {
        Self { n_classes: self.n_classes, counts }
    }

    fn right(&self, class: usize) -> usize {
        self.counts[self.cell(class, class)]
    }

    fn golds(&self, class: usize) -> usize {
        (0..self.n_classes).map(|answer| self.counts[self.cell(class, answer)]).sum()
    }

    fn answers(&self, class: usize) -> usize {
        (0..self.n_classes).map(|gold| self.counts[self.cell(gold, class)]).sum()
    }
}

/// The mean; 0 if there are no values.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    if n > 0 { sum / n as f64 } else { 0.0 }
}
