//! The files beside a merged model: its card, its record, and the licences that apply.

pub(crate) mod card;
pub(crate) mod licence;
pub(crate) mod provenance;
