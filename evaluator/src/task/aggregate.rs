//! Aggregates the scores of all items, with a standard error, as lm-evaluation-harness does, random draws included.

use super::score::{Aggregation, Measurement};
use crate::{
    python::PythonRandom,
    statistics::{Estimate, labels::Confusion},
};

/// Number of draws from one generator; each further thousand has its own.
const CHUNK: usize = 1000;

impl Aggregation {
    /// Finds an aggregation by the name that task files use.
    pub(super) fn find(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, aggregation)| *aggregation)
    }

    /// All aggregations, with the names that task files use.
    pub(super) const NAMES: &[(&str, Self)] = &[
        ("mean", Self::Mean),
        ("nanmean", Self::NanMean),
        ("median", Self::Median),
        ("perplexity", Self::Perplexity),
        ("weighted_perplexity", Self::WeightedPerplexity),
        ("bits_per_byte", Self::BitsPerByte),
        ("f1", Self::F1),
        ("macro_f1", Self::MacroF1),
        ("balanced_acc", Self::BalancedAccuracy),
        ("matthews_corrcoef", Self::Matthews),
        ("brier_score", Self::Brier),
    ];

    /// True if the aggregation takes one number per item.
    pub(super) fn takes_numbers(self) -> bool {
        matches!(self, Self::Mean | Self::NanMean | Self::Median | Self::Perplexity)
    }

    /// The aggregate of all scores; without scores NaN, or 0 for measures of classes.
    pub(super) fn of(self, scores: &[&Measurement]) -> f64 {
        let numbers = || scores.iter().filter_map(|score| score.value()).collect::<Vec<f64>>();
        match self {
            Self::Mean => mean(&numbers()),
            Self::NanMean => mean(&numbers().into_iter().filter(|x| !x.is_nan()).collect::<Vec<_>>()),
            Self::Median => {
                let mut numbers = numbers();
                numbers.sort_by(f64::total_cmp);
                numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
            }
            Self::Perplexity => (-mean(&numbers())).exp(),
            Self::WeightedPerplexity => (-per_weight(scores)).exp(),
            Self::BitsPerByte => -per_weight(scores) / std::f64::consts::LN_2,
            Self::F1 | Self::MacroF1 | Self::BalancedAccuracy | Self::Matthews => {
                let (golds, said) = classes(scores);
                self.of_classes(&Confusion::of(&golds, &said))
            }
            Self::Brier => brier(scores),
        }
    }

    /// A statistic of the right and the chosen classes; `F1` is of class 1.
    fn of_classes(self, confusion: &Confusion) -> f64 {
        match self {
            Self::F1 => confusion.f1(1).unwrap_or(0.0),
            Self::MacroF1 => confusion.macro_f1(),
            // Stability's harness calls it `balanced_mean`.
            Self::BalancedAccuracy => confusion.balanced_accuracy(),
            Self::Matthews => confusion.mcc(),
            _ => f64::NAN,
        }
    }

    /// The 95% confidence interval; `None` where nothing is known of the spread.
    pub(super) fn ci95(self, scores: &[&Measurement]) -> Option<[f64; 2]> {
        let estimate = match self {
            Self::Mean => Estimate::of(&scores.iter().filter_map(|score| score.value()).collect::<Vec<f64>>()),
            Self::F1 | Self::MacroF1 | Self::BalancedAccuracy | Self::Matthews => {
                let (golds, said) = classes(scores);
                Estimate::of_labels(&golds, &said, |confusion| self.of_classes(confusion))
            }
            _ => Estimate::of_statistic(scores, |scores| self.of(scores)),
        };
        estimate?.ci95
    }

    /// The standard error. A mean's is computed from the sample deviation; others' from `draws` resamples, in
    /// thousands. `None` where lm-evaluation-harness gives none, or for fewer than two items.
    pub(super) fn stderr(self, scores: &[&Measurement], draws: usize) -> Option<f64> {
        if scores.len() < 2 || draws == 0 {
            return None;
        }
        match self {
            Self::Mean => {
                let numbers: Vec<f64> = scores.iter().filter_map(|score| score.value()).collect();
                Some(deviation(&numbers) / (numbers.len() as f64).sqrt())
            }
            Self::Median
            | Self::Matthews
            | Self::F1
            | Self::MacroF1
            | Self::BalancedAccuracy
            | Self::Perplexity
            | Self::NanMean => {
                let chunk = CHUNK.min(draws);
                let mut values = Vec::with_capacity(draws);
                for i in 0..draws / chunk {
                    let mut random = PythonRandom::new(i as u64);
                    for _ in 0..chunk {
                        let drawn = random.choices(scores.len(), scores.len());
                        values.push(self.of(&drawn.into_iter().map(|i| scores[i]).collect::<Vec<_>>()));
                    }
                }
                Some(deviation(&values))
            }
            Self::WeightedPerplexity | Self::BitsPerByte | Self::Brier => None,
        }
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// The sample standard deviation: `sqrt(Σ(x − mean)² / (n − 1))`.
fn deviation(numbers: &[f64]) -> f64 {
    let mean = mean(numbers);
    (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (numbers.len() as f64 - 1.0)).sqrt()
}

fn per_weight(scores: &[&Measurement]) -> f64 {
    let (log, weight) = scores.iter().fold((0.0, 0.0), |(logs, weights), score| match score {
        Measurement::Sum { log, weight } => (logs + log, weights + weight),
        _ => (logs, weights),
    });
    log / weight
}

/// The right class of each item, and the chosen one.
fn classes(scores: &[&Measurement]) -> (Vec<usize>, Vec<usize>) {
    let pair = |score: &&Measurement| match score {
        Measurement::Classes { gold, said } => Some((*gold, *said)),
        _ => None,
    };
    scores.iter().filter_map(pair).unzip()
}

fn brier(scores: &[&Measurement]) -> f64 {
    let squares = scores.iter().filter_map(|score| match score {
        Measurement::Odds { gold, probabilities } => {
            let away = |(i, p): (usize, &f64)| (p - f64::from(u8::from(i == *gold))).powi(2);
            Some(probabilities.iter().enumerate().map(away).sum::<f64>())
        }
        _ => None,
    });
    mean(&squares.collect::<Vec<_>>())
}
