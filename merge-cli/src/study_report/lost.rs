//! Message for a study whose log is damaged.

use crate::draw::screen;
use merge_core::store::Lost;
use std::path::Path;

/// States how many records of a study are gone.
pub(crate) fn gone(study: &Path, Lost { records, of }: Lost) -> String {
    let (records, of) = (screen::grouped(records), screen::grouped(of));
    format!("{}: the log of the study is damaged: {records} of the {of} records written are gone", study.display())
}
