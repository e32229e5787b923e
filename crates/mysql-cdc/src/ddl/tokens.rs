//! The words, names, texts and brackets of a statement, read from left to right.

use shardlake_change::TableId;

/// The unread rest of a statement.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

const fn is_word_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

impl<'a> Tokens<'a> {
    /// All of a statement.
    pub(super) const fn new(sql: &'a str) -> Self {
        Self { rest: sql }
    }

    /// Skips blanks and comments; the content of `/*!40000 … */` is part of the statement.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest.trim_start();
            self.rest = rest;
            if let Some(comment) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
                self.rest = comment.trim_start_matches(|c: char| c.is_ascii_digit());
            } else if let Some(after) = rest.strip_prefix("*/") {
                self.rest = after;
            } else if let Some(comment) = rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/").map_or("", |(_, after)| after);
            } else if rest.starts_with("-- ") || rest.starts_with('#') {
                self.rest = rest.split_once('\n').map_or("", |(_, after)| after);
            } else {
                return;
            }
        }
    }

    /// What has not been read, without blanks around it.
    pub(super) fn rest(&mut self) -> &'a str {
        self.skip_blanks();
        self.rest.trim_end()
    }

    /// Whether nothing follows but perhaps a semicolon.
    pub(super) fn is_at_end(&mut self) -> bool {
        matches!(self.rest(), "" | ";")
    }

    /// The next keyword or bare name in upper case, if one is next.
    pub(super) fn word(&mut self) -> Option<String> {
        self.skip_blanks();
        let word = self.bare()?;
        Some(word.to_uppercase())
    }

    fn bare(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !is_word_character(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// The next keyword or bare name in upper case, which stays unread.
    pub(super) fn peek_word(&self) -> Option<String> {
        self.clone().word()
    }

    /// Skips the keyword if it is next.
    pub(super) fn skip_word(&mut self, keyword: &str) -> bool {
        let before = self.rest;
        if self.word().is_some_and(|word| word == keyword) {
            return true;
        }
        self.rest = before;
        false
    }

    /// Skips those of the keywords that are next, in this order.
    pub(super) fn skip_words(&mut self, keywords: &[&str]) {
        for keyword in keywords {
            self.skip_word(keyword);
        }
    }

    /// Skips the keywords if all of them are next, in this order.
    pub(super) fn skip_phrase(&mut self, keywords: &[&str]) -> bool {
        let before = self.rest;
        if keywords.iter().all(|keyword| self.skip_word(keyword)) {
            return true;
        }
        self.rest = before;
        false
    }

    pub(super) fn skip_char(&mut self, expected: char) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A name, bare or quoted.
    pub(super) fn name(&mut self) -> Option<String> {
        self.skip_blanks();
        match self.rest.chars().next()? {
            quote @ ('`' | '"') => self.quoted(quote),
            _ => self.bare().map(str::to_owned),
        }
    }

    /// What stands between two of these quotes, a doubled one meaning itself.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut rest = self.rest.strip_prefix(quote)?;
        let mut name = String::new();
        loop {
            let (part, after) = rest.split_once(quote)?;
            name.push_str(part);
            match after.strip_prefix(quote) {
                Some(more) => {
                    name.push(quote);
                    rest = more;
                }
                None => {
                    self.rest = after;
                    return Some(name);
                }
            }
        }
    }

    /// A text between single or double quotes. None if there is none, or if it has a backslash, whose
    /// meaning depends on the session that wrote it.
    pub(super) fn plain_text(&mut self) -> Option<String> {
        self.skip_blanks();
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        self.quoted(quote).filter(|text| !text.contains('\\'))
    }

    /// Skips a text that begins here, whatever a backslash means in it. False if its end cannot be told.
    fn skip_text(&mut self, quote: char) -> bool {
        let escaping = end_of_text(self.rest, quote, true);
        let plain = end_of_text(self.rest, quote, false);
        let Some(end) = plain.filter(|end| Some(*end) == escaping) else { return false };
        self.rest = self.rest.get(end..).unwrap_or_default();
        true
    }

    /// Skips one word, text, quoted name, bracketed group or sign. False at the end, or where the end of a
    /// text or group cannot be told.
    pub(super) fn skip_one(&mut self) -> bool {
        self.skip_blanks();
        match self.rest.chars().next() {
            None => false,
            Some(quote @ ('\'' | '"')) => self.skip_text(quote),
            Some('`') => self.quoted('`').is_some(),
            Some('(') => self.skip_group(),
            Some(c) if is_word_character(c) => self.bare().is_some(),
            Some(c) => {
                self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
                true
            }
        }
    }

    /// Skips brackets that open here, with all that is between them.
    fn skip_group(&mut self) -> bool {
        if !self.skip_char('(') {
            return false;
        }
        while !self.skip_char(')') {
            if !self.skip_one() {
                return false;
            }
        }
        true
    }

    /// What stands between brackets that open here.
    pub(super) fn group(&mut self) -> Option<&'a str> {
        self.skip_blanks();
        let before = self.rest;
        if !self.skip_group() {
            self.rest = before;
            return None;
        }
        let length = before.len() - self.rest.len();
        before.get(1..length - 1)
    }

    /// Whether a list's item ends here: at a comma, a closing bracket or the end.
    pub(super) fn is_at_item_end(&mut self) -> bool {
        self.is_at_end() || self.rest.starts_with(',') || self.rest.starts_with(')')
    }

    /// Skips to the end of a list's item. False if it cannot be told.
    pub(super) fn skip_item(&mut self) -> bool {
        while !self.is_at_item_end() {
            if !self.skip_one() {
                return false;
            }
        }
        true
    }

    /// The name of a table, in this database unless it names one.
    pub(super) fn table(&mut self, database: &str) -> Option<TableId> {
        let first = self.name()?;
        if self.skip_char('.') {
            return Some(TableId::new(first, self.name()?));
        }
        Some(TableId::new(database, first))
    }

    /// Names separated by commas.
    pub(super) fn tables(&mut self, database: &str) -> Vec<TableId> {
        let mut tables = Vec::new();
        while let Some(table) = self.table(database) {
            tables.push(table);
            if !self.skip_char(',') {
                break;
            }
        }
        tables
    }

    /// The pairs of `a TO b, c TO d`.
    pub(super) fn renames(&mut self, database: &str) -> Vec<(TableId, TableId)> {
        let mut pairs = Vec::new();
        loop {
            let Some(from) = self.table(database) else { return pairs };
            // MariaDB may wait for a lock here.
            if self.skip_word("WAIT") {
                self.word();
            }
            self.skip_words(&["NOWAIT", "TO", "AS"]);
            let Some(to) = self.table(database) else { return pairs };
            pairs.push((from, to));
            if !self.skip_char(',') {
                return pairs;
            }
        }
    }

    /// The table of a statement that changes rows, after its verb.
    pub(super) fn changed_table(&mut self, database: &str) -> Option<TableId> {
        const MODIFIERS: [&str; 14] = [
            "LOW_PRIORITY",
            "DELAYED",
            "HIGH_PRIORITY",
            "QUICK",
            "IGNORE",
            "INTO",
            "FROM",
            "DATA",
            "LOCAL",
            "CONCURRENT",
            "XML",
            "INFILE",
            "TABLE",
            "REPLACE",
        ];
        loop {
            if self.skip_char('\'') {
                let rest = self.rest;
                self.rest = rest.split_once('\'').map_or("", |(_, after)| after);
                continue;
            }
            if !MODIFIERS.iter().any(|modifier| self.skip_word(modifier)) {
                return self.table(database);
            }
        }
    }

    /// What identifies an XA transaction, without blanks and with the parts that may be left out.
    pub(super) fn xa_identifier(&mut self) -> String {
        let text = self.rest().trim_end_matches(';').trim();
        let text = text.strip_suffix("ONE PHASE").unwrap_or(text);
        text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
    }
}

/// Where a text ends that begins with a quote, behind its last quote.
fn end_of_text(text: &str, quote: char, backslash_escapes: bool) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && backslash_escapes {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + c.len_utf8());
        }
    }
    None
}
