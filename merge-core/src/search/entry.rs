//! What scores the models of a search: tasks, and judges, which are commands and services of the user's own.

use super::{Fractions, Items, items::ItemsVisitor};
use crate::yaml::{At, Mistake};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de, de::value::MapAccessDeserializer};
use std::{borrow::Cow, fmt, time::Duration};

/// An entry of an objective, of the constraints or of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalEntry {
    /// What scores models.
    pub by: ScoredBy,
    /// Number of fresh items that score a generation; of a judge without items, 1.
    pub items: At<Items>,
    /// The measure that counts; for a judge, a name for tables.
    pub metric: Option<At<String>>,
    /// Weight in the fitness, if one is written.
    pub weight: Option<At<f64>>,
    /// For a constraint: the largest distance below the best of the models.
    pub within: Option<At<f64>>,
    /// Fractions for data that is divided.
    pub split: Option<At<Fractions>>,
}

/// What scores models.
#[derive(Clone, Debug, PartialEq)]
pub enum ScoredBy {
    /// The name of a task, or its file.
    Task(At<String>),
    /// A judge.
    Judge(JudgeEntry),
}

/// A judge: a program or a service of the user's own, which is given a model's directory and tells scores.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeEntry {
    /// The program or the service.
    pub call: JudgeCall,
    /// Name in tables.
    pub name: At<String>,
    /// File of its items; without one, it tells one number for a model.
    pub items: Option<At<String>>,
    /// Longest time for a call.
    pub timeout: Duration,
    /// Score of an item that could not be scored.
    pub worst: f64,
}

/// How a judge is called.
#[derive(Clone, Debug, PartialEq)]
pub enum JudgeCall {
    /// The words of a program.
    Command(Vec<At<String>>),
    /// The address of a service.
    Service(At<String>),
}

impl GoalEntry {
    /// A task or a judge that is only reported, or counts by default.
    fn plain(by: ScoredBy) -> Self {
        Self { by, items: At::default(), metric: None, weight: None, within: None, split: None }
    }

    /// Weight in the fitness, relative to the others.
    pub fn weight(&self) -> f64 {
        self.weight.map_or(1.0, |weight| weight.value)
    }

    /// The task's file or name, or the judge's name.
    pub fn name(&self) -> &At<String> {
        match &self.by {
            ScoredBy::Task(task) => task,
            ScoredBy::Judge(judge) => &judge.name,
        }
    }

    /// Key of the number of items that score a generation.
    fn items_key(&self) -> &'static str {
        match self.by {
            ScoredBy::Task(_) => "items",
            ScoredBy::Judge(_) => PER_GENERATION,
        }
    }

    /// Refuses numbers that no objective may have.
    pub(super) fn check_objective(&self) -> Result<(), Mistake> {
        misplaced(self.within, "within", "a condition on candidates belongs under `constraints`")?;
        if let Some(weight) = self.weight.filter(|weight| weight.value <= 0.0) {
            let mistake = Mistake::new(format!("{} is not more than 0", weight.value));
            let hint = "a task that should not count belongs under `report`";
            return Err(mistake.hint(hint).under("weight").at(weight.place));
        }
        check_split(self.split)
    }

    /// Refuses numbers that no constraint may have.
    pub(super) fn check_constraint(&self) -> Result<(), Mistake> {
        misplaced(self.weight, "weight", "a task that candidates are ranked by belongs under `objective`")?;
        let Some(within) = self.within else {
            return Err(Mistake::new("`within` is missing")
                .hint("write how far below the best model a candidate may be, as in `within: 0.02`")
                .at(self.name().place));
        };
        if within.value < 0.0 {
            let mistake = Mistake::new(format!("{} is less than 0", within.value));
            return Err(mistake.hint("0 allows nothing below the best model").under("within").at(within.place));
        }
        if self.items.from == 0 {
            let mistake = Mistake::new("a constraint needs at least one item");
            return Err(mistake.under(self.items_key()).at(self.items.place));
        }
        check_split(self.split)
    }

    /// Refuses numbers that have no effect in a report.
    pub(super) fn check_report(&self) -> Result<(), Mistake> {
        misplaced(self.weight, "weight", "what is only reported has no weight")?;
        misplaced(self.within, "within", "a condition on candidates belongs under `constraints`")?;
        check_split(self.split)
    }
}

fn misplaced(written: Option<At<f64>>, key: &str, hint: &str) -> Result<(), Mistake> {
    written.map_or(Ok(()), |at| Err(Mistake::new("it has no effect here").hint(hint).under(key).at(at.place)))
}

fn check_split(split: Option<At<Fractions>>) -> Result<(), Mistake> {
    let Some(At { value: Fractions { search, select, report }, place }) = split else { return Ok(()) };
    let refused = |message: String| Err(Mistake::new(message).under("split").at(place));
    if [search, select, report].iter().any(|share| !(0.0..=1.0).contains(share)) {
        return refused("each fraction must be between 0 and 1".to_string());
    }
    if search == 0.0 {
        return refused("a search needs items to search on".to_string());
    }
    // Tolerates the rounding of fractions such as 1/3.
    if (search + select + report - 1.0).abs() > 1e-6 {
        return refused(format!("the fractions sum to {}, not to 1", search + select + report));
    }
    Ok(())
}

/// Key of a judge for the number of items that score a generation: its `items` names a file.
const PER_GENERATION: &str = "per_generation";

/// A task, or a judge: a command or a service of your own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["task"] }, { "required": ["command", "name"] }, { "required": ["service", "name"] }]))]
struct WrittenEntry {
    /// File of the task, relative to this file or to the current directory; or a name that `evomerge tasks` lists.
    task: Option<At<String>>,
    /// Judge: words of a program. `{model}` is the candidate's directory, `{items}` a JSON-lines file of the items asked,
    /// which the program's standard input has, too. It prints `{"id": …, "score": …}` for each.
    #[schemars(length(min = 1))]
    command: Option<At<Vec<At<String>>>>,
    /// Judge: the address of an HTTP service, which gets `{"model": DIR, "items": [...]}` and answers the same lines.
    service: Option<At<String>>,
    /// Judge: its name in tables.
    name: Option<At<String>>,
    /// Task: number of fresh items that score a generation; default: 60. `{from: 30, to: 240}` begins
    /// with 30 and grows by half each time that the candidates differ by no more than chance. With
    /// 0, the task ranks no candidates but takes part in choosing and reporting the answer.
    /// Judge: JSON-lines file of its items, each with an `id`; without it, the judge tells one number for a model.
    items: Option<At<WrittenItems>>,
    /// Judge: number of fresh items that score a generation, as `items` of a task; default: 60.
    per_generation: Option<At<Items>>,
    /// Measure of the task that counts, such as `acc` or `gold_margin`, or with a filter
    /// `exact_match,flexible-extract`; default: the task's main measure. Of a judge, a name for tables; default: `score`.
    metric: Option<At<String>>,
    /// Weight of this score in the fitness, relative to the others; default: 1. Only in an objective.
    #[schemars(extend("exclusiveMinimum" = 0))]
    weight: Option<At<f64>>,
    /// Largest distance below the best of the models, on the same items: 0.02 is two points of a hundred. Only in a
    /// constraint.
    #[schemars(range(min = 0))]
    within: Option<At<f64>>,
    /// Fractions for a task that divides one split of its data, or for a judge whose items do not name their `split`;
    /// default: 0.6, 0.2 and 0.2. With this key, a built-in task divides the items that it is reported on.
    split: Option<At<Fractions>>,
    /// Judge: seconds that a call may take; default: 600.
    #[schemars(range(min = 1))]
    timeout: Option<At<u64>>,
    /// Judge: score of an item that could not be scored; default: 0.
    worst: Option<At<f64>>,
}

/// The `items` of a task, or of a judge.
#[derive(Clone, Debug)]
enum WrittenItems {
    Number(Items),
    File(String),
}

/// Longest time that a call of a judge may take: ten days.
const MOST_SECONDS: u64 = 864_000;

impl TryFrom<WrittenEntry> for GoalEntry {
    /// A message and a hint, in two lines: serde passes on only text.
    type Error = String;

    fn try_from(mut written: WrittenEntry) -> Result<Self, String> {
        let call = match (written.task.take(), written.command.take(), written.service.take()) {
            (Some(task), None, None) => return written.of_task(task),
            (None, Some(words), None) if words.is_empty() => {
                return Err("`command` has no words\nwrite a program and its words, as in `[./score.sh, \"{model}\"]`"
                    .to_owned());
            }
            (None, Some(words), None) => JudgeCall::Command(words.value),
            (None, None, Some(address)) => JudgeCall::Service(address),
            (None, None, None) => {
                return Err("`task` is missing\nname a task, or a judge by its `command` or `service`".to_owned());
            }
            _ => return Err("`task`, `command` and `service` exclude each other\nmake an entry of each".to_owned()),
        };
        written.of_judge(call)
    }
}

impl WrittenEntry {
    fn of_task(self, task: At<String>) -> Result<GoalEntry, String> {
        let of_judges = [
            ("name", self.name.is_some()),
            (PER_GENERATION, self.per_generation.is_some()),
            ("timeout", self.timeout.is_some()),
            ("worst", self.worst.is_some()),
        ];
        if let Some((key, _)) = of_judges.iter().find(|(_, is_written)| *is_written) {
            return Err(format!(
                "`{key}` is a key of a judge, not of a task\nremove it, or write `command` or `service` in place of `task`"
            ));
        }
        let items = match self.items {
            None => At::default(),
            Some(At { value: WrittenItems::Number(value), place }) => At { value, place },
            Some(At { value: WrittenItems::File(_), .. }) => {
                return Err("`items` of a task is a number\na task's file says where its data is".to_owned());
            }
        };
        let Self { metric, weight, within, split, .. } = self;
        Ok(GoalEntry { items, metric, weight, within, split, ..GoalEntry::plain(ScoredBy::Task(task)) })
    }

    fn of_judge(self, call: JudgeCall) -> Result<GoalEntry, String> {
        let Some(name) = self.name.filter(|name| !name.is_empty()) else {
            return Err("`name` is missing\ngive the judge a name for tables".to_owned());
        };
        let file = match self.items {
            None => None,
            Some(At { value: WrittenItems::File(value), place }) => Some(At { value, place }),
            Some(At { value: WrittenItems::Number(_), .. }) => {
                return Err(format!("`items` of a judge is a file\nwrite the number of items as `{PER_GENERATION}`"));
            }
        };
        let items = match (self.per_generation, &file) {
            (None, Some(_)) => At::default(),
            (Some(number), Some(_)) => number,
            (None, None) => At::nowhere(Items { from: 1, to: 1 }),
            (Some(_), None) => {
                return Err(format!(
                    "`{PER_GENERATION}` needs `items`, the file of the judge's items\nremove it for a judge that tells one number for a model"
                ));
            }
        };
        if file.is_none() && self.split.is_some() {
            return Err("`split` needs `items`, the file of the judge's items\nremove it".to_owned());
        }
        let seconds = self.timeout.map_or(600, |timeout| timeout.value);
        if !(1..=MOST_SECONDS).contains(&seconds) {
            return Err(format!("`timeout` is {seconds} seconds\nwrite 1 to {MOST_SECONDS}"));
        }
        let timeout = Duration::from_secs(seconds);
        let worst = self.worst.map_or(0.0, |worst| worst.value);
        let by = ScoredBy::Judge(JudgeEntry { call, name, items: file, timeout, worst });
        let Self { metric, weight, within, split, .. } = self;
        Ok(GoalEntry { items, metric, weight, within, split, ..GoalEntry::plain(by) })
    }
}

impl JsonSchema for GoalEntry {
    fn schema_name() -> Cow<'static, str> {
        "GoalEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WrittenEntry::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for WrittenItems {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenItemsVisitor)
    }
}

struct WrittenItemsVisitor;

impl<'de> de::Visitor<'de> for WrittenItemsVisitor {
    type Value = WrittenItems;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ItemsVisitor.expecting(f)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<WrittenItems, E> {
        ItemsVisitor.visit_u64(value).map(WrittenItems::Number)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<WrittenItems, A::Error> {
        ItemsVisitor.visit_map(map).map(WrittenItems::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<WrittenItems, E> {
        Ok(WrittenItems::File(value.to_owned()))
    }
}

impl JsonSchema for WrittenItems {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WrittenItems".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = generator.subschema_for::<Items>();
        json_schema!({ "anyOf": [number, { "type": "string" }] })
    }
}

/// Reads an entry where its place is known, so that its errors have it.
struct EntryVisitor;

impl<'de> de::Visitor<'de> for EntryVisitor {
    type Value = GoalEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a block of keys")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<GoalEntry, A::Error> {
        let written = WrittenEntry::deserialize(MapAccessDeserializer::new(map))?;
        GoalEntry::try_from(written).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for GoalEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

/// An entry of a report: a task's name alone, or the keys of a task or a judge.
enum ReportEntry {
    Task(String),
    Entry(Box<GoalEntry>),
}

/// Reads the entries of a report.
pub(super) fn report<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<GoalEntry>, D::Error> {
    let entry = |At { value, place }: At<ReportEntry>| match value {
        ReportEntry::Task(value) => GoalEntry::plain(ScoredBy::Task(At { value, place })),
        ReportEntry::Entry(entry) => *entry,
    };
    Ok(Vec::deserialize(deserializer)?.into_iter().map(entry).collect())
}

/// The schema of the entries of a report.
pub(super) fn report_schema(generator: &mut SchemaGenerator) -> Schema {
    let entry = generator.subschema_for::<GoalEntry>();
    json_schema!({ "type": "array", "items": { "anyOf": [{ "type": "string" }, entry] } })
}

impl<'de> Deserialize<'de> for ReportEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReportEntryVisitor)
    }
}

struct ReportEntryVisitor;

impl<'de> de::Visitor<'de> for ReportEntryVisitor {
    type Value = ReportEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a task, or a block of keys")
    }

    fn visit_str<E>(self, value: &str) -> Result<ReportEntry, E> {
        Ok(ReportEntry::Task(value.to_owned()))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ReportEntry, A::Error> {
        EntryVisitor.visit_map(map).map(|entry| ReportEntry::Entry(Box::new(entry)))
    }
}
