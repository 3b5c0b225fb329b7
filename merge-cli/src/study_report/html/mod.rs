//! A study as one page that needs no other file, no script and no network.

mod axes;
mod curves;
mod grids;
mod live;
mod path;
mod style;
mod tables;

pub(crate) use live::live;

use super::summary::Summary;
use crate::{
    draw::{
        measure,
        screen::{counted, grouped},
    },
    study_report::judgement::Judgement,
};
use std::fmt::Write as _;

const STRING: &str = "a String takes all that is written";

/// The page; `study` is what the user calls it.
pub(crate) fn page(study: &str, summary: &Summary) -> String {
    let title = format!("evomerge report: {study}");
    let sections = [
        ("verdict", "The answer against the others", tables::verdict(summary)),
        ("result", "Result", tables::result(summary)),
        ("convergence", "Convergence", curves::convergence(summary)),
        ("front", "Pareto front", curves::front(summary)),
        ("weights", "Weights over layers and models", grids::weights(summary)),
        ("path", "Path through the layers", summary.path.as_ref().map(path::path)),
        ("items", "Items gained and lost", tables::items(summary)),
        ("genealogy", "Genealogy", grids::genealogy(summary)),
        ("costs", "Costs", Some(tables::costs(summary))),
        ("recipe", "Recipe", Some(recipe(summary))),
    ];
    let there = sections.into_iter().filter_map(|(id, name, body)| Some((id, name, body?)));
    let (mut links, mut bodies) = (String::new(), String::new());
    for (id, name, body) in there {
        writeln!(links, "<a href='#{id}'>{name}</a>").expect(STRING);
        writeln!(bodies, "<section id='{id}'>\n<h2>{name}</h2>\n{body}</section>").expect(STRING);
    }
    format!(
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\n\
         <meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<header>\n<h1>{study}</h1>\n{head}</header>\n\
         <nav>\n{links}</nav>\n<main>\n{bodies}</main>\n\
         <footer>evomerge {version}. Everything here is from the study's own record. Point at a mark to read it.</footer>\n\
         </body>\n</html>\n",
        title = escaped(&title),
        study = escaped(study),
        style = style::CSS,
        head = head(summary),
        version = escaped(&summary.version),
    )
}

/// Text from outside, as HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\'' => safe.push_str("&#39;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// What a reader wants to know first.
fn head(summary: &Summary) -> String {
    let mut tiles: Vec<(String, String, String)> = Vec::new();
    if let Some(row) = summary.table.iter().find(|row| row.group == "evolved") {
        for score in row.scores.iter().take(3) {
            let n = score.estimate.n;
            let on = format!("{} on {}", measure::score(&score.metric, &score.estimate), counted(n, "item"));
            let note = score.difference_to_best_parent.map_or_else(
                || on.clone(),
                |d| {
                    let difference = measure::difference(&score.metric, &d);
                    format!("{on}; {difference} to the best parent on it, {}", score.best_parent)
                },
            );
            tiles.push((measure::value(&score.metric, score.estimate.value), score.task.clone(), note));
        }
    }
    tiles.push((
        grouped(summary.costs.evolution as u64),
        "item evaluations".to_owned(),
        format!("of {} in the budget, {} tokens", grouped(summary.budget), grouped(summary.costs.tokens)),
    ));
    tiles.push((
        grouped(summary.became.all() as u64),
        "candidates".to_owned(),
        format!("in {}", counted(summary.convergence.len(), "generation")),
    ));
    let mut drawn = String::new();
    for (value, what, note) in &tiles {
        let [value, what, note] = [value, what, note].map(|text| escaped(text));
        writeln!(drawn, "<div class='tile'><b>{value}</b><span>{what}</span><small>{note}</small></div>")
            .expect(STRING);
    }
    let state = summary.state().map_or_else(String::new, |state| {
        format!("<p class='note'>This study is {}. This is what there is.</p>\n", escaped(&state))
    });
    let about = format!(
        "{} on {} numbers, seed {}, merging {}",
        summary.optimizer,
        summary.dimensions.len(),
        summary.seed,
        summary.models.join(", ")
    );
    let said = summary.verdict.iter().flat_map(Judgement::sentences);
    let verdict = said.fold(String::new(), |list, sentence| list + "<li>" + &escaped(&sentence) + "</li>\n");
    let verdict = if verdict.is_empty() {
        verdict
    } else {
        format!("<p>The answer:</p>\n<ul class='verdict'>\n{verdict}</ul>\n")
    };
    format!("{verdict}<p class='about'>{}</p>\n{state}<div class='tiles'>\n{drawn}</div>\n", escaped(&about))
}

fn recipe(summary: &Summary) -> String {
    let recipe = summary.recipe.as_ref().map(|recipe| {
        format!("<p>The answer; its paths are relative to the search file.</p>\n<pre>{}</pre>\n", escaped(recipe))
    });
    let file = format!("<details><summary>The search file</summary><pre>{}</pre></details>\n", escaped(&summary.file));
    recipe.unwrap_or_default() + &file
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn text_from_outside_is_text() {
        assert_eq!(
            escaped("<script>'a' & \"b\"</script>"),
            "&lt;script&gt;&#39;a&#39; &amp; &quot;b&quot;&lt;/script&gt;"
        );
    }
}
