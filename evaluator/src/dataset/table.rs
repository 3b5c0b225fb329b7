//! The data sets by name: their splits and sizes.

use super::{
    manifest::{FILES, File},
    read::Read,
    sources::{DataSource, SOURCES},
};
use merge_core::error::Result;

/// A data set: some files of a source.
#[derive(Debug)]
pub struct Dataset {
    /// Name on the command line and in task files (`dataset_path: evomerge/NAME`).
    pub name: &'static str,
    /// Folder of its source.
    pub(super) folder: &'static str,
    /// Short description; for data that the user brings, with the files that are looked for.
    pub about: &'static str,
    /// Splits; none if it is not a benchmark.
    pub splits: &'static [DataSplit],
    /// Files that belong to no split.
    pub(super) others: &'static [&'static str],
}

/// A split of a data set.
#[derive(Debug)]
pub struct DataSplit {
    /// `train`, `validation`, `test`, …
    pub name: &'static str,
    /// Number of documents; 0 if it is not known.
    pub rows: usize,
    /// Paths of its files; a path that ends in `/` means all files below it.
    pub(super) paths: &'static [&'static str],
    /// Form of its files.
    pub(super) read: Read,
}

impl Dataset {
    /// The source of the data set.
    ///
    /// # Panics
    /// If the tables do not fit together; a test checks that they do.
    pub fn source(&self) -> &'static DataSource {
        SOURCES.iter().find(|source| source.folder == self.folder).expect("a test looks every source up")
    }

    /// All files of the data set, each once.
    pub fn files(&self) -> Vec<File> {
        let mut files: Vec<File> = Vec::new();
        for path in self.splits.iter().flat_map(|split| split.paths).chain(self.others) {
            for file in at(path) {
                if files.iter().all(|known| known.path != file.path) {
                    files.push(file);
                }
            }
        }
        files
    }

    /// Fails if these bytes cannot be this file of the data set: by its hash, or by reading it if no hash is known.
    pub fn check(&self, file: &File, bytes: &[u8]) -> Result<()> {
        if !file.known.is_empty() {
            return file.check(bytes);
        }
        let split = self.splits.iter().find(|split| split.paths.contains(&file.path));
        split.map_or(Ok(()), |split| split.read.docs(file, bytes).map(drop))
    }

    /// True if the user has to bring its files, because their authors do not let everyone download them.
    pub fn is_user_supplied(&self) -> bool {
        self.files().iter().all(|file| file.address.is_none())
    }
}

impl DataSplit {
    /// The files of the split, in order.
    pub fn files(&self) -> Vec<File> {
        self.paths.iter().flat_map(|path| at(path)).collect()
    }
}

fn at(path: &'static str) -> Vec<File> {
    let known: Vec<File> = if path.ends_with('/') {
        FILES.iter().filter(|file| file.path.starts_with(path)).cloned().collect()
    } else {
        FILES.iter().filter(|file| file.path == path).cloned().collect()
    };
    // The user brings files that the manifest does not list.
    if known.is_empty() { vec![File { path, known: Vec::new(), address: None }] } else { known }
}

/// All data sets.
pub const DATASETS: &[Dataset] = &[
    Dataset {
        name: "mgsm-ja",
        folder: "mgsm",
        about: "grade school mathematics with reasoning, in Japanese",
        splits: &[
            DataSplit { name: "train", rows: 8, paths: &["mgsm/exemplars.json"], read: Read::Exemplars("ja") },
            DataSplit { name: "test", rows: 250, paths: &["mgsm/mgsm_ja.tsv"], read: Read::Mgsm },
        ],
        others: &[],
    },
    Dataset {
        name: "mgsm-en",
        folder: "mgsm",
        about: "grade school mathematics with reasoning, in English",
        splits: &[
            DataSplit { name: "train", rows: 8, paths: &["mgsm/exemplars.json"], read: Read::Exemplars("en") },
            DataSplit { name: "test", rows: 250, paths: &["mgsm/mgsm_en.tsv"], read: Read::Mgsm },
        ],
        others: &[],
    },
    Dataset {
        name: "gsm8k",
        folder: "gsm8k",
        about: "grade school mathematics with reasoning, in English",
        splits: &[
            DataSplit { name: "train", rows: 7473, paths: &["gsm8k/train.jsonl"], read: Read::Gsm8k },
            DataSplit { name: "test", rows: 1319, paths: &["gsm8k/test.jsonl"], read: Read::Gsm8k },
        ],
        others: &[],
    },
    Dataset {
        name: "jcommonsenseqa",
        folder: "jglue",
        about: "commonsense questions with five choices",
        splits: &[
            DataSplit {
                name: "train",
                rows: 8939,
                paths: &["jglue/datasets/jcommonsenseqa-v1.3/train-v1.3.json"],
                read: Read::Lines,
            },
            DataSplit {
                name: "validation",
                rows: 1119,
                paths: &["jglue/datasets/jcommonsenseqa-v1.3/valid-v1.3.json"],
                read: Read::Lines,
            },
            DataSplit {
                name: "test",
                rows: 1118,
                paths: &["jglue/datasets/jcommonsenseqa-v1.3/test-v1.3.json"],
                read: Read::Lines,
            },
        ],
        others: &[],
    },
    Dataset {
        name: "jnli",
        folder: "jglue",
        about: "does a sentence follow from another?",
        splits: &[
            DataSplit {
                name: "validation",
                rows: 2434,
                paths: &["jglue/datasets/jnli-v1.3/valid-v1.3.json"],
                read: Read::Labelled(NLI),
            },
            DataSplit {
                name: "test",
                rows: 2508,
                paths: &["jglue/datasets/jnli-v1.3/test-v1.3.json"],
                read: Read::Labelled(NLI),
            },
        ],
        others: &[],
    },
    Dataset {
        name: "jsquad",
        folder: "jglue",
        about: "answers to be found in a paragraph of Wikipedia",
        splits: &[
            DataSplit {
                name: "validation",
                rows: 4442,
                paths: &["jglue/datasets/jsquad-v1.3/valid-v1.3.json"],
                read: Read::Squad,
            },
            DataSplit {
                name: "test",
                rows: 4420,
                paths: &["jglue/datasets/jsquad-v1.3/test-v1.3.json"],
                read: Read::Squad,
            },
        ],
        others: &[],
    },
    Dataset {
        name: "xwinograd-ja",
        folder: "xwinograd",
        about: "whom does the pronoun mean?",
        splits: &[DataSplit { name: "test", rows: 959, paths: &["xwinograd/dataset.tsv"], read: Read::Xwinograd }],
        others: &[],
    },
    Dataset {
        name: "jcola",
        folder: "jcola",
        about: "is a sentence acceptable?",
        splits: &[
            DataSplit {
                name: "train",
                rows: 6919,
                paths: &["jcola/data/jcola-v1.0/in_domain_train-v1.0.json"],
                read: Read::Lines,
            },
            DataSplit {
                name: "validation",
                rows: 865,
                paths: &["jcola/data/jcola-v1.0/in_domain_valid-v1.0.json"],
                read: Read::Lines,
            },
            DataSplit {
                name: "validation_out_of_domain",
                rows: 685,
                paths: &["jcola/data/jcola-v1.0/out_of_domain_valid-v1.0.json"],
                read: Read::Lines,
            },
        ],
        others: &[],
    },
    Dataset {
        name: "jmmlu",
        folder: "jmmlu",
        about: "exam questions of 51 subjects with four choices; the first five of a subject are for examples",
        splits: &[
            DataSplit { name: "dev", rows: 255, paths: &["jmmlu/JMMLU/"], read: Read::Jmmlu { dev: true } },
            DataSplit { name: "test", rows: 6542, paths: &["jmmlu/JMMLU/"], read: Read::Jmmlu { dev: false } },
        ],
        others: &[],
    },
    Dataset {
        name: "jemhopqa",
        folder: "jemhopqa",
        about: "questions that take two steps",
        splits: &[
            DataSplit { name: "train", rows: 1059, paths: &["jemhopqa/corpus/train.json"], read: Read::Array },
            DataSplit { name: "validation", rows: 120, paths: &["jemhopqa/corpus/dev.json"], read: Read::Array },
        ],
        others: &[],
    },
    Dataset {
        name: "mawps-ja",
        folder: "cot_ja",
        about: "arithmetic in words",
        splits: &[
            DataSplit {
                name: "train",
                rows: 8,
                paths: &["cot_ja/dataset/mawps/shot_example.json"],
                read: Read::MawpsShots,
            },
            DataSplit { name: "test", rows: 1000, paths: &["cot_ja/dataset/mawps/test.json"], read: Read::Mawps },
        ],
        others: &[],
    },
    Dataset {
        name: "aozora",
        folder: "aozora",
        about: "the first pages of literary texts, for bits per byte",
        splits: &[DataSplit { name: "test", rows: 143, paths: &["aozora/"], read: Read::Aozora }],
        others: &[],
    },
    Dataset {
        name: "jaqket-v2",
        folder: "jaqket_v2",
        about: "quiz questions with retrieved passages (train.jsonl and validation.jsonl: qid, question, answers, ctxs)",
        splits: &[
            DataSplit { name: "train", rows: 0, paths: &["jaqket_v2/train.jsonl"], read: Read::Jaqket },
            DataSplit { name: "validation", rows: 0, paths: &["jaqket_v2/validation.jsonl"], read: Read::Jaqket },
        ],
        others: &[],
    },
    Dataset {
        name: "xlsum-ja",
        folder: "xlsum_ja",
        about: "news to be summed up (train.jsonl, validation.jsonl and test.jsonl: title, text, summary)",
        splits: &[
            DataSplit { name: "train", rows: 0, paths: &["xlsum_ja/train.jsonl"], read: Read::Lines },
            DataSplit { name: "validation", rows: 0, paths: &["xlsum_ja/validation.jsonl"], read: Read::Lines },
            DataSplit { name: "test", rows: 0, paths: &["xlsum_ja/test.jsonl"], read: Read::Lines },
        ],
        others: &[],
    },
    Dataset {
        name: "marc-ja",
        folder: "marc_ja",
        about: "reviews, good or bad (JGLUE's marc_ja-v1.0: train-v1.0.json and valid-v1.0.json)",
        splits: &[
            DataSplit { name: "train", rows: 0, paths: &["marc_ja/train-v1.0.json"], read: Read::Labelled(SENTIMENT) },
            DataSplit {
                name: "validation",
                rows: 0,
                paths: &["marc_ja/valid-v1.0.json"],
                read: Read::Labelled(SENTIMENT),
            },
        ],
        others: &[],
    },
    Dataset {
        name: "lid176",
        folder: "lid176",
        about: "tells languages apart: which answers are Japanese",
        splits: &[],
        others: &["lid176/lid.176.ftz"],
    },
    Dataset {
        name: "unidic-lite",
        folder: "unidic-lite",
        about: "a dictionary for MeCab: the words that F1 and ROUGE count",
        splits: &[],
        others: &["unidic-lite/dicdir/"],
    },
];

/// The order of JNLI's labels.
const NLI: &[&str] = &["entailment", "contradiction", "neutral"];
/// The order of MARC-ja's labels.
const SENTIMENT: &[&str] = &["positive", "negative"];
