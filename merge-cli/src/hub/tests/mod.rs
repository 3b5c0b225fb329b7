//! Tests of the hub with a small server on this machine.

mod refusals;

use super::*;
use merge_core::model::hash::hex;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

/// Contents of files by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A hub with one repository, `org/name`, whose safetensors files are on another host.
#[derive(Default)]
struct Server {
    files: Files,
    /// Contents that are sent instead of a file's own.
    instead: Files,
    /// Refusals by the hub, by prefix of the path: status and `X-Error-Code`.
    refusals: Vec<(&'static str, u16, &'static str)>,
    /// Number of bytes of a large file after which the connection breaks.
    breaks_after: Option<usize>,
    /// True if `Range` is supported.
    ranges: bool,
    asked: Vec<Asked>,
}

#[derive(Clone, Debug)]
struct Asked {
    path: String,
    range: Option<String>,
    token: bool,
    /// True if the request went to the other host.
    elsewhere: bool,
}

/// A running server, until the test ends.
struct Running {
    server: Arc<Mutex<Server>>,
    endpoint: String,
}

fn repository() -> Files {
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let small = [
        ("config.json", "{}"),
        ("tokenizer.json", "{\"tokens\": 1}"),
        ("README.md", "---\nlicense: mit\n---\n"),
        ("chat_template.jinja", "{{ x }}"),
        ("model.safetensors.index.json", index),
        ("model.onnx", "no"),
        ("model-q4.gguf", "no"),
        ("consolidated.safetensors", "no"),
        ("training_args.bin", "no"),
        ("pytorch_model.bin", "no"),
        ("onnx/config.json", "no"),
    ];
    let mut files: BTreeMap<_, _> = small.map(|(name, text)| (name.to_owned(), text.into())).into();
    files.insert("model-00001-of-00002.safetensors".to_owned(), (0..200_000u32).map(|i| (i * 7) as u8).collect());
    files.insert("model-00002-of-00002.safetensors".to_owned(), (0..3000u32).map(|i| (i * 11) as u8).collect());
    files
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

fn etag(name: &str, content: &[u8]) -> String {
    if is_large(name) {
        hex(&Sha256::digest(content))
    } else {
        hex(&Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize())
    }
}

impl Server {
    fn listing(&self) -> String {
        let sibling = |(name, content): (&String, &Vec<u8>)| {
            let (etag, size) = (etag(name, content), content.len());
            if is_large(name) {
                let pointer = "f".repeat(40);
                format!(
                    r#"{{"rfilename":"{name}","blobId":"{pointer}","size":{size},
                        "lfs":{{"sha256":"{etag}","size":{size},"pointerSize":134}}}}"#
                )
            } else {
                format!(r#"{{"rfilename":"{name}","blobId":"{etag}","size":{size}}}"#)
            }
        };
        let siblings: Vec<_> = self.files.iter().map(sibling).collect();
        format!(r#"{{"id":"org/name","sha":"{COMMIT}","private":false,"siblings":[{}]}}"#, siblings.join(","))
    }

    fn answer(&mut self, asked: Asked, elsewhere: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let path = asked.path.clone();
        let range: Option<usize> =
            asked.range.as_ref().map(|range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
        self.asked.push(asked);
        if let Some((_, status, code)) = self.refusals.iter().find(|(begin, ..)| path.starts_with(begin)) {
            return write!(
                stream,
                "HTTP/1.1 {status} No\r\nX-Error-Code: {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        if path.starts_with("/api/models/org/name/revision/") {
            let text = self.listing();
            let len = text.len();
            return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{text}");
        }
        let name = path.rsplit('/').next().unwrap();
        let Some(content) = self.instead.get(name).or_else(|| self.files.get(name)) else {
            return write!(stream, "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        if is_large(name) && path.starts_with("/org/name/resolve/") {
            let to = format!("{elsewhere}/cdn/{name}");
            return write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        let from = range.filter(|_| self.ranges).unwrap_or(0);
        if from >= content.len() && from > 0 {
            return write!(stream, "HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let (rest, all) = (&content[from..], content.len());
        let status = if from > 0 {
            format!("206 Partial\r\nContent-Range: bytes {from}-{}/{all}", all - 1)
        } else {
            "200 OK".to_owned()
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
        let end = self.breaks_after.filter(|_| is_large(name)).unwrap_or(rest.len()).min(rest.len());
        stream.write_all(&rest[..end])
    }

    fn run(self) -> Running {
        let server = Arc::new(Mutex::new(self));
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [endpoint, cdn] = listeners.each_ref().map(|one| format!("http://{}", one.local_addr().unwrap()));
        for (elsewhere, listener) in [false, true].into_iter().zip(listeners) {
            let (server, cdn) = (Arc::clone(&server), cdn.clone());
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let lines =
                        BufReader::new(&stream).lines().map_while(|line| line.ok().filter(|line| !line.is_empty()));
                    let lines: Vec<String> = lines.collect();
                    let Some(first) = lines.first() else { continue };
                    let path = first.split(' ').nth(1).unwrap().to_owned();
                    let header = |name: &str| {
                        let found = lines.iter().filter_map(|line| line.split_once(": "));
                        found
                            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                            .map(|(_, value)| value.to_owned())
                            .next()
                    };
                    let token = header("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}"));
                    let asked = Asked { path, range: header("range"), token, elsewhere };
                    // Some tests close the connection early.
                    let _ = server.lock().unwrap().answer(asked, &cdn, &mut stream);
                }
            });
        }
        Running { server, endpoint }
    }
}

impl Running {
    fn hub(&self, home: &TempDir) -> Hub {
        hub(&[("HF_ENDPOINT", &self.endpoint), ("HF_HOME", home.path().to_str().unwrap()), ("HF_TOKEN", TOKEN)])
    }

    fn set(&self, change: impl FnOnce(&mut Server)) {
        change(&mut self.server.lock().unwrap());
    }

    /// Requests since the last call.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.server.lock().unwrap().asked)
    }
}

fn hub(variables: &[(&str, &str)]) -> Hub {
    let found = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Hub { pause: Duration::from_millis(1), ..Hub::new(&found) }
}

fn offline_hub(home: &TempDir) -> Hub {
    hub(&[("HF_HUB_OFFLINE", "1"), ("HF_HOME", home.path().to_str().unwrap())])
}

fn server() -> Server {
    Server { files: repository(), ranges: true, ..Server::default() }
}

fn root(home: &TempDir) -> PathBuf {
    home.path().join("hub/models--org--name")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Checks that a fetch is refused with this error message and this hint.
fn check_refused(result: Result<PathBuf>, message: &str, hint: &str) {
    let error = result.unwrap_err();
    let advice = error.advice().unwrap_or_default();
    assert!(error.to_string().contains(message), "{error}");
    assert!(advice.contains(hint), "{advice}");
    assert!(!format!("{error}{advice}").contains(TOKEN));
}

#[test]
fn downloads_what_a_merge_needs_in_the_layout_that_the_hubs_tools_share() {
    let (home, running) = (TempDir::new().unwrap(), server().run());
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    let root = root(&home);
    assert_eq!(dir, root.join("snapshots").join(COMMIT));
    let wanted = [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    assert_eq!(names(&dir), wanted);
    assert_eq!(fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    for name in wanted {
        let content = &repository()[name];
        assert_eq!(&fs::read(dir.join(name)).unwrap(), content);
        assert_eq!(fs::read_link(dir.join(name)).unwrap(), Path::new("../../blobs").join(etag(name, content)));
    }
    assert_eq!(names(&root), ["blobs", "refs", "snapshots"]);
    assert_eq!(names(&root.join("blobs")).len(), wanted.len());
}

#[test]
fn sends_the_token_to_the_hub_and_to_nobody_it_leads_to() {
    let (home, running) = (TempDir::new().unwrap(), server().run());
    running.hub(&home).fetch("org/name", None).unwrap();
    let asked = running.asked();
    assert_eq!(asked.iter().filter(|one| one.elsewhere).count(), 2);
    assert!(asked.iter().all(|one| one.token != one.elsewhere), "{asked:?}");
}

#[test]
fn knows_whom_the_token_is_for_and_follows_no_redirect_out_of_encryption() {
    use wire::{origin, redirected};
    assert_eq!(origin("https://Hub.co/a"), origin("https://hub.co:443/b"));
    for other in
        ["http://hub.co/a", "https://hub.co:8443/a", "https://hub.co.evil/a", "https://hub.co@evil/a", "ftp://hub.co"]
    {
        assert_ne!(origin(other), origin("https://hub.co"), "{other}");
    }
    let cases = [
        ("/b?c=1", Some("https://hub.co/b?c=1")),
        ("//cdn/b", Some("https://cdn/b")),
        ("https://cdn/b", Some("https://cdn/b")),
        ("http://hub.co/b", None),
        ("file:///etc/passwd", None),
        ("b", None),
    ];
    for (to, address) in cases {
        assert_eq!(redirected("https://hub.co/a", to).as_deref(), address);
    }
}

#[test]
fn asks_for_nothing_that_is_there() {
    let (home, running) = (TempDir::new().unwrap(), server().run());
    let hub = running.hub(&home);
    hub.fetch("org/name", None).unwrap();
    running.asked();
    let dir = hub.fetch("org/name", Some(COMMIT)).unwrap();
    assert_eq!(running.asked().len(), 0, "a commit stays what it is");
    assert_eq!(hub.fetch("org/name", Some("refs/pr/1")).unwrap(), dir);
    let asked: Vec<String> = running.asked().into_iter().map(|one| one.path).collect();
    assert_eq!(asked, ["/api/models/org/name/revision/refs%2Fpr%2F1?blobs=true"]);
    assert_eq!(fs::read_to_string(root(&home).join("refs/refs/pr/1")).unwrap(), COMMIT);
    // Files that other tools left out are requested.
    fs::remove_file(dir.join("tokenizer.json")).unwrap();
    hub.fetch("org/name", Some(COMMIT)).unwrap();
    assert_eq!(running.asked().len(), 1, "its bytes are still there");
    assert!(dir.join("tokenizer.json").exists());
}

#[test]
fn goes_on_where_a_connection_broke() {
    let (home, running) = (TempDir::new().unwrap(), Server { breaks_after: Some(90_000), ..server() }.run());
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    let name = "model-00001-of-00002.safetensors";
    assert_eq!(fs::read(dir.join(name)).unwrap(), repository()[name]);
    let elsewhere = running.asked().into_iter().filter(|one| one.path.ends_with(name) && one.elsewhere);
    let ranges: Vec<_> = elsewhere.map(|one| one.range).collect();
    assert_eq!(ranges, [None, Some("bytes=90000-".to_owned()), Some("bytes=180000-".to_owned())]);
}

#[test]
fn begins_again_where_a_server_knows_no_ranges() {
    let running = server().run();
    running.set(|server| server.ranges = false);
    let home = TempDir::new().unwrap();
    let name = "model-00001-of-00002.safetensors";
    let content = &repository()[name];
    let blobs = root(&home).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", etag(name, content))), &content[..1000]).unwrap();
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    assert_eq!(&fs::read(dir.join(name)).unwrap(), content);
}

#[test]
fn does_not_trust_what_another_program_began() {
    let (home, running) = (TempDir::new().unwrap(), server().run());
    let name = "model-00001-of-00002.safetensors";
    let content = &repository()[name];
    let blobs = root(&home).join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", etag(name, content))), vec![1; 1000]).unwrap();
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    assert_eq!(&fs::read(dir.join(name)).unwrap(), content);
}

#[test]
fn replaces_a_damaged_file() {
    let (home, running) = (TempDir::new().unwrap(), server().run());
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    let path = dir.join("model-00002-of-00002.safetensors");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..10]).unwrap();
    running.hub(&home).fetch("org/name", None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn refuses_what_ends_short_and_keeps_no_name_for_it() {
    let name = "model-00002-of-00002.safetensors";
    let short = repository()[name][..100].to_vec();
    let (home, running) =
        (TempDir::new().unwrap(), Server { instead: [(name.to_owned(), short)].into(), ..server() }.run());
    check_refused(running.hub(&home).fetch("org/name", None), "ended after 100 B of 3.00 kB", "goes on from there");
    assert!(!root(&home).join("snapshots").join(COMMIT).join(name).exists());
    assert!(!root(&home).join("blobs").join(etag(name, &repository()[name])).exists());
    assert!(!root(&home).join("refs/main").exists());
    check_refused(offline_hub(&home).fetch("org/name", Some(COMMIT)), name, "HF_HUB_OFFLINE");
}

#[test]
fn refuses_what_has_another_hash_and_keeps_nothing_of_it() {
    for name in ["model-00002-of-00002.safetensors", "config.json"] {
        let mut wrong = repository()[name].clone();
        wrong[1] ^= 1;
        let (home, running) =
            (TempDir::new().unwrap(), Server { instead: [(name.to_owned(), wrong)].into(), ..server() }.run());
        check_refused(
            running.hub(&home).fetch("org/name", None),
            &format!("org/name: {name}: what arrived"),
            "nothing of it was kept",
        );
        let etag = etag(name, &repository()[name]);
        assert!(names(&root(&home).join("blobs")).iter().all(|blob| !blob.starts_with(&etag)));
    }
}

#[test]
fn refuses_what_is_longer_than_promised() {
    let name = "model-00002-of-00002.safetensors";
    let (home, running) =
        (TempDir::new().unwrap(), Server { instead: [(name.to_owned(), vec![0; 5000])].into(), ..server() }.run());
    check_refused(
        running.hub(&home).fetch("org/name", None),
        "more arrives than the 3.00 kB",
        "nothing of it was kept",
    );
}
