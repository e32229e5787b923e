//! What to do instead of each `debezium.*` option: there is no Debezium here, so none is accepted.

use shardlake_connector::Error;

/// The prefix of these options.
pub(crate) const PREFIX: &str = "debezium.";

/// Properties (or their beginnings) and what to do instead.
const ADVICE: &[(&str, &str)] = &[
    ("snapshot.mode", "use 'scan.startup.mode'"),
    ("snapshot.locking.mode", "no locks are taken: remove the option"),
    ("snapshot.fetch.size", "results are streamed: remove the option"),
    ("snapshot.select.statement.overrides", "use WHERE in the query"),
    ("snapshot.include.collection.list", "use 'database-name' and 'table-name'"),
    ("snapshot.", "use the options 'scan.startup.*' and 'scan.snapshot.*'"),
    ("min.row.count.to.stream.result", "results are streamed: remove the option"),
    ("binary.handling.mode", "binary columns are BYTES; use TO_BASE64 or HEX in the query"),
    ("decimal.handling.mode", "decimals are exact: declare DECIMAL(p, s) or STRING"),
    ("bigint.unsigned.handling.mode", "BIGINT UNSIGNED is exact: declare DECIMAL(20, 0)"),
    ("time.precision.mode", "declare TIME(p), TIMESTAMP(p) or TIMESTAMP_LTZ(p)"),
    ("enable.time.adjuster", "years come as MySQL stores them: remove the option"),
    ("database.connectionTimeZone", "use 'server-time-zone'"),
    ("database.serverTimezone", "use 'server-time-zone'"),
    ("database.server.id", "use 'server-id'"),
    (
        "database.ssl.",
        "use 'jdbc.properties.sslMode' and 'jdbc.properties.trustCertificateKeyStoreUrl'",
    ),
    ("database.include.list", "use 'database-name'"),
    ("database.exclude.list", "use 'database-name', for example (?!excluded$).*"),
    ("table.include.list", "use 'table-name'"),
    ("table.exclude.list", "use 'table-name', for example (?!excluded$).*"),
    ("column.include.list", "declare the columns that you want"),
    ("column.exclude.list", "declare the columns that you want"),
    ("column.", "use a function in the query"),
    (
        "event.deserialization.failure.handling.mode",
        "a change that cannot be read stops its table: remove the option",
    ),
    (
        "event.processing.failure.handling.mode",
        "a change that cannot be read stops its table: remove the option",
    ),
    (
        "inconsistent.schema.handling.mode",
        "a change that cannot be read stops its table: remove the option",
    ),
    ("include.schema.changes", "use 'schema.change.behavior'"),
    ("include.query", "statements are not delivered: remove the option"),
    ("heartbeat.", "use 'heartbeat.interval'"),
    ("gtid.source.", "all transactions of the server are read: remove the option"),
    (
        "gtid.new.channel.position",
        "a new server is read from its first transaction: remove the option",
    ),
    ("connect.timeout.ms", "use 'connect.timeout'"),
    ("connect.keep.alive", "a connection that is lost is made anew: remove the option"),
    ("max.queue.size", "use 'shardlake.memory.size'"),
    ("max.batch.size", "use 'shardlake.memory.size'"),
    ("poll.interval.ms", "changes are pushed: remove the option"),
    ("skipped.operations", "use WHERE on the metadata column row_kind in append-only mode"),
    ("tombstones.on.delete", "there are no tombstones: remove the option"),
    ("database.history", "columns are stored with the position: remove the option"),
    ("converters", "declare the type that you want"),
    ("transforms", "use a query"),
];

/// Refuses an option by name, with what to do instead.
pub(crate) fn refuse(key: &str) -> Error {
    let property = key.strip_prefix(PREFIX).unwrap_or(key);
    let advice = ADVICE.iter().find(|(start, _)| property.starts_with(start));
    let advice = advice.map_or("remove the option", |(_, advice)| advice);
    Error::job(format!("The option '{key}' is not supported, there is no Debezium here: {advice}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_properties_name_their_replacement() {
        insta::assert_snapshot!(refuse("debezium.snapshot.mode"), @"The option 'debezium.snapshot.mode' is not supported, there is no Debezium here: use 'scan.startup.mode'.");
        insta::assert_snapshot!(refuse("debezium.binary.handling.mode"), @"The option 'debezium.binary.handling.mode' is not supported, there is no Debezium here: binary columns are BYTES; use TO_BASE64 or HEX in the query.");
        insta::assert_snapshot!(refuse("debezium.anything"), @"The option 'debezium.anything' is not supported, there is no Debezium here: remove the option.");
    }

    #[test]
    fn longer_beginnings_come_first() {
        for (at, (start, _)) in ADVICE.iter().enumerate() {
            let hidden = ADVICE.iter().take(at).any(|(earlier, _)| start.starts_with(earlier));
            assert!(!hidden, "{start} is never reached");
        }
    }
}
