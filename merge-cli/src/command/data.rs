//! `evomerge data`: gets the benchmarks' data, checks it, and keeps its licence beside it.

use crate::{
    args::{Data, DataCommand, Fetch, ListArgs},
    draw::{screen, table},
    hub::Hub,
    work::shelf::shelf,
};
use evaluator::dataset::{
    self, Address, DATASETS, DataSource, Dataset, File, Shelf, Stock, derive,
    manifest::{FileDigest, UNIDIC_LITE},
};
use flate2::read::GzDecoder;
use merge_core::{
    error::{Error, Result},
    file,
    model::hash::hex,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process,
};

/// Maximum bytes of a download of unknown size: only the hash of the file made from it is known.
const UNKNOWN: u64 = 64 << 20;

pub(crate) fn run(args: &Data) -> Result<()> {
    let shelf = shelf()?;
    match &args.command {
        DataCommand::Fetch(args) => fetch(&shelf, args),
        DataCommand::List(args) => {
            list(&shelf, args);
            Ok(())
        }
    }
}

fn fetch(shelf: &Shelf, args: &Fetch) -> Result<()> {
    let datasets = args.names.iter().map(|name| dataset::dataset(name)).collect::<Result<Vec<_>>>()?;
    let origin = DownloadOrigin::new(args.from.as_deref());
    for dataset in datasets {
        let source = dataset.source();
        screen::say(&format!("{}: {} · {} · {}", dataset.name, source.title, source.licence, source.attribution));
        if !source.note.is_empty() {
            screen::say(&format!("  {}", source.note));
        }
        let mut archives = BTreeMap::new();
        let files = dataset.files();
        let mut new = 0;
        for file in &files {
            if is_present(shelf, file) {
                continue;
            }
            let Some(bytes) = origin.bytes(dataset, file, &mut archives)? else { continue };
            dataset.check(file, &bytes)?;
            write(&shelf.path(file), &bytes)?;
            new += 1;
        }
        let folder = shelf.dir().join(source.folder);
        write(&folder.join("LICENCE.txt"), licence(source).as_bytes())?;
        write(&folder.join("SOURCE.json"), format!("{:#}\n", about(shelf, source)).as_bytes())?;
        let here = files.iter().filter(|file| shelf.path(file).exists()).count();
        let news = if new == 0 { "nothing to do".to_owned() } else { format!("{new} new") };
        screen::data(&format!(
            "{}: {here} of {} in {}, {news}",
            dataset.name,
            screen::counted(files.len(), "file"),
            folder.display()
        ));
    }
    Ok(())
}

/// True if a file is present and has the right content.
fn is_present(shelf: &Shelf, file: &File) -> bool {
    !file.known.is_empty() && file::read(&shelf.path(file)).is_ok_and(|bytes| file.check(&bytes).is_ok())
}

/// Source of the files.
enum DownloadOrigin {
    /// The address where each file is published.
    Published,
    /// A directory that has them in our layout or in their authors'.
    Directory(PathBuf),
    /// A host that has them in our layout.
    Mirror(String),
}

impl DownloadOrigin {
    fn new(from: Option<&str>) -> Self {
        match from {
            None => Self::Published,
            Some(address) if address.starts_with("https://") || address.starts_with("http://") => {
                Self::Mirror(address.trim_end_matches('/').to_owned())
            }
            Some(dir) => Self::Directory(dir.into()),
        }
    }

    /// Content of a file, not checked yet; `None` for one of several that a user need not provide.
    fn bytes(
        &self,
        dataset: &Dataset,
        file: &File,
        archives: &mut BTreeMap<&'static str, Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        let hub = Hub::from_env();
        let most = file.known.iter().map(|digest| digest.bytes).max().unwrap_or(UNKNOWN);
        let download = |address: &str, most: u64| {
            screen::say(&format!("downloading {address}"));
            hub.download_other(address, most)
        };
        match (self, file.address) {
            (Self::Directory(dir), _) => copy(dir, dataset, file, archives),
            (Self::Mirror(address), _) => download(&format!("{address}/{}", file.path), most).map(Some),
            (Self::Published, None) => {
                let message = format!("{} cannot be downloaded: {}", dataset.name, dataset.source().note);
                Err(Error::user(message).hint(format!("`--from DIR` takes it from a directory: {}", dataset.about)))
            }
            (Self::Published, Some(Address::File(url))) => download(url, most).map(Some),
            (Self::Published, Some(Address::Exemplars(url))) => exemplars(url, download(url, UNKNOWN)?).map(Some),
            (Self::Published, Some(Address::Archive(url))) => {
                if !archives.contains_key(url) {
                    let bytes = download(url, UNIDIC_LITE.bytes)?;
                    check_hash(url, &bytes, UNIDIC_LITE)?;
                    archives.insert(url, bytes);
                }
                member(&archives[url], file).map_err(|e| e.at(url)).map(Some)
            }
        }
    }
}

fn check_hash(name: &str, bytes: &[u8], digest: FileDigest) -> Result<()> {
    let (found, expected) = (hex(&Sha256::digest(bytes)), digest.sha256);
    if found == expected {
        return Ok(());
    }
    Err(Error::user(format!("{name}: its SHA-256 should be {expected}, and is {found}")))
}

/// Extracts MGSM's examples from the downloaded Python file.
fn exemplars(place: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let python = String::from_utf8(bytes).map_err(|_| Error::user(format!("{place}: not in UTF-8")))?;
    derive::exemplars(&python).map_err(|e| e.at(place))
}

/// Reads a file from a directory: by our path, its authors' path, or its name alone; the first
/// correct one counts. Otherwise makes it from the published file, if the directory has that.
fn copy(
    dir: &Path,
    dataset: &Dataset,
    file: &File,
    archives: &mut BTreeMap<&'static str, Vec<u8>>,
) -> Result<Option<Vec<u8>>> {
    let inner = file.path.split_once('/').map_or(file.path, |(_, inner)| inner);
    let mut wrong = None;
    for path in [file.path, inner, file.name()].map(|path| dir.join(path)) {
        let bytes = match file::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound || path.is_dir() => continue,
            Err(e) => return Err(Error::io("read", &path, &e)),
        };
        match dataset.check(file, &bytes) {
            Ok(()) => return Ok(Some(bytes)),
            Err(error) => wrong = wrong.or(Some(error.at(path.display()))),
        }
    }
    let published = file.address.zip(published_name(file)).map(|(address, name)| (address, dir.join(name)));
    if let Some((address, path)) = published.filter(|(_, path)| wrong.is_none() && path.is_file()) {
        let place = path.display().to_string();
        let read = || file::read(&path).map_err(|e| Error::io("read", &path, &e));
        let bytes = match address {
            Address::File(_) => read()?,
            Address::Exemplars(_) => exemplars(&place, read()?)?,
            Address::Archive(url) => {
                if !archives.contains_key(url) {
                    let bytes = read()?;
                    check_hash(&place, &bytes, UNIDIC_LITE)?;
                    archives.insert(url, bytes);
                }
                member(&archives[url], file).map_err(|e| e.at(&place))?
            }
        };
        return dataset.check(file, &bytes).map(|()| Some(bytes)).map_err(|e| e.at(place));
    }
    match wrong {
        Some(error) => Err(error.hint(if dataset.is_user_supplied() {
            "nothing was copied"
        } else {
            "nothing was copied; without `--from` the file is downloaded"
        })),
        // Users may provide only a part of such data.
        None if dataset.is_user_supplied() && dataset.files().iter().any(|other| exists(dir, other)) => Ok(None),
        None => {
            let other = published_name(file).map_or_else(String::new, |name| format!(", nor {name}"));
            let message = format!("{}: there is no {}{other} in {}", dataset.name, file.path, dir.display());
            let hint = if dataset.is_user_supplied() {
                format!("what is looked for: {}", dataset.about)
            } else {
                "without `--from` the file is downloaded".to_owned()
            };
            Err(Error::user(message).hint(hint))
        }
    }
}

/// Name of a file at its address, if different.
fn published_name(file: &File) -> Option<&'static str> {
    let name = file.address?.url().rsplit('/').next()?;
    (name != file.name()).then_some(name)
}

fn exists(dir: &Path, file: &File) -> bool {
    dir.join(file.path).is_file() || dir.join(file.name()).is_file()
}

/// Reads a member of a compressed archive, found by the end of its path.
fn member(archive: &[u8], file: &File) -> Result<Vec<u8>> {
    let broken = |e: io::Error| Error::user(format!("not an archive that can be unpacked: {e}"));
    for entry in tar::Archive::new(GzDecoder::new(archive)).entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if entry.path().map_err(broken)?.ends_with(Path::new("dicdir").join(file.name())) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            return Ok(bytes);
        }
    }
    Err(Error::user(format!("there is no {} in it", file.path)))
}

/// Writes a file, unless it is unchanged, under another name and renames it: it is never partial.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if file::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(path);
    fs::create_dir_all(dir)
        .map_err(|e| Error::io("create", dir, &e).hint("EVOMERGE_DATA sets another directory for data"))?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let beside = dir.join(format!(".{name}.{}", process::id()));
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|e| {
        let _ = fs::remove_file(&beside);
        Error::io("write", path, &e)
    })
}

fn licence(source: &DataSource) -> String {
    let DataSource { title, url, version, licence, licence_url, attribution, note, .. } = source;
    let note = if note.is_empty() { String::new() } else { format!("\nNote: {note}.\n") };
    format!("{title}\n{url} ({version})\n\n{attribution}\n\nLicence: {licence}\n{licence_url}\n{note}")
}

/// Description of a source, and the addresses, sizes and hashes of its files that are present.
fn about(shelf: &Shelf, source: &DataSource) -> Value {
    let mut files = BTreeMap::new();
    for file in DATASETS.iter().filter(|dataset| dataset.source().folder == source.folder).flat_map(Dataset::files) {
        if let Ok(bytes) = file::read(&shelf.path(&file)) {
            let address = file.address.map(Address::url);
            let sha256 = hex(&Sha256::digest(&bytes));
            files.insert(file.path, json!({ "address": address, "bytes": bytes.len(), "sha256": sha256 }));
        }
    }
    json!({
        "title": source.title,
        "url": source.url,
        "version": source.version,
        "licence": source.licence,
        "licence_url": source.licence_url,
        "attribution": source.attribution,
        "note": source.note,
        "files": files,
    })
}

fn list(shelf: &Shelf, args: &ListArgs) {
    if args.json {
        let all: Vec<Value> = DATASETS
            .iter()
            .map(|dataset| {
                let source = dataset.source();
                let splits: BTreeMap<&str, Option<usize>> = dataset
                    .splits
                    .iter()
                    .map(|split| (split.name, Some(split.rows).filter(|rows| *rows > 0)))
                    .collect();
                json!({
                    "name": dataset.name,
                    "about": dataset.about,
                    "here": stock(shelf, dataset),
                    "path": shelf.dir().join(source.folder),
                    "splits": splits,
                    "source": source.url,
                    "version": source.version,
                    "licence": source.licence,
                    "attribution": source.attribution,
                    "downloadable": !dataset.is_user_supplied(),
                })
            })
            .collect();
        screen::data(&screen::json(&all));
        return;
    }
    let mut table = table::plain();
    table.set_header(["data set", "here", "documents", "licence"]);
    for dataset in DATASETS {
        let splits = dataset.splits.iter().map(|split| match split.rows {
            0 => split.name.to_owned(),
            rows => format!("{} {}", split.name.replace("validation", "valid"), screen::grouped(rows as u64)),
        });
        let splits = splits.collect::<Vec<_>>().join(", ");
        let splits = splits.replace("valid_out_of_domain", "out of domain");
        table.add_row([dataset.name, stock(shelf, dataset), &splits, dataset.source().licence]);
    }
    screen::data(&table::flush_left(&table));
    screen::say(&format!(
        "\nkept in {}; `evomerge data fetch NAME` gets one, `--json` tells more",
        shelf.dir().display()
    ));
}

fn stock(shelf: &Shelf, dataset: &Dataset) -> &'static str {
    match (shelf.stock(dataset), dataset.is_user_supplied()) {
        (Stock::Whole, _) => "yes",
        (Stock::Part, _) => "partly",
        (Stock::None, false) => "no",
        (Stock::None, true) => "bring it",
    }
}

#[cfg(test)]
mod tests {
    use super::{File, member};
    use evaluator::dataset;
    use flate2::{Compression, write::GzEncoder};

    #[test]
    fn members_are_found_by_the_end_of_their_path() {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, text) in [("unidic-lite-1.0.8/dicrc", "no"), ("unidic-lite-1.0.8/unidic_lite/dicdir/dicrc", "yes")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let bytes = archive.into_inner().unwrap().finish().unwrap();
        let files = dataset::dataset("unidic-lite").unwrap().files();
        let file = |name: &str| -> &File { files.iter().find(|file| file.name() == name).unwrap() };
        assert_eq!(member(&bytes, file("dicrc")).unwrap(), b"yes");
        assert!(
            member(&bytes, file("sys.dic")).unwrap_err().to_string().contains("there is no unidic-lite/dicdir/sys.dic")
        );
        assert!(member(b"not compressed", file("dicrc")).is_err());
    }
}
