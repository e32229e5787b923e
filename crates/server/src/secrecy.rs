//! Hides secrets in the text of a statement before it is shown: the client repeats what it runs and quotes what fails.
//!
//! Each byte of a secret becomes one `*`, so that places in the text stay where they are. A text that is no
//! valid statement is treated alike: a literal that does not end is hidden to the end.

use shardlake_connector::Options;

/// A word or a quoted literal: where it lies, quotes included, and where its content lies.
#[derive(Clone)]
struct Word {
    start: usize,
    end: usize,
    content: (usize, usize),
}

/// The text with the value of every `key = value` hidden whose key names a secret.
pub fn hide_secrets(text: &str) -> String {
    let words = words(text);
    let mut bytes = text.as_bytes().to_vec();
    for pair in words.windows(2) {
        let [key, value] = pair else { continue };
        let between = text.get(key.end..value.start).unwrap_or_default();
        let name = text.get(key.content.0..key.content.1).unwrap_or_default();
        if between.trim() == "=" && Options::is_secret(name) {
            for byte in bytes.iter_mut().take(value.content.1).skip(value.content.0) {
                *byte = b'*';
            }
        }
    }
    // Whole contents were replaced, so no character was cut.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if matches!(first, '\'' | '"' | '`') {
            let (end, is_closed) = end_of_literal(rest, first);
            let content = (at + 1, at + end - usize::from(is_closed));
            words.push(Word { start: at, end: at + end, content });
            at += end;
        } else if is_of_word(first) {
            let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            words.push(Word { start: at, end: at + end, content: (at, at + end) });
            at += end;
        } else {
            at += first.len_utf8();
        }
    }
    words
}

/// What can stand in an unquoted key or value of `SET`.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || "_.-+/:@#$%^&*!?~".contains(c)
}

/// The length of the literal at the start, and whether it ends; a doubled quote is part of it.
fn end_of_literal(text: &str, quote: char) -> (usize, bool) {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((index, letter)) = letters.next() {
        if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return (index + 1, true);
        }
    }
    (text.len(), false)
}

#[cfg(test)]
mod tests {
    use super::hide_secrets;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(hide_secrets(text), expected);
        assert_eq!(text.len(), expected.len(), "places must stay");
    }

    #[test]
    fn options_with_secrets_are_hidden() {
        check(
            "WITH ('username'='root', 'password' = 'a''b;', 'port'='1')",
            "WITH ('username'='root', 'password' = '*****', 'port'='1')",
        );
        check("'s3.secret-access-key'='käse'", "'s3.secret-access-key'='*****'");
        check("SET my.password = hunter2;", "SET my.password = *******;");
        check("SET 'token' = 'abc' 'x';", "SET 'token' = '***' 'x';");
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "SELECT 'password', '=', 'x' -- 'password' = 'y'",
            "/* 'password' = 'z' */ SELECT 1",
            "WITH ('connector' = 'print')",
            "",
            "ö = '",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn unfinished_text_is_hidden_too() {
        check("'password' = 'abc", "'password' = '***");
        check("'password' = '", "'password' = '");
        check("'password'='abc') WITH 'port", "'password'='***') WITH 'port");
    }
}
