//! Java's date and time patterns (`yyyy-MM-dd HH:mm:ss.SSS`): printing and reading.
//!
//! The letters `G Q w W e c V z O X x Z n N A` are refused by name; the others mean what they mean to
//! Java's `DateTimeFormatter` in the English language.

use std::iter::Peekable;
use std::str::Chars;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion::common::{Result, plan_err};

/// The pattern that Flink takes when none is given.
pub(super) const DEFAULT: &str = "yyyy-MM-dd HH:mm:ss";

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A letter, and how often it stands.
    Field(char, usize),
    Literal(String),
}

/// A pattern, taken apart.
#[derive(Debug)]
pub(super) struct TimePattern(Vec<Token>);

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl TimePattern {
    /// Takes a pattern apart.
    pub(super) fn parse(pattern: &str) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '\'' {
                push_literal(&mut tokens, &quoted(&mut chars));
            } else if c.is_ascii_alphabetic() {
                if !"yuMLdDEaHhKkmsS".contains(c) {
                    return plan_err!(
                        "the letter '{c}' of the date pattern '{pattern}' is not supported; put text \
                         between single quotes"
                    );
                }
                let mut len = 1;
                while chars.next_if_eq(&c).is_some() {
                    len += 1;
                }
                tokens.push(Token::Field(c, len));
            } else {
                push_literal(&mut tokens, &c.to_string());
            }
        }
        Ok(Self(tokens))
    }

    /// Prints a wall-clock time.
    pub(super) fn print(&self, moment: &NaiveDateTime) -> String {
        let mut text = String::new();
        for token in &self.0 {
            match token {
                Token::Literal(literal) => text.push_str(literal),
                Token::Field(letter, len) => text.push_str(&print_field(*letter, *len, moment)),
            }
        }
        text
    }

    /// Reads a wall-clock time; `None` if the text does not fit the pattern.
    pub(super) fn read(&self, text: &str) -> Option<NaiveDateTime> {
        let mut parts = Parts::default();
        let mut rest = text.trim();
        for (place, token) in self.0.iter().enumerate() {
            rest = match token {
                Token::Literal(literal) => rest.strip_prefix(literal.as_str())?,
                Token::Field(letter, len) => {
                    let adjacent = matches!(self.0.get(place + 1), Some(Token::Field(..)));
                    parts.read(*letter, *len, adjacent, rest)?
                }
            };
        }
        if rest.is_empty() { parts.moment() } else { None }
    }
}

fn push_literal(tokens: &mut Vec<Token>, text: &str) {
    match tokens.last_mut() {
        Some(Token::Literal(literal)) => literal.push_str(text),
        _ => tokens.push(Token::Literal(text.to_owned())),
    }
}

/// The text between quotes; `''` is a quote.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        if c != '\'' {
            text.push(c);
        } else if chars.next_if_eq(&'\'').is_some() {
            text.push('\'');
        } else {
            break;
        }
    }
    if text.is_empty() { "'".to_owned() } else { text }
}

fn print_field(letter: char, len: usize, moment: &NaiveDateTime) -> String {
    let number = |value: u32| format!("{value:0len$}");
    match letter {
        'y' | 'u' if len == 2 => format!("{:02}", moment.year().rem_euclid(100)),
        'y' | 'u' => format!("{:0len$}", moment.year()),
        'M' | 'L' if len >= 3 => name(&MONTHS, moment.month0(), len),
        'M' | 'L' => number(moment.month()),
        'd' => number(moment.day()),
        'D' => number(moment.ordinal()),
        'E' => name(&DAYS, moment.weekday().num_days_from_monday(), len.max(3)),
        'a' => if moment.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        'H' => number(moment.hour()),
        'h' => number(moment.hour12().1),
        'K' => number(moment.hour() % 12),
        'k' => number(if moment.hour() == 0 { 24 } else { moment.hour() }),
        'm' => number(moment.minute()),
        's' => number(moment.second()),
        // The only letter left is S: a fraction of a second with `len` digits.
        _ => {
            let digits = format!("{:09}", moment.nanosecond() % 1_000_000_000);
            digits.chars().chain(std::iter::repeat('0')).take(len).collect()
        }
    }
}

fn name(names: &[&str], index: u32, len: usize) -> String {
    let name = usize::try_from(index).ok().and_then(|index| names.get(index)).copied();
    let keep = if len > 3 { usize::MAX } else { 3 };
    name.unwrap_or_default().chars().take(keep).collect()
}

/// What has been read of a time so far.
#[derive(Default)]
struct Parts {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    hour: u32,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    nanosecond: u32,
}

impl Parts {
    /// Reads one field at the start of `text` and gives back what follows it.
    fn read<'t>(
        &mut self,
        letter: char,
        len: usize,
        adjacent: bool,
        text: &'t str,
    ) -> Option<&'t str> {
        if letter == 'a' {
            let (half, rest) = (text.get(..2)?, text.get(2..)?);
            self.afternoon = Some(half.eq_ignore_ascii_case("PM"));
            return (half.eq_ignore_ascii_case("AM") || half.eq_ignore_ascii_case("PM"))
                .then_some(rest);
        }
        if letter == 'E' {
            return read_name(&DAYS, text).map(|(_, rest)| rest);
        }
        if matches!(letter, 'M' | 'L') && len >= 3 {
            let (index, rest) = read_name(&MONTHS, text)?;
            self.month = Some(u32::try_from(index).ok()? + 1);
            return Some(rest);
        }
        let most = match letter {
            _ if adjacent => len,
            'y' | 'u' => 9,
            'S' => 9,
            'D' => 3,
            _ => 2,
        };
        let end = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = text.split_at_checked(end)?;
        let value: u32 = digits.parse().ok()?;
        match letter {
            'y' | 'u' if len == 2 => self.year = Some(2000 + i32::try_from(value).ok()? % 100),
            'y' | 'u' => self.year = Some(i32::try_from(value).ok()?),
            'M' | 'L' => self.month = Some(value),
            'd' => self.day = Some(value),
            'D' => self.ordinal = Some(value),
            'H' => self.hour = value,
            'k' => self.hour = value % 24,
            'h' | 'K' => self.hour = value % 12,
            'm' => self.minute = value,
            's' => self.second = value,
            _ => self.nanosecond = format!("{digits:0<9}").parse().ok()?,
        }
        Some(rest)
    }

    fn moment(&self) -> Option<NaiveDateTime> {
        let year = self.year.unwrap_or(1970);
        let date = match self.ordinal {
            Some(ordinal) => NaiveDate::from_yo_opt(year, ordinal)?,
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = if self.afternoon == Some(true) { self.hour + 12 } else { self.hour };
        let time = NaiveTime::from_hms_nano_opt(hour, self.minute, self.second, self.nanosecond)?;
        Some(date.and_time(time))
    }
}

/// The index of the name, in full or of three letters, that `text` starts with, and what follows.
fn read_name<'t>(names: &[&str], text: &'t str) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        [name.len(), 3].into_iter().find_map(|len| {
            let (start, rest) = text.split_at_checked(len)?;
            let same = name.get(..len).is_some_and(|name| name.eq_ignore_ascii_case(start));
            same.then_some((index, rest))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> NaiveDateTime {
        let date = NaiveDate::from_ymd_opt(2024, 2, 5).unwrap();
        date.and_hms_nano_opt(15, 4, 9, 120_000_000).unwrap()
    }

    fn print(pattern: &str) -> String {
        TimePattern::parse(pattern).unwrap().print(&moment())
    }

    #[test]
    fn patterns_print_as_java_prints_them() {
        insta::assert_snapshot!(print("yyyy-MM-dd HH:mm:ss.SSS"), @"2024-02-05 15:04:09.120");
        insta::assert_snapshot!(print("yy/M/d h:m:s a"), @"24/2/5 3:4:9 PM");
        insta::assert_snapshot!(print("EEE, dd MMM yyyy"), @"Mon, 05 Feb 2024");
        insta::assert_snapshot!(print("EEEE MMMM D 'o''clock' kk"), @"Monday February 36 o'clock 15");
        insta::assert_snapshot!(print("''yyyyMMdd''"), @"'20240205'");
        let refused = TimePattern::parse("yyyy-ww").unwrap_err().strip_backtrace();
        insta::assert_snapshot!(refused, @"Error during planning: the letter 'w' of the date pattern 'yyyy-ww' is not supported; put text between single quotes");
    }

    #[test]
    fn what_a_pattern_prints_it_reads() {
        for pattern in ["yyyy-MM-dd HH:mm:ss.SSS", "yyyyMMddHHmmssSSS", "d MMM yyyy hh:mm:ss.SSS a"]
        {
            let pattern = TimePattern::parse(pattern).unwrap();
            assert_eq!(pattern.read(&pattern.print(&moment())), Some(moment()));
        }
        let pattern = TimePattern::parse("yyyy-MM-dd").unwrap();
        assert_eq!(pattern.read("2024-02-30"), None);
        assert_eq!(pattern.read("2024-02-05x"), None);
        assert_eq!(pattern.read("2024-é"), None);
    }
}
