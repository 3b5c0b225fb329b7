//! Provides the data sets of a shelf to tasks, as `dataset_path: evomerge/NAME`.

use crate::{
    dataset::{self, Shelf, Stock},
    task::Datasets,
    text::mecab,
};
use merge_core::error::{Error, Result};
use serde_json::Value;
use std::path::PathBuf;

impl Datasets for Shelf {
    fn open(&self, path: &str, part: Option<&str>) -> Result<Option<Vec<(String, Vec<Value>)>>> {
        let Some(name) = path.strip_prefix("evomerge/") else { return Ok(None) };
        let dataset = dataset::dataset(name)?;
        if let Some(part) = part {
            return Err(Error::user(format!("`{path}` has no parts, and `dataset_name` is `{part}`"))
                .hint("remove `dataset_name`"));
        }
        let here = |file: &dataset::File| self.path(file).exists();
        let splits = dataset.splits.iter().filter(|split| {
            // If only a part is here, only whole splits are offered; if nothing is, reading names the missing file.
            self.stock(dataset) != Stock::Part || split.files().iter().all(here)
        });
        splits
            .map(|split| Ok((split.name.to_owned(), self.docs(dataset, split.name)?)))
            .collect::<Result<_>>()
            .map(Some)
    }

    fn splits(&self, path: &str) -> Vec<String> {
        let dataset = path.strip_prefix("evomerge/").and_then(|name| dataset::dataset(name).ok());
        dataset.map_or_else(Vec::new, |dataset| dataset.splits.iter().map(|split| split.name.to_owned()).collect())
    }

    fn tool(&self, name: &str) -> Option<PathBuf> {
        if name == "unidic-lite" {
            return mecab::installed(self.dir());
        }
        let file = dataset::dataset(name).ok()?.files().into_iter().next()?;
        Some(self.path(&file)).filter(|path| path.is_file())
    }
}
