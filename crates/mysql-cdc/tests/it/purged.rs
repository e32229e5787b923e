//! A server has purged the binlog that is to be read: it alone is reported, or its tables are read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::UInt32Array;
use shardlake_change::{ChangeBatch, LogicalType};
use shardlake_connector::{Error, Fault, KeptRows, ReadPhase, RowReceiver};
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job, Step, rows_of, server_rows};

const MEMORY: usize = 64 << 20;
const OPTION: &str = "scan.purged-binlog";

fn start(options: ServerOptions, table: &str) -> Result<MysqlServer, shardlake_testkit::Error> {
    let server = MysqlServer::start(options)?;
    server.execute(&format!(
        "CREATE DATABASE shop; \
         CREATE TABLE shop.{table} (id INT, name VARCHAR(20), PRIMARY KEY (name, id)); \
         INSERT INTO shop.{table} VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')"
    ))?;
    Ok(server)
}

fn definition(servers: &[&MysqlServer]) -> Definition {
    Definition::new(servers[0], "shop", "orders_[0-9]+")
        .servers(servers)
        .key_columns(&[0, 1, 2, 3])
        .metadata("server_name", "server_name", LogicalType::String)
        .metadata("database_name", "database_name", LogicalType::String)
        .metadata("table_name", "table_name", LogicalType::String)
        .column("id", LogicalType::BigInt)
        .column("name", LogicalType::String)
}

/// Changes rows and forgets what would tell of it.
fn change_and_purge(server: &MysqlServer, table: &str) {
    server
        .execute(&format!(
            "DELETE FROM shop.{table} WHERE id = 1; UPDATE shop.{table} SET name = 'B' WHERE id = 2; \
             UPDATE shop.{table} SET id = 30 WHERE id = 3; INSERT INTO shop.{table} VALUES (5, 'e'); \
             FLUSH BINARY LOGS"
        ))
        .unwrap();
    let files = server.query("SHOW BINARY LOGS").unwrap();
    server.execute(&format!("PURGE BINARY LOGS TO '{}'", files.last().unwrap()[0])).unwrap();
}

/// A sink that holds what was sent, as long as nothing but inserts was.
#[derive(Debug)]
struct Committed(Vec<ChangeBatch>);

impl KeptRows for Committed {
    fn read(&self, equal: &[(usize, String)], receive: &mut RowReceiver<'_>) -> Result<(), Error> {
        for batch in &self.0 {
            let rows = rows_of(batch);
            let wanted = (0_u32..)
                .zip(&rows)
                .filter(|(_, (_, row))| equal.iter().all(|(column, text)| row[*column] == *text));
            let wanted = UInt32Array::from_iter_values(wanted.map(|(index, _)| index));
            if !receive(batch.take(&wanted).unwrap()) {
                break;
            }
        }
        Ok(())
    }
}

#[test]
fn only_the_server_that_has_purged_is_read_again() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let first = or_skip!(start(options.clone(), "orders_1"));
        let second = or_skip!(start(options, "orders_2"));
        let mut jobs = definition(&[&first, &second]).read_lanes(None, MEMORY).unwrap();
        jobs.iter_mut().for_each(Job::until_streaming);
        let position: BTreeMap<_, _> = jobs.iter().filter_map(Job::position).flatten().collect();
        let batches = jobs.iter().flat_map(|job| job.batches.clone()).collect();
        let committed = Arc::new(Committed(batches));
        let before: Vec<_> = jobs.into_iter().map(Job::into_rows).collect();
        change_and_purge(&first, "orders_1");
        second.execute("DELETE FROM shop.orders_2 WHERE id = 4").unwrap();

        // By default only that server is reported, and the other one goes on.
        let mut jobs =
            definition(&[&first, &second]).read_lanes(Some(position.clone()), MEMORY).unwrap();
        jobs[1].until(|job| job.changes == 1);
        while jobs[0].lane_status().phase != ReadPhase::Failed {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        let error = jobs[0].lane_status().last_error.unwrap();
        assert!(error.contains("no longer available on the server"), "{error}");
        drop(jobs);

        let again = definition(&[&first, &second]).option(OPTION, "resnapshot").kept(committed);
        let mut jobs = again.read_lanes(Some(position), MEMORY).unwrap();
        for (job, rows) in jobs.iter_mut().zip(before) {
            job.rows = rows;
        }
        first.execute("INSERT INTO shop.orders_1 VALUES (6, 'f')").unwrap();
        let lane = format!("127.0.0.1:{}", first.port());
        let sql = format!("SELECT '{lane}', 'shop', 'orders_1', id, name FROM shop.orders_1");
        // The keys of the harness are names of server, database and table, and the id.
        let expected = server_rows(&first, &sql, &[0, 1, 2, 3]);
        // In the end the sweep is over, and is not repeated.
        jobs[0].until(|job| {
            let position = &job.boundary.as_ref().unwrap().position;
            let is_over = position.get("sweeping").is_none() && position.get("adding").is_none();
            is_over && job.rows == expected
        });
        jobs[1].until(|job| job.rows.len() == 3);
        assert_eq!(jobs[1].changes, 1, "the other server is not read again");
    }
}

#[test]
fn reading_again_needs_a_sink_that_tells_tables_apart() {
    let server = or_skip!(start(ServerOptions::default(), "orders_1"));
    let error =
        definition(&[&server]).option(OPTION, "resnapshot").read(None).err().unwrap().report();
    assert!(error.contains("select database_name, table_name"), "{error}");
}

#[test]
fn a_purge_while_the_server_is_away_starts_the_job_again() {
    let server = or_skip!(start(ServerOptions::default(), "orders_1"));
    let proxy = shardlake_testkit::TcpProxy::start(server.port()).unwrap();
    let committed = Arc::new(Committed(Vec::new()));
    let mut job = definition(&[&server])
        .option("hostname", &format!("127.0.0.1:{}", proxy.port()))
        .option(OPTION, "resnapshot")
        .kept(committed)
        .read(None)
        .unwrap();
    job.until_streaming();
    // Nobody is there for a while.
    proxy.switch_to(1);
    change_and_purge(&server, "orders_1");
    proxy.switch_to(server.port());
    let error = loop {
        if let Step::Failed(error) = job.step() {
            break error;
        }
    };
    assert_eq!(error.fault(), Fault::Transient);
    assert!(error.report().contains("to read the tables of that server anew"), "{error}");
}
