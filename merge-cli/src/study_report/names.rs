//! Names that a study gives to models, as results show them.

use crate::language::{Language, Text, study as texts};

/// The name of a model in a language. A study's own names are translated, the names of the user's models are not.
pub(crate) fn shown(name: &str, language: Language) -> String {
    let numbered: [&Text; 2] = [&texts::NAME_BEST_OF, &texts::NAME_ELITE];
    let number = |text: &Text| name.strip_prefix(text.en.trim_end_matches("{n}"))?.parse::<usize>().ok();
    if let Some((text, n)) = numbered.into_iter().find_map(|text| Some((text, number(text)?))) {
        return language.fill(text, &[("n", &n)]);
    }
    let plain: [&Text; 7] = [
        &texts::NAME_EVOLVED,
        &texts::NAME_MEAN,
        &texts::NAME_LAST_MEANS,
        &texts::NAME_AVERAGE,
        &texts::NAME_DARE_TIES,
        &texts::NAME_STACKED,
        &texts::RANDOM_SEARCH,
    ];
    plain.into_iter().find(|text| text.en == name).map_or(name, |text| language.text(text)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_studys_names_are_translated_and_those_of_models_are_not() {
        let check = |name: &str, japanese: &str| {
            assert_eq!((shown(name, Language::En), shown(name, Language::Ja)), (name.to_owned(), japanese.to_owned()));
        };
        check("the best of generation 12", "第12世代の最良");
        check("elite 3", "エリート3");
        check("random search", "ランダム探索");
        check("DARE-TIES, untuned", "未調整のDARE-TIES");
        check("greedy soup", "greedy soup");
        check("elite", "elite");
        check("math-a", "math-a");
    }
}
