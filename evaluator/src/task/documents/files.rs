//! Finds files: one by its name, those that match a pattern, or a directory's by split, as `datasets` does.

use super::Format;
use merge_core::{
    error::{Error, Result},
    yaml::{first_there, is_there},
};
use regex::Regex;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

/// The files of each split.
pub(super) type BySplit = Vec<(String, Vec<PathBuf>)>;

/// Most files in a directory of data, its folders included; a larger directory holds something else.
const MOST: usize = 100_000;
/// Files beside the data that hold no documents.
const IGNORED: [&str; 6] =
    ["README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dummy_data.zip", "dataset_dict.json"];
/// Each split, with the words that stand for it in the names of files and folders.
const SPLITS: [(&str, &[&str]); 3] = [
    ("train", &["train", "training"]),
    ("validation", &["validation", "valid", "dev", "val"]),
    ("test", &["test", "testing", "eval", "evaluation"]),
];
const IN_FOLDERS: [&str; 4] = ["**/{}/**", "**/{}[-._ 0-9]*/**", "**/*[-._ 0-9]{}/**", "**/*[-._ 0-9]{}[-._ 0-9]*/**"];
const IN_FILES: [&str; 2] = ["**/{}[-._ 0-9]*", "**/*[-._ 0-9]{}[-._ 0-9]*"];

/// The path of a file or directory that a task names: beside the definition, else in the current directory.
pub(super) fn find(definition: &Path, name: &str) -> Option<PathBuf> {
    let beside = definition.with_file_name("").join(name);
    first_there([beside, PathBuf::from(name)])
}

/// The files with this name, or those that match it as a pattern: at least one, in order.
pub(super) fn named(definition: &Path, dir: Option<&Path>, name: &str) -> Result<Vec<PathBuf>> {
    if name.contains("://") {
        return Err(Error::user(format!("`{name}` is an address, and only files of this machine are read"))
            .hint("download it, and name the file"));
    }
    let found = match dir {
        Some(dir) => Some(dir.join(name)).filter(|path| is_there(path)),
        None => find(definition, name),
    };
    if let Some(path) = found {
        return if path.is_dir() { Err(is_directory(&path)) } else { Ok(vec![path]) };
    }
    let beside = definition.with_file_name("");
    let places = match dir {
        Some(dir) => vec![dir],
        None => vec![&*beside, Path::new("")],
    };
    if name.contains(['*', '?', '[']) {
        for place in &places {
            let (from, pattern) = fixed(&place.join(name));
            if !is_there(&from) {
                continue;
            }
            let found = matching(&from, &listed(&from)?, &[pattern]);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        return Err(Error::user(format!("no file matches `{}`", places[0].join(name).display()))
            .hint("`*` stands for a part of a name, and `**` for any folders; hidden files are left out"));
    }
    Err(Error::user(format!("there is no item file {}", places[0].join(name).display())).hint(match dir {
        Some(_) => "`data_files` are looked for in `data_dir`",
        None => "item files are looked for beside the task file, then in the current directory",
    }))
}

fn is_directory(path: &Path) -> Error {
    Error::user(format!("{} is a directory", path.display())).hint("`data_dir` names a directory, `data_files` files")
}

/// The files of a directory by split. Splits are told by the hub's names of shards, else by folders, else by file
/// names; if none is found, all files are `train`. With a `format`, only its files count.
pub(super) fn by_split(dir: &Path, format: Option<&Format>) -> Result<BySplit> {
    let all: Vec<String> = listed(dir)?
        .into_iter()
        .filter(|name| match format {
            Some(format) => format.is_of(name),
            None => Format::by_name(name).is_some(),
        })
        .collect();
    if all.is_empty() {
        let hint = "documents are in .json, .jsonl, .csv, .tsv or .parquet files";
        return Err(Error::user(format!("{}: there is no file of documents in it", dir.display())).hint(hint));
    }
    let shard = Regex::new(r"^data/([^/]+)-[0-9]{5}-of-[0-9]{5}[^/]*\.[^/]*$").expect("a constant pattern");
    let mut splits: BySplit = Vec::new();
    for name in &all {
        let Some(found) = shard.captures(name) else { continue };
        let path = dir.join(name);
        match splits.iter_mut().find(|(split, _)| *split == found[1]) {
            Some((_, files)) => files.push(path),
            None => splits.push((found[1].to_owned(), vec![path])),
        }
    }
    for patterns in [&IN_FOLDERS[..], &IN_FILES] {
        if !splits.is_empty() {
            break;
        }
        for (split, words) in SPLITS {
            let patterns = words.iter().flat_map(|word| patterns.iter().map(|pattern| pattern.replace("{}", word)));
            splits.push((split.to_owned(), matching(dir, &all, &patterns.collect::<Vec<_>>())));
        }
        splits.retain(|(_, files)| !files.is_empty());
    }
    if splits.is_empty() {
        splits.push(("train".to_owned(), all.iter().map(|name| dir.join(name)).collect()));
    }
    check_single_format(dir, &splits).map(|()| splits)
}

/// Refuses a split whose documents exist in two formats, or packed and unpacked: each would count twice.
pub(super) fn check_single_format(dir: &Path, splits: &BySplit) -> Result<()> {
    for (split, files) in splits {
        let mut known: HashMap<String, &str> = HashMap::new();
        let mut first: Option<(Format, &str)> = None;
        for name in files.iter().filter_map(|path| path.to_str()) {
            let (Some(format), (stem, end)) = (Format::by_name(name), Format::end(name)) else { continue };
            let same = known.insert(stem.to_owned(), end);
            let other = match &first {
                Some((other, end)) if !other.is_same(&format) => Some(*end),
                _ => same.filter(|other| *other != end),
            };
            if let Some(other) = other {
                let message = format!("{}: split `{split}` exists both as {other} and as {end}", dir.display());
                return Err(Error::user(message)
                    .hint("`dataset_path: json`, `csv` or `parquet` with `data_files` reads those that are named"));
            }
            first.get_or_insert((format, end));
        }
    }
    Ok(())
}

/// The files of a directory and its folders, as sorted relative paths, without hidden and [`IGNORED`] ones.
fn listed(dir: &Path) -> Result<Vec<String>> {
    let (mut files, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        let path = dir.join(&folder);
        let read = |e| Error::io("read", &path, &e);
        for entry in fs::read_dir(if path.as_os_str().is_empty() { Path::new(".") } else { &path }).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name.starts_with("__") || IGNORED.contains(&name.as_str()) {
                continue;
            }
            let within = format!("{folder}{name}");
            // The hub's cache links to files, so those links are followed; links to folders could form a loop.
            if entry.file_type().map_err(read)?.is_dir() {
                folders.push(within + "/");
            } else if is_there(&entry.path()) && entry.path().is_file() {
                files.push(within);
            }
            if files.len() + folders.len() > MOST {
                return Err(Error::user(format!("{}: more than {MOST} files are in it", dir.display()))
                    .hint("name the files, or a directory that holds only the data"));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn matching(dir: &Path, files: &[String], patterns: &[String]) -> Vec<PathBuf> {
    let patterns: Vec<Regex> = patterns.iter().map(|pattern| glob(pattern)).collect();
    let matches = |name: &&String| patterns.iter().any(|pattern| pattern.is_match(name));
    files.iter().filter(matches).map(|name| dir.join(name)).collect()
}

/// Divides a path with wildcards into its fixed directory and the pattern below that.
fn fixed(path: &Path) -> (PathBuf, String) {
    let is_fixed = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let dir: PathBuf = path.components().take_while(is_fixed).collect();
    let rest: Vec<_> =
        path.components().skip_while(is_fixed).map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    (dir, rest.join("/"))
}

/// Translates a pattern of names into a regular expression: `*` and `?` match no `/`, `**` does.
fn glob(pattern: &str) -> Regex {
    let (mut out, mut rest) = ("(?s)^".to_owned(), pattern);
    while let Some(c) = rest.chars().next() {
        let class = rest.strip_prefix('[').and_then(class);
        let (part, len) = match (c, class) {
            _ if rest.starts_with("**/") => ("(?:.*/)?".to_owned(), 3),
            _ if rest.starts_with("**") => (".*".to_owned(), 2),
            ('*', _) => ("[^/]*".to_owned(), 1),
            ('?', _) => ("[^/]".to_owned(), 1),
            ('[', Some(class)) => {
                let (not, members) = class.strip_prefix('!').map_or(("", class), |members| ("^", members));
                (format!("[{not}{}]", ranges(members)), class.len() + 2)
            }
            _ => (regex::escape(c.encode_utf8(&mut [0; 4])), c.len_utf8()),
        };
        out += &part;
        rest = &rest[len..];
    }
    // A pattern with an invalid class matches no name.
    Regex::new(&(out + "$")).unwrap_or_else(|_| Regex::new("^$").expect("a constant pattern"))
}

/// The text between the brackets of a class; a `]` that comes first is a member.
fn class(inside: &str) -> Option<&str> {
    let members = inside.strip_prefix('!').unwrap_or(inside);
    let begin = inside.len() - members.len() + members.chars().next()?.len_utf8();
    Some(&inside[..begin + inside[begin..].find(']')?])
}

/// Writes a class's characters and ranges for a regular expression, which has more special characters.
fn ranges(members: &str) -> String {
    let plain = |c: char| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() };
    let (mut out, mut rest) = (String::new(), members.chars());
    while let Some(c) = rest.next() {
        match rest.as_str().strip_prefix('-').and_then(|rest| rest.chars().next()) {
            None => out += &plain(c),
            Some(end) => {
                // A range from a later character to an earlier one is empty.
                if c <= end {
                    out.extend([plain(c), "-".to_owned(), plain(end)]);
                }
                rest.nth(1);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_match_as_those_of_shells() {
        for (pattern, name, matches) in [
            ("t*.jsonl", "train.jsonl", true),
            ("t*.jsonl", "a/train.jsonl", false),
            ("**/t*.jsonl", "a/b/train.jsonl", true),
            ("**/t*.jsonl", "train.jsonl", true),
            ("a/**", "a/b/c.json", true),
            ("t?[0-9].json", "t-3.json", true),
            ("t[!0-9].json", "t3.json", false),
            ("a.json", "aXjson", false),
            ("**/test[-._ 0-9]*", "x/test-00000-of-00001.parquet", true),
            ("**/test[-._ 0-9]*", "x/testing.parquet", false),
            ("[a", "[a", true),
            ("日*.json", "日本.json", true),
            ("[あい].json", "い.json", true),
            ("[!あい].json", "い.json", false),
            ("[!あい].json", "う.json", true),
            ("[]a].json", "].json", true),
            ("[!]a].json", "].json", false),
            ("[a--z].json", "z.json", true),
            ("[a&&b~~].json", "a.json", true),
            ("[a-].json", "-.json", true),
            ("[^a].json", "^.json", true),
            ("[あ-ん].json", "き.json", true),
        ] {
            assert_eq!(glob(pattern).is_match(name), matches, "{pattern} {name}");
        }
    }
}
