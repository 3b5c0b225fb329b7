//! Speed of products of few and many rows, compared with candle (gemm), and of reading the weights.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[expect(dead_code, reason = "a benchmark only multiplies")]
#[path = "../evaluator/src/model/compute/matrix.rs"]
mod matrix;
#[expect(dead_code, unreachable_pub, reason = "a benchmark only multiplies")]
#[path = "../evaluator/src/model/compute/dot.rs"]
mod dot;
#[path = "../evaluator/src/model/compute/product.rs"]
mod product;
#[path = "../evaluator/src/model/compute/tile.rs"]
mod tile;

use candle_core::{Device, Tensor};
use dot::Bf16Dot;
use matrix::{Matrix, Piece};
use merge_core::model::dtype::Dtype;
use pulp::Arch;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Input and output sizes: of SmolLM2-135M, a model of 1.8 billion parameters, and a vocabulary.
const SHAPES: [(usize, usize); 4] = [(576, 3072), (1536, 576), (2048, 2048), (576, 49152)];
const ROWS: [usize; 5] = [1, 4, 16, 64, 256];
/// Total bytes of a projection's copies, used in turn so that weights come from memory.
const BYTES: usize = 128 << 20;

fn main() {
    let threads = rayon::current_num_threads();
    println!("{threads} threads; GFLOP/s, and GB/s of weights where there is one row; best of the runs");
    println!(
        "|  in × out    | rows |  f32 | bf16 |  f16 |  dot | candle   | f32 to it   | bf16 to f32 | dot to bf16 | bf16 GB/s |"
    );
    println!(
        "|--------------|-----:|-----:|-----:|-----:|-----:|---------:|------------:|------------:|------------:|----------:|"
    );
    let dot = Bf16Dot::of_this_processor();
    if let Err(e) = &dot {
        println!("dot as bf16: {e}");
    }
    for (input, out) in SHAPES {
        let weights = numbers(input * out);
        let copies = BYTES.div_ceil(4 * input * out);
        let stored =
            [(Dtype::F32, None), (Dtype::BF16, None), (Dtype::F16, None), (Dtype::BF16, dot.as_ref().ok().copied())];
        let matrices = stored.map(|(dtype, dot)| packed(&weights, input, dtype, copies, dot));
        let transposed: Vec<f32> = (0..input * out).map(|i| weights[i % out * input + i / out]).collect();
        let of_candle =
            |values: Vec<f32>, shape| Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values");
        let candles: Vec<Tensor> = (0..copies).map(|_| of_candle(transposed.clone(), (input, out))).collect();
        for rows in ROWS {
            let x = numbers(rows * input);
            let mut y = vec![0.0; rows * out];
            let ours = matrices.each_ref().map(|matrices| {
                best(copies, |i| {
                    y.fill(0.0);
                    matrices[i].product(&x, &mut y, Arch::new());
                    black_box(&y);
                })
            });
            let x = of_candle(x, (rows, input));
            let theirs = best(copies, |i| _ = black_box(x.matmul(&candles[i]).expect("shapes that fit")));
            let flops = (2 * rows * input * out) as f64 / 1e9;
            let [f32, bf16, f16, dot] = ours.map(|time| flops / time);
            let read =
                if rows == 1 { format!("{:9.1}", (2 * input * out) as f64 / 1e9 / ours[1]) } else { String::new() };
            println!(
                "| {input:4} × {out:5} | {rows:4} | {f32:4.0} | {bf16:4.0} | {f16:4.0} | {dot:4.0} | {:8.0} | {:11.2} | {:11.2} | {:11.2} | {read:9} |",
                flops / theirs,
                theirs / ours[0],
                ours[0] / ours[1],
                ours[1] / ours[3]
            );
        }
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 25) as f32 / 64.0 - 1.0).collect()
}

fn packed(weights: &[f32], input: usize, dtype: Dtype, copies: usize, dot: Option<Bf16Dot>) -> Vec<Matrix> {
    let mut bytes = vec![0; weights.len() * dtype.size()];
    dtype.narrow(weights, &mut bytes);
    let piece = || Piece { bytes: (&*bytes).into(), dtype };
    (0..copies).map(|_| Matrix::pack(&[piece()], input, dot)).collect()
}

/// Seconds of the fastest of many runs, which use the copies in turn.
fn best(copies: usize, mut work: impl FnMut(usize)) -> f64 {
    let (began, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while began.elapsed() < Duration::from_millis(300) || runs < 3 {
        let start = Instant::now();
        work(runs % copies);
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}
