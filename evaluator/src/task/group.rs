//! Groups: several tasks under one name, with measures over all their scores.

use super::{
    Benchmark, Fractions, MetricRow, Task as _, benchmark_of, check_fractions,
    definition::{Definition, Overrides, Several, read, tree},
    documents::Datasets,
};
use crate::statistics::combined;
use merge_core::{
    error::{Error, Result},
    yaml::{At, Mistake, Node, NodeKind, held_in, known_names},
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Tasks that are asked together, and their groups.
#[derive(Default)]
pub struct Suite {
    /// The tasks, each once, in the order of their groups.
    pub tasks: Vec<Benchmark>,
    /// The groups; each comes after the groups that it holds.
    pub groups: Vec<Group>,
}

/// A group of tasks.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name of the group.
    pub name: String,
    /// Name of the group in tables, if that is another.
    pub alias: Option<String>,
    /// Names of the tasks and groups that it lists.
    pub children: Vec<String>,
    /// Names of all tasks in it and in its groups.
    pub leaves: Vec<String>,
    /// Version of the group, as text.
    pub version: String,
    aggregates: Vec<Aggregate>,
}

/// A measure that a group computes from the scores of its tasks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Aggregate {
    metric: String,
    #[serde(default)]
    filter_list: Option<Several>,
    #[serde(default)]
    aggregation: Option<At<String>>,
    #[serde(default = "yes")]
    weight_by_size: bool,
}

fn yes() -> bool {
    true
}

/// Reads a task's or group's file. A group names tasks and groups of YAML files in its folder or below.
pub fn suite(path: &Path, fractions: Fractions, datasets: &dyn Datasets) -> Result<Suite> {
    check_fractions(fractions)?;
    let node = tree(path)?;
    let mut suite = Suite::default();
    if key(&node, "group").is_some() {
        let known = index(path)?;
        let mut reader = GroupReader { known, fractions, datasets, open: Vec::new(), read: 0, suite: &mut suite };
        reader.group(node, path, None, &Overrides::default())?;
    } else {
        suite.tasks.push(benchmark_of(read(path, &Overrides::default())?, fractions, datasets)?);
    }
    Ok(suite)
}

struct GroupReader<'a> {
    known: BTreeMap<String, Vec<PathBuf>>,
    fractions: Fractions,
    datasets: &'a dyn Datasets,
    /// Names of the groups being read, to refuse a group that holds itself.
    open: Vec<String>,
    /// Number of members read so far, repeats counted.
    read: usize,
    suite: &'a mut Suite,
}

/// Most members of a group, repeats counted: groups that hold two others each soon add up.
const MOST: usize = 10_000;

impl GroupReader<'_> {
    /// Reads a group, returns its tasks' names, and writes keys that are no group's over its tasks.
    fn group(&mut self, mut node: Node, file: &Path, parent: Option<&str>, over: &Overrides) -> Result<Vec<String>> {
        let refuse = |mistake: Mistake| mistake.into_error(file);
        let text = |node: Option<Node>| node.map(|node| String::deserialize(&node)).transpose().map_err(refuse);
        let place = node.place;
        let own = text(node.take("group"))?.unwrap_or_default();
        let name = parent.map_or_else(|| own.clone(), |parent| format!("{parent}::{own}"));
        if self.open.contains(&name) {
            return Err(refuse(Mistake::new(format!("the group `{name}` contains itself")).at(place)));
        }
        let alias = text(node.take("group_alias"))?;
        let metadata = node.take("metadata").map(|node| Value::deserialize(&node)).transpose().map_err(refuse)?;
        let version = metadata.as_ref().and_then(|metadata| metadata.get("version"));
        node.take("tag");
        let aggregates = match node.take("aggregate_metric_list") {
            Some(list) => aggregates(&list).map_err(|mistake| refuse(mistake.under("aggregate_metric_list")))?,
            None => Vec::new(),
        };
        let members = match node.take("task") {
            Some(Node { kind: NodeKind::List(members), .. }) => members,
            Some(one @ Node { kind: NodeKind::Text(_), .. }) => vec![one],
            _ => {
                let none = Mistake::new(format!("the group `{name}` names no tasks")).hint("add `task: [name, …]`");
                return Err(refuse(none.at(place)));
            }
        };
        Definition::deserialize(&node).map_err(refuse)?;
        let NodeKind::Block(entries) = node.kind else { unreachable!("a group is a block") };
        let over = written_over(&Overrides { entries, file: file.to_owned() }, over);
        self.open.push(name.clone());
        let (mut children, mut leaves) = (Vec::new(), Vec::new());
        for member in members {
            let (child, within) = self.member(member, file, &name, &over)?;
            children.extend(child);
            leaves.extend(within);
        }
        self.open.pop();
        let version = version.map_or_else(|| "N/A".to_owned(), crate::python::str);
        let group = Group { name, alias, children, leaves: leaves.clone(), version, aggregates };
        if !self.suite.groups.iter().any(|known| known.name == group.name) {
            self.suite.groups.push(group);
        }
        Ok(leaves)
    }

    /// Reads a member of a group. Returns its name, or the names under a tag, and the names of all tasks in it.
    fn member(
        &mut self,
        mut member: Node,
        file: &Path,
        group: &str,
        over: &Overrides,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let place = member.place;
        let refuse = |mistake: Mistake| mistake.at(place).into_error(file);
        self.read += 1;
        if self.read > MOST {
            return Err(refuse(Mistake::new(format!("a group has more than {MOST} members"))));
        }
        if let Some(own) = key(&member, "group") {
            if let Some(path) = self.known.get(&own).and_then(|paths| paths.first()).cloned() {
                member.take("group");
                Definition::deserialize(&member).map_err(refuse)?;
                let NodeKind::Block(entries) = member.kind else { unreachable!("it has a key") };
                let over = written_over(over, &Overrides { entries, file: file.to_owned() });
                return Ok((vec![own], self.group(tree(&path)?, &path, None, &over)?));
            }
            let leaves = self.group(member, file, Some(group), over)?;
            return Ok((vec![format!("{group}::{own}")], leaves));
        }
        let (name, over) = match member.kind {
            NodeKind::Text(name) => (name, over.clone()),
            NodeKind::Block(_) => {
                let name = member.take("task").map(|node| String::deserialize(&node)).transpose().map_err(refuse)?;
                let name = name.ok_or_else(|| refuse(Mistake::new("a member of a group needs `task` or `group`")))?;
                Definition::deserialize(&member).map_err(refuse)?;
                let NodeKind::Block(entries) = member.kind else { unreachable!("it is a block") };
                (name, written_over(over, &Overrides { entries, file: file.to_owned() }))
            }
            _ => return Err(refuse(Mistake::new("expected the name of a task"))),
        };
        let paths = self.known.get(&name).cloned().ok_or_else(|| {
            let known = self.known.keys().map(String::as_str);
            refuse(Mistake::new(format!("there is no task `{name}`")).hint(known_names(&name, "there are", known)))
        })?;
        let (mut children, mut leaves) = (Vec::new(), Vec::new());
        for path in paths {
            let node = tree(&path)?;
            if key(&node, "group").is_some() {
                children.push(name.clone());
                leaves.extend(self.group(node, &path, None, &over)?);
                continue;
            }
            let task = benchmark_of(read(&path, &over)?, self.fractions, self.datasets)?;
            children.push(task.name().to_owned());
            leaves.push(task.name().to_owned());
            if !self.suite.tasks.iter().any(|known| known.name() == task.name()) {
                self.suite.tasks.push(task);
            }
        }
        Ok((children, leaves))
    }
}

impl Group {
    /// The group's measures, from its tasks' rows by name; `n` counts the items of each, perhaps not all.
    ///
    /// A mean over items has the pooled standard error, a mean over tasks that of a mean of means.
    /// It has none if one of the tasks has none.
    pub fn aggregate(&self, rows: &BTreeMap<&str, &[MetricRow]>) -> Vec<MetricRow> {
        let own: Vec<&[MetricRow]> = self.leaves.iter().filter_map(|leaf| rows.get(leaf.as_str()).copied()).collect();
        let mut all = Vec::new();
        for aggregate in &self.aggregates {
            let there = own.iter().flat_map(|rows| rows.iter()).filter(|row| row.metric == aggregate.metric);
            let filters: Vec<String> = match &aggregate.filter_list {
                Some(filters) => filters.0.clone(),
                None => there.map(|row| row.filter.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            };
            for filter in filters {
                let is_it = |row: &&MetricRow| row.metric == aggregate.metric && row.filter == filter;
                let found: Vec<&MetricRow> = own.iter().filter_map(|rows| rows.iter().find(is_it)).collect();
                if found.is_empty() {
                    continue;
                }
                let size = |row: &&MetricRow| if aggregate.weight_by_size { row.n as f64 } else { 1.0 };
                let sizes: f64 = found.iter().map(size).sum();
                let value = found.iter().map(|row| row.value * size(row)).sum::<f64>() / sizes;
                let part = |row: &&MetricRow| Some((size(row) / sizes, row.value, row.ci95?));
                let parts: Option<Vec<_>> = found.iter().map(part).collect();
                let stderrs: Option<Vec<(f64, f64)>> =
                    found.iter().map(|row| row.stderr.map(|stderr| (stderr, row.n as f64))).collect();
                let stderr = stderrs.map(|stderrs| {
                    if aggregate.weight_by_size {
                        pooled(&stderrs)
                    } else {
                        stderrs.iter().map(|(stderr, _)| stderr * stderr).sum::<f64>().sqrt() / stderrs.len() as f64
                    }
                });
                all.push(MetricRow {
                    metric: aggregate.metric.clone(),
                    filter,
                    value,
                    stderr,
                    ci95: parts.map(|parts| combined(&parts)),
                    n: found.iter().map(|row| row.n).sum(),
                    higher_is_better: found[0].higher_is_better,
                });
            }
        }
        all
    }

    /// True if the group has measures of its own.
    pub fn has_aggregate(&self) -> bool {
        !self.aggregates.is_empty()
    }
}

/// The pooled standard error, as if all items were of one task: `sqrt(Σ(n − 1)·(stderr·√n)² / (Σn − k) / Σn)`.
fn pooled(stderrs: &[(f64, f64)]) -> f64 {
    let sizes: f64 = stderrs.iter().map(|(_, n)| n).sum();
    let squares: f64 = stderrs.iter().map(|(stderr, n)| (n - 1.0) * stderr * stderr * n).sum();
    (squares / (sizes - stderrs.len() as f64) / sizes).sqrt()
}

fn aggregates(list: &Node) -> std::result::Result<Vec<Aggregate>, Mistake> {
    let all: Vec<Aggregate> = match &list.kind {
        NodeKind::Block(_) => vec![Aggregate::deserialize(list)?],
        _ => Vec::deserialize(list)?,
    };
    let wrong = all.iter().filter_map(|one| one.aggregation.as_ref()).find(|aggregation| aggregation.value != "mean");
    match wrong {
        Some(wrong) => Err(Mistake::new(format!("a group has no aggregation `{}`", wrong.value))
            .hint("write `mean`")
            .at(wrong.place)),
        None => Ok(all),
    }
}

/// Lays the keys of `above` over those of `below`.
fn written_over(below: &Overrides, above: &Overrides) -> Overrides {
    let mut over = below.clone();
    for (key, value) in &above.entries {
        let is_it = |known: &Node| matches!((&known.kind, &key.kind), (NodeKind::Text(a), NodeKind::Text(b)) if a == b);
        over.entries.retain(|(known, _)| !is_it(known));
        over.entries.push((key.clone(), value.clone()));
        over.file.clone_from(&above.file);
    }
    over
}

/// The text under a key of a block; `None` if there is none.
fn key(node: &Node, name: &str) -> Option<String> {
    let NodeKind::Block(entries) = &node.kind else { return None };
    let is_it = |key: &Node| matches!(&key.kind, NodeKind::Text(text) if text == name);
    let (_, value) = entries.iter().find(|(key, _)| is_it(key))?;
    match &value.kind {
        NodeKind::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Paths of tasks, groups and tags by name, in a folder and below it. Files that cannot be read are left out.
fn index(group: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut known: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut tags: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    let folder = group.with_file_name("");
    let mut folders = vec![if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }];
    let mut seen = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        // A link may lead back to a folder that was read.
        if !seen.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())) {
            continue;
        }
        for path in entries(&folder)? {
            if path.is_dir() || !held_in(&path).is_empty() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let Ok(mut node) = tree(&path) else { continue };
            let Some(name) = key(&node, "group").or_else(|| key(&node, "task")) else { continue };
            let of =
                node.take("tag").and_then(|tag| Several::deserialize(&tag).ok()).map_or_else(Vec::new, |tags| tags.0);
            for tag in of {
                tags.entry(tag).or_default().push((name.clone(), path.clone()));
            }
            known.entry(name).or_insert_with(|| vec![path]);
        }
    }
    for (tag, mut members) in tags {
        members.sort();
        known.entry(tag).or_insert_with(|| members.into_iter().map(|(_, path)| path).collect());
    }
    Ok(known)
}

/// The paths in a folder, in order. A job sees only the files that existed when it was submitted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let held = held_in(folder);
    if !held.is_empty() {
        return Ok(held);
    }
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
