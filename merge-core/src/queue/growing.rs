//! Growing past one machine: how workers elsewhere will score candidates, and what stays in the server. Nothing of it is built yet.
//!
//! A search spends its time in one place: scoring candidates on items ([`Objective::score`](crate::study::Objective::score)).
//! That is what workers on other machines will do. All the rest stays in the server that owns the study.
//!
//! **What stays.** The queue of jobs, the store of each study, the optimizer's `ask` and `tell`, the split of items, the choice
//! of the answer, its export and its report. They take milliseconds, want one owner, and are what makes a search resume
//! bit for bit.
//!
//! **What travels.** A *chunk*: a filled recipe as YAML, the fingerprints of its sources and of its task, and some items, 8 to 64
//! of them. It is pure: whoever computes it on the same kind of processor gets the same scores. So it can be given to two
//! workers by mistake and harm nothing, and its name, the SHA-256 of (recipe, source hashes, task fingerprint, items, engine
//! version), makes giving it in twice the same as once.
//!
//! **Through what.** `PostgreSQL` 15 or later, which gave 1,214 claims and results a second through `tokio-postgres` on two cores where a
//! 7B candidate needs minutes for a chunk. Workers come with what a laboratory has (Slurm arrays, Kubernetes jobs, ssh): they are
//! `evomerge work --pull postgresql://…`, hold nothing, and may be killed at any time. Two tables:
//!
//! ```sql
//! create table chunk (
//!   name     bytea primary key,               -- the SHA-256 above
//!   study    bytea not null,                  -- whose it is: cancelling deletes by it
//!   rank     bigint not null,                 -- generation, then rung: lower ones first
//!   work     jsonb not null,                  -- recipe, fingerprints, items
//!   leased   timestamptz,                     -- until when somebody has it, by this server's clock
//!   worker   text,
//!   tries    int not null default 0,
//!   scores   jsonb,                           -- one for each item, when it is done
//!   failure  text                             -- why it cannot be
//! );
//! create index on chunk (rank) where scores is null and failure is null;
//! ```
//!
//! A worker claims with one statement, so that no two wait for each other:
//!
//! ```sql
//! update chunk set leased = now() + interval '2 minutes', worker = $1, tries = tries + 1
//! where name = (select name from chunk
//!               where scores is null and failure is null and (leased is null or leased < now()) and tries < 3
//!               order by rank for update skip locked limit 1)
//! returning name, work;
//! ```
//!
//! It extends its lease every half minute while it computes; a worker that dies loses its lease and the chunk is claimed again.
//! `listen`/`notify` wakes those who wait. Time is the database's everywhere: workers' clocks are not asked.
//!
//! **How it fits.** In the server an `Objective` that inserts chunks (`on conflict do nothing`), waits for their scores and tells
//! them as the present one does, item by item; [`evolve`](crate::study) does not change, nor does the store: scores are remembered by
//! content on arrival, and the rows are deleted in the same breath. Weights do not travel: a worker opens the recipe's sources by
//! path or hub name, and refuses a chunk whose hashes are not those of its files. A worker on another kind of processor may differ in
//! the last bits of a matrix product; the engine version in the chunk's name says which kinds may share one study.
//!
//! **The queue itself** can move too, if several servers are to share one: its whole storage is the trait [`Journal`](super::Journal), two
//! methods, of which a table `event (seq bigint primary key, job bigint, at bigint, what jsonb)` and `insert` in a transaction is another
//! implementation; the numbers in [`Tip`](super::Tip) come from a row that the transaction locks. Today there is one implementation on disk
//! ([`Kept`](super::Kept)), and one in memory in the tests.
