//! Roots: the directories whose recipes may be submitted by HTTP; also hides other paths in
//! answers.

use super::{copies::check_text, judges::Judges, shown::RecipeEntry};
use merge_core::{
    error::{Error, Result},
    search::JudgeEntry,
};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::LazyLock,
};

/// Directories given by `--root`, each known by the last part of its path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Roots {
    all: Vec<(String, PathBuf)>,
    /// The state directory, whose path is hidden.
    home: PathBuf,
    /// Programs and services that searches handed in by HTTP may have as judges.
    judges: Judges,
}

/// Depth of the search for recipes.
const DEPTH: usize = 6;
/// Maximum size of a recipe in bytes.
const LARGEST: u64 = 1 << 20;
/// Maximum number of listed recipes.
const MOST: usize = 2000;

impl Roots {
    /// Opens the roots. Fails if one is not a directory, or if two have the same name.
    pub(super) fn open(given: &[PathBuf], home: &Path) -> Result<Self> {
        let mut all: Vec<(String, PathBuf)> = Vec::new();
        for dir in given {
            let path = dir.canonicalize().map_err(|e| Error::io("open", dir, &e).at("--root"))?;
            if !path.is_dir() || path.parent().is_none() {
                return Err(Error::user(format!("{}: is no directory of recipes", dir.display())));
            }
            check_text(&path).map_err(|e| e.at("--root"))?;
            let name = path.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
            if all.iter().any(|(known, _)| *known == name) {
                return Err(Error::user(format!("two roots are called `{name}`")).hint("name a directory above both"));
            }
            all.push((name, path));
        }
        Ok(Self { all, home: home.to_owned(), judges: Judges::default() })
    }

    /// The same roots, with these judges.
    pub(super) fn with_judges(self, judges: Judges) -> Self {
        Self { judges, ..self }
    }

    /// True if a path, after links are followed, is in a root or in a directory of judges.
    pub(super) fn contains(&self, path: &Path) -> bool {
        self.root_of(path).is_some() || self.judges.contains(path)
    }

    /// Refuses a judge of a search file, unless it is one that may run.
    pub(super) fn check_judge(&self, judge: &JudgeEntry, file: &Path) -> Result<()> {
        self.judges.check(judge, file, &|path| self.contains(path))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The first root.
    pub(super) fn first(&self) -> Option<&Path> {
        self.all.first().map(|(_, root)| root.as_path())
    }

    /// Path of an existing file by its name: `recipes/sansu/search.yaml` is in the root `recipes`.
    ///
    /// Fails if it is not in a root after links are followed.
    pub(super) fn find(&self, name: &str) -> Result<PathBuf> {
        let path = self.place(name)?;
        self.check(&path).map_err(|e| e.at(name))?;
        path.canonicalize().map_err(|_| Error::user(format!("{name}: there is no such file")))
    }

    /// Path of an existing recipe by its name: see [`Roots::find`].
    ///
    /// Fails, without opening the file, if its name is not that of a recipe: other files in a root
    /// may be of any size.
    pub(super) fn recipe(&self, name: &str) -> Result<PathBuf> {
        let path = self.find(name)?;
        if !is_recipe(&path) {
            return Err(Error::user(format!("{name}: is no recipe by its name")).hint("recipes end in `.yaml`"));
        }
        Ok(path)
    }

    /// Path for a new recipe, in a directory that exists.
    ///
    /// Fails if the directory is not in a root, or if the name is not that of a YAML file.
    pub(super) fn new_file(&self, name: &str) -> Result<PathBuf> {
        let path = self.place(name)?;
        if !is_recipe(&path) {
            return Err(Error::user(format!("{name}: the name of a recipe ends in `.yaml`")));
        }
        let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else {
            return Err(Error::user(format!("{name}: is no name for a file")));
        };
        self.check(&path).map_err(|e| e.at(name))?;
        let parent = parent.canonicalize().map_err(|_| Error::user(format!("{name}: there is no such directory")))?;
        Ok(parent.join(file))
    }

    /// Refuses a path outside the roots, with the same message whether it exists or not.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        match self.root_of(path) {
            Some(_) => Ok(()),
            None => Err(Error::user("this is not in a directory that the server opens")
                .hint("whoever runs it names directories with `--root`")),
        }
    }

    /// The root that contains a path after links are followed, if any.
    pub(super) fn root_of(&self, path: &Path) -> Option<&Path> {
        let there = real(path)?;
        self.all.iter().map(|(_, root)| root.as_path()).find(|root| there.starts_with(root))
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        if self.all.is_empty() {
            return Err(Error::user("this server takes no recipes by HTTP")
                .hint("whoever runs it names directories with `--root`"));
        }
        let path = Path::new(name);
        let mut parts = path.components();
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let first = parts.next().filter(|part| plain(*part)).map(|part| part.as_os_str().to_string_lossy());
        let root = first.and_then(|first| self.all.iter().find(|(known, _)| *known == first));
        match root {
            Some((_, root)) if parts.clone().all(plain) && !name.contains('\0') => Ok(root.join(parts.as_path())),
            _ => Err(Error::user(format!("{name}: is not in a directory that this server opens"))
                .hint(format!("a file's name begins with one of: {}", self.names().join(", ")))),
        }
    }

    /// Lists the recipes in the roots.
    pub(super) fn recipes(&self) -> Vec<RecipeEntry> {
        let mut found = Vec::new();
        for (name, root) in &self.all {
            walk(root, name, DEPTH, &mut found);
        }
        found
    }

    /// Hides paths in a text for readers on other machines: a path in a root begins with the root's
    /// name; any other is reduced to its last part.
    pub(super) fn conceal(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let known =
            self.all.iter().map(|(name, root)| (name.as_str(), root.as_path())).chain([("state", self.home.as_path())]);
        for (name, place) in known {
            let place = place.to_string_lossy();
            let mut rest = text.as_str();
            let mut told = String::new();
            while let Some(at) = rest.find(&*place) {
                let after = &rest[at + place.len()..];
                // The name of another directory may begin with the same characters.
                let ends = after.chars().next().is_none_or(|next| !next.is_alphanumeric() && !"-_.".contains(next));
                told += &rest[..at];
                told += if ends { name } else { &place };
                rest = after;
            }
            text = told + rest;
        }
        PATH.replace_all(&text, "$before…/$last").into_owned()
    }

    /// Hides paths in all texts of a value.
    pub(super) fn conceal_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.conceal(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.conceal_in(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.conceal_in(value)),
            _ => {}
        }
    }
}

/// Real path: links are followed as far as the path exists. `None` if the target is unclear.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let (there, ancestor) = path.ancestors().find_map(|one| Some((one.canonicalize().ok()?, one)))?;
    let rest = path.strip_prefix(ancestor).ok()?;
    let mut parts = rest.components();
    // Unclear: a link without a target, or `..` after a part that does not exist.
    let first = parts.next().map(|first| ancestor.join(first));
    let leads_on = first.is_some_and(|first| first.symlink_metadata().is_ok_and(|data| data.is_symlink()));
    let leads_back = rest.components().any(|part| part == Component::ParentDir);
    (!leads_on && !leads_back).then(|| there.join(rest))
}

/// True if the name of a file is that of a recipe.
fn is_recipe(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

/// Matches an absolute path of two parts or more.
static PATH: LazyLock<Regex> = LazyLock::new(|| {
    let name = r#"[^/\s"'`,:;<>|\\()\[\]{}]+"#;
    Regex::new(&format!(r#"(?m)(?<before>^|[\s"'`=(,:\[>])/(?:{name}/)+(?<last>{name})"#)).expect("a constant pattern")
});

fn walk(dir: &Path, name: &str, depth: usize, found: &mut Vec<RecipeEntry>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let file = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let name = format!("{name}/{file}");
        if file.starts_with('.') || found.len() >= MOST {
            continue;
        }
        // Links are skipped: they may lead out of the root, or in circles.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            walk(&path, &name, depth - 1, found);
        } else if kind.is_file()
            && is_recipe(&path)
            && entry.metadata().is_ok_and(|data| data.len() < LARGEST)
            && let Ok(text) = merge_core::file::read_text(&path)
            && let Some(kind) = super::work::kind_of(&text)
        {
            found.push(RecipeEntry { file: name, kind });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt as _, fs::symlink},
    };
    use tempfile::{TempDir, tempdir};

    /// A root `recipes` beside a secret, with a link out of it.
    fn roots() -> (Roots, TempDir) {
        let dir = tempdir().unwrap();
        fs::create_dir_all(dir.path().join("recipes/sansu")).unwrap();
        fs::write(dir.path().join("recipes/sansu/a.yaml"), "merge_method: linear\nmodels: []\n").unwrap();
        fs::write(dir.path().join("secret.yaml"), "merge_method: linear\n").unwrap();
        symlink(dir.path(), dir.path().join("recipes/out")).unwrap();
        (Roots::open(&[dir.path().join("recipes")], Path::new("/var/state/evomerge")).unwrap(), dir)
    }

    #[test]
    fn a_root_that_no_message_can_name_is_refused() {
        let dir = tempdir().unwrap();
        let root = dir.path().join(OsStr::from_bytes(b"recipes\xff"));
        fs::create_dir(&root).unwrap();
        let error = Roots::open(&[root], Path::new("/var/state/evomerge")).expect_err("it is not UTF-8");
        assert!(error.to_string().contains("this one is not UTF-8"), "{error}");
    }

    #[test]
    fn what_is_not_in_a_root_is_not_found() {
        let (roots, dir) = roots();
        assert!(roots.find("recipes/sansu/a.yaml").unwrap().ends_with("recipes/sansu/a.yaml"));
        assert!(roots.new_file("recipes/sansu/b.yaml").is_ok());
        let outside = dir.path().join("secret.yaml").display().to_string();
        let wrong = [
            "secret.yaml",
            "recipes/../secret.yaml",
            "../secret.yaml",
            "recipes/out/secret.yaml",
            "/etc/passwd",
            "recipes/./../secret.yaml",
            "recipes//../secret.yaml",
            "",
            "recipes/none.yaml",
            "recipes/a\0.yaml",
            &outside,
        ];
        for name in wrong {
            assert!(roots.find(name).is_err(), "{name}");
        }
        for name in ["recipes/out/b.yaml", "recipes/b.sh", "recipes/none/b.yaml", "b.yaml", "recipes/..", "recipes"] {
            assert!(roots.new_file(name).is_err(), "{name}");
        }
        // Messages do not reveal which files exist outside the roots.
        symlink(dir.path().join("nothing"), dir.path().join("recipes/dangling")).unwrap();
        let said = |name: &str| roots.find(name).unwrap_err().to_string().replace(name, "NAME");
        for (there, not_there) in
            [("recipes/out/secret.yaml", "recipes/out/none.yaml"), ("recipes/out", "recipes/dangling")]
        {
            assert_eq!(said(there), "NAME: this is not in a directory that the server opens");
            assert_eq!(said(there), said(not_there));
        }
        let said = |name: &str| roots.new_file(name).unwrap_err().to_string().replace(name, "NAME");
        assert_eq!(said("recipes/out/b.yaml"), said("recipes/out/none/b.yaml"));
        let said = |path: &str| roots.check(Path::new(path)).unwrap_err().to_string();
        assert_eq!(said("/etc/passwd"), said("/etc/there-is-no-such"));
        let listed: Vec<String> = roots.recipes().into_iter().map(|one| one.file).collect();
        assert_eq!(listed, ["recipes/sansu/a.yaml"]);
    }

    #[test]
    fn paths_of_this_machine_are_not_told() {
        let (roots, dir) = roots();
        let place = dir.path().canonicalize().unwrap();
        let told = |text: String| roots.conceal(&text);
        assert_eq!(told(format!("{}/recipes/sansu/a.yaml:3:1: no", place.display())), "recipes/sansu/a.yaml:3:1: no");
        assert_eq!(told("/var/state/evomerge/jobs/3/out".into()), "state/jobs/3/out");
        assert_eq!(told("cannot open /home/someone/models/x.bin: no".into()), "cannot open …/x.bin: no");
        assert_eq!(told(format!("{0}/recipes-b/x\n{0}/recipes", place.display())), "…/x\nrecipes");
        let mut value = json!({ "a": "one\n/home/someone/x: 1", "b": ["/srv/y/z"] });
        roots.conceal_in(&mut value);
        assert_eq!(value, json!({ "a": "one\n…/x: 1", "b": ["…/z"] }));
        assert_eq!(told("2/3 of http://127.0.0.1:80/api/jobs".into()), "2/3 of http://127.0.0.1:80/api/jobs");
    }
}
