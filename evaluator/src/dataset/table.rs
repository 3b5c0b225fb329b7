//! The data sets by name: their sources, licences, splits and sizes.

use super::{
    manifest::{FILES, File},
    read::Read,
};
use merge_core::error::Result;

/// Whose data it is, and under which terms.
#[derive(Debug)]
pub struct Source {
    /// Its folder on the shelf.
    pub folder: &'static str,
    /// What its authors call it.
    pub title: &'static str,
    /// Where it is published.
    pub url: &'static str,
    /// The commit or release.
    pub version: &'static str,
    /// The licence's SPDX identifier.
    pub licence: &'static str,
    /// Where the licence can be read.
    pub licence_url: &'static str,
    /// Who has to be named.
    pub attribution: &'static str,
    /// What else a user should know before using it.
    pub note: &'static str,
}

/// A data set: some files of a source.
#[derive(Debug)]
pub struct Dataset {
    /// What it is called on the command line and in task files (`dataset_path: evomerge/NAME`).
    pub name: &'static str,
    /// Its source's folder.
    pub(super) folder: &'static str,
    /// What it is, in a few words; for data that the user brings, which files are looked for.
    pub about: &'static str,
    /// Its splits; none for what is no benchmark.
    pub splits: &'static [Split],
    /// Files that belong to no split.
    pub(super) others: &'static [&'static str],
}

/// A split of a data set.
#[derive(Debug)]
pub struct Split {
    /// `train`, `validation`, `test`, …
    pub name: &'static str,
    /// How many documents it has; 0 if that is not known.
    pub rows: usize,
    /// The files; a path that ends in `/` means all below it.
    pub(super) paths: &'static [&'static str],
    /// How they are read.
    pub(super) read: Read,
}

impl Dataset {
    /// Whose data it is.
    ///
    /// # Panics
    /// If the tables do not fit together, which a test makes sure of.
    pub fn source(&self) -> &'static Source {
        SOURCES.iter().find(|source| source.folder == self.folder).expect("a test looks every source up")
    }

    /// All its files, each once.
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

    /// Fails if these bytes are not what a file of it should be: by its hash or, where none is known, by reading it.
    pub fn check(&self, file: &File, bytes: &[u8]) -> Result<()> {
        if !file.known.is_empty() {
            return file.check(bytes);
        }
        let split = self.splits.iter().find(|split| split.paths.contains(&file.path));
        split.map_or(Ok(()), |split| split.read.docs(file, bytes).map(drop))
    }

    /// Whether the user has to bring its files, because their authors do not let them be downloaded by anyone.
    pub fn brought(&self) -> bool {
        self.files().iter().all(|file| file.address.is_none())
    }
}

impl Split {
    /// Its files, in order.
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
    // What is not in the manifest, the user brings.
    if known.is_empty() { vec![File { path, known: Vec::new(), address: None }] } else { known }
}

const BY: &str = "https://creativecommons.org/licenses/by/4.0/legalcode";
const BY_SA: &str = "https://creativecommons.org/licenses/by-sa/4.0/legalcode";
const APACHE: &str = "https://www.apache.org/licenses/LICENSE-2.0";

/// Whose data it is.
pub const SOURCES: &[Source] = &[
    Source {
        folder: "mgsm",
        title: "MGSM: Multilingual Grade School Math",
        url: "https://github.com/google-research/url-nlp",
        version: "452a21ad3dae5668c06ceeac21ff073e1e40f9be",
        licence: "CC-BY-4.0",
        licence_url: BY,
        attribution: "Google Research (Shi et al. 2022, arXiv:2210.03057); translated from GSM8K (MIT, OpenAI)",
        note: "MGSM-en is the first 250 problems of GSM8K's test split, and MGSM-ja is their translation",
    },
    Source {
        folder: "gsm8k",
        title: "GSM8K: Grade School Math",
        url: "https://github.com/openai/grade-school-math",
        version: "3101c7d5072418e28b9008a6636bde82a006892c",
        licence: "MIT",
        licence_url: "https://github.com/openai/grade-school-math/blob/3101c7d5072418e28b9008a6636bde82a006892c/LICENSE",
        attribution: "OpenAI (Cobbe et al. 2021, arXiv:2110.14168)",
        note: "the first 250 problems of the test split are MGSM's: search on the others",
    },
    Source {
        folder: "jglue",
        title: "JGLUE v1.3",
        url: "https://github.com/yahoojapan/JGLUE",
        version: "6f071c09316baae89c3d083a90985b4b1cb9968c",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "LY Corporation and Kawahara Lab, Waseda University (Kurihara et al. 2022)",
        note: "leaderboards used v1.1; v1.2 corrected labels of JNLI's validation split",
    },
    Source {
        folder: "jmmlu",
        title: "JMMLU",
        url: "https://github.com/nlp-waseda/JMMLU",
        version: "762cbf192c9e4588b574d718f95afd64c96fcbf4",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Kawahara Lab, Waseda University; from MMLU (MIT, Hendrycks et al. 2021)",
        note: "51 of 56 subjects: three are CC BY-NC-ND, Japanese and world history have a non-commercial clause",
    },
    Source {
        folder: "xwinograd",
        title: "XWinograd",
        url: "https://github.com/yandex-research/crosslingual_winograd",
        version: "d2cfbbf7dc8f4ec66381e9651f9f5633c2df848d",
        licence: "Apache-2.0",
        licence_url: APACHE,
        attribution: "Yandex Research (Tikhonov and Ryabinin 2021, arXiv:2106.12066)",
        note: "a mirror's card says CC BY 4.0",
    },
    Source {
        folder: "jcola",
        title: "JCoLA: Japanese Corpus of Linguistic Acceptability",
        url: "https://github.com/osekilab/JCoLA",
        version: "736d9eef3af04bb17e4cf59adf01325973234ff9",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Oseki Lab, The University of Tokyo (Someya et al. 2023, arXiv:2309.12676)",
        note: "its sentences are quoted from the literature of linguistics",
    },
    Source {
        folder: "jemhopqa",
        title: "JEMHopQA: Japanese Explainable Multi-hop QA",
        url: "https://github.com/aiishii/JEMHopQA",
        version: "c7be2b01e525779affcb8cde4c5b68f4bc1f13e0",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Ishii et al. 2023",
        note: "",
    },
    Source {
        folder: "cot_ja",
        title: "Japanese Chain-of-Thought Dataset (MAWPS)",
        url: "https://github.com/nlp-waseda/chain-of-thought-ja-dataset",
        version: "c9d534a1d7521dae1ad67892420fe5ecf489c43e",
        licence: "Apache-2.0",
        licence_url: APACHE,
        attribution: "Kawahara Lab, Waseda University; translated from MAWPS (Koncel-Kedziorski et al. 2016)",
        note: "",
    },
    Source {
        folder: "aozora",
        title: "Aozora Bunko: 22 works of Natsume Sōseki and Akutagawa Ryūnosuke",
        url: "https://github.com/aozorahack/aozorabunko_text",
        version: "0984f7dc18a2270bdfd2ff99bf14fd1b3ebb4f65",
        licence: "LicenseRef-public-domain",
        licence_url: "https://www.aozora.gr.jp/guide/kijyunn.html",
        attribution: "Aozora Bunko and its volunteers; the authors died in 1916 and 1927",
        note: "models have read these texts many times: compare models by them, don't take them for new",
    },
    Source {
        folder: "lid176",
        title: "fastText language identification, compressed (lid.176.ftz)",
        url: "https://fasttext.cc/docs/en/language-identification.html",
        version: "2016",
        licence: "CC-BY-SA-3.0",
        licence_url: "https://creativecommons.org/licenses/by-sa/3.0/legalcode",
        attribution: "Meta AI (Joulin et al. 2016, arXiv:1607.01759 and arXiv:1612.03651)",
        note: "",
    },
    Source {
        folder: "unidic-lite",
        title: "unidic-lite 1.0.8: UniDic 2.1.2 for MeCab",
        url: "https://pypi.org/project/unidic-lite",
        version: "1.0.8",
        licence: "BSD-3-Clause",
        licence_url: "https://clrd.ninjal.ac.jp/unidic/en",
        attribution: "The UniDic Consortium; packaged by Paul O'Leary McCann (MIT)",
        note: "also under GPL-2.0 and LGPL-2.1; 260 MB unpacked",
    },
    Source {
        folder: "jaqket_v2",
        title: "JAQKET v2.0 (AI王) with retrieved passages",
        url: "https://www.nlp.ecei.tohoku.ac.jp/projects/jaqket",
        version: "2.0",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Tohoku NLP Group (Suzuki et al. 2020); passages of Japanese Wikipedia",
        note: "its files are on a storage of its own",
    },
    Source {
        folder: "xlsum_ja",
        title: "XL-Sum, Japanese",
        url: "https://github.com/csebuetnlp/xl-sum",
        version: "2.0",
        licence: "CC-BY-NC-SA-4.0",
        licence_url: "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
        attribution: "Hasan et al. 2021; BBC",
        note: "not for commercial use",
    },
    Source {
        folder: "marc_ja",
        title: "MARC-ja (JGLUE v1.1)",
        url: "https://github.com/yahoojapan/JGLUE",
        version: "1.0",
        licence: "LicenseRef-Amazon-MARC",
        licence_url: "https://registry.opendata.aws/amazon-reviews-ml",
        attribution: "Amazon (Keung et al. 2020); LY Corporation and Waseda University",
        note: "Amazon has withdrawn the data: whoever has it may only use it under the terms it was got by",
    },
];

/// The data sets.
pub const DATASETS: &[Dataset] = &[
    Dataset {
        name: "mgsm-ja",
        folder: "mgsm",
        about: "grade school mathematics with reasoning, in Japanese",
        splits: &[
            Split { name: "train", rows: 8, paths: &["mgsm/exemplars.json"], read: Read::Exemplars("ja") },
            Split { name: "test", rows: 250, paths: &["mgsm/mgsm_ja.tsv"], read: Read::Mgsm },
        ],
        others: &[],
    },
    Dataset {
        name: "mgsm-en",
        folder: "mgsm",
        about: "grade school mathematics with reasoning, in English",
        splits: &[
            Split { name: "train", rows: 8, paths: &["mgsm/exemplars.json"], read: Read::Exemplars("en") },
            Split { name: "test", rows: 250, paths: &["mgsm/mgsm_en.tsv"], read: Read::Mgsm },
        ],
        others: &[],
    },
    Dataset {
        name: "gsm8k",
        folder: "gsm8k",
        about: "grade school mathematics with reasoning, in English",
        splits: &[
            Split { name: "train", rows: 7473, paths: &["gsm8k/train.jsonl"], read: Read::Gsm8k },
            Split { name: "test", rows: 1319, paths: &["gsm8k/test.jsonl"], read: Read::Gsm8k },
        ],
        others: &[],
    },
    Dataset {
        name: "jcommonsenseqa",
        folder: "jglue",
        about: "commonsense questions with five choices",
        splits: &[
            Split {
                name: "train",
                rows: 8939,
                paths: &["jglue/datasets/jcommonsenseqa-v1.3/train-v1.3.json"],
                read: Read::Lines,
            },
            Split {
                name: "validation",
                rows: 1119,
                paths: &["jglue/datasets/jcommonsenseqa-v1.3/valid-v1.3.json"],
                read: Read::Lines,
            },
            Split {
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
            Split {
                name: "validation",
                rows: 2434,
                paths: &["jglue/datasets/jnli-v1.3/valid-v1.3.json"],
                read: Read::Labelled(NLI),
            },
            Split {
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
            Split {
                name: "validation",
                rows: 4442,
                paths: &["jglue/datasets/jsquad-v1.3/valid-v1.3.json"],
                read: Read::Squad,
            },
            Split {
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
        splits: &[Split { name: "test", rows: 959, paths: &["xwinograd/dataset.tsv"], read: Read::Xwinograd }],
        others: &[],
    },
    Dataset {
        name: "jcola",
        folder: "jcola",
        about: "is a sentence acceptable?",
        splits: &[
            Split {
                name: "train",
                rows: 6919,
                paths: &["jcola/data/jcola-v1.0/in_domain_train-v1.0.json"],
                read: Read::Lines,
            },
            Split {
                name: "validation",
                rows: 865,
                paths: &["jcola/data/jcola-v1.0/in_domain_valid-v1.0.json"],
                read: Read::Lines,
            },
            Split {
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
            Split { name: "dev", rows: 255, paths: &["jmmlu/JMMLU/"], read: Read::Jmmlu { dev: true } },
            Split { name: "test", rows: 6542, paths: &["jmmlu/JMMLU/"], read: Read::Jmmlu { dev: false } },
        ],
        others: &[],
    },
    Dataset {
        name: "jemhopqa",
        folder: "jemhopqa",
        about: "questions that take two steps",
        splits: &[
            Split { name: "train", rows: 1059, paths: &["jemhopqa/corpus/train.json"], read: Read::Array },
            Split { name: "validation", rows: 120, paths: &["jemhopqa/corpus/dev.json"], read: Read::Array },
        ],
        others: &[],
    },
    Dataset {
        name: "mawps-ja",
        folder: "cot_ja",
        about: "arithmetic in words",
        splits: &[
            Split {
                name: "train",
                rows: 8,
                paths: &["cot_ja/dataset/mawps/shot_example.json"],
                read: Read::MawpsShots,
            },
            Split { name: "test", rows: 1000, paths: &["cot_ja/dataset/mawps/test.json"], read: Read::Mawps },
        ],
        others: &[],
    },
    Dataset {
        name: "aozora",
        folder: "aozora",
        about: "literary texts, for bits per byte",
        splits: &[Split { name: "test", rows: 22, paths: &["aozora/"], read: Read::Aozora }],
        others: &[],
    },
    Dataset {
        name: "jaqket-v2",
        folder: "jaqket_v2",
        about: "quiz questions with retrieved passages (train.jsonl and validation.jsonl: qid, question, answers, ctxs)",
        splits: &[
            Split { name: "train", rows: 0, paths: &["jaqket_v2/train.jsonl"], read: Read::Jaqket },
            Split { name: "validation", rows: 0, paths: &["jaqket_v2/validation.jsonl"], read: Read::Jaqket },
        ],
        others: &[],
    },
    Dataset {
        name: "xlsum-ja",
        folder: "xlsum_ja",
        about: "news to be summed up (train.jsonl, validation.jsonl and test.jsonl: title, text, summary)",
        splits: &[
            Split { name: "train", rows: 0, paths: &["xlsum_ja/train.jsonl"], read: Read::Lines },
            Split { name: "validation", rows: 0, paths: &["xlsum_ja/validation.jsonl"], read: Read::Lines },
            Split { name: "test", rows: 0, paths: &["xlsum_ja/test.jsonl"], read: Read::Lines },
        ],
        others: &[],
    },
    Dataset {
        name: "marc-ja",
        folder: "marc_ja",
        about: "reviews, good or bad (JGLUE's marc_ja-v1.0: train-v1.0.json and valid-v1.0.json)",
        splits: &[
            Split { name: "train", rows: 0, paths: &["marc_ja/train-v1.0.json"], read: Read::Labelled(SENTIMENT) },
            Split { name: "validation", rows: 0, paths: &["marc_ja/valid-v1.0.json"], read: Read::Labelled(SENTIMENT) },
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
