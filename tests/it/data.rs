//! Data of benchmarks: taken from a directory or a mirror, verified, and kept with its licence.

use crate::kit::{Dir, Said, root};
use serde_json::Value;
use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

/// Folder of data that may not be copied into the repository. Tests that need it are ignored if it
/// is missing.
fn shared() -> PathBuf {
    let dir = env::var_os("EVOMERGE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from).join("data");
    assert!(dir.exists(), "{} is missing", dir.display());
    dir
}

/// Runs `evomerge data` with a shelf in the test's own directory.
fn data(dir: &Dir, args: &[&str]) -> Said {
    let mut command = dir.command(&[&["data"], args].concat());
    Said::of(command.env("EVOMERGE_DATA", dir.path("shelf")).env("HF_TOKEN", "hf_secret").output().unwrap())
}

/// A host that serves a directory. Returns its address and the requests that it gets, with headers.
fn host(files: &Path) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (files, heard) = (files.to_owned(), Arc::clone(&asked));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            heard.lock().unwrap().push(head.join("\n").to_lowercase());
            let (status, body) = match fs::read(files.join(path)) {
                Ok(bytes) => ("200 OK", bytes),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&body);
        }
    });
    (address, asked)
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn data_comes_from_a_directory_and_its_licence_stays_beside_it() {
    let shared = shared();
    let dir = Dir::new();
    let from = shared.display().to_string();
    let said = data(&dir, &["fetch", "mgsm-ja", "xwinograd-ja", "--from", &from]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for part in ["mgsm-ja: MGSM", "CC-BY-4.0", "Google Research", "Apache-2.0"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(said.out.contains("mgsm-ja: 2 of 2 files in ") && said.out.contains(", 2 new"), "{}", said.out);
    assert_eq!(
        dir.tree(),
        [
            "shelf",
            "shelf/mgsm",
            "shelf/mgsm/LICENCE.txt",
            "shelf/mgsm/SOURCE.json",
            "shelf/mgsm/exemplars.json",
            "shelf/mgsm/mgsm_ja.tsv",
            "shelf/xwinograd",
            "shelf/xwinograd/LICENCE.txt",
            "shelf/xwinograd/SOURCE.json",
            "shelf/xwinograd/dataset.tsv",
        ]
    );
    let read = |name: &str| fs::read_to_string(dir.path("shelf/mgsm").join(name)).unwrap();
    assert_eq!(read("mgsm_ja.tsv"), fs::read_to_string(shared.join("mgsm/mgsm_ja.tsv")).unwrap());
    assert!(read("LICENCE.txt").contains("https://creativecommons.org/licenses/by/4.0/legalcode"));
    let about: Value = serde_json::from_str(&read("SOURCE.json")).unwrap();
    let file = &about["files"]["mgsm/mgsm_ja.tsv"];
    assert_eq!(file["sha256"], "59a2b50debe77981fd784cb3b2bef1505e3abf2a37116dc9d7a366ab029b4637");
    let address = file["address"].as_str().unwrap();
    assert!(address.contains(about["version"].as_str().unwrap()), "{address}");
    // A second fetch, without a source, finds the data there and correct.
    let again = data(&dir, &["fetch", "mgsm-ja", "--from", "nowhere"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.out.contains("nothing to do"), "{}", again.out);
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn data_comes_from_a_mirror_that_never_sees_the_token() {
    let shared = shared();
    let dir = Dir::new();
    let (address, asked) = host(&shared);
    let said = data(&dir, &["fetch", "jcola", "lid176", "--from", &address]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains(&format!("downloading {address}/jcola/data/jcola-v1.0/in_domain_train-v1.0.json")));
    assert_eq!(fs::read(dir.path("shelf/lid176/lid.176.ftz")).unwrap().len(), 938_013);
    let missing = data(&dir, &["fetch", "unidic-lite", "--from", &address]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.error().ends_with("unidic-lite/dicdir/BSD: the answer is 404 Not Found"), "{}", missing.error());
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|head| !head.contains("authorization") && !head.contains("hf_secret")), "{asked:?}");
}

#[test]
fn another_file_of_that_name_is_refused_and_nothing_is_left() {
    let dir = Dir::new();
    let text = "一足す一は？\t2\n";
    dir.write("mine/mgsm_ja.tsv", text);
    let (address, _) = host(&dir.path("mirror"));
    dir.write("mirror/mgsm/mgsm_ja.tsv", text.repeat(9));
    dir.write("mirror/mgsm/exemplars.json", "x".repeat(8000));
    for (from, file) in [("mine", "mgsm/exemplars.json"), (&address, "mgsm/exemplars.json")] {
        let said = data(&dir, &["fetch", "mgsm-ja", "--from", from]);
        assert_eq!(said.code, Some(1));
        assert!(said.error().contains(file), "{}", said.error());
        assert!(!dir.path("shelf").exists());
    }
    // The exemplars may also have the name that they are downloaded as.
    let python =
        "\nMGSM_EXEMPLARS = {'ja': {}, 'en': {}}\nEXEMPLAR_NUMBER_ANSWERS = [1]\nEXEMPLAR_EQUATION_SOLUTIONS = ['1']\n";
    dir.write("mine/exemplars.py", python);
    let said = data(&dir, &["fetch", "mgsm-ja", "--from", "mine"]);
    let other = "mine/exemplars.py: mgsm/exemplars.json is not the expected file";
    assert!(said.error().starts_with(other), "{}", said.error());
    dir.write("mine/exemplars.json", "{}");
    let said = data(&dir, &["fetch", "mgsm-ja", "--from", "mine"]);
    for part in [
        "mine/exemplars.json: mgsm/exemplars.json is not the expected file",
        "should be 62411c81e6d65432f54e6f0967026e68d80a8ed5d0b8fe2ebc46ef3505485b0b (7074 bytes)",
        "and is 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a (2 bytes)",
    ] {
        assert!(said.error().contains(part), "{}", said.error());
    }
    assert!(!dir.path("shelf").exists());
}

#[test]
fn what_has_no_address_is_brought_and_read_before_it_is_kept() {
    let dir = Dir::new();
    let said = data(&dir, &["fetch", "jaqket-v2"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error().starts_with("jaqket-v2 cannot be downloaded"), "{}", said.error());
    assert!(said.hint().unwrap().contains("train.jsonl and validation.jsonl"), "{said:?}");
    dir.write("mine/validation.jsonl", "{\"qid\": \"1\", \"question\": \"誰？\"}\n");
    let said = data(&dir, &["fetch", "jaqket-v2", "--from", "mine"]);
    assert!(said.error().contains("a document without `answers`"), "{}", said.error());
    assert!(!dir.path("shelf").exists());
    let doc = r#"{"qid": "1", "question": "誰？", "answers": ["私"], "ctxs": [{"title": "私", "text": "私です。", "has_answer": true}]}"#;
    dir.write("mine/validation.jsonl", doc);
    let said = data(&dir, &["fetch", "jaqket-v2", "--from", "mine"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("jaqket-v2: 1 of 2 files"), "{}", said.out);
}

#[test]
fn data_sets_are_listed_with_what_is_here() {
    let dir = Dir::new();
    let said = data(&dir, &["list"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.lines().all(|line| line.chars().count() <= 100), "{}", said.out);
    let json: Value = serde_json::from_str(&data(&dir, &["list", "--json"]).out).unwrap();
    for dataset in json.as_array().unwrap() {
        assert!(said.out.contains(dataset["name"].as_str().unwrap()), "{dataset}");
        assert!(["no", "bring it"].contains(&dataset["here"].as_str().unwrap()));
    }
    let unknown = data(&dir, &["fetch", "mgms-ja"]);
    assert_eq!((unknown.code, unknown.error()), (Some(1), "there is no data set `mgms-ja`"));
    assert!(unknown.hint().unwrap().contains("did you mean `mgsm-ja`?"));
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn a_full_folder_is_listed_as_here() {
    let dir = Dir::new();
    let command = &mut dir.command(&["data", "list", "--json"]);
    let said = Said::of(command.env("EVOMERGE_DATA", shared()).output().unwrap());
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let here = json.as_array().unwrap().iter().filter(|dataset| dataset["here"] == "yes").count();
    assert_eq!(here, 12, "all but GSM8K's train split, what users bring, and the dictionary");
}

#[test]
fn tasks_are_listed_in_a_hundred_columns_and_their_files_shown() {
    let dir = Dir::new();
    let tasks = |args: &[&str]| {
        let mut command = dir.command(&[&["tasks"], args].concat());
        Said::of(command.env("EVOMERGE_DATA", dir.path("shelf")).output().unwrap())
    };
    let said = tasks(&[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.lines().all(|line| line.chars().count() <= 100), "{}", said.out);
    for task in
        "mgsm-ja jcommonsenseqa jnli jsquad xwinograd-ja jcola jmmlu jemhopqa mawps-ja aozora jaqket-v2 xlsum-ja \
                 marc-ja"
            .split_whitespace()
    {
        assert!(said.out.lines().any(|line| line.starts_with(task)), "{task}: {}", said.out);
    }
    let json: Value = serde_json::from_str(&tasks(&["--json", "--protocol", "stability-0.3"]).out).unwrap();
    let jnli = json.as_array().unwrap().iter().find(|task| task["task"] == "jnli").unwrap();
    assert_eq!((&jnli["name"], &jnli["items"], &jnli["shots"]), (&"jnli-1.3-0.3".into(), &2434.into(), &3.into()));
    assert_eq!(jnli["licence"], "CC-BY-SA-4.0");
    let file = tasks(&["--show", "jnli", "--protocol", "stability-0.3"]).out;
    assert!(
        file.starts_with("# JNLI as Stability AI's harness asks") && file.contains("\ntask: jnli-1.3-0.3\n"),
        "{file}"
    );
    assert!(file.contains("stratified: true"), "{file}");
    let error = tasks(&["--show", "jnli", "--protocol", "sakana"]);
    assert_eq!((error.code, error.error()), (Some(1), "the protocol sakana has no jnli"));
}
