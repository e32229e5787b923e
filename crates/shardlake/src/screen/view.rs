//! What a full-screen view shows, as lines of text.

use std::collections::VecDeque;

use shardlake_change::{ChangeBatch, Column, RowKind};
use shardlake_sql::print::CellFormat;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows that a table keeps (`sql-client.execution.max-table-result.rows` in Flink).
const MAX_TABLE_ROWS: usize = 1_000_000;
/// Changes that a changelog keeps, as Flink's client.
const MAX_CHANGES: usize = 1_000;
/// The widest that a column is drawn.
const MAX_CELL_WIDTH: usize = 30;
/// Lines that are not rows: title, status, blank, names, blank, two lines of keys.
const FRAME_LINES: usize = 7;

/// Which view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The rows that the changes add up to, in pages.
    Table,
    /// The last changes.
    Changelog,
}

/// Where the user wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Movement {
    NextPage,
    PreviousPage,
    LastPage,
    AskPage,
    OpenRow,
    Confirm,
    RowUp,
    RowDown,
    Left,
    Right,
}

struct Row {
    kind: RowKind,
    cells: Vec<String>,
}

/// The rows of a result and what of them is on the screen.
pub(super) struct View {
    mode: Mode,
    columns: Vec<Column>,
    format: CellFormat,
    rows: VecDeque<Row>,
    /// The page shown, from 0; `None` follows the last one.
    page: Option<usize>,
    page_rows: usize,
    selected: Option<usize>,
    detail: Option<usize>,
    /// Digits typed after `G`.
    asked_page: Option<String>,
    first_column: usize,
}

impl View {
    /// An empty view.
    pub(super) fn new(mode: Mode, columns: &[Column], format: CellFormat) -> Self {
        Self {
            mode,
            columns: columns.to_vec(),
            format,
            rows: VecDeque::new(),
            page: None,
            page_rows: 1,
            selected: None,
            detail: None,
            asked_page: None,
            first_column: 0,
        }
    }

    /// Takes changes in. In a table an addition appends a row and a removal takes the last equal one away.
    pub(super) fn apply(&mut self, batch: &ChangeBatch) {
        for (row, kind) in batch.kinds().iter().enumerate() {
            let cells: Vec<String> = self
                .columns
                .iter()
                .zip(batch.rows().columns())
                .map(|(column, array)| {
                    let text = self.format.text(&column.data_type, array.as_ref(), row);
                    text.unwrap_or_else(|| "<NULL>".to_owned())
                })
                .collect();
            if self.mode == Mode::Changelog || kind.is_addition() {
                self.rows.push_back(Row { kind, cells });
                let limit = match self.mode {
                    Mode::Table => MAX_TABLE_ROWS,
                    Mode::Changelog => MAX_CHANGES,
                };
                if self.rows.len() > limit {
                    self.rows.pop_front();
                }
            } else if let Some(at) = self.rows.iter().rposition(|old| old.cells == cells) {
                self.rows.remove(at);
            }
        }
    }

    /// Whether a single row is shown.
    pub(super) const fn is_detail(&self) -> bool {
        self.detail.is_some()
    }

    /// Goes back from a single row.
    pub(super) fn close_row(&mut self) {
        self.detail = None;
    }

    fn page_count(&self) -> usize {
        self.rows.len().div_ceil(self.page_rows).max(1)
    }

    fn current_page(&self) -> usize {
        let last = self.page_count() - 1;
        self.page.map_or(last, |page| page.min(last))
    }

    /// Follows a key.
    pub(super) fn go(&mut self, movement: Movement) {
        let (page, last) = (self.current_page(), self.page_count() - 1);
        match movement {
            Movement::NextPage => self.page = (page < last).then_some(page + 1),
            Movement::PreviousPage => self.page = Some(page.saturating_sub(1)),
            Movement::LastPage => self.page = None,
            Movement::AskPage => self.asked_page = Some(String::new()),
            Movement::OpenRow => self.detail = self.selected.or(Some(page * self.page_rows)),
            Movement::Confirm => match self.asked_page.take().map(|text| text.parse::<usize>()) {
                Some(Ok(number)) => self.page = Some(number.clamp(1, last + 1) - 1),
                Some(Err(_)) => {}
                None => self.detail = self.selected,
            },
            Movement::RowUp => self.select(|row| row.saturating_sub(1)),
            Movement::RowDown => self.select(|row| row + 1),
            Movement::Left => self.first_column = self.first_column.saturating_sub(1),
            Movement::Right => {
                self.first_column = (self.first_column + 1).min(self.columns.len().max(1) - 1);
            }
        }
    }

    fn select(&mut self, step: impl Fn(usize) -> usize) {
        let first = self.current_page() * self.page_rows;
        let last = (first + self.page_rows).min(self.rows.len()).saturating_sub(1);
        let next = self.selected.map_or(first, step);
        self.selected = Some(next.clamp(first, last.max(first)));
    }

    /// A digit of the page that was asked for.
    pub(super) fn type_digit(&mut self, digit: char) {
        if let Some(asked) = &mut self.asked_page
            && asked.len() < 9
        {
            asked.push(digit);
        }
    }

    /// The lines of the whole screen.
    pub(super) fn draw(
        &mut self,
        width: usize,
        height: usize,
        refresh: &str,
        updated: &str,
    ) -> Vec<String> {
        self.page_rows = height.saturating_sub(FRAME_LINES).max(1);
        let title = match self.mode {
            Mode::Table => "SQL Query Result (Table)",
            Mode::Changelog => "SQL Query Result (Changelog)",
        };
        let mut lines = vec![center(title, width), self.status_line(width, refresh, updated)];
        lines.push(String::new());
        match self.detail.and_then(|row| self.rows.get(row)) {
            Some(row) => self.draw_row(&mut lines, row),
            None => self.draw_page(&mut lines),
        }
        lines.truncate(height.saturating_sub(2));
        lines.resize(height.saturating_sub(2), String::new());
        lines.extend(key_lines());
        lines.into_iter().map(|line| cut(&line, width)).collect()
    }

    fn status_line(&self, width: usize, refresh: &str, updated: &str) -> String {
        let left = format!(" Refresh: {refresh}");
        let middle = match (&self.asked_page, self.mode, self.page) {
            (Some(asked), _, _) => format!("Go to page: {asked}_"),
            (None, Mode::Changelog, _) => String::new(),
            (None, Mode::Table, None) => format!("Page: Last of {}", self.page_count()),
            (None, Mode::Table, Some(_)) => {
                format!("Page: {} of {}", self.current_page() + 1, self.page_count())
            }
        };
        let right = format!("Updated: {updated} ");
        let gap = width.saturating_sub(left.width() + middle.width() + right.width());
        format!("{left}{}{middle}{}{right}", " ".repeat(gap / 2), " ".repeat(gap - gap / 2))
    }

    fn draw_page(&self, lines: &mut Vec<String>) {
        let first = match self.mode {
            Mode::Table => self.current_page() * self.page_rows,
            Mode::Changelog => self.rows.len().saturating_sub(self.page_rows),
        };
        let shown: Vec<(usize, &Row)> =
            self.rows.iter().enumerate().skip(first).take(self.page_rows).collect();
        let columns = self.first_column..self.columns.len();
        let widths: Vec<usize> = columns
            .clone()
            .map(|column| {
                let name = self.columns.get(column).map_or(0, |c| c.name.width());
                let cells = shown.iter().filter_map(|(_, row)| row.cells.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or(0).max(name).min(MAX_CELL_WIDTH)
            })
            .collect();
        let line = |op: &str, cell: &dyn Fn(usize) -> String, mark: char| {
            let mut line = String::from(mark);
            if self.mode == Mode::Changelog {
                line.push_str(&format!("{op:<3}"));
            }
            for (column, width) in columns.clone().zip(&widths) {
                let text = cut(&cell(column), *width);
                line.push_str(&" ".repeat(width.saturating_sub(text.width())));
                line.push_str(&text);
                line.push(' ');
            }
            line
        };
        let name =
            |column: usize| self.columns.get(column).map_or(String::new(), |c| c.name.clone());
        lines.push(line("op", &name, ' '));
        for (index, row) in shown {
            let mark = if self.selected == Some(index) { '>' } else { ' ' };
            let cell = |column: usize| row.cells.get(column).cloned().unwrap_or_default();
            lines.push(line(row.kind.as_str(), &cell, mark));
        }
    }

    fn draw_row(&self, lines: &mut Vec<String>, row: &Row) {
        for (column, cell) in self.columns.iter().zip(&row.cells) {
            lines.push(format!(" {} ({}):", column.name, column.data_type));
            lines.push(format!("   {cell}"));
        }
    }
}

fn key_lines() -> [String; 2] {
    [
        " Q Quit      + Inc Refresh   G Goto Page   N Next Page   O Open Row".to_owned(),
        " R Refresh   - Dec Refresh   L Last Page   P Prev Page".to_owned(),
    ]
}

fn center(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width()) / 2))
}

/// The part of a text that fits into `width` columns of a terminal. Control characters are shown as `·`, so that no
/// value can write to the terminal.
fn cut(text: &str, width: usize) -> String {
    let mut used = 0;
    text.chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::datatypes::Schema;
    use shardlake_change::{LogicalType, parse_changelog};
    use shardlake_sql::session::Configuration;

    fn view(mode: Mode, changes: &str) -> View {
        let columns =
            vec![Column::new("id", LogicalType::BigInt), Column::new("name", LogicalType::String)];
        let schema =
            Arc::new(Schema::new(columns.iter().map(Column::to_arrow).collect::<Vec<_>>()));
        let zone = Configuration::new([]).unwrap().time_zone();
        let mut view = View::new(mode, &columns, CellFormat::new(zone));
        view.apply(&parse_changelog(&schema, changes).unwrap());
        view
    }

    fn drawn(view: &mut View, height: usize) -> String {
        view.draw(60, height, "1 s", "08:56:02.588").join("\n")
    }

    #[test]
    fn a_table_shows_what_the_changes_add_up_to() {
        let mut view =
            view(Mode::Table, "+I 1 | ann\n+I 2 | bob\n-U 1 | ann\n+U 1 | eve\n-D 2 | bob");
        let text = drawn(&mut view, 9);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines.len(), 9, "{text}");
        assert_eq!(lines[0].trim_start(), "SQL Query Result (Table)");
        assert!(lines[1].starts_with(" Refresh: 1 s") && lines[1].contains("Page: Last of 1"));
        assert_eq!(lines[2..7], ["", " id name", "  1  eve", "", ""]);
        assert!(lines[7].starts_with(" Q Quit") && lines[8].starts_with(" R Refresh"), "{text}");
    }

    #[test]
    fn a_changelog_shows_each_change() {
        let mut view = view(Mode::Changelog, "+I 1 | ann\n-D 1 | NULL");
        let text = drawn(&mut view, 9);
        assert!(text.contains("+I  1    ann"), "{text}");
        assert!(text.contains("-D  1 <NULL>"), "{text}");
    }

    #[test]
    fn pages_are_walked_and_asked_for() {
        let mut view = view(Mode::Table, "+I 1 | a\n+I 2 | b\n+I 3 | c");
        assert!(drawn(&mut view, 8).contains("Page: Last of 3"));
        view.go(Movement::PreviousPage);
        assert!(drawn(&mut view, 8).contains("Page: 2 of 3"));
        view.go(Movement::AskPage);
        view.type_digit('1');
        view.go(Movement::Confirm);
        let text = drawn(&mut view, 8);
        assert!(text.contains("Page: 1 of 3") && text.contains("  1    a"), "{text}");
        view.go(Movement::OpenRow);
        let text = drawn(&mut view, 20);
        assert!(text.contains("name (STRING):\n   a"), "{text}");
    }

    #[test]
    fn values_cannot_write_to_the_terminal() {
        assert_eq!(cut("a\u{1b}[2Jb", 10), "a·[2Jb");
    }
}
