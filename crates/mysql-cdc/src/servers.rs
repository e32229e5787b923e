//! The option `hostname`: one server, a list of them, or ranges.
//!
//! `mysql-[1-4].internal:3306, 10.0.0.5:3307` names five servers. A range of numbers stands in brackets and
//! keeps leading zeros (`db[01-12]`); an IPv6 address stands in brackets too (`[::1]:3306`). Each server has two
//! names: the *lane*, `host:port`, under which its position is stored, and the *entry as written*, which
//! `METADATA FROM 'server_name'` shows.

use std::collections::BTreeSet;

use shardlake_connector::Error;

/// More servers than one job can read.
const MAX_SERVERS: usize = 1_024;

/// A server of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerEntry {
    /// The entry as written, ranges replaced by one of their numbers.
    pub(crate) name: String,
    /// Name or address.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

/// The servers that a value of `hostname` names. Those without a port have `default_port`.
pub(crate) fn parse(text: &str, default_port: u16) -> Result<Vec<ServerEntry>, Error> {
    let mut servers = Vec::new();
    let mut lanes = BTreeSet::new();
    for entry in text.split(',') {
        let entry = entry.trim();
        if entry.is_empty() {
            return Err(invalid(text, "an entry between two commas is empty"));
        }
        for name in expand(entry).map_err(|reason| invalid(text, &reason))? {
            let server =
                parse_entry(&name, default_port).map_err(|reason| invalid(text, &reason))?;
            if !lanes.insert((server.host.to_ascii_lowercase(), server.port)) {
                return Err(invalid(text, &format!("it names {name} twice")));
            }
            servers.push(server);
            if servers.len() > MAX_SERVERS {
                return Err(invalid(text, &format!("it names more than {MAX_SERVERS} servers")));
            }
        }
    }
    Ok(servers)
}

fn invalid(text: &str, reason: &str) -> Error {
    Error::job(format!(
        "The value of option 'hostname' is invalid: '{text}': {reason}. Write one server, or a list \
         such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'."
    ))
}

/// Replaces the ranges of an entry by their numbers; the last range counts fastest.
fn expand(entry: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = entry;
    while let Some((before, bracket)) = rest.split_once('[') {
        let Some((inside, after)) = bracket.split_once(']') else {
            return Err(format!("a bracket of '{entry}' is not closed"));
        };
        let choices = if inside.contains(':') {
            vec![format!("[{inside}]")]
        } else {
            range(inside).ok_or_else(|| format!("[{inside}] is no range such as [1-4]"))?
        };
        if names.len().saturating_mul(choices.len()) > MAX_SERVERS {
            return Err(format!("'{entry}' names more than {MAX_SERVERS} servers"));
        }
        names = names
            .iter()
            .flat_map(|name| choices.iter().map(move |choice| format!("{name}{before}{choice}")))
            .collect();
        rest = after;
    }
    Ok(names.into_iter().map(|name| name + rest).collect())
}

/// The numbers of a range, as wide as its first.
fn range(text: &str) -> Option<Vec<String>> {
    let (first, last) = text.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) {
        return None;
    }
    let width = if first.starts_with('0') { first.len() } else { 0 };
    let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
    if first > last || usize::try_from(last - first).ok()? >= MAX_SERVERS {
        return None;
    }
    Some((first..=last).map(|number| format!("{number:0width$}")).collect())
}

fn parse_entry(name: &str, default_port: u16) -> Result<ServerEntry, String> {
    let port_of = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| format!("'{text}' in '{name}' is no port"))
    };
    let is_address = name.starts_with('[') || name.matches(':').count() > 1;
    let (host, port) = if is_address {
        match name.rsplit_once("]:") {
            Some((host, port)) => (host.trim_start_matches('['), port_of(port)?),
            None => (name.trim_start_matches('[').trim_end_matches(']'), default_port),
        }
    } else {
        match name.split_once(':') {
            Some((host, port)) => (host, port_of(port)?),
            None => (name, default_port),
        }
    };
    if host.is_empty() || host.chars().any(char::is_whitespace) {
        return Err(format!("'{name}' names no host"));
    }
    Ok(ServerEntry { name: name.to_owned(), host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match parse(text, 3_306) {
            Ok(servers) => servers
                .iter()
                .map(|server| format!("{} = {} {}\n", server.name, server.host, server.port))
                .collect(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn lists_and_ranges_are_expanded() {
        insta::assert_snapshot!(parsed("db"), @"db = db 3306");
        insta::assert_snapshot!(parsed("mysql-[1-3].internal:3310, 10.0.0.5:3307"), @"
        mysql-1.internal:3310 = mysql-1.internal 3310
        mysql-2.internal:3310 = mysql-2.internal 3310
        mysql-3.internal:3310 = mysql-3.internal 3310
        10.0.0.5:3307 = 10.0.0.5 3307
        ");
        insta::assert_snapshot!(parsed("db[09-10]"), @"
        db09 = db09 3306
        db10 = db10 3306
        ");
        insta::assert_snapshot!(parsed("[::1]:3307,[fe80::2],::3,127.0.0.1:330[6-7]"), @"
        [::1]:3307 = ::1 3307
        [fe80::2] = fe80::2 3306
        ::3 = ::3 3306
        127.0.0.1:3306 = 127.0.0.1 3306
        127.0.0.1:3307 = 127.0.0.1 3307
        ");
    }

    #[test]
    fn mistakes_are_named() {
        insta::assert_snapshot!(parsed("db,"), @"The value of option 'hostname' is invalid: 'db,': an entry between two commas is empty. Write one server, or a list such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'.");
        insta::assert_snapshot!(parsed("db, DB:3306"), @"The value of option 'hostname' is invalid: 'db, DB:3306': it names DB:3306 twice. Write one server, or a list such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'.");
        insta::assert_snapshot!(parsed("db[4-1]"), @"The value of option 'hostname' is invalid: 'db[4-1]': [4-1] is no range such as [1-4]. Write one server, or a list such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'.");
        insta::assert_snapshot!(parsed("db[1-2"), @"The value of option 'hostname' is invalid: 'db[1-2': a bracket of 'db[1-2' is not closed. Write one server, or a list such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'.");
        insta::assert_snapshot!(parsed("db:33o6"), @"The value of option 'hostname' is invalid: 'db:33o6': '33o6' in 'db:33o6' is no port. Write one server, or a list such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'.");
        insta::assert_snapshot!(parsed("db[0-99][0-99]"), @"The value of option 'hostname' is invalid: 'db[0-99][0-99]': 'db[0-99][0-99]' names more than 1024 servers. Write one server, or a list such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'.");
        insta::assert_snapshot!(parsed("db:"), @"The value of option 'hostname' is invalid: 'db:': '' in 'db:' is no port. Write one server, or a list such as 'mysql-[1-4].internal:3306, 10.0.0.5:3307'.");
    }
}
