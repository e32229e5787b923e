//! Every character that a character set can hold, converted by the server and by us.

use std::fmt::Write;

use arrow::array::{Array, AsArray};
use shardlake_change::{Column, LogicalType};
use shardlake_mysql_wire::Charset;
use shardlake_mysql_wire::rows::UpdateImages;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, or_skip};

use crate::client::Client;

#[test]
fn all_characters_of_all_sets_are_converted_as_the_server_does() {
    let options = ServerOptions::default().with_flavor(Flavor::Mysql);
    let server = or_skip!(MysqlServer::start(options));
    let mut client = Client::root(&server);
    client.run("CREATE DATABASE wire");
    client.run("SET cte_max_recursion_depth = 200000, sql_mode = ''");
    client.run("CREATE TABLE wire.point (n int PRIMARY KEY, u varchar(1) CHARACTER SET utf8mb4)");
    client.run(
        "INSERT INTO wire.point WITH RECURSIVE p(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM p \
         WHERE n < 131071) SELECT n, CONVERT(CHAR(n USING utf32) USING utf8mb4) FROM p \
         WHERE n < 0xd800 OR n > 0xdfff",
    );
    let sets =
        client.text("SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS ORDER BY 1");
    let mut report = String::new();
    for set in sets {
        let name = String::from_utf8(set[0].clone().unwrap()).unwrap();
        let charset = Charset::named(&name);
        if charset.is_utf8() || !charset.is_supported() {
            continue;
        }
        client.run(&format!(
            "CREATE TABLE wire.{name} (n int PRIMARY KEY, c varchar(1) CHARACTER SET {name})"
        ));
        client.run(&format!(
            "INSERT INTO wire.{name} SELECT n, u FROM wire.point WHERE \
             CONVERT(CONVERT(u USING {name}) USING utf8mb4) COLLATE utf8mb4_bin = u"
        ));
        let declared = [Column::new("n", LogicalType::Int), Column::new("c", LogicalType::String)];
        let sql = format!("SELECT n, c FROM wire.{name} ORDER BY n");
        let snapshot = client.select(&sql, &[], &declared);
        let known = client.known_columns(&name);
        let replayed = Client::root(&server).replay(&name, &known, &declared, UpdateImages::Both);
        assert_eq!(snapshot.row_count(), replayed.row_count(), "{name}");
        let (left, right) = (snapshot.rows().column(1), replayed.rows().column(1));
        let (left, right) = (left.as_string::<i32>(), right.as_string::<i32>());
        let differ: Vec<String> = left
            .iter()
            .zip(right)
            .filter(|(a, b)| a != b)
            .map(|(a, b)| format!("{:?}->{:?}", a.unwrap_or_default(), b.unwrap_or_default()))
            .collect();
        if !differ.is_empty() {
            let shown: Vec<&str> = differ.iter().map(String::as_str).take(40).collect();
            writeln!(
                report,
                "{name}: {} of {} differ: {}",
                differ.len(),
                left.len(),
                shown.join(" ")
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!(report, @"");
}
