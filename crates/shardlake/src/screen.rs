//! The full-screen views of a result in the interactive client: `table` and `changelog`.
//!
//! [`view`] holds the rows and draws lines of text; this file owns the terminal and the keys.

mod view;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use chrono::Local;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};
use shardlake_server::QueryResult;
use shardlake_sql::print::CellFormat;

use crate::output::{Unwritten, put};
use view::{Mode, View};

/// How often the screen is drawn anew, by the `+` and `-` keys.
const REFRESHES: [(&str, Option<Duration>); 6] = [
    ("Fastest", Some(Duration::from_millis(50))),
    ("100 ms", Some(Duration::from_millis(100))),
    ("500 ms", Some(Duration::from_millis(500))),
    ("1 s", Some(Duration::from_secs(1))),
    ("5 s", Some(Duration::from_secs(5))),
    ("-", None),
];
/// How long a key is waited for before the rows are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Shows the result as the table that its changes add up to.
///
/// # Errors
/// The query failed, or the terminal cannot be used.
pub(crate) fn table(result: QueryResult, cells: CellFormat) -> Result<(), Unwritten> {
    show(result, Mode::Table, cells, 3)
}

/// Shows the last changes.
///
/// # Errors
/// The query failed, or the terminal cannot be used.
pub(crate) fn changelog(result: QueryResult, cells: CellFormat) -> Result<(), Unwritten> {
    show(result, Mode::Changelog, cells, 0)
}

/// The terminal in raw mode on its other screen, until dropped.
struct Terminal;

impl Terminal {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(Self)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        execute!(io::stdout(), cursor::Show, LeaveAlternateScreen).unwrap_or_default();
        disable_raw_mode().unwrap_or_default();
    }
}

fn show(
    mut result: QueryResult,
    mode: Mode,
    cells: CellFormat,
    refresh: usize,
) -> Result<(), Unwritten> {
    let mut view = View::new(mode, &result.columns, cells);
    let outcome = tokio::task::block_in_place(|| {
        let _terminal = Terminal::enter()?;
        follow(&mut result, &mut view, refresh)
    });
    drop(result);
    outcome?;
    put("[INFO] Result retrieval cancelled.\n")?;
    Ok(())
}

/// Takes rows and keys in turn until the user leaves.
fn follow(result: &mut QueryResult, view: &mut View, mut refresh: usize) -> Result<(), Unwritten> {
    let mut drawn: Option<Instant> = None;
    loop {
        while let Some(delivery) = result.try_next() {
            view.apply(&delivery.map_err(Unwritten::Query)?);
        }
        let (label, interval) = REFRESHES.get(refresh).copied().unwrap_or(("-", None));
        let is_due = match (drawn, interval) {
            (None, _) => true,
            (Some(at), Some(interval)) => at.elapsed() >= interval,
            (Some(_), None) => false,
        };
        if is_due {
            draw(view, label)?;
            drawn = Some(Instant::now());
        }
        if !poll(TICK)? {
            continue;
        }
        drawn = None;
        let Event::Key(key) = read()? else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match key_action(key) {
            Action::Leave if view.is_detail() => view.close_row(),
            Action::Leave => return Ok(()),
            Action::Slower => refresh = (refresh + 1).min(REFRESHES.len() - 1),
            Action::Faster => refresh = refresh.saturating_sub(1),
            Action::Move(movement) => view.go(movement),
            Action::Digit(digit) => view.type_digit(digit),
            Action::Nothing => {}
        }
    }
}

enum Action {
    Leave,
    Slower,
    Faster,
    Move(view::Movement),
    Digit(char),
    Nothing,
}

/// The keys of Flink's client.
fn key_action(key: KeyEvent) -> Action {
    use view::Movement;
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Action::Leave,
            _ => Action::Nothing,
        };
    }
    match key.code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Action::Leave,
        KeyCode::Char('+') => Action::Slower,
        KeyCode::Char('-') => Action::Faster,
        KeyCode::Char('n' | 'N') | KeyCode::PageDown => Action::Move(Movement::NextPage),
        KeyCode::Char('p' | 'P') | KeyCode::PageUp => Action::Move(Movement::PreviousPage),
        KeyCode::Char('l' | 'L') | KeyCode::End => Action::Move(Movement::LastPage),
        KeyCode::Char('g' | 'G') => Action::Move(Movement::AskPage),
        KeyCode::Char('o' | 'O') => Action::Move(Movement::OpenRow),
        KeyCode::Enter => Action::Move(Movement::Confirm),
        KeyCode::Up => Action::Move(Movement::RowUp),
        KeyCode::Down => Action::Move(Movement::RowDown),
        KeyCode::Left => Action::Move(Movement::Left),
        KeyCode::Right => Action::Move(Movement::Right),
        KeyCode::Char(digit) if digit.is_ascii_digit() => Action::Digit(digit),
        _ => Action::Nothing,
    }
}

fn draw(view: &mut View, refresh: &str) -> io::Result<()> {
    let (width, height) = size()?;
    let updated = Local::now().format("%H:%M:%S%.3f").to_string();
    let lines = view.draw(usize::from(width), usize::from(height), refresh, &updated);
    let mut out = io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0))?;
    for (index, line) in lines.iter().enumerate() {
        let end = if index + 1 == lines.len() { "" } else { "\r\n" };
        queue!(out, Clear(ClearType::CurrentLine))?;
        write!(out, "{line}{end}")?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    out.flush()
}
