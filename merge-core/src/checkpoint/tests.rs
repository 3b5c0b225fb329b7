//! Tests: a checkpoint is read as `PyTorch` wrote it, and refused if that is not possible exactly.

mod headers;
mod layout;
mod programs;

use super::*;
use crate::model::{dtype::Dtype, whole};
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
}

/// Name, type and shape of a tensor of zeros.
pub(crate) type Zeros<'a> = (&'a str, Dtype, &'a [usize]);

/// Writes a safetensors file of these tensors.
pub(crate) fn write(path: &Path, tensors: &[Zeros<'_>]) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, dtype, shape)| vec![0; shape.iter().product::<usize>() * dtype.size()]).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, dtype, shape), bytes)| {
        let dtype = serde_json::from_value(json!(dtype.safetensors_name())).expect("a type of safetensors files");
        (*name, TensorView::new(dtype, shape.to_vec(), bytes).expect("a tensor"))
    });
    serialize_to_file(views, None, path).expect("a temporary file can be written");
}

fn model(config: &Value, tensors: &[Zeros<'_>]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("config.json"), config.to_string()).expect("a temporary file can be written");
    write(&dir.path().join("model.safetensors"), tensors);
    dir
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.index().keys().map(String::as_str).collect()
}

/// Checks that a model is refused with this message, without the directory in it, and with a hint.
#[track_caller]
fn refused(path: &Path, expected: &str) {
    let error = Checkpoint::open(path).err().expect("it is refused");
    assert_eq!(error.to_string().replace(&format!("{}: ", path.display()), ""), expected);
    assert!(error.advice().is_some(), "{expected}: no hint");
}

#[test]
fn reads_a_pickle_as_the_safetensors_file_of_the_same_tensors() {
    let [pickled, same] = ["kinds.bin", "kinds.safetensors"].map(|name| {
        let opened = Checkpoint::open(&data("pickles").join(name));
        opened.unwrap_or_else(|e| panic!("{e}"))
    });
    assert_eq!(pickled.index(), same.index());
    for name in names(&same) {
        assert_eq!(pickled.bytes(name).unwrap(), same.bytes(name).unwrap(), "{name}");
        // Each stretch is the same as in the whole.
        let tensor = pickled.tensor(name).unwrap();
        let mut all = vec![0.0; tensor.len()];
        tensor.read(0, &mut all).unwrap();
        for start in 0..tensor.len() {
            let mut part = vec![0.0; (tensor.len() - start).min(5)];
            tensor.read(start, &mut part).unwrap();
            assert_eq!(part, all[start..start + part.len()], "{name} from {start}");
        }
    }
    // A tensor that is stored row by row is lent, and two names of one storage lend the same bytes.
    let [embedding, head] = ["embed.weight", "lm_head.weight"].map(|name| pickled.tensor(name).unwrap());
    assert_eq!(embedding.lent().unwrap().as_ptr(), head.lent().unwrap().as_ptr());
}

#[test]
fn refuses_a_pickle_that_is_more_than_tensors() {
    let check = |name: &str, expected: &str| refused(&data("pickles").join(name), expected);
    check("evil.bin", "it wants `posix.system`, which no tensor needs");
    assert!(!Path::new("evil-was-here").exists());
    check("wrapped.pt", "`state_dict` is not a tensor but a dictionary");
    check("mixed.pt", "`epoch` is not a tensor");
    check("old.pt", "not a zip archive, as PyTorch has written them since version 1.6");
    check("expanded.pt", "`w` repeats its elements, as `expand` does");
}

/// A file that is cut or changed in any byte gives an error or tensors, but never a panic.
#[test]
fn a_damaged_pickle_is_no_reason_to_panic() {
    let whole = fs::read(data("pickles/kinds.bin")).unwrap();
    for len in (0..whole.len()).step_by(7) {
        assert!(pickle::read(&whole[..len]).is_err(), "{len} bytes");
    }
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            for (name, found) in pickle::read(&changed).unwrap_or_default() {
                assert!(found.bytes.end <= whole.len(), "{name} of a file changed at {at}");
                let _ = found.gathered(&changed[found.bytes.clone()]);
            }
        }
    }
}

#[test]
fn eight_bit_floats_with_scales_are_the_numbers_they_stand_for() {
    let [model, expected] = ["fp8", "fp8/expected.safetensors"].map(|name| Checkpoint::open(&data(name)).unwrap());
    assert_eq!(model.index(), expected.index());
    assert_eq!(names(&model).len(), 10, "without scales");
    assert_eq!(model.config().0, json!({ "model_type": "made_up" }).as_object().unwrap().clone());
    for name in names(&expected) {
        let (found, wanted) = (model.tensor(name).unwrap(), expected.tensor(name).unwrap());
        assert_eq!(whole(&*found).unwrap(), whole(&*wanted).unwrap(), "{name}");
        let [mut part, mut same] = [vec![0.0; found.len().min(200)], vec![0.0; found.len().min(200)]];
        let start = (found.len() - part.len()) / 2;
        found.read(start, &mut part).unwrap();
        wanted.read(start, &mut same).unwrap();
        assert_eq!(part, same, "{name} from {start}");
    }
}

#[test]
fn eight_bit_floats_without_scales_are_what_they_are() {
    let dir = model(&json!({}), &[("a.weight", Dtype::F8E4M3, &[2, 2]), ("k_scale", Dtype::F32, &[])]);
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(opened.index()["a.weight"].dtype, Dtype::F8E4M3);
    assert_eq!(names(&opened), ["a.weight", "k_scale"]);
}

#[test]
fn refuses_what_is_quantised_in_other_ways() {
    const FP8: Dtype = Dtype::F8E4M3;
    let check =
        |config: &Value, tensors: &[Zeros<'_>], expected: &str| refused(model(config, tensors).path(), expected);
    let fp8 = json!({ "quantization_config": { "quant_method": "fp8" } });
    for method in ["gptq", "awq", "bitsandbytes", "mxfp4", "hqq"] {
        let config = json!({ "quantization_config": { "quant_method": method } });
        check(&config, &[("a.weight", Dtype::U8, &[2])], &format!("config.json: quantised by `{method}`"));
    }
    let online = json!({ "quantization_config": { "quant_method": "bitnet", "quantization_mode": "online" } });
    check(
        &online,
        &[("a.weight", Dtype::BF16, &[2])],
        "config.json: `bitnet` quantises the weights at each use (`quantization_mode: online`)",
    );
    let inner = json!({ "llm_config": { "quantization_config": { "quant_method": "gptq" } } });
    check(&inner, &[("a.weight", Dtype::U8, &[2])], "config.json: quantised by `gptq`");
    let inner = json!({ "text_config": { "quantization_config": { "load_in_4bit": true } } });
    check(&inner, &[("a.weight", Dtype::U8, &[2])], "config.json: quantised by `bitsandbytes`");
    check(&json!({}), &[("a.qweight", Dtype::I32, &[2])], "`a.qweight` is part of a quantised tensor");
    check(
        &json!({}),
        &[("a.up_blocks", Dtype::U8, &[2]), ("a.up_scales", Dtype::U8, &[2])],
        "`a.up_blocks` is part of a quantised tensor",
    );
    check(
        &json!({}),
        &[("a.weight", Dtype::I8, &[2, 2]), ("a.weight_scale", Dtype::F32, &[2, 1])],
        "`a.weight` is quantised: it is int8 with `a.weight_scale` beside it",
    );
    check(
        &fp8,
        &[("a.weight", FP8, &[200, 300]), ("a.weight_scale_inv", Dtype::F32, &[3, 2])],
        "the scales `a.weight_scale_inv` of shape [3, 2] don't fit `a.weight` of shape [200, 300]",
    );
    check(
        &fp8,
        &[("a.weight", FP8, &[2, 2]), ("a.norm", Dtype::BF16, &[2])],
        "`a.weight` is in 8 bits, but its scales `a.weight_scale_inv` or `a.weight_scale` are not there",
    );
}

/// Tools that merge an adapter into a model loaded in 4 bits leave its settings in the result.
#[test]
fn what_is_said_to_be_quantised_and_is_not_is_read_with_a_note() {
    for method in ["gptq", "bitsandbytes", "fp8"] {
        let config = json!({ "model_type": "x", "quantization_config": { "quant_method": method } });
        let dir = model(&config, &[("a.weight", Dtype::BF16, &[2, 2]), ("ids", Dtype::I64, &[2])]);
        let opened = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(opened.config().0, json!({ "model_type": "x" }).as_object().unwrap().clone());
        let place = dir.path().display();
        let note = format!(
            "{place}: config.json says that it is quantised by `{method}`, but all its tensors are plain numbers: they are taken as they are, without `quantization_config`"
        );
        assert_eq!(opened.notes(), [note]);
    }
    let plain = model(&json!({}), &[("a.weight", Dtype::BF16, &[2, 2])]);
    assert!(Checkpoint::open(plain.path()).unwrap().notes().is_empty());
}

#[test]
fn blocks_are_of_the_size_that_the_configuration_names() {
    let config = json!({ "quantization_config": { "quant_method": "fp8", "weight_block_size": [2, 3] } });
    let dir = model(&config, &[("a.weight", Dtype::F8E4M3, &[5, 7]), ("a.weight_scale_inv", Dtype::F32, &[3, 3])]);
    assert!(Checkpoint::open(dir.path()).is_ok());
}

#[test]
fn finds_the_files_of_a_model() {
    const ONE: &[Zeros<'static>] = &[("w", Dtype::F32, &[2])];
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    refused(dir.path(), "an empty directory");

    fs::copy(data("pickles/kinds.bin"), path("pytorch_model.bin")).unwrap();
    let pickled = Checkpoint::open(dir.path()).unwrap();
    assert!(names(&pickled).contains(&"transposed"));
    write(&path("diffusion_pytorch_model.safetensors"), ONE);
    assert_eq!(names(&Checkpoint::open(dir.path()).unwrap()), ["w"]);
    assert_eq!(Checkpoint::open(dir.path()).unwrap().config(), &Config::default());
    let sums = Checkpoint::open(dir.path()).unwrap().sha256().unwrap();
    assert_eq!(sums.keys().collect::<Vec<_>>(), ["diffusion_pytorch_model.safetensors"]);

    // A single file is a model; files beside it do not belong to it.
    fs::write(path("config.json"), "{}").unwrap();
    let file = Checkpoint::open(&path("diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!((file.dir(), file.sidecar("config.json").unwrap()), (dir.path(), None));
    fs::write(path("notes.txt"), "").unwrap();
    refused(&path("notes.txt"), "not a file of tensors, by its name");
}

#[test]
fn pickled_shards_are_those_that_the_index_lists() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::copy(data("adapters/patterns/adapter_model.bin"), path("pytorch_model-00001-of-00002.bin")).unwrap();
    fs::copy(data("pickles/kinds.bin"), path("pytorch_model-00002-of-00002.bin")).unwrap();
    let shard = |name: &str| Checkpoint::open(&path(name)).unwrap().index().keys().cloned().collect::<Vec<_>>();
    let mut routes = serde_json::Map::new();
    for name in ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"] {
        routes.extend(shard(name).into_iter().map(|tensor| (tensor, json!(name))));
    }
    fs::write(path("pytorch_model.bin.index.json"), json!({ "weight_map": routes }).to_string()).unwrap();
    let opened = Checkpoint::open(dir.path()).unwrap();
    assert!(opened.index().len() == routes.len() && opened.sha256().unwrap().len() == 2);

    routes.shift_remove("bf16");
    fs::write(path("pytorch_model.bin.index.json"), json!({ "weight_map": routes }).to_string()).unwrap();
    let error = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(error.ends_with("`bf16` of `pytorch_model-00002-of-00002.bin` is not listed"), "{error}");
}

#[test]
fn a_head_that_is_the_embedding_is_not_shown_beside_it() {
    let tensors: [Zeros<'_>; 2] =
        [("lm_head.weight", Dtype::F32, &[4, 2]), ("model.embed_tokens.weight", Dtype::F32, &[4, 2])];
    let tied = json!({ "tie_word_embeddings": true });
    assert_eq!(names(&Checkpoint::open(model(&tied, &tensors).path()).unwrap()), ["model.embed_tokens.weight"]);
    assert_eq!(names(&Checkpoint::open(model(&json!({}), &tensors).path()).unwrap()).len(), 2);
    assert_eq!(names(&Checkpoint::open(model(&tied, &tensors[..1]).path()).unwrap()), ["lm_head.weight"]);
    let other: [Zeros<'_>; 2] = [("lm_head.weight", Dtype::F32, &[5, 2]), tensors[1]];
    refused(
        model(&tied, &other).path(),
        "config.json ties the output head to the embedding, but `lm_head.weight` differs from `model.embed_tokens.weight`",
    );
}

#[test]
fn a_tied_head_is_left_out_by_whatever_name() {
    let stored: [Zeros<'_>; 4] = [
        ("audio.embed_tokens.weight", Dtype::F32, &[4, 2]),
        ("audio.output.weight", Dtype::F32, &[2]),
        ("language_model.lm_head.weight", Dtype::F32, &[4, 2]),
        ("language_model.model.embed_tokens.weight", Dtype::F32, &[4, 2]),
    ];
    let check = |config: Value, expected: bool| {
        let opened = Checkpoint::open(model(&config, &stored).path()).unwrap();
        assert_eq!(names(&opened).len(), 3 + usize::from(!expected), "{config}");
        assert_eq!(opened.config().tied().unwrap(), expected, "{config}");
        opened
    };
    check(json!({ "tie_word_embeddings": true }), true);
    check(json!({ "text_config": { "tie_word_embeddings": true } }), true);
    check(json!({ "tie_word_embeddings": false }), false);
    // The contradiction is resolved.
    let both = check(json!({ "tie_word_embeddings": false, "text_config": { "tie_word_embeddings": true } }), true);
    assert_eq!(both.config().0["tie_word_embeddings"], true);

    let other: [Zeros<'_>; 2] = [("language_model.lm_head.weight", Dtype::F32, &[5, 2]), stored[3]];
    let tied = json!({ "text_config": { "tie_word_embeddings": true } });
    let what = "config.json ties the output head to the embedding, but `language_model.lm_head.weight` differs from `language_model.model.embed_tokens.weight`";
    refused(model(&tied, &other).path(), what);
    let both = json!({ "tie_word_embeddings": false, "text_config": { "tie_word_embeddings": true } });
    assert_eq!(names(&Checkpoint::open(model(&both, &other).path()).unwrap()).len(), 2, "nobody knows which is meant");
}

#[test]
fn what_is_left_of_a_quantisation_is_taken_away_wherever_it_is() {
    let config = json!({ "llm_config": { "quantization_config": { "quant_method": "gptq" }, "x": 1 } });
    let opened = Checkpoint::open(model(&config, &[("a.weight", Dtype::F32, &[2])]).path()).unwrap();
    assert_eq!(Value::from(opened.config().0.clone()), json!({ "llm_config": { "x": 1 } }));
    assert!(opened.notes().iter().any(|note| note.contains("quantised by `gptq`")), "{:?}", opened.notes());
}

#[test]
fn a_configuration_whose_link_leads_nowhere_is_not_none() {
    let dir = model(&json!({}), &[("a.weight", Dtype::F32, &[2])]);
    let path = dir.path().join("config.json");
    fs::remove_file(&path).expect("it is there");
    assert!(Checkpoint::open(dir.path()).is_ok(), "tensors by name");
    std::os::unix::fs::symlink("../blobs/gone", &path).expect("a link can be made");
    let error = Checkpoint::open(dir.path()).err().expect("it is refused");
    let place = dir.path().display();
    assert_eq!(error.to_string(), format!("{place}/config.json: leads to ../blobs/gone, which is not there"));
}
