//! Speed of reading a prompt: `reading DIR LEN RUNS` prints tokens per second for each run.
//!
//! The prompt is read as by a server: no token is cached, and only the last logits are needed.
//! With `bf16-dot` as a fourth argument, bf16 is multiplied by bf16.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use candle_core::Device;
use evaluator::{answer::Transformer, model::Bf16Dot};
use merge_core::checkpoint::Checkpoint;
use std::{env, error::Error, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let ([dir, len, runs], dot) = match &args[..] {
        [dir, len, runs] => ([dir, len, runs], false),
        [dir, len, runs, dot] if dot == "bf16-dot" => ([dir, len, runs], true),
        _ => return Err("usage: reading DIR LEN RUNS [bf16-dot]".into()),
    };
    let (len, runs): (usize, usize) = (len.parse()?, runs.parse()?);
    let checkpoint = Checkpoint::open(Path::new(dir))?;
    let mut model = if dot {
        Transformer::load_bf16(&checkpoint, Bf16Dot::of_this_processor()?)?
    } else {
        Transformer::load(&checkpoint, &Device::Cpu)?
    };
    for run in 0..runs {
        let tokens: Vec<u32> = (0..len).map(|i| ((i * 7919 + run) % 4001) as u32).collect();
        let began = Instant::now();
        model.logits(&tokens)?;
        println!("{:.1}", len as f64 / began.elapsed().as_secs_f64());
    }
    Ok(())
}
