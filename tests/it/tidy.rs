//! Rules of the repository: contents of the files, and names that each may use.

use crate::kit::{root, walk};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Every Rust file of the workspace, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for dir in ["merge-core", "evaluator", "merge-cli", "tests", "benches"] {
        walk(&root().join(dir), &mut |path| paths.push(path.to_owned()));
    }
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let named =
        rust.map(|path| (path.strip_prefix(root()).unwrap().display().to_string(), fs::read_to_string(&path).unwrap()));
    let sources: Vec<_> = named.collect();
    assert!(sources.len() > 40, "the sources are where they were");
    sources
}

/// Paths of the files that hold a word outside comments.
fn naming(word: &str) -> Vec<String> {
    // `MappedFile::open(` is not `File::open(`.
    let begins = |line: &str, at: usize| !line[..at].ends_with(|letter: char| letter.is_alphanumeric());
    let names = |line: &str| line.match_indices(word).any(|(at, _)| begins(line, at));
    let holds = |text: &str| text.lines().any(|line| !line.trim_start().starts_with("//") && names(line));
    sources()
        .into_iter()
        .filter(|(path, text)| path != "tests/it/tidy.rs" && holds(text))
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn the_top_level_is_exactly_what_it_should_be() {
    let here: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !["target", "out"].contains(&name.as_str()))
        .collect();
    let wanted = "Cargo.lock Cargo.toml LICENSE README.md benches evaluator merge-cli merge-core recipes tests";
    assert_eq!(here, wanted.split(' ').map(str::to_owned).collect());
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.len() > 20, "{path}: {first}");
        assert!(!first.starts_with("//! This module"), "{path}");
    }
}

#[test]
fn files_stay_short_enough_to_be_read() {
    for (path, text) in sources() {
        let n_lines = text.lines().count();
        assert!(n_lines <= 450, "{path} has {n_lines} lines: are there two rooms in it?");
    }
}

#[test]
fn only_one_file_names_sled() {
    assert_eq!(naming("sled::"), ["merge-core/src/store/database.rs"]);
}

#[test]
fn only_the_server_is_asynchronous() {
    for word in ["async ", "tokio::", "axum::", "hyper::"] {
        for path in naming(word) {
            assert!(path.starts_with("merge-cli/src/serve/"), "{path} names {word}");
        }
    }
}

#[test]
fn only_the_command_line_names_clap_and_prints() {
    for word in ["clap::", "println!", "eprintln!", "io::stdout", "io::stderr"] {
        for path in naming(word) {
            assert!(!is_library(&path), "{path} names {word}");
        }
    }
}

#[test]
fn unsafe_stands_only_where_it_cannot_be_avoided_and_says_why() {
    // There is no other way to map a file, to prefetch for the processor, to use instructions that
    // not all processors have, or to configure the C library's allocator.
    let allowed = [
        "evaluator/src/model/compute/dot.rs",
        "evaluator/src/model/compute/tile.rs",
        "merge-cli/src/allocator.rs",
        "merge-core/src/checkpoint/files.rs",
    ];
    let names: BTreeSet<String> =
        ["unsafe {", "unsafe fn", "unsafe impl"].iter().flat_map(|word| naming(word)).collect();
    assert_eq!(names, allowed.map(str::to_owned).into());
    for path in allowed {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for at in (0..lines.len()).filter(|at| lines[*at].contains("unsafe {")) {
            let comment = lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
            assert!(comment.into_iter().any(|line| line.contains("// SAFETY: ")), "{path}:{}", at + 1);
        }
    }
}

#[test]
fn only_three_files_write_and_one_maps() {
    // A scratch directory also has the items that a judge is asked.
    let write = ["File::create(", "fs::write(", "Mmap::map("];
    let names: BTreeSet<String> = write.iter().flat_map(|word| naming(word)).filter(|path| is_library(path)).collect();
    assert_eq!(
        names,
        ["evaluator/src/engine/scratch.rs", "merge-core/src/checkpoint/files.rs", "merge-core/src/export.rs"]
            .map(str::to_owned)
            .into()
    );
}

#[test]
fn what_a_user_names_is_opened_in_one_place() {
    // Our own files: stores, queues, files and copies of jobs, partial results; and files of the
    // system such as `/proc`.
    let ours = [
        "merge-core/src/store/database.rs",
        "merge-core/src/store/database/repair.rs",
        "merge-core/src/environment.rs",
        "merge-core/src/export.rs",
        "merge-core/src/queue/journal_file.rs",
        "merge-cli/src/serve/attempt.rs",
        "merge-cli/src/serve/copies.rs",
        "merge-cli/src/serve/home.rs",
        "merge-cli/src/serve/machine.rs",
        "merge-cli/src/serve/service.rs",
        // Only a test in this file.
        "evaluator/src/prompt/chat.rs",
    ];
    for word in ["fs::read(", "fs::read_to_string(", "File::open("] {
        for path in naming(word).into_iter().filter(|path| path.contains("/src/") && !path.contains("tests")) {
            assert!(ours.contains(&path.as_str()), "{path} names {word}: `merge_core::file` opens only files");
        }
    }
}

#[test]
fn what_reaches_a_terminal_goes_through_one_place() {
    // Any file may ask if it is a terminal. `view` draws frames, of letters that it has checked. A worker writes to a pipe.
    let writers = ["merge-cli/src/draw/screen.rs", "merge-cli/src/draw/view.rs", "merge-cli/src/launch/worker.rs"];
    for word in ["(io::stdout()", "io::stdout().lock", "(io::stderr()", "io::stderr().lock", ".print()"] {
        for path in naming(word).into_iter().filter(|path| path.starts_with("merge-cli/src/")) {
            assert!(writers.contains(&path.as_str()), "{path} writes by {word}");
        }
    }
}

#[test]
fn the_core_knows_no_benchmark_and_no_tokenizer() {
    for word in ["tokenizers::", "evaluator::", "mgsm", "indicatif"] {
        for path in naming(word) {
            let is_test = path.contains("test");
            assert!(!path.starts_with("merge-core/") || is_test, "{path} names {word}");
        }
    }
}

/// The first file of a crate lists its rooms in reading order.
#[test]
fn each_room_uses_only_those_before_it() {
    for (name, first) in [("merge-core", "lib.rs"), ("evaluator", "lib.rs"), ("merge-cli", "main.rs")] {
        let src = format!("{name}/src/");
        let first_page = fs::read_to_string(root().join(&src).join(first)).unwrap();
        let room =
            |line: &'_ str| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned);
        let rooms: Vec<String> = first_page.lines().filter_map(room).collect();
        let place = |name: &str| rooms.iter().position(|room| room == name);
        assert!(rooms.len() > 10, "{name} has rooms");
        let mut n_arrows = 0;
        for (path, text) in sources() {
            let Some(rest) = path.strip_prefix(&src).filter(|rest| !rest.contains("tests")) else { continue };
            let room = rest.split(['/', '.']).next().unwrap();
            let Some(own) = place(room) else { continue };
            for used in used(&text) {
                let Some(place) = place(&used) else { continue };
                assert!(place <= own, "{path} uses {used}, which stands after {room} in {src}{first}");
                n_arrows += 1;
            }
        }
        assert!(n_arrows > 100, "{name}: the arrows are seen");
    }
}

/// Modules of its own crate that a file uses, without its tests.
fn used(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let mut used = BTreeSet::new();
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(tree) = rest.strip_prefix('{') else {
            used.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, 0);
        for (at, letter) in tree.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    used.insert(word(&tree[begins..]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.insert(word(&tree[begins..at]));
                    begins = at + 1;
                }
                _ => {}
            }
        }
    }
    used
}

/// One noun for one thing.
#[test]
fn no_two_public_types_have_one_name() {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| is_library(path) && !path.contains("tests")) {
        let public = text.lines().filter_map(|line| line.strip_prefix("pub "));
        for line in public {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if !["struct", "enum", "trait", "type", "union"].contains(&words.next().unwrap_or_default()) {
                continue;
            }
            let name = words.next().unwrap_or_default().to_owned();
            if let Some(other) = known.insert(name.clone(), path.clone()) {
                panic!("{path} and {other} both have a public type `{name}`");
            }
        }
    }
    assert!(known.len() > 200, "types are seen");
}

#[test]
fn methods_see_no_paths() {
    for (path, text) in sources() {
        // Tests read the results of mergekit.
        let is_method = path.starts_with("merge-core/src/method/") && !path.contains("/tests/");
        assert!(!is_method || !text.contains("std::path"), "{path} names std::path");
    }
}

#[test]
fn nothing_is_left_open() {
    for word in ["todo!(", "unimplemented!(", "TODO", "FIXME", "#[ignore", "#[allow("] {
        assert_eq!(naming(word), Vec::<String>::new(), "{word}");
    }
}

/// True unless the file is a test, a bench or of the command line.
fn is_library(path: &str) -> bool {
    let library = path.starts_with("merge-core/src") || path.starts_with("evaluator/src");
    library && !Path::new(path).components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"))
}
