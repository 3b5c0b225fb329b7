//! The items of a task: documents that are ready to be asked, known by their content, each in one split.

use super::{
    Doc, Fractions, ItemId, Split,
    definition::{DefinitionFile, ExampleFormula, Formula, Sampler},
    documents::{Datasets, DocumentRow, load},
    function,
    marking::Marking,
    prompt_maker::{AskedDocument, PromptMaker},
    shots::{Draw, ShotPool},
    template,
};
use crate::{python::PythonRandom, text::normalize::Number};
use merge_core::{
    error::{Error, Result},
    yaml::{At, Mistake},
};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap, btree_map::Entry};

/// lm-evaluation-harness's seed for drawing examples.
const SEED: u64 = 1234;

/// An item, ready to be asked and marked.
#[derive(Debug)]
pub(super) struct TaskItem {
    /// Index in its split of the data, in the order of asking.
    pub(super) number: usize,
    /// Index in its split of the data, in the published order.
    pub(super) row: usize,
    pub(super) doc: Doc,
    pub(super) asked: AskedDocument,
    /// The right answer, if it is a number.
    pub(super) gold: Option<Number>,
}

/// The items of a task.
#[derive(Debug, Default)]
pub(super) struct TaskItemSet {
    pub(super) by_id: BTreeMap<ItemId, TaskItem>,
    pub(super) splits: [Vec<ItemId>; 3],
    pub(super) duplicates: usize,
    /// Hash of all items' drawn examples.
    pub(super) examples_hash: [u8; 32],
    /// The split of each normalised question, and the place where it was first seen.
    questions: HashMap<String, (Split, String)>,
}

/// Reads the documents of a task, draws their examples and makes their requests.
pub(super) fn gather(
    written: &DefinitionFile,
    asking: &mut PromptMaker,
    marking: &Marking,
    fractions: Fractions,
    datasets: &dyn Datasets,
) -> Result<TaskItemSet> {
    let uses = uses(written)?;
    let pool = pool_split(written)?;
    let mut wanted: Vec<(&'static str, At<String>)> =
        uses.iter().map(|(key, name, _)| (*key, (*name).clone())).collect();
    if let Some((key, name)) = &pool {
        wanted.push((*key, (*name).clone()));
    }
    let mut data = load(written, &wanted, datasets)?;
    let examples = pool.as_ref().map(|_| data.pop().expect("the pool was asked for"));
    let own = |formula: &Option<At<Formula>>| formula.as_ref().map(|formula| (formula.clone(), "process_docs"));
    let process = own(&written.definition.process_docs);
    for rows in &mut data {
        process_docs(written, process.as_ref(), rows)?;
    }
    check_parts(written, &data)?;
    let features = data.first().and_then(|rows| rows.first()).map(|row| row.doc.keys().cloned().collect::<Vec<_>>());
    asking.set_fields(written, features.unwrap_or_default())?;
    let mut pool_docs = pool_docs(written, asking, examples)?;
    let mut hash = Sha256::new();
    let mut items = TaskItemSet::default();
    for (rows, (_, name, split)) in data.into_iter().zip(&uses) {
        pool_docs.excludes_asked = excludes_asked(written, name, pool.as_ref().map(|(_, name)| name.as_str()));
        let shuffle = written.definition.ours().and_then(|ours| ours.shuffle);
        let mut random = PythonRandom::new(shuffle.unwrap_or(SEED));
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if shuffle.is_some() {
            random.shuffle(&mut order);
        }
        for (number, (place, row)) in order.into_iter().map(|i| (i, &rows[i])).enumerate() {
            let chosen = pool_docs.choose(&row.doc, &mut random).map_err(|e| e.at(&row.place))?;
            let examples: Vec<&Doc> = chosen.iter().map(|i| &pool_docs.docs[*i]).collect();
            if !examples.is_empty() {
                hash.update(row.id.0);
                hash.update(serde_json::to_vec(&examples).expect("documents are JSON"));
            }
            let asked = asking.ask(&row.doc, &examples).map_err(|e| e.at(&row.place))?;
            // If a question is repeated, its first item decides: it is searched on or reported on, not both.
            let repeated = || items.questions.get(&asked.question).map(|(split, _)| *split);
            let split = split.or_else(repeated).unwrap_or_else(|| split_of(row.id, fractions));
            let gold = marking.check(&row.doc, &asked).map_err(|e| e.at(&row.place))?;
            let item = TaskItem { number, row: place, doc: row.doc.clone(), asked, gold };
            items.add(row, item, split)?;
        }
    }
    items.examples_hash = hash.finalize().into();
    if let Some((_, name, None)) = uses.first() {
        items.check_shares(fractions).map_err(|e| e.at(format!("{}: {}", written.path.display(), name.value)))?;
    }
    Ok(items)
}

/// Refuses a document without the field that `parts` names.
fn check_parts(written: &DefinitionFile, data: &[Vec<DocumentRow>]) -> Result<()> {
    let parts = written.definition.ours().and_then(|ours| ours.parts.as_ref());
    let Some(parts) = parts else { return Ok(()) };
    let field =
        |row: &DocumentRow| template::field(&row.doc, parts).map(drop).map_err(|e| e.at("parts").at(&row.place));
    data.iter().flatten().try_for_each(field)
}

/// A key, the split of the data that it names, and its use; `None` if the split is divided among all uses.
type Use<'a> = (&'static str, &'a At<String>, Option<Split>);

fn uses(written: &DefinitionFile) -> Result<Vec<Use<'_>>> {
    let definition = &written.definition;
    if let Some(ours) = definition.ours() {
        if let Some(divide) = &ours.divide {
            return Ok(vec![("metadata", divide, None)]);
        }
        if let Some(splits) = &ours.splits {
            return Ok(splits.all().map(|(split, name)| ("metadata", name, Some(split))).collect());
        }
    }
    let asked = [("test_split", &definition.test_split), ("validation_split", &definition.validation_split)];
    let asked = asked.into_iter().find_map(|(key, name)| Some((key, name.as_ref()?, Some(Split::Report))));
    asked.map(|asked| vec![asked]).ok_or_else(|| {
        Error::user("the task has neither a `test_split` nor a `validation_split`")
            .at(written.path.display())
            .hint("name the split of the data that is asked, as in `test_split: test`")
    })
}

/// The split that examples come from, with its key; `None` if no split is needed.
fn pool_split(written: &DefinitionFile) -> Result<Option<(&'static str, &At<String>)>> {
    let definition = &written.definition;
    let Some(count) = definition.num_fewshot.filter(|count| count.value > 0) else { return Ok(None) };
    let config = definition.fewshot_config.as_ref();
    if let Some(split) = config.and_then(|config| config.split.as_ref()) {
        return Ok(Some(("fewshot_config", split)));
    }
    if let Some(split) = &definition.fewshot_split {
        return Ok(Some(("fewshot_split", split)));
    }
    if config.is_some_and(|config| config.samples.is_some()) {
        return Ok(None);
    }
    let known = [("training_split", &definition.training_split), ("validation_split", &definition.validation_split)];
    let found = known.into_iter().find_map(|(key, name)| Some((key, name.as_ref()?)));
    found.map(Some).ok_or_else(|| {
        let mistake = Mistake::new("a document could be its own example")
            .hint("name the split examples come from, as in `fewshot_split: test`");
        written.error("num_fewshot", count.place, mistake)
    })
}

/// True if a document must be left out of its own examples. For the split that lm-evaluation-harness asks, its rule
/// decides: it holds even if neither `fewshot_split` nor `test_split` is named, and one example more is drawn.
fn excludes_asked(written: &DefinitionFile, asked: &str, pool: Option<&str>) -> bool {
    let definition = &written.definition;
    let name = |split: &Option<At<String>>| split.as_ref().map(|split| split.value.clone());
    let is_theirs =
        name(&definition.test_split).or_else(|| name(&definition.validation_split)).as_deref() == Some(asked);
    if is_theirs && definition.ours().is_none_or(|ours| ours.shuffle.is_none()) {
        let split = definition.fewshot_config.as_ref().and_then(|config| name(&config.split));
        return split.or_else(|| name(&definition.fewshot_split)) == name(&definition.test_split);
    }
    pool == Some(asked)
}

fn pool_docs(written: &DefinitionFile, asking: &PromptMaker, rows: Option<Vec<DocumentRow>>) -> Result<ShotPool> {
    let definition = &written.definition;
    let config = definition.fewshot_config.as_ref();
    let count = definition.num_fewshot.map_or(0, |count| count.value);
    let docs: Vec<Doc> = match rows {
        Some(mut rows) => {
            let own = match config.map(|config| &config.process_docs) {
                Some(ExampleFormula::Written(own)) => own.clone().map(|formula| (formula, "fewshot_config")),
                _ => definition.process_docs.clone().map(|formula| (formula, "process_docs")),
            };
            process_docs(written, own.as_ref(), &mut rows)?;
            rows.into_iter().map(|row| row.doc).collect()
        }
        None => {
            config.and_then(|config| config.samples.as_ref()).map_or_else(Vec::new, |samples| samples.value.clone())
        }
    };
    let stratified = definition.ours().is_some_and(|ours| ours.stratified);
    let draw = match config.and_then(|config| config.sampler).map_or_else(Sampler::default, |sampler| sampler.value) {
        Sampler::FirstN => Draw::First,
        Sampler::Default if stratified && count > 0 => {
            let classes = docs.iter().map(|doc| asking.class(doc)).collect::<Result<Vec<String>>>()?;
            let mut known: Vec<&String> = Vec::new();
            let class = |class| {
                known.iter().position(|one| *one == class).unwrap_or_else(|| {
                    known.push(class);
                    known.len() - 1
                })
            };
            Draw::Stratified(classes.iter().map(class).collect())
        }
        Sampler::Default => Draw::Random,
    };
    Ok(ShotPool { docs, count, draw, excludes_asked: false })
}

fn process_docs(
    written: &DefinitionFile,
    formula: Option<&(At<Formula>, &str)>,
    rows: &mut [DocumentRow],
) -> Result<()> {
    let Some((At { value: Formula::Function(name), place }, key)) = formula else { return Ok(()) };
    let process = function::process_docs(name).map_err(|mistake| written.error(key, *place, mistake))?;
    rows.iter_mut().try_for_each(|row| process(&mut row.doc).map_err(|e| e.at(&row.place)))
}

impl TaskItemSet {
    fn add(&mut self, row: &DocumentRow, item: TaskItem, split: Split) -> Result<()> {
        let first = || (split, row.place.clone());
        let (owner, first) = self.questions.entry(item.asked.question.clone()).or_insert_with(first);
        if *owner != split {
            return Err(Error::user(format!(
                "{}: the question of this item of `{}` is in `{}` too, at {first}",
                row.place,
                split.name(),
                owner.name()
            ))
            .hint("remove it from one of them: what was searched on can't be reported on"));
        }
        match self.by_id.entry(row.id) {
            Entry::Occupied(_) => self.duplicates += 1,
            Entry::Vacant(place) => {
                place.insert(item);
                self.splits[split as usize].push(row.id);
            }
        }
        Ok(())
    }

    /// Refuses a division that leaves a split empty although it has a share.
    fn check_shares(&self, fractions: Fractions) -> Result<()> {
        let wanted = [fractions.search, fractions.select, fractions.report].map(|share| share > 0.0);
        match Split::ALL.into_iter().find(|split| wanted[*split as usize] && self.splits[*split as usize].is_empty()) {
            Some(split) => Err(Error::user(format!("no item falls into the split `{}`", split.name())).hint(
                "it has too few items to be divided: add some, change the fractions, or name a split for each use",
            )),
            None => Ok(()),
        }
    }
}

/// The split of an item, by its hash as a number from 0 to 1; items with other questions have no influence.
pub(crate) fn split_of(id: ItemId, fractions: Fractions) -> Split {
    let (head, _) = id.0.split_first_chunk::<8>().expect("an id has 16 bytes");
    // With 53 bits, no rounding makes it 1.
    let position = (u64::from_be_bytes(*head) >> 11) as f64 / (1_u64 << 53) as f64;
    if position < fractions.search {
        Split::Search
    } else if position < fractions.search + fractions.select {
        Split::Select
    } else {
        Split::Report
    }
}
