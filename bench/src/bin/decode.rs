//! The decoder beside its limits, in one run on one MySQL: what it costs to make Arrow of rows and of row events, over
//! what it costs to take the packets off the socket, and over the rows of `mysql_common`.
//!
//!     decode PORT        as root without a password; makes and drops the database `decode`
//!
//! Each figure is the best of several rounds in which the two sides take turns. CPU is that of the measuring thread.

use std::env;
use std::fs;
use std::hint::black_box;
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;
use shardlake_change::{Column, LogicalType};
use shardlake_mysql_wire::SourceColumn;
use shardlake_mysql_wire::command::{self, DumpFlags};
use shardlake_mysql_wire::decode::{BatchBuilder, ResultSetPlan, ZoneOffset};
use shardlake_mysql_wire::event::{Event, EventBody, EventReader};
use shardlake_mysql_wire::handshake::{Encryption, HandshakeOptions, authenticate};
use shardlake_mysql_wire::packet::PacketReader;
use shardlake_mysql_wire::reply::{self, Head, RowPacket, parse_done, parse_head};
use shardlake_mysql_wire::rows::{Lookup, PlanCache, RowsPlan, UpdateImages};

const ROUNDS: usize = 5;
const BATCH_ROWS: usize = 64 * 1024;
const BATCH_BYTES: usize = 3 << 19;

type Packets = PacketReader<TcpStream>;

/// A table to measure with.
struct Shape {
    name: &'static str,
    columns: Vec<(String, &'static str, LogicalType, &'static str)>,
    rows: u64,
    updates: u64,
}

fn narrow() -> Shape {
    let column = |name: &str, kind, declared, value| (name.to_owned(), kind, declared, value);
    Shape {
        name: "narrow",
        columns: vec![
            column("name", "VARCHAR(255)", LogicalType::String, "CONCAT('user ', n)"),
            column(
                "address",
                "VARCHAR(1024)",
                LogicalType::String,
                "CONCAT(n, REPEAT(' street', 8))",
            ),
            column("phone", "VARCHAR(512)", LogicalType::String, "CONCAT('+49 30 ', n)"),
            column("email", "VARCHAR(255)", LogicalType::String, "CONCAT('u', n, '@example.org')"),
            column(
                "amount",
                "DECIMAL(12,2)",
                LogicalType::Decimal { precision: 12, scale: 2 },
                "n * 1.37",
            ),
            column(
                "updated_at",
                "DATETIME(6)",
                LogicalType::Timestamp(6),
                "'2024-01-01' + INTERVAL n SECOND",
            ),
        ],
        rows: 200_000,
        updates: 60_000,
    }
}

fn wide() -> Shape {
    let columns = (0..99).map(|index| {
        let (kind, declared, value) = match index % 5 {
            0 => ("INT", LogicalType::Int, "n"),
            1 => ("VARCHAR(40)", LogicalType::String, "CONCAT('value ', n)"),
            2 => ("DECIMAL(12,2)", LogicalType::Decimal { precision: 12, scale: 2 }, "n * 0.01"),
            3 => ("BIGINT", LogicalType::BigInt, "n * 1000003"),
            _ => ("DATETIME(6)", LogicalType::Timestamp(6), "'2024-01-01' + INTERVAL n SECOND"),
        };
        (format!("c{index}"), kind, declared, value)
    });
    Shape { name: "wide", columns: columns.collect(), rows: 20_000, updates: 6_000 }
}

impl Shape {
    fn declared(&self) -> Vec<Column> {
        let mut all = vec![Column::new("id", LogicalType::BigInt)];
        all.extend(self.columns.iter().map(|(name, _, kind, _)| Column::new(name, kind.clone())));
        all
    }

    fn known(&self) -> Result<Vec<SourceColumn>> {
        let mut all = vec![SourceColumn::declared("id", "bigint", None)?];
        for (name, kind, ..) in &self.columns {
            all.push(SourceColumn::declared(name, kind, Some("utf8mb4"))?);
        }
        Ok(all)
    }

    /// Fills the table in three ways.
    fn fill(&self, control: &mut Packets) -> Result<Vec<Workload>> {
        let table = format!("decode.{}", self.name);
        let kinds: Vec<String> =
            self.columns.iter().map(|(name, kind, ..)| format!("{name} {kind}")).collect();
        let values: Vec<&str> = self.columns.iter().map(|(.., value)| *value).collect();
        run(
            control,
            &format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, {})", kinds.join(", ")),
        )?;
        let first = self.columns.first().map_or("id", |(name, ..)| name.as_str());
        let change = match self.name {
            "wide" => format!("{first} = {first} + 1"),
            _ => format!("{first} = CONCAT({first}, 'x')"),
        };
        let file = next_file(control)?;
        run(
            control,
            &format!(
                "INSERT INTO {table} WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s \
                 WHERE n < {}) SELECT n, {} FROM s",
                self.rows,
                values.join(", ")
            ),
        )?;
        let mut workloads = vec![Workload::read("bulk insert", self.rows, file)?];
        for (name, per_transaction) in
            [("updates, 1000 a transaction", 1_000), ("updates, 1 a transaction", 1)]
        {
            let file = next_file(control)?;
            let count = if per_transaction == 1 { self.updates / 2 } else { self.updates };
            update(control, &table, &change, count, per_transaction)?;
            workloads.push(Workload::read(name, count, file)?);
        }
        Ok(workloads)
    }
}

/// Changes of a table, and the binlog file that holds them.
struct Workload {
    name: &'static str,
    rows: u64,
    file: String,
    events: Vec<Vec<u8>>,
}

impl Workload {
    fn read(name: &'static str, rows: u64, file: String) -> Result<Self> {
        let events = dump(&file)?;
        Ok(Self { name, rows, file, events })
    }
}

fn update(control: &mut Packets, table: &str, change: &str, count: u64, size: u64) -> Result<()> {
    run(control, "DROP PROCEDURE IF EXISTS decode.change_rows")?;
    run(
        control,
        &format!(
            "CREATE PROCEDURE decode.change_rows() BEGIN DECLARE i BIGINT DEFAULT 1; SET autocommit = 0; \
             WHILE i <= {count} DO UPDATE {table} SET {change} WHERE id = i; \
             IF i % {size} = 0 THEN COMMIT; END IF; SET i = i + 1; END WHILE; COMMIT; \
             SET autocommit = 1; END"
        ),
    )?;
    run(control, "CALL decode.change_rows()")
}

fn main() -> Result<()> {
    let port: u16 = env::args().nth(1).context("usage: decode PORT")?.parse()?;
    // Every later connection is to the same server.
    PORT.set(port).ok();
    let mut control = connect()?;
    run(&mut control, "SET SESSION cte_max_recursion_depth = 1000000, NAMES utf8mb4")?;
    run(&mut control, "DROP DATABASE IF EXISTS decode")?;
    run(&mut control, "CREATE DATABASE decode CHARACTER SET utf8mb4")?;
    for shape in [narrow(), wide()] {
        let workloads = shape.fill(&mut control)?;
        say(&format!("{} table, {} columns", shape.name, shape.columns.len() + 1));
        snapshot(&shape)?;
        for workload in &workloads {
            memory(&shape, workload)?;
        }
        for workload in &workloads {
            stream(&shape, workload)?;
        }
    }
    run(&mut control, "DROP DATABASE decode")
}

static PORT: std::sync::OnceLock<u16> = std::sync::OnceLock::new();

#[expect(clippy::print_stdout, reason = "this program's output is its result")]
fn say(line: &str) {
    println!("{line}");
}

/// Wall and CPU seconds.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// The CPU seconds of this thread so far.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos: f64 = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
    nanos / 1e9
}

fn measure(work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    work()?;
    Ok(Cost { wall: started.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu })
}

/// The best of rounds in which both sides take turns.
fn compare(
    mut left: impl FnMut() -> Result<()>,
    mut right: impl FnMut() -> Result<()>,
) -> Result<(Cost, Cost)> {
    let none = Cost { wall: f64::MAX, cpu: f64::MAX };
    let best = |a: Cost, b: Cost| Cost { wall: a.wall.min(b.wall), cpu: a.cpu.min(b.cpu) };
    let (mut lefts, mut rights) = (none, none);
    for _ in 0..ROUNDS {
        lefts = best(lefts, measure(&mut left)?);
        rights = best(rights, measure(&mut right)?);
    }
    Ok((lefts, rights))
}

/// `limit` and `ours` with their ratio on the wall, and the CPU of a row.
fn report(what: &str, rows: u64, limit: Cost, ours: Cost) {
    let rows = rows as f64;
    say(&format!(
        "  {what:<58} {:>6.2} of the limit on the wall; CPU of a row {:>6.0} ns, of the limit {:>6.0} ns",
        limit.wall / ours.wall,
        ours.cpu * 1e9 / rows,
        limit.cpu * 1e9 / rows
    ));
}

fn snapshot(shape: &Shape) -> Result<()> {
    let sql = |half: Option<u64>| {
        let middle = shape.rows / 2;
        let condition = match half {
            None => "TRUE".to_owned(),
            Some(0) => format!("id <= {middle}"),
            Some(_) => format!("id > {middle}"),
        };
        format!("SELECT * FROM decode.{} WHERE {condition}", shape.name)
    };
    let declared = shape.declared();
    let (drain, arrow) =
        compare(|| select(&sql(None), None), || select(&sql(None), Some(&declared)))?;
    report("snapshot to Arrow over packets, 1 connection", shape.rows, drain, arrow);
    let two = |declared: Option<&[Column]>| {
        std::thread::scope(|scope| {
            let halves: Vec<_> = (0..2)
                .map(|half| {
                    let sql = sql(Some(half));
                    scope.spawn(move || select(&sql, declared))
                })
                .collect();
            for half in halves {
                half.join().map_err(|_| anyhow::anyhow!("a reader ended early"))??;
            }
            Ok(())
        })
    };
    let (drain, arrow) = compare(|| two(None), || two(Some(&declared)))?;
    let wall = |cost: Cost| Cost { cpu: 0.0, ..cost };
    report("snapshot to Arrow over packets, 2 connections", shape.rows, wall(drain), wall(arrow));
    Ok(())
}

/// Reads rows of the binary protocol, into Arrow if columns are declared.
fn select(sql: &str, declared: Option<&[Column]>) -> Result<()> {
    let mut packets = connect()?;
    packets.send_command(&command::statement_prepare(sql))?;
    let prepared = reply::parse_prepared(packets.next()?)?;
    for _ in 0..prepared.parameter_count + prepared.column_count {
        packets.next()?;
    }
    packets.send_command(&command::statement_execute(prepared.statement_id, &[]))?;
    let Head::Columns(count) = parse_head(packets.next()?)? else { bail!("no rows") };
    let mut source = Vec::new();
    for _ in 0..count {
        source.push(SourceColumn::from_definition(packets.next()?)?);
    }
    let Some(declared) = declared else {
        while let RowPacket::Row(row) = reply::parse_binary_row(packets.next()?)? {
            black_box(row);
        }
        return Ok(());
    };
    let plan = ResultSetPlan::new(&source, declared, &ZoneOffset::utc())?;
    let mut builder = BatchBuilder::new(declared)?;
    let mut until_look = 512;
    while let RowPacket::Row(row) = reply::parse_binary_row(packets.next()?)? {
        plan.append(row, &mut builder)?;
        until_look -= 1;
        if until_look == 0 {
            until_look = 512;
            if builder.row_count() >= BATCH_ROWS || builder.size_bytes() >= BATCH_BYTES {
                black_box(builder.finish()?);
            }
        }
    }
    black_box(builder.finish()?);
    Ok(())
}

/// Decodes events that lie in memory.
fn memory(shape: &Shape, workload: &Workload) -> Result<()> {
    let Workload { name, rows, events, .. } = workload;
    let file: Vec<u8> = events.concat();
    let (ours, theirs) = compare(
        || {
            let mut decoder = Decoder::new(shape)?;
            let mut reader = EventReader::new();
            for event in events {
                decoder.take(&reader.parse(event)?)?;
            }
            decoder.finish()
        },
        || their_rows(&file),
    )?;
    say(&format!(
        "  {:<58} {:>6.1} times mysql_common's rows; CPU of a row {:>6.0} ns, theirs {:>6.0} ns",
        format!("decode from memory, {name}"),
        theirs.cpu / ours.cpu,
        ours.cpu * 1e9 / *rows as f64,
        theirs.cpu * 1e9 / *rows as f64
    ));
    Ok(())
}

/// The rows of `mysql_common`, made and dropped.
fn their_rows(file: &[u8]) -> Result<()> {
    let mut reader = EventStreamReader::new(BinlogVersion::Version4);
    let mut stream = file;
    while let Some(event) = reader.read(&mut stream)? {
        let Some(EventData::RowsEvent(rows)) = event.read_data()? else { continue };
        let Some(map) = reader.get_tme(rows.table_id()) else { continue };
        for row in rows.rows(map) {
            black_box(row?);
        }
    }
    Ok(())
}

/// Follows the server's stream.
fn stream(shape: &Shape, workload: &Workload) -> Result<()> {
    let Workload { name, rows, file, .. } = workload;
    let (drain, arrow) = compare(
        || {
            follow(file, |packet| {
                black_box(packet);
                Ok(())
            })
        },
        || {
            let mut decoder = Decoder::new(shape)?;
            let mut reader = EventReader::new();
            follow(file, |packet| match reader.read(packet)? {
                Some(event) => decoder.take(&event),
                None => Ok(()),
            })?;
            decoder.finish()
        },
    )?;
    report(&format!("binlog to Arrow over packets, {name}"), *rows, drain, arrow);
    Ok(())
}

/// Row events to Arrow, as the source does it: the images after an update only.
struct Decoder<'a> {
    shape: &'a Shape,
    declared: Vec<Column>,
    known: Vec<SourceColumn>,
    plans: PlanCache<RowsPlan>,
    builder: BatchBuilder,
}

impl<'a> Decoder<'a> {
    fn new(shape: &'a Shape) -> Result<Self> {
        let declared = shape.declared();
        let builder = BatchBuilder::new(&declared)?;
        Ok(Self { shape, known: shape.known()?, declared, plans: PlanCache::new(), builder })
    }

    fn take(&mut self, event: &Event<'_>) -> Result<()> {
        match &event.body {
            EventBody::TableMap(map) => {
                let Self { plans, known, declared, shape, .. } = self;
                plans.observe(map, |map| {
                    if map.table != shape.name.as_bytes() {
                        return Ok(None);
                    }
                    RowsPlan::new(map, known, declared, &["id".to_owned()], &ZoneOffset::utc())
                        .map(Some)
                })?;
            }
            EventBody::Rows(rows) => {
                if let Lookup::Wanted(plan) = self.plans.get(rows.table_id) {
                    plan.append(rows, &mut self.builder, UpdateImages::AfterUnlessKeyChanged)?;
                }
                if self.builder.row_count() >= BATCH_ROWS {
                    black_box(self.builder.finish()?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        black_box(self.builder.finish()?);
        Ok(())
    }
}

fn connect() -> Result<Packets> {
    let port = PORT.get().copied().unwrap_or(3306);
    let stream = TcpStream::connect(("127.0.0.1", port)).context("connecting")?;
    stream.set_nodelay(true)?;
    let options = HandshakeOptions {
        user: "root".to_owned(),
        encryption: Encryption::Disabled,
        ..HandshakeOptions::default()
    };
    let (packets, _) = authenticate(PacketReader::new(stream), options, Ok)?;
    Ok(packets)
}

fn run(packets: &mut Packets, sql: &str) -> Result<()> {
    packets.send_command(&command::query(sql))?;
    match parse_head(packets.next()?).with_context(|| sql.chars().take(80).collect::<String>())? {
        Head::Done(_) => Ok(()),
        _ => bail!("rows come where none are expected"),
    }
}

/// Begins a new binlog file and names it.
fn next_file(control: &mut Packets) -> Result<String> {
    run(control, "FLUSH BINARY LOGS")?;
    control.send_command(&command::query("SHOW BINARY LOGS"))?;
    let Head::Columns(count) = parse_head(control.next()?)? else { bail!("no binlog") };
    for _ in 0..count {
        control.next()?;
    }
    let mut last = String::new();
    while let RowPacket::Row(row) = reply::parse_text_row(control.next()?)? {
        let cells = reply::text_cells(row)?;
        let name = cells.first().copied().flatten().unwrap_or_default();
        last = String::from_utf8_lossy(name).into_owned();
    }
    Ok(last)
}

/// The events of a file, from its format description on.
fn dump(file: &str) -> Result<Vec<Vec<u8>>> {
    let mut events = Vec::new();
    follow(file, |packet| {
        const FORMAT_DESCRIPTION: u8 = 15;
        let event = packet.get(1..).unwrap_or_default();
        if !events.is_empty() || event.get(4) == Some(&FORMAT_DESCRIPTION) {
            events.push(event.to_vec());
        }
        Ok(())
    })?;
    Ok(events)
}

fn follow(file: &str, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut packets = connect()?;
    packets.send_command(&command::query("SET @source_binlog_checksum = 'CRC32'"))?;
    parse_done(packets.next()?)?;
    let flags = DumpFlags { non_blocking: true, ..DumpFlags::default() };
    packets.send_command(&command::binlog_dump(7_654_322, file, 4, flags))?;
    let mut seen_file = false;
    loop {
        let packet = packets.next()?;
        match packet.first() {
            Some(0x00) => {
                // The next file begins with a rotation that is in no file.
                const ROTATE: u8 = 4;
                if packet.get(5) == Some(&ROTATE) {
                    if seen_file {
                        return Ok(());
                    }
                    seen_file = true;
                    continue;
                }
                each(packet)?;
            }
            Some(0xfe) => return Ok(()),
            _ => bail!("the server does not send its binlog: {:?}", parse_done(packet).err()),
        }
    }
}
