//! Live view of a running search, drawn in the last lines of a terminal.
//!
//! Frames are plain text: the cursor goes up to the start of the last frame and writes over it. The
//! terminal is not queried, and its mode stays as it is. So earlier output stays, Ctrl-C works as
//! always, and however the process ends, nothing needs to be restored.

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

/// Width in columns of each line of the frame on the terminal; empty if there is no frame.
static FRAME: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Minimum and maximum columns and rows of a frame.
const LEAST: (u16, u16) = (60, 18);
const MOST: (u16, u16) = (140, 32);
const STRING: &str = "a String takes all that is written";

/// Draws the frames of a search.
pub(crate) struct LiveView {
    names: ProgressNames,
    colours: bool,
}

/// Names for the numbers of a search.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgressNames {
    /// Names of the tasks, in the order of the goals.
    pub(crate) tasks: Vec<String>,
    /// Names of the objectives: tasks, then costs.
    pub(crate) objectives: Vec<String>,
    /// Names of the merged models and of the base.
    pub(crate) models: Vec<String>,
}

impl LiveView {
    /// A view on standard error; `None` if that is not a terminal, or too small a one.
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
        // A line up to the last column would lose its end to the code that clears the rest of the
        // line.
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

/// Removes the frame, then calls `write_it`. The next frame is drawn below that output.
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
    // A panic while a frame was drawn does no harm: the next frame replaces it.
    FRAME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Columns and rows of the terminal at standard error; `None` if it is not a terminal.
fn size() -> Option<(u16, u16)> {
    let error = io::stderr();
    let size = error.is_terminal().then(|| rustix::termios::tcgetwinsize(&error).ok())??;
    Some((size.ws_col, size.ws_row))
}

fn write(text: &str) {
    let mut error = io::stderr();
    let _ = error.write_all(text.as_bytes()).and_then(|()| error.flush());
}

/// Escape code that moves the cursor back to the first line of a frame. Lines that a narrower
/// window wraps count as several.
fn back(widths: &[usize], columns: usize) -> String {
    let rows: usize = widths.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A\r") }
}

/// Lines of a frame as text for a terminal, each with its width in columns.
fn lines(frame: &Buffer, colours: bool) -> Vec<(String, usize)> {
    let line = |y: u16| {
        let cells = (0..frame.area.width).map(|x| &frame[(x, y)]);
        let (mut text, mut colour, mut width) = (String::new(), Color::Reset, 0);
        // The second cell of a wide character is empty.
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

/// The terminal's code of a colour that frames use.
fn code(colour: Color) -> u8 {
    match colour {
        Color::Green => 32,
        Color::Yellow => 33,
        Color::Blue => 34,
        Color::DarkGray => 90,
        _ => 39,
    }
}

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
