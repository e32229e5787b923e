//! Options of a table: their declarations, their parsing, and Flink's messages for mistakes.

use std::fmt;

use indexmap::IndexMap;

use crate::Error;

/// The type of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// Any text.
    Text,
    /// A whole number within bounds, both included.
    Integer {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
    },
    /// A number with a fraction.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A duration as Flink writes it: `3s`, `500 ms`, `1min`, `PT0.25S`.
    Duration,
    /// A size as Flink writes it: `128mb`, `64 kb`, `1024`.
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// The declaration of an option. Each is documented in docs/ from this text.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its key. A key that ends in `.*` stands for every key with that prefix.
    pub key: &'static str,
    /// The type of its value.
    pub kind: OptionKind,
    /// What holds when the user does not give it.
    pub default: Option<&'static str>,
    /// Whether the user must give it.
    pub required: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// One sentence for the documentation.
    pub description: &'static str,
}

impl OptionSpec {
    /// An option that may be left out.
    #[must_use]
    pub const fn new(key: &'static str, kind: OptionKind, description: &'static str) -> Self {
        Self { key, kind, default: None, required: false, secret: false, description }
    }

    /// The same option with a default.
    #[must_use]
    pub const fn default_value(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// The same option, to be given always.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same option, never to be shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    fn covers(&self, key: &str) -> bool {
        match self.key.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => self.key == key,
        }
    }
}

/// The options that a user gave, in their order.
///
/// `Debug` shows keys only, so that a secret never reaches a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(IndexMap<String, String>);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for Options {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// What a masked value prints as, as in Flink.
const MASK: &str = "******";

impl Options {
    /// Whether the value of this key is masked wherever it is shown. Flink's rule
    /// (`GlobalConfiguration.isSensitive`) and the keys of credentials.
    #[must_use]
    pub fn is_secret(key: &str) -> bool {
        let key = key.to_ascii_lowercase();
        [
            "password",
            "secret",
            "token",
            "credential",
            "access-key",
            "access.key",
            "account.key",
            "apikey",
            "api-key",
            "auth-params",
            "authorization",
            "service-key",
            "basic-auth",
        ]
        .iter()
        .any(|part| key.contains(part))
    }

    /// Sets an option; a later value replaces an earlier one in its place.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// Removes an option.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.0.shift_remove(key)
    }

    /// The raw value that the user gave.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Keys and values in their order. Values may be secret.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Keys and values in their order, secrets masked.
    pub fn masked(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(key, value)| (key, if Self::is_secret(key) { MASK } else { value }))
    }

    /// Checks all options against their declarations: none missing, none unknown, each value of its type.
    ///
    /// # Errors
    /// Flink's messages (`FactoryUtil.validateFactoryOptions`, `ConfigOption`).
    pub fn validate(&self, connector: &str, specs: &[OptionSpec]) -> Result<(), Error> {
        let missing: Vec<&str> = specs
            .iter()
            .filter(|spec| spec.required && self.get(spec.key).is_none())
            .map(|spec| spec.key)
            .collect();
        if !missing.is_empty() {
            return Err(Error::job(format!(
                "One or more required options are missing.\n\nMissing required options are:\n\n{}",
                missing.join("\n")
            )));
        }
        let unknown: Vec<&str> = self
            .0
            .keys()
            .map(String::as_str)
            .filter(|key| !specs.iter().any(|spec| spec.covers(key)))
            .collect();
        if !unknown.is_empty() {
            let mut supported: Vec<&str> = specs.iter().map(|spec| spec.key).collect();
            supported.push("connector");
            supported.sort_unstable();
            return Err(Error::job(format!(
                "Unsupported options found for '{connector}'.\n\nUnsupported options:\n\n{}\n\n\
                 Supported options:\n\n{}",
                unknown.join("\n"),
                supported.join("\n")
            )));
        }
        for (key, value) in self.iter() {
            if let Some(spec) = specs.iter().find(|spec| spec.covers(key)) {
                check_value(key, value, spec.kind)?;
            }
        }
        Ok(())
    }

    /// The value of an option, or its default.
    #[must_use]
    pub fn text<'a>(&'a self, spec: &OptionSpec) -> Option<&'a str> {
        self.get(spec.key).or(spec.default)
    }

    /// The value of a whole-number option, or its default.
    ///
    /// # Errors
    /// If the value is no number, naming the key.
    pub fn integer(&self, spec: &OptionSpec) -> Result<Option<i64>, Error> {
        self.parsed(spec, |value| value.trim().parse().ok())
    }

    /// The value of a fractional option, or its default.
    ///
    /// # Errors
    /// If the value is no number, naming the key.
    pub fn float(&self, spec: &OptionSpec) -> Result<Option<f64>, Error> {
        self.parsed(spec, |value| value.trim().parse().ok())
    }

    /// The value of a yes-or-no option, or its default; false if it has none.
    ///
    /// # Errors
    /// If the value is neither `true` nor `false`, naming the key.
    pub fn boolean(&self, spec: &OptionSpec) -> Result<bool, Error> {
        Ok(self.parsed(spec, parse_boolean)?.unwrap_or(false))
    }

    /// The value of a duration option in milliseconds, or its default.
    ///
    /// # Errors
    /// If the value is no duration, naming the key.
    pub fn duration_ms(&self, spec: &OptionSpec) -> Result<Option<u64>, Error> {
        self.parsed(spec, parse_duration_ms)
    }

    /// The value of a size option in bytes, or its default.
    ///
    /// # Errors
    /// If the value is no size, naming the key.
    pub fn size_bytes(&self, spec: &OptionSpec) -> Result<Option<u64>, Error> {
        self.parsed(spec, parse_size_bytes)
    }

    fn parsed<T>(
        &self,
        spec: &OptionSpec,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.text(spec)
            .map(|value| parse(value).ok_or_else(|| unparsable(spec.key, value)))
            .transpose()
    }
}

fn unparsable(key: &str, value: &str) -> Error {
    let value = if Options::is_secret(key) { MASK } else { value };
    Error::job(format!("Could not parse value '{value}' for key '{key}'."))
}

fn parse_boolean(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn check_value(key: &str, value: &str, kind: OptionKind) -> Result<(), Error> {
    let valid = match kind {
        OptionKind::Text => true,
        OptionKind::Integer { min, max } => {
            let number = value.trim().parse::<i64>().map_err(|_| unparsable(key, value))?;
            if number < min {
                return Err(Error::job(format!(
                    "The value of option '{key}' must larger than {}, but is {number}",
                    min - 1
                )));
            }
            if number > max {
                return Err(Error::job(format!(
                    "The value of option '{key}' must be at most {max}, but is {number}"
                )));
            }
            true
        }
        OptionKind::Float => value.trim().parse::<f64>().is_ok(),
        OptionKind::Boolean => parse_boolean(value).is_some(),
        OptionKind::Duration => parse_duration_ms(value).is_some(),
        OptionKind::Size => parse_size_bytes(value).is_some(),
        OptionKind::Word(words) => {
            if !words.iter().any(|word| word.eq_ignore_ascii_case(value.trim())) {
                return Err(Error::job(format!(
                    "Invalid value for option '{key}'. Supported values are [{}], but was: {value}",
                    words.join(", ")
                )));
            }
            true
        }
    };
    if valid { Ok(()) } else { Err(unparsable(key, value)) }
}

/// A duration in milliseconds, written as Flink's `TimeUtils.parseDuration` reads it (`3s`, `500 ms`,
/// `1 min`, a bare number of milliseconds) or in ISO 8601 (`PT0.25S`). Parts of a millisecond are
/// rounded up, so that a positive duration never becomes zero.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if let Some(iso) = lower.strip_prefix("pt") {
        return iso_time_ms(iso);
    }
    let split = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => Some(number),
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => Some(number.div_ceil(1_000_000)),
        "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => {
            Some(number.div_ceil(1_000))
        }
        "s" | "sec" | "secs" | "second" | "seconds" => number.checked_mul(1_000),
        "m" | "min" | "mins" | "minute" | "minutes" => number.checked_mul(60_000),
        "h" | "hour" | "hours" => number.checked_mul(3_600_000),
        "d" | "day" | "days" => number.checked_mul(86_400_000),
        _ => None,
    }
}

fn iso_time_ms(text: &str) -> Option<u64> {
    let mut total = 0.0;
    let mut number = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' => number.push(c),
            'h' | 'm' | 's' => {
                let factor = match c {
                    'h' => 3_600_000.0,
                    'm' => 60_000.0,
                    _ => 1_000.0,
                };
                total += std::mem::take(&mut number).parse::<f64>().ok()? * factor;
            }
            _ => return None,
        }
    }
    let whole = f64::ceil(total);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number in range"
    )]
    let ms = (number.is_empty() && !text.is_empty() && (0.0..9e15).contains(&whole))
        .then_some(whole as u64);
    ms
}

/// A size in bytes, written as Flink's `MemorySize` reads it: `1024`, `64 kb`, `128mb`, `1 gb`.
#[must_use]
pub fn parse_size_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let number: u64 = number.parse().ok()?;
    let shift = match unit.trim() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kibibytes" => 10,
        "m" | "mb" | "mebibytes" => 20,
        "g" | "gb" | "gibibytes" => 30,
        "t" | "tb" | "tebibytes" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[
        OptionSpec::new("hostname", OptionKind::Text, "The server.").required(),
        OptionSpec::new("port", OptionKind::Integer { min: 1, max: 65535 }, "Its port.")
            .default_value("3306"),
        OptionSpec::new("scan.startup.mode", OptionKind::Word(&["initial", "snapshot"]), "Mode."),
        OptionSpec::new("jdbc.properties.*", OptionKind::Text, "Driver properties."),
    ];

    fn check(given: &[(&str, &str)]) -> String {
        let options: Options =
            given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match options.validate("mysql-cdc", SPECS) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn mistakes_are_named_as_flink_names_them() {
        insta::assert_snapshot!(check(&[]), @"
        One or more required options are missing.

        Missing required options are:

        hostname
        ");
        insta::assert_snapshot!(check(&[("hostname", "a"), ("prot", "1")]), @"
        Unsupported options found for 'mysql-cdc'.

        Unsupported options:

        prot

        Supported options:

        connector
        hostname
        jdbc.properties.*
        port
        scan.startup.mode
        ");
        insta::assert_snapshot!(check(&[("hostname", "a"), ("port", "123b")]), @"Could not parse value '123b' for key 'port'.");
        insta::assert_snapshot!(check(&[("hostname", "a"), ("scan.startup.mode", "abc")]), @"Invalid value for option 'scan.startup.mode'. Supported values are [initial, snapshot], but was: abc");
        assert_eq!(check(&[("hostname", ""), ("jdbc.properties.useSSL", "false")]), "ok");
    }

    #[test]
    fn durations_and_sizes_are_read_as_flink_reads_them() {
        for (text, ms) in [
            ("3s", Some(3_000)),
            ("50 ms", Some(50)),
            ("1min", Some(60_000)),
            ("250", Some(250)),
            ("PT0.25S", Some(250)),
            ("1 us", Some(1)),
            ("PT", None),
            ("soon", None),
        ] {
            assert_eq!(parse_duration_ms(text), ms, "{text}");
        }
        assert_eq!(parse_size_bytes("128mb"), Some(128 << 20));
        assert_eq!(parse_size_bytes("64 kb"), Some(65_536));
        assert_eq!(parse_size_bytes("many"), None);
    }

    #[test]
    fn secrets_are_masked() {
        let mut options = Options::default();
        options.set("password", "hunter2");
        options.set("hostname", "db");
        assert_eq!(
            options.masked().collect::<Vec<_>>(),
            [("password", "******"), ("hostname", "db")]
        );
        assert_eq!(format!("{options:?}"), r#"{"password", "hostname"}"#);
    }
}
