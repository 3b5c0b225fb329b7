//! Tests that answers are remembered, and recalled for no other model or question.

use crate::{
    answer::{
        AnsweredBy, Batch, Memory, Transformer,
        tests::{Memory as Model, bits, choices, device, llama, readings, word_problems},
    },
    interrupt::Interrupt,
    language_model::{LanguageModel as _, answers, watched},
    model::Bf16Dot,
    request::{Answer, Ask, Limit, Request},
};
use merge_core::store::{Fingerprint, Store};
use serde_json::json;
use std::{
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

const HASH: Fingerprint = [7; 32];

fn remembering(model: &Model, store: &Arc<Store>, content: Fingerprint) -> Transformer {
    let memory =
        Memory::new(Arc::clone(store), model, content, AnsweredBy::Own(&device("cpu").unwrap(), None)).unwrap();
    model.load().unwrap().remembering(memory)
}

fn store(dir: &Path) -> Arc<Store> {
    Arc::new(Store::open(dir).unwrap())
}

fn requests() -> Vec<Request> {
    [word_problems(8), choices(6), readings(2)].concat()
}

fn broken() -> Model {
    let mut model = Model::open("ja");
    let meta = model.index["lm_head.weight"].clone();
    let bytes = std::iter::repeat_n(f32::NAN.to_le_bytes(), meta.shape.iter().product()).flatten().collect();
    model.put("lm_head.weight", meta.shape, merge_core::model::dtype::Dtype::F32, bytes);
    model
}

#[test]
fn computes_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let requests = requests();
    for model in [Model::open("ja"), broken()] {
        let store =
            store(&dir.path().join(if model.bytes["lm_head.weight"].len() > 300_000 { "broken" } else { "ja" }));
        let expected = bits(answers(&mut model.load().unwrap(), &requests).unwrap());
        let mut first = remembering(&model, &store, HASH);
        assert_eq!(bits(answers(&mut first, &requests).unwrap()), expected);
        assert_eq!(first.recalled(), 0);
        let mut second = remembering(&model, &store, HASH);
        assert_eq!(bits(answers(&mut second, &requests).unwrap()), expected);
        assert_eq!((second.computed(), second.recalled()), (0, requests.len()));
    }
}

#[test]
fn is_told_to_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let requests = requests();
    let model = Model::open("ja");
    answers(&mut remembering(&model, &store, HASH), &requests).unwrap();
    let other = Model::open("ja").set("rope_theta", json!(5e5));
    for mut llama in [remembering(&model, &store, [8; 32]), remembering(&other, &store, HASH)] {
        answers(&mut llama, &requests).unwrap();
        assert_eq!(llama.recalled(), 0);
        assert!(llama.computed() > 0);
    }
    // A model with other products recalls nothing either.
    if let Ok(dot) = Bf16Dot::of_this_processor() {
        let cpu = device("cpu").unwrap();
        let memory = Memory::new(Arc::clone(&store), &model, HASH, AnsweredBy::Own(&cpu, Some(dot))).unwrap();
        let mut rounding = Transformer::load_bf16(&model, dot).unwrap().remembering(memory);
        answers(&mut rounding, &requests).unwrap();
        assert_eq!(rounding.recalled(), 0);
    }
    // Changed questions are not recalled.
    let mut other = word_problems(4);
    let Ask::Generate { limit, .. } = &mut other[0].ask else { panic!() };
    *limit = Limit::Tokens(39);
    let Ask::Generate { stop, .. } = &mut other[1].ask else { panic!() };
    stop.push("。".to_owned());
    other[2].prompt.question.push(' ');
    let mut llama = remembering(&model, &store, HASH);
    let told = answers(&mut llama, &other).unwrap();
    assert_eq!(llama.recalled(), 1, "the fourth is the same");
    assert_eq!(told, answers(&mut self::llama("ja"), &other).unwrap());
}

#[test]
fn goes_on_where_it_was_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let requests = requests();
    let expected = answers(&mut llama("ja"), &requests).unwrap();
    let model = Model::open("ja");
    let small = || remembering(&model, &store, HASH).batch(Batch { sequences: 4, ..Batch::default() });
    let ask = |llama: &mut Transformer, most: usize| -> Vec<(usize, Answer)> {
        let mut heard = Vec::new();
        let take = &mut |number, answer| {
            heard.push((number, answer));
            Ok(if heard.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        llama.answer(&requests, take).unwrap();
        heard
    };
    let (mut first, mut second, mut whole) = (small(), small(), llama("ja"));
    let all = ask(&mut whole, usize::MAX);
    assert!(all.iter().all(|(number, answer)| *answer == expected[*number]));
    // The order of answers depends neither on the batch nor on the memory.
    assert_eq!(ask(&mut first, 5), all[..5], "it stops when it is told to");
    assert_eq!(ask(&mut second, usize::MAX), all);
    assert!(second.recalled() >= 5);
    assert_eq!(all.len(), requests.len());
    assert!(first.computed() > 0 && second.computed() < whole.computed());
}

#[test]
fn stops_within_a_step_and_keeps_what_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    // One answer of six tokens, three of three, and choices.
    let mut requests = [word_problems(4), choices(2)].concat();
    for (request, tokens) in requests.iter_mut().zip([40, 3, 3, 3]) {
        request.ask = Ask::Generate { stop: Vec::new(), limit: Limit::Tokens(tokens) };
    }
    let model = Model::open("ja");
    let asked = Arc::new(AtomicUsize::new(0));
    let stopping = |after: usize| {
        asked.store(0, Ordering::Relaxed);
        let asked = Arc::clone(&asked);
        Interrupt::new(move || asked.fetch_add(1, Ordering::Relaxed) >= after)
    };
    let mut whole = model.load().unwrap().interruptible(stopping(usize::MAX));
    let expected = answers(&mut whole, &requests).unwrap();
    // The interrupt is asked before each step of the decoder.
    let steps = asked.load(Ordering::Relaxed);
    let going_on = &mut |_: usize| ControlFlow::Continue(());
    let mut first = remembering(&model, &store, HASH).interruptible(stopping(0));
    assert_eq!(watched(&mut first, &requests, going_on).unwrap(), None);
    assert_eq!(first.computed(), 0);
    // Two tokens before the end of the long answer.
    let mut second = remembering(&model, &store, HASH).interruptible(stopping(steps - 2));
    assert_eq!(watched(&mut second, &requests, going_on).unwrap(), None);
    assert_eq!(second.computed(), whole.computed() - 2);
    // All others were finished, and nothing differs when it goes on.
    let mut third = remembering(&model, &store, HASH);
    assert_eq!(answers(&mut third, &requests).unwrap(), expected);
    assert_eq!(third.recalled(), 5);
}
