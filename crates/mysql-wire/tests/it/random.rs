//! Generated rows of every type and every character set: what a SELECT gives, what the binlog gives and what the server
//! prints is the same. A failure names the seed; `SHARDLAKE_SEED` tries another one.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;

use arrow::array::{Array, AsArray};
use shardlake_change::{ChangeBatch, Column, LogicalType};
use shardlake_mysql_wire::Charset;
use shardlake_mysql_wire::rows::UpdateImages;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, or_skip};

use crate::client::Client;
use crate::types::assert_same_cell;

const ROWS: u64 = 24;
const CHANGES: u64 = 40;

/// Numbers that a seed decides.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    fn digits(&mut self, count: u64) -> String {
        (0..count).map(|_| char::from(b'0' + u8::try_from(self.below(10)).unwrap())).collect()
    }

    fn hex(&mut self, bytes: u64) -> String {
        // Zero bytes at the end are where information is lost.
        let zeros = if self.below(3) == 0 { self.below(bytes + 1) } else { 0 };
        let mut text: String = (zeros..bytes).map(|_| format!("{:02x}", self.below(256))).collect();
        text.push_str(&"00".repeat(usize::try_from(zeros).unwrap()));
        format!("x'{text}'")
    }

    /// Text of characters from all over Unicode, as hexadecimal UTF-32.
    fn characters(&mut self, most: u64) -> String {
        const RANGES: [(u64, u64); 9] = [
            (0x20, 0x7f),
            (0xa0, 0x180),
            (0x391, 0x460),
            (0x5d0, 0x5eb),
            (0xe01, 0xe5c),
            (0x3041, 0x30ff),
            (0x4e00, 0x9fa5),
            (0xac00, 0xd7a3),
            (0x1f600, 0x1f650),
        ];
        let (from, to) = *self.pick(&RANGES);
        let mut text = String::new();
        for _ in 0..self.below(most + 1) {
            let (from, to) = if self.below(4) == 0 { *self.pick(&RANGES) } else { (from, to) };
            write!(text, "{:08x}", from + self.below(to - from)).unwrap();
        }
        text
    }
}

type Generate = Box<dyn Fn(&mut Random) -> String>;

/// A column of the table.
struct Generated {
    name: String,
    kind: String,
    declared: LogicalType,
    /// Whether the server's text is what the column reads as when it is declared as STRING.
    prints: bool,
    value: Generate,
}

struct Table {
    columns: Vec<Generated>,
}

impl Table {
    fn add(
        &mut self,
        kind: impl Into<String>,
        declared: LogicalType,
        prints: bool,
        value: impl Fn(&mut Random) -> String + 'static,
    ) {
        let name = format!("c{}", self.columns.len());
        self.columns.push(Generated {
            name,
            kind: kind.into(),
            declared,
            prints,
            value: Box::new(value),
        });
    }

    fn numbers(&mut self, random: &mut Random) {
        for (kind, bits) in
            [("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64_u32)]
        {
            let signed = move |random: &mut Random| {
                let number = random.next().cast_signed() >> (64 - bits);
                (if random.below(3) == 0 { number >> (bits - 3) } else { number }).to_string()
            };
            let unsigned = move |random: &mut Random| (random.next() >> (64 - bits)).to_string();
            let wide = LogicalType::Decimal { precision: 20, scale: 0 };
            self.add(kind, LogicalType::BigInt, true, signed);
            self.add(format!("{kind} unsigned"), wide, true, unsigned);
        }
        for _ in 0..4 {
            let precision = 1 + random.below(65);
            let scale = random.below(precision.min(30) + 1);
            let kind = format!("decimal({precision},{scale})");
            let declared = if precision <= 38 {
                let small = |number: u64| u8::try_from(number).unwrap();
                LogicalType::Decimal { precision: small(precision), scale: small(scale) }
            } else {
                LogicalType::String
            };
            self.add(kind, declared, true, move |random| {
                let sign = *random.pick(&["", "-"]);
                let whole = random.below(precision - scale + 1);
                let (whole, fraction) = (random.digits(whole), random.digits(scale));
                format!("{sign}0{whole}.{fraction}")
            });
        }
        self.add("double", LogicalType::Double, true, |random| {
            let number = f64::from_bits(random.next());
            if number.is_normal() { format!("{number:e}") } else { "0".to_owned() }
        });
        self.add("float", LogicalType::Float, false, |random| {
            let number = f32::from_bits(u32::try_from(random.next() >> 32).unwrap());
            if number.is_normal() { format!("{number:e}") } else { "0".to_owned() }
        });
        for bits in [1, 1 + random.below(63), 64] {
            let value = move |random: &mut Random| (random.next() >> (64 - bits)).to_string();
            self.add(format!("bit({bits})"), LogicalType::Bytes, false, value);
        }
        self.add("year", LogicalType::Int, true, |random| {
            (if random.below(5) == 0 { 0 } else { 1901 + random.below(255) }).to_string()
        });
    }

    fn times(&mut self) {
        fn date(random: &mut Random, first_year: u64) -> String {
            let (year, month, day) =
                (first_year + random.below(9_999 - first_year), random.below(13), random.below(32));
            let day = if month == 2 { day.min(28) } else { day.min(30) };
            format!("{year:04}-{month:02}-{day:02}")
        }
        fn clock(random: &mut Random, hours: u64) -> String {
            let (hour, minute, second) = (random.below(hours), random.below(60), random.below(60));
            format!("{hour:02}:{minute:02}:{second:02}.{}", random.digits(6))
        }
        self.add("date", LogicalType::Date, true, |random| format!("'{}'", date(random, 0)));
        for digits in 0..=6 {
            self.add(format!("time({digits})"), LogicalType::String, true, |random| {
                let hours = if random.below(2) == 0 { 24 } else { 838 };
                format!("'{}{}'", *random.pick(&["", "-"]), clock(random, hours))
            });
            let stamp = LogicalType::Timestamp(6);
            self.add(format!("datetime({digits})"), stamp, true, |random| {
                format!("'{} {}'", date(random, 1), clock(random, 24))
            });
            let stamp = LogicalType::TimestampLtz(6);
            self.add(format!("timestamp({digits}) null"), stamp, true, |random| {
                let seconds = 1 + random.below(2_147_400_000);
                let instant = format!("FROM_UNIXTIME({seconds}.{})", random.digits(6));
                if random.below(9) == 0 { "'0000-00-00'".to_owned() } else { instant }
            });
        }
    }

    fn texts(&mut self, charsets: &[String]) {
        for charset in charsets {
            for (kind, most) in [("char(9)", 9), ("varchar(90)", 30), ("text", 400)] {
                let kind = format!("{kind} character set {charset}");
                let charset = charset.clone();
                self.add(kind, LogicalType::String, true, move |random| {
                    let text = random.characters(most);
                    format!("CONVERT(CONVERT(x'{text}' USING utf32) USING {charset})")
                });
            }
        }
        let many: Vec<String> = (0..300).map(|number| format!("'m{number}''ü'")).collect();
        self.add(format!("enum({})", many.join(",")), LogicalType::String, true, |random| {
            (1 + random.below(300)).to_string()
        });
        let many: Vec<String> = (0..64).map(|number| format!("'m{number}'")).collect();
        self.add(format!("set({})", many.join(",")), LogicalType::String, true, |random| {
            (random.next() & random.next()).to_string()
        });
    }

    fn bytes(&mut self) {
        for (kind, most) in [("binary(17)", 17), ("varbinary(300)", 300), ("blob", 900)] {
            self.add(kind, LogicalType::Bytes, false, move |random| {
                let bytes = random.below(most + 1);
                random.hex(bytes)
            });
        }
        self.add("geometry", LogicalType::String, false, |random| {
            let (x, y) = (random.below(1_000_000), random.below(999));
            format!("ST_GeomFromText('LINESTRING({x} -{y}.125, 0 {y})')")
        });
    }

    fn own_types_of_mysql(&mut self) {
        fn document(random: &mut Random, depth: u64) -> String {
            match random.below(if depth > 3 { 6 } else { 9 }) {
                0 => "null".to_owned(),
                1 => (random.below(2) == 0).to_string(),
                2 => (random.next().cast_signed() >> random.below(64)).to_string(),
                3 => (random.next() >> random.below(64)).to_string(),
                4 => format!("{:e}", f64::from_bits(random.next() >> 2)),
                5 => format!("\"{}ü\\\\n\"", random.digits(random.0 % 200)),
                6 | 7 => {
                    let items = (0..random.below(6)).map(|_| document(random, depth + 1));
                    format!("[{}]", items.collect::<Vec<_>>().join(","))
                }
                _ => {
                    let members = (0..random.below(6)).map(|_| {
                        let len = random.below(4);
                        format!("\"k{}\":{}", random.digits(len), document(random, depth + 1))
                    });
                    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
                }
            }
        }
        self.add("json", LogicalType::String, true, |random| format!("'{}'", document(random, 0)));
        self.add("vector(9)", LogicalType::String, false, |random| {
            let count = 1 + random.below(9);
            let numbers = (0..count).map(|_| format!("{}.5", random.below(1_000)));
            format!("TO_VECTOR('[{}]')", numbers.collect::<Vec<_>>().join(","))
        });
    }

    fn own_types_of_mariadb(&mut self) {
        self.add("uuid", LogicalType::String, true, |random| {
            let (version, variant) = (1 + random.below(7), random.pick(&['8', '9', 'a', 'b']));
            let (a, b) = (random.next(), random.next());
            format!(
                "'{:08x}-{:04x}-{version}{:03x}-{variant}{:03x}-{:012x}'",
                a >> 32,
                a >> 16 & 0xffff,
                a & 0xfff,
                b >> 52,
                b & 0xffff_ff00_0000
            )
        });
        self.add("inet4", LogicalType::String, true, |random| random.hex(4));
        self.add("inet6", LogicalType::String, true, |random| {
            let words = (0..8).map(|_| if random.below(2) == 0 { 0 } else { random.below(65_536) });
            format!("'{}'", words.map(|word| format!("{word:x}")).collect::<Vec<_>>().join(":"))
        });
        for kind in ["varchar(900) compressed", "blob compressed"] {
            let declared =
                if kind.starts_with('v') { LogicalType::String } else { LogicalType::Bytes };
            self.add(kind, declared, false, |random| {
                format!("REPEAT('{}', {})", random.digits(3), random.below(290))
            });
        }
    }

    fn generate(flavor: Flavor, charsets: &[String], random: &mut Random) -> Self {
        let mut table = Self { columns: Vec::new() };
        table.numbers(random);
        table.times();
        table.texts(charsets);
        table.bytes();
        if flavor.is_mariadb() {
            table.own_types_of_mariadb();
        } else {
            table.own_types_of_mysql();
        }
        table
    }

    fn create(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let invisible = if index % 5 == 1 { " INVISIBLE" } else { "" };
                format!("{} {}{invisible}", column.name, column.kind)
            })
            .collect();
        format!(
            "CREATE TABLE wire.t (id int PRIMARY KEY, {}, gv bigint AS (id * 3) VIRTUAL, gs \
             varchar(20) AS (CONCAT('s', id)) STORED) ROW_FORMAT=DYNAMIC",
            columns.join(", ")
        )
    }

    /// `name = value` for some columns; for all, if `all`.
    fn assignments(&self, random: &mut Random, all: bool) -> String {
        let mut parts = Vec::new();
        for column in &self.columns {
            if all || random.below(4) == 0 {
                let is_null = random.below(8) == 0;
                let value = if is_null { "NULL".to_owned() } else { (column.value)(random) };
                parts.push(format!("{} = {value}", column.name));
            }
        }
        parts.join(", ")
    }

    fn names(&self) -> Vec<String> {
        let names = self.columns.iter().map(|column| column.name.clone());
        ["id".to_owned()].into_iter().chain(names).chain(["gv".into(), "gs".into()]).collect()
    }

    fn declared(&self) -> Vec<Column> {
        let mut all = vec![Column::new("id", LogicalType::String)];
        all.extend(self.columns.iter().map(|c| Column::new(&c.name, c.declared.clone())));
        all.extend(["gv", "gs"].map(|name| Column::new(name, LogicalType::String)));
        all
    }

    fn printed(&self) -> Vec<&Generated> {
        self.columns.iter().filter(|column| column.prints).collect()
    }
}

/// For each id, the place of the row that is left of it.
fn last_rows(batch: &ChangeBatch) -> BTreeMap<String, usize> {
    let ids = batch.rows().column(0).as_string::<i32>();
    let mut rows = BTreeMap::new();
    for (row, kind) in batch.kinds().iter().enumerate() {
        let id = ids.value(row).to_owned();
        if kind.is_addition() {
            rows.insert(id, row);
        } else {
            rows.remove(&id);
        }
    }
    rows
}

fn fill(client: &mut Client, table: &Table, random: &mut Random) {
    client.run("SET sql_mode = ''");
    client.run("CREATE DATABASE wire DEFAULT CHARACTER SET utf8mb4");
    client.run(&table.create());
    for id in 0..ROWS {
        client
            .run(&format!("INSERT INTO wire.t SET id = {id}, {}", table.assignments(random, true)));
    }
    for _ in 0..CHANGES {
        let id = random.below(ROWS);
        let assignments = table.assignments(random, false);
        client.run(&match random.below(8) {
            0 => format!("DELETE FROM wire.t WHERE id = {id}"),
            1 => format!("REPLACE INTO wire.t SET id = {id}, {assignments}"),
            _ => format!("UPDATE wire.t SET {assignments} WHERE id = {id}"),
        });
    }
}

fn check(flavor: Flavor, flags: &[&str], seed: u64) {
    let mut options = ServerOptions::default().with_flavor(flavor);
    for flag in flags {
        options = options.with_flag(*flag);
    }
    let server = or_skip!(MysqlServer::start(options));
    let mut client = Client::root(&server);
    let charsets: Vec<String> = client
        .text("SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS ORDER BY 1")
        .into_iter()
        .map(|row| String::from_utf8(row[0].clone().unwrap()).unwrap())
        .filter(|name| name != "binary")
        .collect();
    let unsupported: Vec<&String> =
        charsets.iter().filter(|name| !Charset::named(name).is_supported()).collect();
    assert!(unsupported.is_empty(), "{unsupported:?}");
    let mut random = Random(seed);
    let table = Table::generate(flavor, &charsets, &mut random);
    fill(&mut client, &table, &mut random);

    let known = client.known_columns("t");
    let sql = format!("SELECT {} FROM wire.t ORDER BY id", table.names().join(", "));
    let declared = table.declared();
    let snapshot = client.select(&sql, &[], &declared);
    let replayed = Client::root(&server).replay("t", &known, &declared, UpdateImages::Both);
    let last = last_rows(&replayed);
    assert_eq!(last.len(), snapshot.row_count(), "seed {seed}");
    let ids = snapshot.rows().column(0).as_string::<i32>();
    for row in 0..snapshot.row_count() {
        let place = last[ids.value(row)];
        for (index, column) in declared.iter().enumerate() {
            let (left, right) = (snapshot.rows().column(index), replayed.rows().column(index));
            let kind = index.checked_sub(1).and_then(|index| table.columns.get(index));
            let kind = kind.map_or("", |column| &column.kind);
            let what = format!("seed {seed}, {} {}", column.name, kind.get(..60).unwrap_or(kind));
            assert_same_cell((left, row), (right, place), &what);
        }
    }
    compare_text(&mut client, &table, seed);
}

/// Compares with what the server prints.
fn compare_text(client: &mut Client, table: &Table, seed: u64) {
    let printed = table.printed();
    let names: Vec<&str> = printed.iter().map(|column| column.name.as_str()).collect();
    let declared: Vec<Column> =
        names.iter().map(|name| Column::new(*name, LogicalType::String)).collect();
    let sql = format!("SELECT {} FROM wire.t ORDER BY id", names.join(", "));
    let ours = client.select(&sql, &[], &declared);
    client.run("SET time_zone = '+01:00'");
    let theirs = client.text(&sql);
    for (index, column) in printed.iter().enumerate() {
        let ours = ours.rows().column(index).as_string::<i32>();
        for (row, cells) in theirs.iter().enumerate() {
            let ours = ours.is_valid(row).then(|| ours.value(row));
            let theirs = cells[index].as_deref().map(|cell| std::str::from_utf8(cell).unwrap());
            let kind = column.kind.get(..60).unwrap_or(&column.kind);
            assert_eq!(ours, theirs, "seed {seed}, {} {kind}, row {row}", column.name);
        }
    }
}

fn seeds() -> Vec<u64> {
    match env::var("SHARDLAKE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => vec![1],
    }
}

#[test]
fn generated_rows_of_mysql_are_read_alike() {
    for seed in seeds() {
        check(Flavor::Mysql, &[], seed);
        check(
            Flavor::Mysql,
            &["--binlog-row-metadata=FULL", "--binlog-row-value-options=PARTIAL_JSON"],
            seed + 1_000,
        );
    }
}

#[test]
fn generated_rows_of_mariadb_are_read_alike() {
    for seed in seeds() {
        check(Flavor::Mariadb, &[], seed);
        check(
            Flavor::Mariadb,
            &["--binlog-row-metadata=FULL", "--binlog-transaction-compression=ON"],
            seed + 1_000,
        );
        check(Flavor::Mariadb, &["--mysql56-temporal-format=OFF"], seed + 2_000);
    }
}
