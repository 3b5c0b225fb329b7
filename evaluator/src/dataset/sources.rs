//! The sources of the data, with their authors and licences.

/// A source of data, with its authors and terms.
#[derive(Debug)]
pub struct DataSource {
    /// Folder on the shelf.
    pub folder: &'static str,
    /// Title given by its authors.
    pub title: &'static str,
    /// Address where it is published.
    pub url: &'static str,
    /// Commit or release.
    pub version: &'static str,
    /// SPDX identifier of the licence.
    pub licence: &'static str,
    /// Address of the licence's text.
    pub licence_url: &'static str,
    /// Names to be credited.
    pub attribution: &'static str,
    /// Other facts that a user should know.
    pub note: &'static str,
}

const BY: &str = "https://creativecommons.org/licenses/by/4.0/legalcode";
const BY_SA: &str = "https://creativecommons.org/licenses/by-sa/4.0/legalcode";
const APACHE: &str = "https://www.apache.org/licenses/LICENSE-2.0";

/// All sources of data.
pub const SOURCES: &[DataSource] = &[
    DataSource {
        folder: "mgsm",
        title: "MGSM: Multilingual Grade School Math",
        url: "https://github.com/google-research/url-nlp",
        version: "452a21ad3dae5668c06ceeac21ff073e1e40f9be",
        licence: "CC-BY-4.0",
        licence_url: BY,
        attribution: "Google Research (Shi et al. 2022, arXiv:2210.03057); translated from GSM8K (MIT, OpenAI)",
        note: "MGSM-en is the first 250 problems of GSM8K's test split, and MGSM-ja is their translation",
    },
    DataSource {
        folder: "gsm8k",
        title: "GSM8K: Grade School Math",
        url: "https://github.com/openai/grade-school-math",
        version: "3101c7d5072418e28b9008a6636bde82a006892c",
        licence: "MIT",
        licence_url: "https://github.com/openai/grade-school-math/blob/3101c7d5072418e28b9008a6636bde82a006892c/LICENSE",
        attribution: "OpenAI (Cobbe et al. 2021, arXiv:2110.14168)",
        note: "the first 250 problems of the test split are MGSM's: search on the others",
    },
    DataSource {
        folder: "jglue",
        title: "JGLUE v1.3",
        url: "https://github.com/yahoojapan/JGLUE",
        version: "6f071c09316baae89c3d083a90985b4b1cb9968c",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "LY Corporation and Kawahara Lab, Waseda University (Kurihara et al. 2022)",
        note: "leaderboards used v1.1; v1.2 corrected labels of JNLI's validation split",
    },
    DataSource {
        folder: "jmmlu",
        title: "JMMLU",
        url: "https://github.com/nlp-waseda/JMMLU",
        version: "762cbf192c9e4588b574d718f95afd64c96fcbf4",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Kawahara Lab, Waseda University; from MMLU (MIT, Hendrycks et al. 2021)",
        note: "51 of 56 subjects: three are CC BY-NC-ND, Japanese and world history have a non-commercial clause",
    },
    DataSource {
        folder: "xwinograd",
        title: "XWinograd",
        url: "https://github.com/yandex-research/crosslingual_winograd",
        version: "d2cfbbf7dc8f4ec66381e9651f9f5633c2df848d",
        licence: "Apache-2.0",
        licence_url: APACHE,
        attribution: "Yandex Research (Tikhonov and Ryabinin 2021, arXiv:2106.12066)",
        note: "a mirror's card says CC BY 4.0",
    },
    DataSource {
        folder: "jcola",
        title: "JCoLA: Japanese Corpus of Linguistic Acceptability",
        url: "https://github.com/osekilab/JCoLA",
        version: "736d9eef3af04bb17e4cf59adf01325973234ff9",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Oseki Lab, The University of Tokyo (Someya et al. 2023, arXiv:2309.12676)",
        note: "its sentences are quoted from the literature of linguistics",
    },
    DataSource {
        folder: "jemhopqa",
        title: "JEMHopQA: Japanese Explainable Multi-hop QA",
        url: "https://github.com/aiishii/JEMHopQA",
        version: "c7be2b01e525779affcb8cde4c5b68f4bc1f13e0",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Ishii et al. 2023",
        note: "",
    },
    DataSource {
        folder: "cot_ja",
        title: "Japanese Chain-of-Thought Dataset (MAWPS)",
        url: "https://github.com/nlp-waseda/chain-of-thought-ja-dataset",
        version: "c9d534a1d7521dae1ad67892420fe5ecf489c43e",
        licence: "Apache-2.0",
        licence_url: APACHE,
        attribution: "Kawahara Lab, Waseda University; translated from MAWPS (Koncel-Kedziorski et al. 2016)",
        note: "",
    },
    DataSource {
        folder: "aozora",
        title: "Aozora Bunko: 22 works of Natsume Sōseki and Akutagawa Ryūnosuke",
        url: "https://github.com/aozorahack/aozorabunko_text",
        version: "0984f7dc18a2270bdfd2ff99bf14fd1b3ebb4f65",
        licence: "LicenseRef-public-domain",
        licence_url: "https://www.aozora.gr.jp/guide/kijyunn.html",
        attribution: "Aozora Bunko and its volunteers; the authors died in 1916 and 1927",
        note: "models have read these texts many times: compare models by them, don't take them for new",
    },
    DataSource {
        folder: "lid176",
        title: "fastText language identification, compressed (lid.176.ftz)",
        url: "https://fasttext.cc/docs/en/language-identification.html",
        version: "2016",
        licence: "CC-BY-SA-3.0",
        licence_url: "https://creativecommons.org/licenses/by-sa/3.0/legalcode",
        attribution: "Meta AI (Joulin et al. 2016, arXiv:1607.01759 and arXiv:1612.03651)",
        note: "",
    },
    DataSource {
        folder: "unidic-lite",
        title: "unidic-lite 1.0.8: UniDic 2.1.2 for MeCab",
        url: "https://pypi.org/project/unidic-lite",
        version: "1.0.8",
        licence: "BSD-3-Clause",
        licence_url: "https://clrd.ninjal.ac.jp/unidic/en",
        attribution: "The UniDic Consortium; packaged by Paul O'Leary McCann (MIT)",
        note: "also under GPL-2.0 and LGPL-2.1; 260 MB unpacked",
    },
    DataSource {
        folder: "jaqket_v2",
        title: "JAQKET v2.0 (AI王) with retrieved passages",
        url: "https://www.nlp.ecei.tohoku.ac.jp/projects/jaqket",
        version: "2.0",
        licence: "CC-BY-SA-4.0",
        licence_url: BY_SA,
        attribution: "Tohoku NLP Group (Suzuki et al. 2020); passages of Japanese Wikipedia",
        note: "its files are on a storage of its own",
    },
    DataSource {
        folder: "xlsum_ja",
        title: "XL-Sum, Japanese",
        url: "https://github.com/csebuetnlp/xl-sum",
        version: "2.0",
        licence: "CC-BY-NC-SA-4.0",
        licence_url: "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
        attribution: "Hasan et al. 2021; BBC",
        note: "not for commercial use",
    },
    DataSource {
        folder: "marc_ja",
        title: "MARC-ja (JGLUE v1.1)",
        url: "https://github.com/yahoojapan/JGLUE",
        version: "1.0",
        licence: "LicenseRef-Amazon-MARC",
        licence_url: "https://registry.opendata.aws/amazon-reviews-ml",
        attribution: "Amazon (Keung et al. 2020); LY Corporation and Waseda University",
        note: "Amazon has withdrawn the data: use a copy only under the terms on which you got it",
    },
];
