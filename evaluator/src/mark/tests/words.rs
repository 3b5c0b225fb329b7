//! Texts in, MeCab's words out; invalid dictionaries are refused.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::texts::{check_marks, golden, tokens};
use crate::{
    mark::squad::normalize_answer,
    text::mecab::{Mecab, installed},
};

#[track_caller]
fn check(mecab: &Mecab, text: &str, expected: &[String]) {
    assert_eq!(mecab.words(text), expected, "of {text:?}");
}

/// Opens unidic-lite, which is too large for the repository, at the path in `EVOMERGE_UNIDIC`.
fn unidic() -> Mecab {
    Mecab::open(&PathBuf::from(env::var_os("EVOMERGE_UNIDIC").expect("EVOMERGE_UNIDIC names unidic-lite"))).unwrap()
}

/// Writes a dictionary of eleven words, compiled by MeCab's `mecab-dict-index`. Its table of
/// characters is large but simple, so it is made here.
fn tiny(dir: &Path) {
    for (name, bytes) in [
        ("sys.dic", include_bytes!("mecab/sys.dic").as_slice()),
        ("unk.dic", include_bytes!("mecab/unk.dic")),
        ("matrix.bin", include_bytes!("mecab/matrix.bin")),
    ] {
        fs::write(dir.join(name), bytes).unwrap();
    }
    let names = ["DEFAULT", "SPACE", "KANJI", "NUMERIC", "ALPHA", "HIRAGANA", "KATAKANA"];
    let mut bytes = (names.len() as u32).to_le_bytes().to_vec();
    for name in names {
        let mut field = name.as_bytes().to_vec();
        field.resize(32, 0);
        bytes.extend(field);
    }
    for code in 0u32..0xFFFF {
        // Kinds, category, lengths tried, grouped, always tried.
        let (kinds, category, lengths, grouped, tried) = match code {
            0x20 => (2, 1, 0, 1, 0),
            0x30..=0x39 => (8, 3, 0, 1, 1),
            0x41..=0x5A | 0x61..=0x7A => (16, 4, 0, 1, 1),
            0x3041..=0x309F => (32, 5, 2, 1, 0),
            0x30FC => (64 + 32, 6, 0, 1, 1),
            0x30A1..=0x30FF => (64, 6, 0, 1, 1),
            0x4E00..=0x9FFF => (4, 2, 2, 0, 0),
            _ => (1, 0, 0, 1, 0),
        };
        let bits: u32 = kinds | category << 18 | lengths << 26 | grouped << 30 | tried << 31;
        bytes.extend(bits.to_le_bytes());
    }
    assert_eq!(Sha256::digest(&bytes)[..4], [0x5b, 0x77, 0x45, 0x34], "MeCab's own char.bin");
    fs::write(dir.join("char.bin"), bytes).unwrap();
}

#[test]
fn cuts_as_mecab() {
    let dir = tempfile::tempdir().unwrap();
    tiny(dir.path());
    let mecab = Mecab::open(dir.path()).unwrap();
    // Words of fugashi 1.5.2 with the same dictionary.
    let rows: Vec<(String, Vec<String>)> = serde_json::from_str(include_str!("mecab/words.json")).unwrap();
    for (text, words) in rows {
        check(&mecab, &text, &words);
    }
    assert_eq!(installed(&dir.path().join("none")).is_some(), env::var_os("EVOMERGE_UNIDIC").is_some());
}

#[test]
#[cfg_attr(
    not(all(has_shared, has_unidic)),
    ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has, and unidic-lite, where EVOMERGE_UNIDIC says"
)]
fn cuts_and_marks_as_fugashi_with_unidic_lite() {
    let mecab = unidic();
    for row in golden() {
        let words = |key: &str| mecab.words(&normalize_answer(row[key].as_str().unwrap()));
        check(&mecab, row["norm_pred"].as_str().unwrap(), &tokens(&row));
        check_marks(&row, &words("pred"), &words("gold"));
    }
}

#[test]
fn refuses_a_damaged_dictionary() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Mecab::open(dir.path()).unwrap_err().to_string();
    assert!(open().starts_with("cannot open "), "{}", open());
    for name in ["sys.dic", "unk.dic", "matrix.bin", "char.bin"] {
        tiny(dir.path());
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        for length in [0, 3, 40, whole.len() - 1] {
            fs::write(&path, &whole[..length.min(whole.len() - 1)]).unwrap();
            assert!(open().contains(&format!("{name}: it ")), "{}", open());
        }
    }
    // Ids that the matrix does not have.
    tiny(dir.path());
    fs::write(dir.path().join("matrix.bin"), [1, 0, 1, 0, 0, 0]).unwrap();
    assert!(open().contains("sys.dic: its words have ids that matrix.bin does not have"), "{}", open());
    // No other damage may end the program.
    tiny(dir.path());
    let path = dir.path().join("sys.dic");
    let whole = fs::read(&path).unwrap();
    for at in (72..whole.len()).step_by(61) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        if let Ok(mecab) = Mecab::open(dir.path()) {
            mecab.words("すもももももももものうち東京都に");
        }
    }
}
