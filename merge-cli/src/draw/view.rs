//! A search as it runs, drawn in the last lines of a terminal.
//!
//! Frames are plain text: the cursor goes up over the last one and writes over it. Nothing is asked of the terminal and no mode
//! of it is changed. So what was on it before stays, Ctrl-C is what it always is, and whatever ends the process leaves nothing to
//! restore.

mod picture;

use self::picture::Scene;

use crate::{draw::screen, job, language::Language, lead::Leads};
use merge_core::study::Progress;
use ratatui::{
    buffer::Buffer,
    style::{Color, Style},
};
use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many columns each line of the frame on the terminal takes; empty if there is none.
static FRAME: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// What a frame needs at least, and takes at most.
const LEAST: (u16, u16) = (60, 18);
const MOST: (u16, u16) = (140, 32);
const STRING: &str = "a String takes all that is written";

/// The frames of a search.
pub(crate) struct LiveView {
    names: ProgressNames,
    colours: bool,
}

/// What a search's numbers are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgressNames {
    /// In the order of the goals.
    pub(crate) tasks: Vec<String>,
    /// What candidates are compared by: tasks, then costs.
    pub(crate) objectives: Vec<String>,
    /// What is merged, and the base.
    pub(crate) models: Vec<String>,
}

impl LiveView {
    /// On standard error, if it is a terminal that is large enough.
    pub(crate) fn new(names: ProgressNames) -> Option<Self> {
        let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
        let (columns, rows) = size()?;
        let fits = columns >= LEAST.0 && rows >= LEAST.1 && !is("TERM", "dumb");
        let colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        fits.then_some(Self { names, colours })
    }

    /// Draws a frame.
    pub(crate) fn show(&self, record: &job::JobProgress, progress: &Progress, leads: Option<&Leads>) {
        let Some((columns, rows)) = size() else { return };
        // A line that reaches the last column would be cut by what clears behind it.
        let area = (columns.min(MOST.0).saturating_sub(1), rows.min(MOST.1).saturating_sub(1));
        let scene = Scene { record, progress, leads, names: &self.names, language: Language::chosen() };
        let frame = picture::frame(&scene, area);
        let lines = lines(&frame, self.colours);
        let mut before = frame_lines();
        let mut text = format!("\x1b[?2026h{}", back(&before, columns.into()));
        for (line, _) in &lines {
            writeln!(text, "{line}\x1b[K").expect(STRING);
        }
        text += "\x1b[J\x1b[?2026l";
        *before = lines.into_iter().map(|(_, width)| width).collect();
        write(&text);
    }
}

/// Writes something where the frame is, which is drawn again below it.
pub(crate) fn above<T>(write_it: impl FnOnce() -> T) -> T {
    let mut before = frame_lines();
    if !before.is_empty() {
        let columns = size().map_or(MOST.0, |size| size.0);
        write(&format!("{}\x1b[J", back(&before, columns.into())));
        before.clear();
    }
    write_it()
}

fn frame_lines() -> MutexGuard<'static, Vec<usize>> {
    // A frame that could not be drawn is one that is drawn over.
    FRAME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The columns and rows of the terminal that is standard error, if it is one.
fn size() -> Option<(u16, u16)> {
    let error = io::stderr();
    let size = error.is_terminal().then(|| rustix::termios::tcgetwinsize(&error).ok())??;
    Some((size.ws_col, size.ws_row))
}

fn write(text: &str) {
    let mut error = io::stderr();
    let _ = error.write_all(text.as_bytes()).and_then(|()| error.flush());
}

/// The way back to the first line of a frame. In a window that has become narrower its lines are wrapped.
fn back(widths: &[usize], columns: usize) -> String {
    let rows: usize = widths.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A\r") }
}

/// A frame's lines as a terminal takes them, each with the columns that it fills.
fn lines(frame: &Buffer, colours: bool) -> Vec<(String, usize)> {
    let line = |y: u16| {
        let cells = (0..frame.area.width).map(|x| &frame[(x, y)]);
        let (mut text, mut colour, mut width) = (String::new(), Color::Reset, 0);
        // The end of a wide letter has no letter of its own.
        let mut covered = 0;
        for (x, cell) in cells.enumerate() {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            covered = ratatui::text::Span::raw(cell.symbol()).width().saturating_sub(1);
            if cell.fg != colour && colours && cell.symbol() != " " {
                colour = cell.fg;
                write!(text, "\x1b[{}m", code(colour)).expect(STRING);
            }
            text += if screen::is_shown_as_it_is(cell.symbol()) { cell.symbol() } else { "\u{fffd}" };
            if cell.symbol() != " " {
                width = x + 1 + covered;
            }
        }
        let mut text = text.trim_end().to_owned();
        if colour != Color::Reset {
            text += "\x1b[39m";
        }
        (text, width)
    };
    (0..frame.area.height).map(line).collect()
}

/// The colours that frames use, as terminals call them.
fn code(colour: Color) -> u8 {
    match colour {
        Color::Green => 32,
        Color::Yellow => 33,
        Color::Blue => 34,
        Color::DarkGray => 90,
        _ => 39,
    }
}

/// Of a colour.
fn ink(colour: Color) -> Style {
    Style::new().fg(colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;

    #[test]
    fn lines_end_where_their_text_does_and_change_colour_where_it_does() {
        let mut frame = Buffer::empty(Rect::new(0, 0, 12, 2));
        frame.set_string(0, 0, "算数", ink(Color::Blue));
        frame.set_string(5, 0, "up", Style::new());
        assert_eq!(lines(&frame, true), [("\x1b[34m算数 \x1b[39mup".to_owned(), 7), (String::new(), 0)]);
        assert_eq!(lines(&frame, false)[0].0, "算数 up");
    }

    #[test]
    fn the_way_back_counts_wrapped_lines() {
        assert_eq!(back(&[], 80), "");
        assert_eq!(back(&[80, 0, 79], 80), "\x1b[3A\r");
        assert_eq!(back(&[80, 0, 79], 40), "\x1b[5A\r");
    }
}
