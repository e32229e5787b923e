//! Shard tables that come, go and are exchanged while the binlog is followed.

use shardlake_change::LogicalType;
use shardlake_connector::Phase;
use shardlake_testkit::{MysqlServer, ServerOptions, or_skip};

use crate::reading::{Definition, Job, server_rows};

fn definition(server: &MysqlServer) -> Definition {
    Definition::new(server, "shop_[0-9]+", ".*")
        .metadata("d", "database_name", LogicalType::String)
        .metadata("t", "table_name", LogicalType::String)
        .column("id", LogicalType::Int)
        .column("v", LogicalType::Int)
        .column("n", LogicalType::String)
        .option("scan.incremental.snapshot.chunk.size", "50")
}

fn start(options: ServerOptions) -> Option<(MysqlServer, Job)> {
    let server = match MysqlServer::start(options) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("skipped: {error}");
            return None;
        }
    };
    server
        .execute(
            "CREATE DATABASE shop_1; CREATE DATABASE other; USE shop_1; \
             CREATE TABLE orders (id INT PRIMARY KEY, v INT); \
             CREATE TABLE mark (id INT PRIMARY KEY, v INT)",
        )
        .unwrap();
    fill(&server, "shop_1.orders");
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    Some((server, job))
}

/// Puts 300 rows into a table.
fn fill(server: &MysqlServer, table: &str) {
    let sql = format!(
        "INSERT INTO {table} (id, v) WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL \
         SELECT id + 1 FROM n WHERE id < 300) SELECT id, id FROM n"
    );
    server.execute(&sql).unwrap();
}

/// Reads until everything that has happened so far has come, and no rows are left to be copied.
fn catch_up(server: &MysqlServer, job: &mut Job) {
    let marker = server.query("SELECT COALESCE(MAX(id), 0) + 1 FROM shop_1.mark").unwrap();
    let marker = marker[0][0].clone();
    server.execute(&format!("INSERT INTO shop_1.mark VALUES ({marker}, 0)")).unwrap();
    let key = ["shop_1".to_owned(), "mark".to_owned(), marker];
    job.until(|job| job.rows.contains_key(key.as_slice()) && job.phase() == Some(Phase::Streaming));
}

/// Compares a table with what the server has.
fn check(server: &MysqlServer, job: &Job, database: &str, table: &str, columns: &str) {
    let sql = format!("SELECT '{database}', '{table}', id, {columns} FROM {database}.{table}");
    let expected = server_rows(server, &sql, &[0, 1, 2]);
    let actual = job.rows.iter().filter(|(key, _)| key[0] == database && key[1] == table);
    let actual = actual.map(|(key, row)| (key.clone(), row.clone())).collect();
    assert_eq!(expected, actual);
    assert!(!expected.is_empty());
}

fn count(job: &Job, database: &str, table: &str) -> usize {
    job.rows.keys().filter(|key| key[0] == database && key[1] == table).count()
}

/// What gh-ost does: a shadow table with the new columns, a copy, the changes again, an atomic exchange.
#[test]
fn an_exchange_as_gh_ost_does_it_loses_and_doubles_nothing() {
    for metadata in ["MINIMAL", "FULL"] {
        let options =
            ServerOptions::default().with_flag(format!("--binlog-row-metadata={metadata}"));
        let Some((server, mut job)) = start(options) else { return };
        let before = job.changes;
        server
            .execute(
                "USE shop_1; CREATE TABLE _orders_ghc (id BIGINT PRIMARY KEY, hint VARCHAR(64)); \
                 CREATE TABLE _orders_gho LIKE orders; \
                 ALTER TABLE _orders_gho ADD COLUMN n VARCHAR(9) DEFAULT 'x' FIRST; \
                 INSERT INTO _orders_gho (id, v) SELECT id, v FROM orders; \
                 UPDATE orders SET v = v + 1 WHERE id < 10; \
                 REPLACE INTO _orders_gho (id, v) SELECT id, v FROM orders WHERE id < 10; \
                 CREATE TABLE _orders_del (id INT PRIMARY KEY); DROP TABLE _orders_del; \
                 RENAME TABLE orders TO _orders_del, _orders_gho TO orders; \
                 INSERT INTO orders VALUES ('new', 1000, 1); UPDATE orders SET n = 'y' WHERE id = 5; \
                 DELETE FROM orders WHERE id = 6; DROP TABLE _orders_ghc, _orders_del",
            )
            .unwrap();
        catch_up(&server, &mut job);
        // 9 updates, an insert, an update, a delete and the marker: the copy is nobody's business.
        assert_eq!(job.changes - before, 9 * 2 + 1 + 2 + 1 + 1);
        assert_eq!(count(&job, "shop_1", "orders"), 300);
        let row = |id: &str| {
            let key = ["shop_1", "orders", id].map(str::to_owned);
            job.rows[key.as_slice()][3..].join(" ")
        };
        assert_eq!([row("5"), row("1000"), row("7")], ["6 y", "1 new", "8 NULL"]);
        // And again, from the middle, after a restart.
        let position = job.position();
        let rows = job.into_rows();
        server
            .execute(
                "USE shop_1; CREATE TABLE _orders_gho LIKE orders; \
                 ALTER TABLE _orders_gho DROP COLUMN n; \
                 INSERT INTO _orders_gho (id, v) SELECT id, v FROM orders; \
                 RENAME TABLE orders TO _orders_20240131235959_del, _orders_gho TO orders; \
                 UPDATE orders SET v = 0 WHERE id = 7",
            )
            .unwrap();
        let mut job = definition(&server).read(position).unwrap();
        job.rows = rows;
        catch_up(&server, &mut job);
        assert_eq!(count(&job, "shop_1", "orders"), 300);
        let key = ["shop_1", "orders", "7"].map(str::to_owned);
        assert_eq!(job.rows[key.as_slice()][3..].join(" "), "0 NULL");
    }
}

/// What pt-online-schema-change does: triggers fill the new table while it is copied.
#[test]
fn an_exchange_as_pt_osc_does_it_loses_and_doubles_nothing() {
    let Some((server, mut job)) = start(ServerOptions::default()) else { return };
    server.execute("SET GLOBAL log_bin_trust_function_creators = 1").unwrap();
    server
        .execute(
            "USE shop_1; CREATE TABLE _orders_new LIKE orders; \
             ALTER TABLE _orders_new ADD COLUMN n VARCHAR(9) AFTER id; \
             CREATE TRIGGER pt_upd AFTER UPDATE ON orders FOR EACH ROW \
             REPLACE INTO _orders_new (id, v) VALUES (NEW.id, NEW.v); \
             INSERT LOW_PRIORITY IGNORE INTO _orders_new (id, v) SELECT id, v FROM orders; \
             UPDATE orders SET v = -1 WHERE id < 4; \
             RENAME TABLE orders TO _orders_old, _orders_new TO orders; \
             DROP TABLE IF EXISTS _orders_old; UPDATE orders SET n = 'z' WHERE id = 2",
        )
        .unwrap();
    catch_up(&server, &mut job);
    assert_eq!(count(&job, "shop_1", "orders"), 300);
    check(&server, &job, "shop_1", "orders", "v, IF(n IS NULL, 'NULL', n)");
    assert_eq!(job.phase_of("shop_1._orders_new"), None);
}

#[test]
fn tables_and_databases_that_are_made_are_read_from_their_beginning() {
    let Some((server, mut job)) = start(ServerOptions::default()) else { return };
    server
        .execute(
            "CREATE DATABASE shop_2; CREATE TABLE shop_2.orders LIKE shop_1.orders; \
             INSERT INTO shop_2.orders VALUES (1, 10), (2, 20); DELETE FROM shop_2.orders WHERE id = 1; \
             CREATE TABLE shop_2.copy (PRIMARY KEY (id)) SELECT * FROM shop_1.orders; \
             DELETE FROM shop_2.copy WHERE id > 100",
        )
        .unwrap();
    catch_up(&server, &mut job);
    check(&server, &job, "shop_2", "orders", "v, 'NULL'");
    check(&server, &job, "shop_2", "copy", "v, 'NULL'");
}

#[test]
fn a_table_that_is_renamed_into_the_expression_is_copied_while_the_rest_streams() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let Some((server, mut job)) = start(options) else { return };
        server.execute("CREATE TABLE other.big (id INT PRIMARY KEY, v INT, n TEXT)").unwrap();
        fill(&server, "other.big");
        server
            .execute(
                "RENAME TABLE other.big TO shop_1.big; UPDATE shop_1.big SET v = 0 WHERE id % 7 = 0; \
                 DELETE FROM shop_1.big WHERE id % 11 = 0; INSERT INTO shop_1.big VALUES (301, 1, 'a'); \
                 UPDATE shop_1.orders SET v = 0 WHERE id = 1",
            )
            .unwrap();
        // A restart in the middle goes on where the copy stood.
        job.until(|job| count(job, "shop_1", "big") >= 100);
        let position = job.position();
        let rows = job.into_rows();
        let mut job = definition(&server).read(position).unwrap();
        job.rows = rows;
        server.execute("DELETE FROM shop_1.big WHERE id % 13 = 0").unwrap();
        catch_up(&server, &mut job);
        check(&server, &job, "shop_1", "big", "v, IF(n IS NULL, 'NULL', n)");
        check(&server, &job, "shop_1", "orders", "v, 'NULL'");
        // Between two names that match it is a new table; the rows under the old name stay.
        server.execute("RENAME TABLE shop_1.big TO shop_1.large").unwrap();
        catch_up(&server, &mut job);
        check(&server, &job, "shop_1", "large", "v, IF(n IS NULL, 'NULL', n)");
        assert_eq!(count(&job, "shop_1", "big"), count(&job, "shop_1", "large"));
    }
}

#[test]
fn rows_of_tables_that_go_stay_and_are_counted() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    server
        .execute(
            "CREATE DATABASE shop_1; CREATE DATABASE shop_2; CREATE DATABASE other; USE shop_1; \
             CREATE TABLE mark (id INT PRIMARY KEY, v INT); CREATE TABLE a LIKE mark; \
             CREATE TABLE b LIKE mark; CREATE TABLE c LIKE mark; CREATE TABLE shop_2.d LIKE mark; \
             INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); INSERT INTO c VALUES (1, 1); \
             INSERT INTO shop_2.d VALUES (1, 1)",
        )
        .unwrap();
    let mut job = definition(&server).read(None).unwrap();
    job.until_streaming();
    server
        .execute(
            "USE shop_1; TRUNCATE a; INSERT INTO a VALUES (2, 2); DROP TABLE b; \
             RENAME TABLE c TO other.c; INSERT INTO other.c VALUES (2, 2); DROP DATABASE shop_2",
        )
        .unwrap();
    catch_up(&server, &mut job);
    for (database, table, rows) in
        [("shop_1", "a", 2), ("shop_1", "b", 1), ("shop_1", "c", 1), ("shop_2", "d", 1)]
    {
        assert_eq!(count(&job, database, table), rows, "{database}.{table}");
        assert_eq!(job.passed_over(&format!("{database}.{table}")), 1, "{database}.{table}");
    }
}

#[test]
fn tables_that_match_since_the_last_start_are_read_if_that_is_wished() {
    for wished in [false, true] {
        let Some((server, _)) = start(ServerOptions::default()) else { return };
        let few = |tables: &str| {
            Definition::new(&server, "shop_1", tables)
                .metadata("d", "database_name", LogicalType::String)
                .metadata("t", "table_name", LogicalType::String)
                .column("id", LogicalType::Int)
                .column("v", LogicalType::Int)
                .option("scan.newly-added-table.enabled", if wished { "true" } else { "false" })
        };
        let mut job = few("mark").read(None).unwrap();
        job.until_streaming();
        let position = job.position();
        let mut job = few("mark|orders").read(position).unwrap();
        server.execute("UPDATE shop_1.orders SET v = 7 WHERE id = 1").unwrap();
        catch_up(&server, &mut job);
        assert_eq!(count(&job, "shop_1", "orders"), if wished { 300 } else { 1 });
    }
}
