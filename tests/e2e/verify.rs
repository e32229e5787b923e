//! The lake against MySQL: what was corrupted on purpose is found, exactly, and mended.

use std::time::Duration;

use shardlake_e2e::{Job, Scene, wait_until};
use shardlake_testkit::{ServerOptions, or_skip};

const BATCH: &str = "SET 'execution.runtime-mode' = 'batch';";

fn rows(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    let cells = lines.map(|line| {
        line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" | ")
    });
    cells.skip(1).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn what_was_corrupted_is_found_and_mended_while_the_job_runs() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    scene.server.execute("CREATE USER 'reader'@'%' IDENTIFIED BY 'secret'").unwrap();
    let grants = "SELECT, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT, SHOW DATABASES";
    scene.server.execute(&format!("GRANT {grants} ON *.* TO 'reader'@'%'")).unwrap();
    for shard in ["shop_1", "shop_2"] {
        scene
            .server
            .execute(&format!(
                "CREATE DATABASE {shard};
                 CREATE TABLE {shard}.orders (id BIGINT PRIMARY KEY, name VARCHAR(40) CHARACTER SET latin1,
                   price DECIMAL(10, 2), done TINYINT(1), raw VARBINARY(8), day DATE, at DATETIME(6),
                   seen TIMESTAMP(3) NULL);"
            ))
            .unwrap();
        scene
            .server
            .execute(&format!(
                "INSERT INTO {shard}.orders VALUES
                   (1, 'é', -0.05, 1, x'00ff', '2024-02-29', '2024-02-29 23:59:59.000001',
                      '2024-01-01 00:00:00.123'),
                   (2, '', 0, 0, '', NULL, NULL, NULL), (3, NULL, 12345678.90, NULL, NULL, '1999-12-31',
                      '1000-01-01 00:00:00', '2038-01-01 00:00:00'), (-4, 'x:1', 1, 1, 'a', NULL, NULL, NULL)"
            ))
            .unwrap();
    }
    let source = scene.source_options("reader", "secret", "shop_[0-9]", "orders");
    let columns =
        "id BIGINT NOT NULL, name STRING, price DECIMAL(10, 2), done BOOLEAN, raw BYTES, day DATE,
         at TIMESTAMP(6), seen TIMESTAMP_LTZ(3)";
    let definitions = format!(
        "CREATE TABLE orders (shop STRING METADATA FROM 'database_name' VIRTUAL, {columns},
           PRIMARY KEY (id) NOT ENFORCED) WITH ({source}, 'server-time-zone' = 'UTC');
         CREATE TABLE lake (shop STRING, {columns}, PRIMARY KEY (shop, id) NOT ENFORCED) WITH ({},
           'shardlake.position-commit-interval' = '200ms');",
        scene.lake_options()
    );
    let script = format!(
        "SET 'execution.checkpointing.interval' = '200ms'; {definitions} INSERT INTO lake SELECT * FROM orders;"
    );
    let mut job = scene.job("verify", &script).unwrap();
    let setup = definitions.as_str();
    let wait_for = |job: &mut Job, count: usize| {
        wait_until("the rows of the lake", Duration::from_secs(60), || {
            job.ensure_running()?;
            let rows =
                scene.client("reader").select(setup, "SELECT id FROM lake").unwrap_or_default();
            Ok((rows.len() == count, rows))
        })
        .unwrap();
    };
    wait_for(&mut job, 8);
    let verify = |more: &str| {
        let statement = format!("{definitions} VERIFY TABLE lake AGAINST orders{more};");
        rows(&scene.client("verifier").run_ok(&statement).unwrap().stdout)
    };
    assert_eq!(verify(""), ["compared | 8 rows are the same"]);

    let corrupt = format!(
        "{definitions} {BATCH} DELETE FROM lake WHERE shop = 'shop_1' AND id = 2;
         UPDATE lake SET price = price + 0.01 WHERE shop = 'shop_2' AND id = 1;
         UPDATE lake SET id = 99 WHERE shop = 'shop_2' AND id = 3;"
    );
    scene.client("vandal").run_ok(&corrupt).unwrap();
    let mut found = verify("");
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "compared | 8 rows, 4 keys differ",
            "different | shop=shop_2, id=1",
            "missing in the lake | shop=shop_1, id=2",
            "missing in the lake | shop=shop_2, id=3",
            "not in the source | shop=shop_2, id=99",
        ]
    );
    let mended = verify(" REPAIR");
    assert_eq!(mended.last().unwrap(), "compared | 8 rows, 4 keys differed and were repaired");
    assert_eq!(verify(""), ["compared | 8 rows are the same"]);

    // The running job goes on, with the repaired rows where it looks for them.
    scene.server.execute("UPDATE shop_2.orders SET name = 'again' WHERE id = 3").unwrap();
    scene.server.execute("DELETE FROM shop_1.orders WHERE id = 2").unwrap();
    wait_for(&mut job, 7);
    assert_eq!(verify(""), ["compared | 7 rows are the same"]);
    let query = "SELECT name FROM lake WHERE id = 3 AND shop = 'shop_2'";
    assert_eq!(scene.client("reader").select(setup, query).unwrap(), ["again"]);
    job.stop("TERM").unwrap();
}
