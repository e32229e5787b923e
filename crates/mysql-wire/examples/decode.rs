//! How long decoding takes from memory, a row at a time: rows of the binary protocol and row events of a table
//! of seven columns, beside `mysql_common`'s decoder in the same run. Run it in release mode, and read the ratios
//! rather than the times. Time is this thread's processor time where the system tells it (Linux).

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;
use shardlake_change::{Column, LogicalType};
use shardlake_mysql_wire::decode::{BatchBuilder, ResultSetPlan, ZoneOffset};
use shardlake_mysql_wire::event::{EventBody, EventReader};
use shardlake_mysql_wire::packet::{PacketReader, write_packet};
use shardlake_mysql_wire::rows::{Lookup, PlanCache, RowsPlan, UpdateImages};
use shardlake_mysql_wire::{Charset, SourceColumn, SourceType};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROWS: u32 = 400_000;
const BATCH_ROWS: usize = 65_536;
const ROUNDS: usize = 7;

fn main() -> Outcome<()> {
    let stream = binary_stream()?;
    let protocol = best(|| binary_rows(&stream))?;
    println!("binary rows            {protocol:>6.0} ns/row");
    for (name, rows_per_event, update) in [("inserts", 59, false), ("updates", 1, true)] {
        let packets = binlog(rows_per_event, update)?;
        let stream = joined(&packets)?;
        let frames = best(|| framing(&stream))?;
        let after = best(|| events(&stream, UpdateImages::AfterUnlessKeyChanged))?;
        let both = best(|| events(&stream, UpdateImages::Both))?;
        let theirs = theirs(&packets)?;
        println!("{name}: framing and checksum {frames:>6.0} ns/row");
        println!(
            "{name}: after image          {after:>6.0} ns/row, {:.1} times faster than mysql_common",
            theirs / after
        );
        println!(
            "{name}: both images          {both:>6.0} ns/row, {:.1} times faster",
            theirs / both
        );
        println!("{name}: mysql_common         {theirs:>6.0} ns/row");
    }
    Ok(())
}

/// The best of some rounds, in nanoseconds a row.
fn best(mut work: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        best = best.min(work()?);
    }
    Ok(best)
}

/// Nanoseconds that this thread has run so far, or that have passed.
fn now(origin: Instant) -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let running = stat.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    running.unwrap_or_else(|| origin.elapsed().as_secs_f64() * 1e9)
}

/// Runs `work` and returns its nanoseconds a row.
fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let origin = Instant::now();
    let start = now(origin);
    work()?;
    Ok((now(origin) - start) / f64::from(ROWS))
}

fn declared() -> Vec<Column> {
    vec![
        Column::new("id", LogicalType::BigInt).not_null(),
        Column::new("name", LogicalType::String),
        Column::new("address", LogicalType::String),
        Column::new("phone", LogicalType::String),
        Column::new("email", LogicalType::String),
        Column::new("amount", LogicalType::Decimal { precision: 12, scale: 2 }),
        Column::new("updated_at", LogicalType::Timestamp(6)),
    ]
}

fn source() -> Vec<SourceColumn> {
    let text = || SourceType::Text(Charset::UTF8);
    let types = [
        SourceType::Integer { bytes: 8, unsigned: false },
        text(),
        text(),
        text(),
        text(),
        SourceType::Decimal { precision: 12, scale: 2 },
        SourceType::DateTime { fraction: 6 },
    ];
    declared()
        .iter()
        .zip(types)
        .map(|(column, kind)| SourceColumn::new(&column.name, kind))
        .collect()
}

fn texts(id: u32) -> [String; 4] {
    [
        format!("user name {id:08}"),
        format!("{id:06} Long Street, Some Town, District {id:04}, Country"),
        format!("+49 170 {id:09}"),
        format!("user{id:08}@example.org"),
    ]
}

/// Packets of a result set with all rows.
fn binary_stream() -> Outcome<Vec<u8>> {
    let (mut stream, mut sequence) = (Vec::new(), 0);
    for id in 0..ROWS {
        let mut row = vec![0, 0, 0];
        row.extend(u64::from(id).to_le_bytes());
        for text in texts(id).iter().chain([&format!("{}.{:02}", id % 100_000, id % 100)]) {
            row.push(u8::try_from(text.len())?);
            row.extend(text.as_bytes());
        }
        row.extend([11, 0xe8, 7, 2, 3, 13, 14, 15]);
        row.extend((id % 1_000_000).to_le_bytes());
        write_packet(&mut stream, &mut sequence, &row)?;
    }
    Ok(stream)
}

fn binary_rows(stream: &[u8]) -> Outcome<f64> {
    let plan = ResultSetPlan::new(&source(), &declared(), &ZoneOffset::utc())?;
    let mut builder = BatchBuilder::new(&declared())?;
    let mut packets = PacketReader::new(stream);
    timed(|| {
        for _ in 0..ROWS {
            plan.append(packets.next()?, &mut builder)?;
            if builder.row_count() == BATCH_ROWS {
                black_box(builder.finish()?);
            }
        }
        black_box(builder.finish()?);
        Ok(())
    })
}

fn event(packets: &mut Vec<Vec<u8>>, type_code: u8, body: &[u8]) -> Outcome<()> {
    let mut packet = vec![0, 0, 0, 0, 0, type_code, 1, 0, 0, 0];
    packet.extend(u32::try_from(19 + body.len() + 4)?.to_le_bytes());
    packet.extend([4, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(body);
    let checksum = crc32fast::hash(packet.get(1..).unwrap_or_default());
    packet.extend(checksum.to_le_bytes());
    packets.push(packet);
    Ok(())
}

fn image(id: u32, fraction: u32) -> Outcome<Vec<u8>> {
    let mut out = vec![0x80];
    out.extend(u64::from(id).to_le_bytes());
    for text in texts(id) {
        // All columns may have more than 255 bytes, so their lengths have two.
        out.extend(u16::try_from(text.len())?.to_le_bytes());
        out.extend(text.as_bytes());
    }
    out.extend([0x80, 0, 0]);
    out.extend(u16::try_from(id % 10_000)?.to_be_bytes());
    out.push(u8::try_from(id % 100)?);
    let packed = ((2024_u64 * 13 + 2) << 5 | 3) << 17 | 13 << 12 | 14 << 6 | 15;
    out.extend((packed + 0x80_0000_0000).to_be_bytes().iter().skip(3));
    out.extend(fraction.to_be_bytes().iter().skip(1));
    Ok(out)
}

/// The packets of a dump: a format description, then a TABLE_MAP and a rows event for so many rows.
fn binlog(rows_per_event: u32, update: bool) -> Outcome<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    let mut format = vec![4, 0];
    format.extend(b"9.7.4");
    format.resize(56, 0);
    format.push(19);
    format.extend((1..=42_u8).map(|code| match code {
        2 => 13,
        4 | 19 | 23..=25 => 8,
        30..=32 | 39 => 10,
        _ => 0,
    }));
    format.push(1);
    event(&mut packets, 15, &format)?;
    let mut map = vec![5, 0, 0, 0, 0, 0, 1, 0];
    map.extend(b"\x04shop\0\x05users\0\x07");
    map.extend([8, 15, 15, 15, 15, 246, 18, 11, 252, 3, 0, 16, 0, 8, 252, 3, 12, 2, 6, 0x7e]);
    // Signs of the two numbers, then the character set of the texts.
    map.extend([1, 1, 0, 2, 1, 45]);
    let names: Vec<u8> = declared()
        .iter()
        .flat_map(|column| {
            [&[u8::try_from(column.name.len()).unwrap_or(0)], column.name.as_bytes()].concat()
        })
        .collect();
    map.push(4);
    map.push(u8::try_from(names.len())?);
    map.extend(names);
    let mut id = 0;
    while id < ROWS {
        event(&mut packets, 19, &map)?;
        let mut body = vec![5, 0, 0, 0, 0, 0, 1, 0, 2, 0, 7, 0x7f];
        if update {
            body.push(0x7f);
        }
        for _ in 0..rows_per_event.min(ROWS - id) {
            body.extend(image(id, 1)?);
            if update {
                body.extend(image(id, 2)?);
            }
            id += 1;
        }
        event(&mut packets, if update { 31 } else { 30 }, &body)?;
    }
    Ok(packets)
}

/// The packets as the socket would deliver them.
fn joined(packets: &[Vec<u8>]) -> Outcome<Vec<u8>> {
    let (mut stream, mut sequence) = (Vec::new(), 0);
    for packet in packets {
        write_packet(&mut stream, &mut sequence, packet)?;
    }
    Ok(stream)
}

fn framing(stream: &[u8]) -> Outcome<f64> {
    timed(|| {
        let mut reader = EventReader::new();
        let mut packets = PacketReader::new(stream);
        while let Some(packet) = next(&mut packets)? {
            black_box(reader.read(packet)?);
        }
        Ok(())
    })
}

fn events(stream: &[u8], images: UpdateImages) -> Outcome<f64> {
    let declared = declared();
    let mut builder = BatchBuilder::new(&declared)?;
    timed(|| {
        let mut reader = EventReader::new();
        let mut cache = PlanCache::new();
        let mut packets = PacketReader::new(stream);
        while let Some(packet) = next(&mut packets)? {
            let Some(event) = reader.read(packet)? else { break };
            match event.body {
                EventBody::TableMap(map) => cache.observe(&map, |map| {
                    let key = ["id".to_owned()];
                    RowsPlan::new(map, &[], &declared, &key, &ZoneOffset::utc()).map(Some)
                })?,
                EventBody::Rows(rows) => {
                    let Lookup::Wanted(plan) = cache.get(rows.table_id) else { continue };
                    plan.append(&rows, &mut builder, images)?;
                    if builder.row_count() >= BATCH_ROWS {
                        black_box(builder.finish()?);
                    }
                }
                _ => {}
            }
        }
        black_box(builder.finish()?);
        Ok(())
    })
}

fn next<'a>(packets: &'a mut PacketReader<&[u8]>) -> Outcome<Option<&'a [u8]>> {
    if packets.stream().is_empty() && !packets.has_buffered() {
        return Ok(None);
    }
    Ok(Some(packets.next()?))
}

fn theirs(packets: &[Vec<u8>]) -> Outcome<f64> {
    timed(|| {
        let mut reader = EventStreamReader::new(BinlogVersion::Version4);
        let mut count = 0_u64;
        for packet in packets {
            let Some(event) = reader.read(packet.get(1..).unwrap_or_default())? else { break };
            if let Some(EventData::RowsEvent(rows)) = event.read_data()? {
                let Some(map) = reader.get_tme(rows.table_id()) else { continue };
                for row in rows.rows(map) {
                    black_box(row?);
                    count += 1;
                }
            }
        }
        if count != u64::from(ROWS) {
            return Err(format!("mysql_common read {count} rows").into());
        }
        Ok(())
    })
}
