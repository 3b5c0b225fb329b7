//! What stands beside a merged model: its card, its record, and what licences allow.

pub(crate) mod card;
pub(crate) mod licence;
pub(crate) mod provenance;
