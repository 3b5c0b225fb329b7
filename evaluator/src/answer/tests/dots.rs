//! Tests that bf16 dot products give nearly the same logits, and the same answers in any batch.

use crate::{
    answer::{
        Batch, Transformer,
        tests::{Memory, bits, choices, likelihoods, llama, readings, word_problems},
    },
    language_model::answers,
    model::Bf16Dot,
    request::Request,
};
use merge_core::model::dtype::Dtype;

fn rounding(name: &str) -> Transformer {
    Transformer::load_bf16(&Memory::open(name), Bf16Dot::of_this_processor().unwrap()).unwrap()
}

#[test]
#[cfg_attr(not(has_bf16_dot), ignore = "needs a processor with AVX512-BF16")]
fn logits_are_those_of_float32_but_for_rounding() {
    let mut rounding = rounding("ja");
    let tokens: Vec<u32> = (0..90).map(|i| 3 + i * 7919 % 250).collect();
    let rounded = rounding.all_logits(&tokens).unwrap().concat();
    let exact = llama("ja").all_logits(&tokens).unwrap().concat();
    // States are rounded to 8 bits layer after layer, each time with a relative error of 2^-9.
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x) * f64::from(x)).sum::<f64>();
    let off = squares(&mut exact.iter().zip(&rounded).map(|(a, b)| a - b)) / squares(&mut exact.iter().copied());
    assert!(off.sqrt() < 0.02, "{}", off.sqrt());
    assert_ne!(exact, rounded);
}

#[test]
#[cfg_attr(not(has_bf16_dot), ignore = "needs a processor with AVX512-BF16")]
fn answers_do_not_depend_on_company_either() {
    let mut alone = rounding("ja");
    let requests: Vec<Request> = [word_problems(10), choices(8), readings(2)].concat();
    let one = |request| bits(answers(&mut alone, std::slice::from_ref(request)).unwrap());
    let expected: Vec<_> = requests.iter().flat_map(one).collect();
    assert!(expected.iter().any(|(answer, _)| !likelihoods(&answer.said).is_empty()));
    for (sequences, threads) in [(1, 3), (3, 1), (64, 2)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let batch = Batch { sequences, tokens: 1 + 37 * threads, ..Batch::default() };
        let mut model = rounding("ja").batch(batch);
        assert_eq!(pool.install(|| bits(answers(&mut model, &requests).unwrap())), expected, "{batch:?}");
    }
}

#[test]
#[cfg_attr(not(has_bf16_dot), ignore = "needs a processor with AVX512-BF16")]
fn refuses_a_model_with_nothing_in_bf16() {
    let dot = Bf16Dot::of_this_processor().unwrap();
    let mut model = Memory::open("ja");
    for (name, meta) in model.index.clone() {
        let mut wide = vec![0.0; meta.shape.iter().product()];
        meta.dtype.widen(&model.bytes[&name], &mut wide);
        model.put(&name, meta.shape, Dtype::F32, wide.iter().flat_map(|x| x.to_le_bytes()).collect());
    }
    let refusal = Transformer::load_bf16(&model, dot).unwrap_err();
    assert!(refusal.to_string().ends_with("no weight is stored in bf16"), "{refusal}");
}
