//! The time zone of `server-time-zone`.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, Local, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

/// The zone in which the server's wall clock runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ServerZone {
    /// A zone of the time-zone database.
    Named(Tz),
    /// A fixed distance from UTC.
    Fixed(FixedOffset),
    /// The zone of this machine, because the user gave none.
    System,
}

impl ServerZone {
    /// Reads a zone as Java's `ZoneId.of` does: `Asia/Shanghai`, `UTC`, `GMT+8`, `+08:00`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "Z" {
            return Some(Self::Fixed(Utc.fix()));
        }
        if let Ok(zone) = Tz::from_str(text) {
            return Some(Self::Named(zone));
        }
        let offset = ["UTC", "GMT", "UT"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        parse_offset(offset).map(Self::Fixed)
    }

    /// Seconds by which the zone is ahead of UTC at an instant, given in seconds since 1970.
    pub(crate) fn offset_at(&self, epoch_seconds: i64) -> i64 {
        let Some(instant) = DateTime::<Utc>::from_timestamp(epoch_seconds, 0) else { return 0 };
        let instant = instant.naive_utc();
        let seconds = match self {
            Self::Named(zone) => fixed(zone, &instant),
            Self::Fixed(offset) => offset.local_minus_utc(),
            Self::System => fixed(&Local, &instant),
        };
        i64::from(seconds)
    }
}

fn fixed<Z: TimeZone>(zone: &Z, instant: &NaiveDateTime) -> i32 {
    zone.offset_from_utc_datetime(instant).fix().local_minus_utc()
}

impl fmt::Display for ServerZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(zone) => f.write_str(zone.name()),
            Self::Fixed(offset) => write!(f, "{offset}"),
            Self::System => f.write_str("of this machine"),
        }
    }
}

/// Reads `+8`, `+08`, `+0800`, `+08:00` or `-03:30:00`.
fn parse_offset(text: &str) -> Option<FixedOffset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let parts: Vec<&str> = if digits.contains(':') {
        digits.split(':').collect()
    } else {
        match digits.len() {
            1 | 2 => vec![digits],
            4 => vec![digits.get(..2)?, digits.get(2..)?],
            _ => return None,
        }
    };
    if parts.len() > 3 {
        return None;
    }
    let mut seconds = 0;
    for (part, unit) in parts.iter().zip([3600, 60, 1]) {
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        seconds += part.parse::<i32>().ok()? * unit;
    }
    (seconds <= 18 * 3600).then(|| FixedOffset::east_opt(sign * seconds)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(text: &str, at: i64) -> Option<i64> {
        ServerZone::parse(text).map(|zone| zone.offset_at(at))
    }

    #[test]
    fn zones_are_read_as_java_reads_them() {
        let january = 1_704_067_200;
        for (text, expected) in [
            ("UTC", Some(0)),
            ("Z", Some(0)),
            ("Asia/Shanghai", Some(28_800)),
            ("GMT+8", Some(28_800)),
            ("UTC-03:30", Some(-12_600)),
            ("+0530", Some(19_800)),
            ("Europe/Berlin", Some(3_600)),
            ("+25:00", None),
            ("+8x", None),
            ("Atlantis", None),
            ("", None),
        ] {
            assert_eq!(offset(text, january), expected, "{text}");
        }
    }

    #[test]
    fn summer_time_follows_the_instant() {
        assert_eq!(offset("Europe/Berlin", 1_719_792_000), Some(7_200));
    }
}
