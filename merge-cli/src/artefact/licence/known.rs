//! Licences with an identifier on the hub, and how their texts are recognised.

/// Strictness of a licence; a stricter class is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Permissive,
    /// Derived models must have the same licence.
    ShareAlike,
    /// Own terms, which a person must read.
    Custom,
    /// No licence is stated, so nothing is allowed.
    Unknown,
    ResearchOnly,
    NonCommercial,
    /// Derived models must not be shared.
    NoDerivatives,
}

/// The hub's identifiers of licences, with their classes.
pub(crate) const KNOWN: &[(&str, Class)] = &[
    ("afl-3.0", Class::Permissive),
    ("agpl-3.0", Class::ShareAlike),
    ("apache-2.0", Class::Permissive),
    ("apple-amlr", Class::ResearchOnly),
    ("apple-ascl", Class::Custom),
    ("artistic-2.0", Class::Permissive),
    ("bigcode-openrail-m", Class::Custom),
    ("bigscience-bloom-rail-1.0", Class::Custom),
    ("bigscience-openrail-m", Class::Custom),
    ("bsd", Class::Permissive),
    ("bsd-2-clause", Class::Permissive),
    ("bsd-3-clause", Class::Permissive),
    ("bsd-3-clause-clear", Class::Permissive),
    ("bsl-1.0", Class::Permissive),
    ("c-uda", Class::Custom),
    // Without version and variant, it may be any of them.
    ("cc", Class::Custom),
    ("cc-by-2.0", Class::Permissive),
    ("cc-by-2.5", Class::Permissive),
    ("cc-by-3.0", Class::Permissive),
    ("cc-by-4.0", Class::Permissive),
    ("cc-by-nc-2.0", Class::NonCommercial),
    ("cc-by-nc-3.0", Class::NonCommercial),
    ("cc-by-nc-4.0", Class::NonCommercial),
    ("cc-by-nc-nd-3.0", Class::NoDerivatives),
    ("cc-by-nc-nd-4.0", Class::NoDerivatives),
    ("cc-by-nc-sa-2.0", Class::NonCommercial),
    ("cc-by-nc-sa-3.0", Class::NonCommercial),
    ("cc-by-nc-sa-4.0", Class::NonCommercial),
    ("cc-by-nd-4.0", Class::NoDerivatives),
    ("cc-by-sa-3.0", Class::ShareAlike),
    ("cc-by-sa-4.0", Class::ShareAlike),
    ("cc0-1.0", Class::Permissive),
    ("cdla-permissive-1.0", Class::Permissive),
    ("cdla-permissive-2.0", Class::Permissive),
    ("cdla-sharing-1.0", Class::ShareAlike),
    ("creativeml-openrail-m", Class::Custom),
    ("deepfloyd-if-license", Class::ResearchOnly),
    ("ecl-2.0", Class::Permissive),
    ("epl-1.0", Class::ShareAlike),
    ("epl-2.0", Class::ShareAlike),
    ("etalab-2.0", Class::Permissive),
    ("eupl-1.1", Class::ShareAlike),
    ("eupl-1.2", Class::ShareAlike),
    ("fair-noncommercial-research-license", Class::NonCommercial),
    ("gemma", Class::Custom),
    ("gfdl", Class::ShareAlike),
    ("gpl", Class::ShareAlike),
    ("gpl-2.0", Class::ShareAlike),
    ("gpl-3.0", Class::ShareAlike),
    ("h-research", Class::ResearchOnly),
    ("intel-research", Class::ResearchOnly),
    ("isc", Class::Permissive),
    ("lgpl", Class::ShareAlike),
    ("lgpl-2.1", Class::ShareAlike),
    ("lgpl-3.0", Class::ShareAlike),
    ("lgpl-lr", Class::ShareAlike),
    ("llama2", Class::Custom),
    ("llama3", Class::Custom),
    ("llama3.1", Class::Custom),
    ("llama3.2", Class::Custom),
    ("llama3.3", Class::Custom),
    ("llama4", Class::Custom),
    ("lppl-1.3c", Class::Permissive),
    ("mit", Class::Permissive),
    ("mpl-2.0", Class::ShareAlike),
    ("ms-pl", Class::ShareAlike),
    ("ncsa", Class::Permissive),
    ("odbl", Class::ShareAlike),
    ("odc-by", Class::Permissive),
    ("ofl-1.1", Class::ShareAlike),
    ("openmdw-1.0", Class::Permissive),
    ("openrail", Class::Custom),
    ("openrail++", Class::Custom),
    ("osl-3.0", Class::ShareAlike),
    ("other", Class::Custom),
    ("pddl", Class::Permissive),
    ("postgresql", Class::Permissive),
    ("unknown", Class::Unknown),
    ("unlicense", Class::Permissive),
    ("wtfpl", Class::Permissive),
    ("zlib", Class::Permissive),
];

/// Phrases near a licence's beginning, in lower case, and its identifier; the first match counts.
const TEXTS: &[(&[&str], &str)] = &[
    (&["llama 4 community license"], "llama4"),
    (&["llama 3.3 community license"], "llama3.3"),
    (&["llama 3.2 community license"], "llama3.2"),
    (&["llama 3.1 community license"], "llama3.1"),
    (&["llama 3 community license"], "llama3"),
    (&["llama 2 community license"], "llama2"),
    (&["gemma terms of use"], "gemma"),
    (&["apache license", "version 2.0"], "apache-2.0"),
    (&["mit license", "permission is hereby granted, free of charge"], "mit"),
    (&["redistribution and use in source and binary forms", "neither the name"], "bsd-3-clause"),
    (&["redistribution and use in source and binary forms"], "bsd-2-clause"),
    (&["gnu affero general public license", "version 3"], "agpl-3.0"),
    (&["gnu lesser general public license", "version 3"], "lgpl-3.0"),
    (&["gnu general public license", "version 3"], "gpl-3.0"),
    (&["gnu general public license", "version 2"], "gpl-2.0"),
    (&["mozilla public license", "2.0"], "mpl-2.0"),
    (&["attribution-noncommercial-noderivatives 4.0"], "cc-by-nc-nd-4.0"),
    (&["attribution-noncommercial-sharealike 4.0"], "cc-by-nc-sa-4.0"),
    (&["attribution-noncommercial 4.0"], "cc-by-nc-4.0"),
    (&["attribution-noderivatives 4.0"], "cc-by-nd-4.0"),
    (&["attribution-sharealike 4.0"], "cc-by-sa-4.0"),
    (&["attribution 4.0 international"], "cc-by-4.0"),
    (&["cc0 1.0 universal"], "cc0-1.0"),
    (&["creativeml open rail"], "creativeml-openrail-m"),
];

/// Finds a licence by the hub's identifier in lower case.
pub(crate) fn find(id: &str) -> Option<(&'static str, Class)> {
    KNOWN.iter().find(|(known, _)| *known == id).copied()
}

/// Identifier of a known licence by its text; `None` for a permissive one with further conditions.
pub(crate) fn of_text(text: &str) -> Option<&'static str> {
    let text = flat(text);
    let head: String = text.chars().take(1500).collect();
    let (_, id) = TEXTS.iter().find(|(needles, _)| needles.iter().all(|needle| head.contains(needle)))?;
    let permissive = find(id).is_some_and(|(_, class)| class == Class::Permissive);
    (!permissive || class_of_terms(&text) == Class::Custom).then_some(*id)
}

/// Class of a licence text that is not a known licence.
pub(crate) fn class_of_terms(text: &str) -> Class {
    let text = flat(text);
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    if has(&["non-commercial", "noncommercial", "non commercial"]) {
        Class::NonCommercial
    } else if has(&["research license", "research-only", "research only", "research purposes only", "non-production"]) {
        Class::ResearchOnly
    } else {
        Class::Custom
    }
}

/// Class of a licence by the name that its owner gave it.
pub(crate) fn class_of_name(name: &str) -> Class {
    let name = name.to_lowercase().replace(['_', ' '], "-");
    let part = |wanted: &str| name.split('-').any(|part| part == wanted);
    let has = |needle: &str| name.contains(needle);
    if part("nd") || has("noderiv") {
        Class::NoDerivatives
    } else if part("nc") || has("noncommercial") || has("non-commercial") {
        Class::NonCommercial
    } else if has("research") || has("non-production") || part("mnpl") || part("mrl") {
        Class::ResearchOnly
    } else {
        // Also `cc-by-sa-2.0` and the like: the terms may have been changed.
        Class::Custom
    }
}

/// Restriction or duty of a licence, in words.
pub(crate) fn note(class: Class, label: &str) -> Option<&'static str> {
    let label = label.to_lowercase();
    Some(match class {
        Class::Permissive => return None,
        Class::ShareAlike => "derived models must have the same licence",
        Class::Custom => match llama(&label).as_deref() {
            Some("2") => "custom terms: Meta's, with a list of forbidden uses",
            Some("3") => {
                "custom terms: the result's name must begin with `Llama 3`, and `Built with Meta Llama 3` be shown with it"
            }
            Some(_) => {
                "custom terms: the result's name must begin with `Llama`, and `Built with Llama` be shown with it"
            }
            None if label.contains("gemma") => "custom terms: Google's, with a list of forbidden uses",
            None if label.contains("rail") => {
                "custom terms: the result must carry the licence's list of forbidden uses"
            }
            None => "custom terms, to be read before use",
        },
        Class::Unknown => "no licence is stated, so ask the owner before use",
        Class::ResearchOnly => "research only",
        Class::NonCommercial => "non-commercial use only",
        Class::NoDerivatives if label.contains("-nc") => {
            "non-commercial use only, and derivatives, such as merges, must not be shared"
        }
        Class::NoDerivatives => "derivatives, such as merges, must not be shared",
    })
}

/// Version of Llama in a licence's name: `3.1` in `llama-3.1-community`.
fn llama(label: &str) -> Option<String> {
    let (_, rest) = label.split_once("llama")?;
    let digits = rest.trim_start_matches(['-', '_', ' ']).chars().take_while(|c| c.is_ascii_digit() || *c == '.');
    let version: String = digits.collect();
    (!version.is_empty()).then(|| version.trim_end_matches(['.']).to_owned())
}

/// The text in lower case, with single spaces.
fn flat(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}
