//! Tests of refusals, and of the hub without a network.

use super::*;

#[test]
fn says_what_a_refusal_means() {
    let cases = [
        (("/org/name/resolve", 403, "GatedRepo"), "org/name is gated", "accept the licence"),
        (("/org/name/resolve", 401, "GatedRepo"), "org/name is gated", "accept the licence"),
        (("/api", 401, "RepoNotFound"), "has no org/name", "check the spelling"),
        (("/api", 401, ""), "does not accept the token", "HF_TOKEN"),
        (("/api", 403, ""), "refuses access to org/name", "HF_TOKEN"),
        (("/api", 404, "RepoNotFound"), "has no org/name", "check the spelling"),
        (("/api", 404, "RevisionNotFound"), "org/name has no revision `main`", "branch, tag or commit"),
        (("/api", 503, ""), "answers 503", "try again later"),
    ];
    for (refusal, message, hint) in cases {
        let (home, running) = (TempDir::new().unwrap(), Server { refusals: vec![refusal], ..server() }.run());
        check_refused(running.hub(&home).fetch("org/name", None), message, hint);
    }
}

#[test]
fn without_a_token_says_how_to_give_one() {
    let refusal = ("/org/name/resolve", 401, "GatedRepo");
    let (home, running) = (TempDir::new().unwrap(), Server { refusals: vec![refusal], ..server() }.run());
    let hub = hub(&[("HF_ENDPOINT", &running.endpoint), ("HF_HOME", home.path().to_str().unwrap())]);
    check_refused(hub.fetch("org/name", None), "gated", "then set HF_TOKEN");
    assert!(running.asked().iter().all(|one| !one.token));
}

#[test]
fn offline_uses_the_cache_and_asks_nobody() {
    let (home, running) = (TempDir::new().unwrap(), server().run());
    check_refused(offline_hub(&home).fetch("org/name", None), "org/name at main is not in", "unset HF_HUB_OFFLINE");
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    assert_eq!(offline_hub(&home).fetch("org/name", None).unwrap(), dir);
    assert_eq!(offline_hub(&home).fetch("org/name", Some(COMMIT)).unwrap(), dir);
    fs::remove_file(dir.join("model-00002-of-00002.safetensors")).unwrap();
    check_refused(
        offline_hub(&home).fetch("org/name", None),
        "org/name at main: model-00002-of-00002.safetensors is not in",
        "unset HF_HUB_OFFLINE",
    );
    fs::remove_file(dir.join("model.safetensors.index.json")).unwrap();
    check_refused(offline_hub(&home).fetch("org/name", None), "model.safetensors is not in", "unset HF_HUB_OFFLINE");
}

#[test]
fn without_a_network_uses_what_was_there_last_time() {
    let (home, running) = (TempDir::new().unwrap(), server().run());
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    // A port on which nobody listens: bound, then released.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = hub(&[("HF_ENDPOINT", &format!("http://{closed}")), ("HF_HOME", home.path().to_str().unwrap())]);
    assert_eq!(away.fetch("org/name", None).unwrap(), dir);
    check_refused(away.fetch("org/other", None), "cannot reach 127.0.0.1: connection refused", "HF_HUB_OFFLINE");
    fs::remove_file(dir.join("model-00001-of-00002.safetensors")).unwrap();
    check_refused(away.fetch("org/name", None), "cannot reach 127.0.0.1", "HF_ENDPOINT");
}

#[test]
fn refuses_before_downloading_what_cannot_be_used() {
    let check = |change: &dyn Fn(&mut Files), message: &str, hint: &str| {
        let mut server = server();
        change(&mut server.files);
        let (home, running) = (TempDir::new().unwrap(), server.run());
        check_refused(running.hub(&home).fetch("org/name", None), message, hint);
        assert!(!running.asked().iter().any(|one| one.elsewhere), "no weight was asked for");
    };
    let kept = ["config.json", "model-q4.gguf"];
    check(&|files| files.retain(|name, _| kept.contains(&name.as_str())), "has no weights", "GGUF");
    check(
        &|files| drop(files.remove("model-00002-of-00002.safetensors")),
        "names model-00002-of-00002.safetensors, which the repository does not have",
        "upload",
    );
    let escape = br#"{"weight_map": {"a": "../../../evil.safetensors"}}"#;
    check(
        &|files| drop(files.insert("model.safetensors.index.json".to_owned(), escape.to_vec())),
        "is not the name of a file beside it",
        "",
    );
}

#[test]
fn takes_pickled_weights_only_where_there_are_no_others() {
    let mut other = server();
    other.files.retain(|name, _| !name.starts_with("model"));
    let (home, running) = (TempDir::new().unwrap(), other.run());
    let dir = running.hub(&home).fetch("org/name", None).unwrap();
    assert_eq!(names(&dir), ["README.md", "chat_template.jinja", "config.json", "pytorch_model.bin", "tokenizer.json"]);
}

#[test]
fn refuses_a_model_larger_than_the_disk() {
    let text = format!(
        r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"model.safetensors","size":1,
            "lfs":{{"sha256":"{}","size":4611686018427387904,"pointerSize":1}}}}]}}"#,
        "a".repeat(64)
    );
    let home = TempDir::new().unwrap();
    let place = CachePlace::new(home.path(), "org/name");
    let wire = HubWire::new("http://127.0.0.1:9", None, None).unwrap();
    let listing = Listing::read(&text).unwrap();
    let result = hub(&[]).complete(&wire, &place, "org/name", &listing);
    check_refused(result, "org/name: 4.61 EB to download, but only", "larger disk");
}

#[test]
fn refuses_names_that_lead_elsewhere() {
    let home = TempDir::new().unwrap();
    for (repo, revision) in [
        ("../name", None),
        ("org/..", None),
        ("org/name/more", None),
        ("org--x/name", None),
        ("", None),
        ("org/name", Some("../../x")),
        ("org/name", Some("/etc")),
        ("org/name", Some("")),
    ] {
        check_refused(offline_hub(&home).fetch(repo, revision), "is not the name of a", "");
    }
}

#[test]
fn refuses_a_listing_that_cannot_be_held_to() {
    let read = |text: &str| Listing::read(text).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(read("<html>").contains("no listing"));
    assert!(read(r#"{"sha":"../../etc","siblings":[]}"#).contains("which commit"));
    let hostile = r#"{"rfilename":"config.json","size":1,"blobId":"../../../../x"}"#;
    assert!(read(&format!(r#"{{"sha":"{COMMIT}","siblings":[{hostile}]}}"#)).contains("\"config.json\" are not given"));
}

#[test]
fn reads_the_variables_that_the_hubs_own_library_reads() {
    let caches = [
        (vec![("HOME", "/h")], "/h/.cache/huggingface/hub"),
        (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
        (vec![("HOME", "/h"), ("HF_HOME", "/f")], "/f/hub"),
        (vec![("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")], "/c"),
    ];
    for (variables, cache) in caches {
        assert_eq!(hub(&variables).cache.unwrap(), Path::new(cache));
    }
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("token"), "hf_filed\n").unwrap();
    let home = home.path().to_str().unwrap();
    assert_eq!(hub(&[("HF_HOME", home)]).token.as_deref(), Some("hf_filed"));
    assert_eq!(hub(&[("HF_HOME", home), ("HF_TOKEN", TOKEN)]).token.as_deref(), Some(TOKEN));
    assert_eq!(hub(&[("HF_ENDPOINT", "https://mirror/")]).endpoint, "https://mirror");
    assert!(hub(&[("HF_HUB_OFFLINE", "yes")]).offline && !hub(&[("HF_HUB_OFFLINE", "0")]).offline);
    check_refused(hub(&[("HF_HOME", home), ("HF_ENDPOINT", "mirror")]).fetch("a/b", None), "no address", "https://");
    check_refused(
        hub(&[("HF_HOME", home), ("HF_TOKEN", "two words")]).fetch("a/b", None),
        "the hub's token",
        "HF_TOKEN",
    );
}
