//! Tests with cards and licences as they are found on the hub.

use super::*;
use tempfile::TempDir;

const APACHE: &str =
    "\n                                 Apache License\n                           Version 2.0, January 2004\n";
const LLAMA_3_1: &str = "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nLlama 3.1 Version Release Date: July 23, 2024\n";

/// Checks the licence of a directory with these files.
fn check(files: &[(&str, &str)], label: &str, class: Class) {
    let licence = read_from(files);
    assert_eq!((licence.label(), licence.class), (label, class), "{files:?}");
}

fn read_from(files: &[(&str, &str)]) -> Licence {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    Licence::of(dir.path()).unwrap()
}

fn card(front: &str) -> String {
    format!("---\n{front}\n---\n# A model\n\nlicense: none of this is read\n")
}

#[test]
fn reads_cards() {
    let cases = [
        ("license: apache-2.0", "apache-2.0", Class::Permissive),
        ("language:\n- ja\n- en\nlicense: mit\ntags: [merge]", "mit", Class::Permissive),
        ("license: \"Apache-2.0\"", "apache-2.0", Class::Permissive),
        ("license:\n- apache-2.0", "apache-2.0", Class::Permissive),
        ("license:\n- mit\n- cc-by-nc-4.0", "cc-by-nc-4.0-and-mit", Class::NonCommercial),
        ("license: cc-by-sa-4.0", "cc-by-sa-4.0", Class::ShareAlike),
        ("license: cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", Class::NonCommercial),
        ("license: cc-by-nc-nd-4.0", "cc-by-nc-nd-4.0", Class::NoDerivatives),
        ("license: cc-by-nc-sa-2.5", "cc-by-nc-sa-2.5", Class::NonCommercial),
        ("license: llama2", "llama2", Class::Custom),
        ("license: llama3.1\nextra_gated_prompt: >-\n  ### LLAMA 3.1\n  More.", "llama3.1", Class::Custom),
        ("license: gemma\nlicense_link: https://ai.google.dev/gemma/terms", "gemma", Class::Custom),
        ("license: other\nlicense_name: llama3\nlicense_link: LICENSE", "llama3", Class::Custom),
        ("license: other\nlicense_name: qwen-research", "qwen-research", Class::ResearchOnly),
        ("license: other\nlicense_name: tongyi-qianwen", "tongyi-qianwen", Class::Custom),
        ("license: other\nlicense_name: mnpl-0.1", "mnpl-0.1", Class::ResearchOnly),
        ("license: other\nlicense_name: apache-2.0", "apache-2.0", Class::Custom),
        ("license: other", "other", Class::Custom),
        ("license: unknown", "unknown", Class::Unknown),
        ("license: my own terms", "my own terms", Class::Custom),
        ("language: ja", "unknown", Class::Unknown),
        // Invalid YAML, and YAML whose value is not text.
        ("license: [mit", "unknown", Class::Unknown),
        ("license: mit\n\tx: - {", "unknown", Class::Unknown),
        ("license:", "unknown", Class::Unknown),
        ("license: {a: b}", "unknown", Class::Unknown),
    ];
    for (front, label, class) in cases {
        check(&[("README.md", &card(front))], label, class);
        check(&[("README.md", &format!("\u{feff}{}", card(front).replace('\n', "\r\n")))], label, class);
    }
    check(&[("README.md", "license: mit\n")], "unknown", Class::Unknown);
    check(&[("README.md", "---\nlicense: mit\n")], "unknown", Class::Unknown);
    check(&[], "unknown", Class::Unknown);
}

#[test]
fn reads_licences_where_cards_say_nothing() {
    check(&[("LICENSE", APACHE)], "apache-2.0", Class::Permissive);
    check(&[("README.md", "# A model"), ("LICENSE.txt", LLAMA_3_1)], "llama3.1", Class::Custom);
    check(&[("README.md", &card("license: other")), ("LICENSE", LLAMA_3_1)], "llama3.1", Class::Custom);
    check(&[("README.md", &card("license: other")), ("LICENSE", APACHE)], "other", Class::Custom);
    check(&[("README.md", &card("license: cc-by-nc-4.0")), ("LICENSE", APACHE)], "cc-by-nc-4.0", Class::NonCommercial);
    check(&[("LICENSE", APACHE), ("LICENSE-MODEL", "Our terms.")], "other", Class::Custom);
    check(&[("LICENSE", &format!("{APACHE}Section 10: non-commercial use only."))], "other", Class::NonCommercial);
    check(&[("LICENSE", "Qwen RESEARCH LICENSE AGREEMENT")], "other", Class::ResearchOnly);
    check(&[("LICENSE.md", "Gemma Terms of Use\nLast modified: April 1, 2024")], "gemma", Class::Custom);
    let mit =
        "MIT License\n\nCopyright (c) 2023 Somebody\n\nPermission is hereby granted, free of charge, to any person";
    check(&[("LICENSE", mit)], "mit", Class::Permissive);
}

/// Licences of models a, b, c …, from their cards.
fn of(fronts: &[&str]) -> Licences {
    let letters = ('a'..).map(String::from);
    Licences(letters.zip(fronts).map(|(model, front)| (model, read_from(&[("README.md", &card(front))]))).collect())
}

#[test]
fn says_all_in_one_line() {
    let cases: [(&[&str], &str); 4] = [
        (&["license: apache-2.0"; 2], "licence: apache-2.0 (a, b)"),
        (
            &["license: apache-2.0", "license: apache-2.0", "license: cc-by-nc-4.0"],
            "licences: apache-2.0 (a, b); cc-by-nc-4.0 (c): non-commercial use only",
        ),
        (&["x: y"], "licence: unknown (a): no licence is stated, so ask the owner before use"),
        (
            &["license: other\nlicense_name: \"two\\nlines \\u001b[31m\""],
            "licence: two lines [31m (a): custom terms, to be read before use",
        ),
    ];
    for (fronts, line) in cases {
        assert_eq!(of(fronts).line(), line);
    }
    assert!(of(&["license: llama3.2"]).line().contains("`Built with Llama`"));
    assert!(of(&["license: llama3"]).line().contains("`Built with Meta Llama 3`"));
}

#[test]
fn declares_nothing_more_permissive_than_what_went_in() {
    let cases: [(&[&str], &[&str]); 9] = [
        (&["license: mit", "license: mit"], &["license: mit"]),
        (&["license: llama3.1", "license: llama3.1"], &["license: llama3.1"]),
        (&["license: mit", "license: apache-2.0"], &["license: other", "license_name: \"mit-and-apache-2.0\""]),
        (&["license: mit", "license: cc-by-nc-4.0"], &["license: other", "license_name: \"cc-by-nc-4.0-and-mit\""]),
        (&["license: mit", "x: y"], &["license: other", "license_name: \"unknown-and-mit\""]),
        (&["x: y", "x: y"], &["license: unknown"]),
        (
            &["license: other\nlicense_name: My Licence\nlicense_link: https://x.y/z"; 2],
            &["license: other", "license_name: \"my-licence\"", "license_link: \"https://x.y/z\""],
        ),
        (&["license: other\nlicense_name: t\nlicense_link: LICENSE"], &["license: other", "license_name: \"t\""]),
        (&[], &["license: unknown"]),
    ];
    for (fronts, lines) in cases {
        let said = of(fronts).front_matter();
        assert_eq!(said, lines);
        let read = Licence::of_card(&card(&said.join("\n")));
        let strictest = of(fronts).0.iter().map(|(_, licence)| licence.class).max().unwrap_or(Class::Unknown);
        // Read again, it is as strict as the strictest one, or at least `Custom`.
        assert!(read.is_none_or(|read| read.class >= strictest.min(Class::Custom)), "{said:?}");
    }
}

#[test]
fn shows_what_is_restricted_the_strictest_first() {
    assert_eq!(of(&["license: mit", "license: apache-2.0"]).restriction(), None);
    let fronts = ["license: cc-by-sa-4.0", "license: cc-by-nc-4.0", "license: mit", "license: cc-by-nc-4.0"];
    assert_eq!(
        of(&fronts).restriction().unwrap(),
        "Restricted: non-commercial use only (cc-by-nc-4.0, of b, d); derived models must have the same licence \
         (cc-by-sa-4.0, of a)."
    );
}

#[test]
fn reads_the_licence_beside_a_file() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("README.md"), card("license: mit")).unwrap();
    let file = dir.path().join("unet.safetensors");
    fs::write(&file, "x").unwrap();
    let licences = Licences::of([("unet".to_owned(), file)].into_iter()).unwrap();
    assert_eq!(licences.line(), "licence: mit (unet)");
}

#[test]
fn knows_each_identifier_once_and_as_strict_as_its_name() {
    for (id, class) in known::KNOWN {
        assert_eq!(known::KNOWN.iter().filter(|(other, _)| other == id).count(), 1, "{id}");
        if !["other", "unknown"].contains(id) && *class < Class::ResearchOnly {
            assert!(known::class_of_name(id) == Class::Custom, "{id}");
        }
    }
}
