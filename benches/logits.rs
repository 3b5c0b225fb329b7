//! Prints a checkpoint's logits: `logits DIR 1,2,3 4,5` prints, as JSON, one row of the vocabulary's length for each token
//! of each sequence.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use candle_core::Device;
use evaluator::answer::Transformer;
use merge_core::checkpoint::Checkpoint;
use std::{env, error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let dir = args.next().ok_or("usage: logits DIR TOKEN,TOKEN,… …")?;
    let mut model = Transformer::load(&Checkpoint::open(Path::new(&dir))?, &Device::Cpu)?;
    let mut logits = Vec::new();
    for sequence in args {
        let tokens: Vec<u32> = sequence.split(',').map(str::parse).collect::<Result<_, _>>()?;
        logits.push(model.all_logits(&tokens)?); // (tokens, vocab)
    }
    println!("{}", serde_json::to_string(&logits)?);
    Ok(())
}
