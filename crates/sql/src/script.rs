//! Splits a script into its statements.
//!
//! A statement ends at a semicolon that is not inside a string, a quoted name or a comment;
//! `EXECUTE STATEMENT SET BEGIN … END;` is one statement although it has semicolons inside.

use crate::diagnostic::{Diagnostic, Span};

/// What a script consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The complete statements in their order, from their first word or comment to before the
    /// semicolon.
    pub statements: Vec<Span>,
    /// What is left behind the last semicolon, if it is more than white space and comments.
    pub rest: Option<Span>,
    /// What the rest lacks besides a semicolon, such as the end of a string.
    pub open: Option<Open>,
}

/// Something that begins and does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A string in single quotes.
    String,
    /// A name in back-ticks.
    Name,
    /// A comment, `/*`.
    Comment,
    /// A statement set without `END;`.
    StatementSet,
}

impl Script {
    /// Splits a text.
    #[must_use]
    pub fn split(text: &str) -> Self {
        Splitter { text, at: 0 }.split()
    }

    /// Whether an interactive client has to read more lines before it can run anything.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.rest.is_none() && self.open.is_none()
    }

    /// All statements, the last one also without a semicolon.
    ///
    /// # Errors
    /// The text ends inside a string, a name, a comment or a statement set.
    pub fn statements(&self, text: &str) -> Result<Vec<Span>, Diagnostic> {
        let what = match self.open {
            None => {
                return Ok(self.statements.iter().chain(&self.rest).copied().collect());
            }
            Some(Open::String) => "A string is not closed: a single quote is missing.",
            Some(Open::Name) => "A name is not closed: a back-tick is missing.",
            Some(Open::Comment) => "A comment is not closed: '*/' is missing.",
            Some(Open::StatementSet) => "A statement set is not closed: 'END;' is missing.",
        };
        let end = text.trim_end().len();
        Err(Diagnostic::syntax(what).at(self.rest.unwrap_or(Span { start: end, end })))
    }
}

struct Splitter<'a> {
    text: &'a str,
    at: usize,
}

/// A piece of a script.
enum Piece {
    /// A word outside quotes.
    Word(Span),
    /// A semicolon.
    End,
    /// White space or a comment.
    Blank,
    /// Anything else.
    Other,
    /// Something that does not end.
    Open(Open),
}

impl Splitter<'_> {
    fn split(&mut self) -> Script {
        let mut script = Script::default();
        let mut start = None;
        let mut only_comments = true;
        let mut words: Vec<String> = Vec::new();
        while let Some((begin, piece)) = self.piece() {
            match piece {
                Piece::Blank => {
                    if !self.is_white(begin) {
                        start.get_or_insert(begin);
                    }
                    continue;
                }
                Piece::End => {
                    if is_open_set(&words) {
                        words.push(";".to_owned());
                        continue;
                    }
                    if let Some(start) = start.filter(|_| !only_comments) {
                        script.statements.push(Span { start, end: begin });
                    }
                    start = None;
                    only_comments = true;
                    words.clear();
                    continue;
                }
                Piece::Word(span) => {
                    words.push(span.slice(self.text).to_ascii_uppercase());
                }
                Piece::Other => words.push(String::new()),
                Piece::Open(open) => script.open = Some(open),
            }
            start.get_or_insert(begin);
            only_comments &= matches!(script.open, Some(Open::Comment));
        }
        let end = self.text.trim_end().len();
        script.rest = start.filter(|_| !only_comments).map(|start| Span { start, end });
        if script.open.is_none() && is_open_set(&words) {
            script.open = Some(Open::StatementSet);
        }
        script
    }

    fn is_white(&self, at: usize) -> bool {
        self.text.get(at..).and_then(|rest| rest.chars().next()).is_some_and(char::is_whitespace)
    }

    /// The next piece and where it begins.
    fn piece(&mut self) -> Option<(usize, Piece)> {
        let begin = self.at;
        let rest = self.text.get(begin..)?;
        let first = rest.chars().next()?;
        let piece = match first {
            ';' => self.advance(1, Piece::End),
            '\'' => self.quoted('\'', Open::String),
            '`' => self.quoted('`', Open::Name),
            '-' if rest.starts_with("--") => {
                let len = rest.find('\n').unwrap_or(rest.len());
                self.advance(len, Piece::Blank)
            }
            '/' if rest.starts_with("/*") => match rest.get(2..).and_then(|r| r.find("*/")) {
                Some(len) => self.advance(len + 4, Piece::Blank),
                None => self.advance(rest.len(), Piece::Open(Open::Comment)),
            },
            c if c.is_whitespace() => {
                let len = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
                self.advance(len, Piece::Blank)
            }
            c if c.is_alphanumeric() || c == '_' => {
                let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                let len = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
                self.advance(len, Piece::Word(Span { start: begin, end: begin + len }))
            }
            c => self.advance(c.len_utf8(), Piece::Other),
        };
        Some((begin, piece))
    }

    const fn advance(&mut self, len: usize, piece: Piece) -> Piece {
        self.at += len;
        piece
    }

    fn quoted(&mut self, quote: char, open: Open) -> Piece {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        // A doubled quote closes and opens at once.
        match rest.find(quote) {
            Some(len) => self.advance(len + 2, Piece::Other),
            None => self.advance(rest.len() + 1, Piece::Open(open)),
        }
    }
}

/// Whether these words begin a statement set that has not ended. The last word of one that has ended
/// is `END`, directly behind a semicolon.
fn is_open_set(words: &[String]) -> bool {
    let begins = match words {
        [first, rest @ ..] if first == "EXECUTE" || first == "EXPLAIN" => {
            // EXPLAIN can have details before STATEMENT.
            let at = rest.iter().take(8).position(|word| word == "STATEMENT");
            at.and_then(|at| rest.get(at..at + 3))
                .is_some_and(|words| words == ["STATEMENT", "SET", "BEGIN"])
        }
        _ => false,
    };
    let ended = matches!(words, [.., before, last] if last == "END" && (before == ";" || before == "BEGIN"));
    begins && !ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (Vec<&str>, Option<&str>, Option<Open>) {
        let script = Script::split(text);
        let slice = |span: &Span| span.slice(text);
        let statements = script.statements.iter().map(slice).collect();
        (statements, script.rest.as_ref().map(slice), script.open)
    }

    #[test]
    fn semicolons_in_strings_names_and_comments_do_not_end_a_statement() {
        let text = "SET a = 'x;y'; -- one; two\nSELECT `a;b`, 'it''s;' /* ; */ FROM t;\n\n;;";
        assert_eq!(
            split(text),
            (
                vec!["SET a = 'x;y'", "-- one; two\nSELECT `a;b`, 'it''s;' /* ; */ FROM t"],
                None,
                None
            )
        );
    }

    #[test]
    fn a_statement_set_is_one_statement() {
        let set =
            "EXECUTE STATEMENT SET\nBEGIN\nINSERT INTO a SELECT 1;\nINSERT INTO b SELECT ';';\nEND";
        let text = format!("{set};\nSELECT 2;");
        assert_eq!(split(&text), (vec![set, "SELECT 2"], None, None));
        let open = "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1;";
        assert_eq!(split(open), (vec![], Some(open), Some(Open::StatementSet)));
        let old = "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END;";
        assert_eq!(split(old).0, ["BEGIN STATEMENT SET", "INSERT INTO a SELECT 1", "END"]);
    }

    #[test]
    fn the_rest_says_what_is_missing() {
        assert_eq!(split("SELECT 1").1, Some("SELECT 1"));
        assert_eq!(split("SELECT 'a;\nb").2, Some(Open::String));
        assert_eq!(split("SELECT `a;").2, Some(Open::Name));
        assert_eq!(split("SELECT 1; /* a").2, Some(Open::Comment));
        assert!(Script::split("SELECT 1;\n-- the end").is_complete());
        assert!(!Script::split("SELECT 1").is_complete());
        let text = "SELECT 'a";
        assert!(Script::split(text).statements(text).is_err());
        let text = "SELECT 1; SELECT 2";
        assert_eq!(Script::split(text).statements(text).unwrap().len(), 2);
    }
}
