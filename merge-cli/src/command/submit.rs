//! `evomerge submit`: puts jobs into the queue.

use crate::{
    args::{JobCommand, Submit as Args},
    draw::screen::{self, bytes},
    serve::{ALONE, Desk, Home, SubmitRequest, check_text, is_command, words_for},
};
use merge_core::error::{Error, Result};
use std::{env, path::Path};

pub(crate) fn run(args: &Args) -> Result<()> {
    let here = env::current_dir().map_err(|e| Error::machine(format!("cannot tell where this is: {e}")))?;
    check_text(&here)?;
    let wanted = SubmitRequest {
        directory: Some(here.clone()),
        name: args.name.clone(),
        priority: args.priority,
        after: args.after.clone(),
        labels: args.label.clone(),
        seconds: args.time,
        bytes: args.disk.map(|bytes| bytes as u64),
        attempts: Some(args.attempts.into()),
        threads: args.threads,
        key: args.key.clone(),
        ..SubmitRequest::default()
    };
    let all: Vec<SubmitRequest> = if let Some(words) = command(args) {
        vec![SubmitRequest { words: Some(words), ..wanted }]
    } else if args.words.iter().any(|word| word.starts_with('-')) {
        // `submit search.yaml -- --seeds 5`: a file, and options for its command.
        let words = words_for(&args.words[0], &here)?.into_iter().chain(args.words[1..].iter().cloned());
        vec![SubmitRequest { words: Some(words.collect()), ..wanted }]
    } else {
        if args.words.len() > 1 && args.key.is_some() {
            return Err(Error::user("one key cannot stand for several files").hint("hand them in one by one"));
        }
        args.words.iter().map(|file| SubmitRequest { file: Some(file.clone()), ..wanted.clone() }).collect()
    };
    let all: Vec<SubmitRequest> = all.into_iter().map(SubmitRequest::proved).collect::<Result<_>>()?;
    let desk = Desk::open(&Home::from_env()?)?;
    let mut taken = Vec::new();
    for wanted in &all {
        let job = desk.submit(wanted)?;
        if !args.json {
            let memory =
                job.needs.memory.map_or_else(String::new, |memory| format!(", about {} of memory", bytes(memory)));
            screen::data(&format!("job {}: {} ({}{memory})", job.id, job.name, job.kind.name()));
        }
        taken.push(job);
    }
    if args.json {
        screen::data(&screen::json(&taken));
    }
    if !desk.runs() {
        screen::say(ALONE);
    }
    Ok(())
}

/// The submitted command, if no files are; an existing file may have a command's name.
fn command(args: &Args) -> Option<Vec<String>> {
    let first = args.words.first();
    let behind_dashes = first.filter(|word| is_command(word) && !Path::new(word).exists()).map(|_| args.words.clone());
    args.command.as_ref().map(JobCommand::words).or(behind_dashes)
}
