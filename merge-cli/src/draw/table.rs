//! Tables on a terminal: with a frame for results, without one for lists.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableStyle, presets};

/// A table with a frame around it and its header.
pub(crate) fn framed() -> Table {
    styled(presets::UTF8_BORDERS_ONLY)
}

/// A table without lines; print it with [`flush_left`].
pub(crate) fn plain() -> Table {
    styled(presets::NOTHING)
}

fn styled(style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// A cell flush right, as numbers stand.
pub(crate) fn right(text: impl Into<String>) -> Cell {
    Cell::new(text.into()).set_alignment(CellAlignment::Right)
}

/// The text of a plain table: it begins in the first column, and no line ends with a space.
pub(crate) fn flush_left(table: &Table) -> String {
    let text = table.to_string();
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}
