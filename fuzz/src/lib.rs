//! What a hostile or broken server can send, handed to the wire layer: any bytes give a value or an error, never a
//! panic and never more memory than they account for.
//!
//! The functions here are the fuzz targets; the property test of the wire layer includes this file.

use shardlake_change::{Column, LogicalType};
use shardlake_mysql_wire::decode::{BatchBuilder, ResultSetPlan, ZeroDates, ZoneOffset};
use shardlake_mysql_wire::event::{Event, EventBody, EventReader, RowsEvent, TableMap};
use shardlake_mysql_wire::handshake::{Handshake, HandshakeOptions, Password};
use shardlake_mysql_wire::packet::PacketReader;
use shardlake_mysql_wire::reply;
use shardlake_mysql_wire::rows::{Lookup, PlanCache, RowsPlan, UpdateImages, source_columns};
use shardlake_mysql_wire::{Error, SourceColumn};

const TABLE_MAP: u8 = 19;

/// Packets of a stream: a handshake, then answers of every kind.
pub fn packets(data: &[u8]) {
    let mut packets = PacketReader::new(data).with_limit(1 << 20);
    let password = Password::new("secret");
    let options = HandshakeOptions { user: "u".into(), password, ..HandshakeOptions::default() };
    let mut handshake = Handshake::new(options);
    let mut going = true;
    while let Ok(packet) = packets.next() {
        going = going && handshake.step(packet).is_ok();
        answer(packet);
    }
    answer(data);
}

/// Reads a packet as everything that it may be.
fn answer(packet: &[u8]) {
    drop(reply::parse_head(packet));
    drop(reply::parse_done(packet));
    drop(reply::parse_prepared(packet));
    drop(reply::parse_error(packet));
    if let Ok(reply::RowPacket::Row(row)) = reply::parse_text_row(packet) {
        drop(reply::text_cells(row));
    }
    if let Ok(column) = SourceColumn::from_definition(packet) {
        let declared = [Column::new(&column.name, LogicalType::String)];
        if let (Ok(plan), Ok(mut builder)) = (
            ResultSetPlan::new(&[column], &declared, &ZoneOffset::utc()),
            BatchBuilder::new(&declared),
        ) {
            drop(plan.append(packet, &mut builder));
            drop(builder.finish());
        }
    }
}

/// Events of a binlog file, one behind the other: a byte that is the type, two that are the length, the body.
pub fn events(data: &[u8]) {
    let mut reader = EventReader::new();
    let mut plans = PlanCache::new();
    for_each_event(data, |type_code, body| {
        if let Ok(event) = reader.parse(&event(type_code, body)) {
            look(&event, &mut plans, 0);
        }
    });
    drop(EventReader::new().parse(data));
    drop(EventReader::new().read(data));
}

fn look(event: &Event<'_>, plans: &mut PlanCache<Planned>, depth: u32) {
    match &event.body {
        EventBody::TableMap(map) => drop(plans.observe(map, plan)),
        EventBody::Rows(rows) => {
            if let Lookup::Wanted(planned) = plans.get(rows.table_id) {
                append(planned, rows);
            }
        }
        EventBody::Payload(payload) if depth < 3 => {
            if let Ok(mut events) = payload.events() {
                // A small payload inflates to much: what is looked at has an end.
                for _ in 0..64 {
                    let Ok(Some(inner)) = events.next() else { break };
                    look(&inner, plans, depth + 1);
                }
            }
        }
        EventBody::Query(query) => drop(query.text()),
        EventBody::PreviousGtids(previous) => drop(previous.set()),
        EventBody::XaPrepare(prepare) => drop(prepare.identifier()),
        _ => {}
    }
}

/// How a table is read, and as what.
type Planned = (RowsPlan, Vec<Column>);

/// A plan that reads all columns as the first of some types that fits.
fn plan(map: &TableMap<'_>) -> Result<Option<Planned>, Error> {
    let known: Vec<SourceColumn> = source_columns(map, &[])?;
    let zone = ZoneOffset::new(|_| 3_600);
    for declared_type in types() {
        let declared: Vec<Column> =
            known.iter().map(|c| Column::new(&c.name, declared_type.clone())).collect();
        if let Ok(plan) = RowsPlan::new(map, &known, &declared, &[], &zone) {
            return Ok(Some((plan, declared)));
        }
    }
    Ok(None)
}

fn types() -> [LogicalType; 7] {
    [
        LogicalType::String,
        LogicalType::BigInt,
        LogicalType::Bytes,
        LogicalType::Timestamp(6),
        LogicalType::Decimal { precision: 38, scale: 10 },
        LogicalType::Date,
        LogicalType::Array(Box::new(LogicalType::Float)),
    ]
}

fn append((plan, declared): &Planned, rows: &RowsEvent<'_>) {
    for policy in [ZeroDates::Null, ZeroDates::Round] {
        let Ok(builder) = BatchBuilder::new(declared) else { return };
        let mut builder = builder.with_zero_dates(policy);
        drop(plan.append(rows, &mut builder, UpdateImages::Both));
        drop(builder.finish());
        drop(plan.append(rows, &mut builder, UpdateImages::AfterUnlessKeyChanged));
    }
}

/// Rows of a table with columns of the types that the first bytes choose.
pub fn rows(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let Some((choices, rest)) = rest.split_at_checked(usize::from(count % 12) + 1) else { return };
    let Some((type_code, images)) = rest.split_first() else { return };
    let columns: Vec<&(u8, &[u8])> =
        choices.iter().map(|choice| &COLUMNS[usize::from(*choice) % COLUMNS.len()]).collect();
    let mut reader = EventReader::new();
    let mut plans = PlanCache::new();
    if let Ok(event) = reader.parse(&event(TABLE_MAP, &table_map(&columns))) {
        look(&event, &mut plans, 0);
    }
    const KINDS: [u8; 8] = [30, 31, 32, 23, 24, 39, 166, 170];
    let type_code = KINDS[usize::from(*type_code) % KINDS.len()];
    let body = rows_event(type_code, columns.len(), images);
    if let Ok(event) = reader.parse(&event(type_code, &body)) {
        look(&event, &mut plans, 0);
    }
}

/// A JSON document and differences that are applied to it.
pub fn jsonb(data: &[u8]) {
    let Some((split, rest)) = data.split_first() else { return };
    let at = usize::from(*split).min(rest.len());
    let (document, differences) = rest.split_at(at);
    let column: &[&(u8, &[u8])] = &[&(245, &[4])];
    let mut reader = EventReader::new();
    let mut plans = PlanCache::new();
    if let Ok(event) = reader.parse(&event(TABLE_MAP, &table_map(column))) {
        look(&event, &mut plans, 0);
    }
    let cell = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let inserted = [&[0][..], &cell(rest)].concat();
    let updated = [&[0][..], &cell(document), &[1, 1, 0], &cell(differences)].concat();
    for (type_code, images) in [(30, inserted), (39, updated)] {
        let body = rows_event(type_code, 1, &images);
        if let Ok(event) = reader.parse(&event(type_code, &body)) {
            look(&event, &mut plans, 0);
        }
    }
}

/// Type numbers with their metadata.
const COLUMNS: [(u8, &[u8]); 26] = [
    (1, &[]),
    (2, &[]),
    (9, &[]),
    (3, &[]),
    (8, &[]),
    (4, &[4]),
    (5, &[8]),
    (246, &[12, 2]),
    (246, &[65, 30]),
    (13, &[]),
    (10, &[]),
    (7, &[]),
    (12, &[]),
    (11, &[]),
    (17, &[3]),
    (18, &[6]),
    (19, &[2]),
    (16, &[3, 1]),
    (15, &[10, 0]),
    (15, &[0, 4]),
    (254, &[0xfe, 17]),
    (252, &[3]),
    (245, &[4]),
    (255, &[4]),
    (242, &[4]),
    (141, &[0, 4]),
];

fn for_each_event(mut data: &[u8], mut each: impl FnMut(u8, &[u8])) {
    while let Some(([type_code, low, high], rest)) = data.split_first_chunk::<3>() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (body, later) = rest.split_at(len);
        each(*type_code, body);
        data = later;
    }
}

fn event(type_code: u8, body: &[u8]) -> Vec<u8> {
    let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
    event.push(type_code);
    event.extend(1_u32.to_le_bytes());
    event.extend((19 + body.len() as u32).to_le_bytes());
    event.extend(500_u32.to_le_bytes());
    event.extend(0_u16.to_le_bytes());
    event.extend_from_slice(body);
    event
}

fn table_map(columns: &[&(u8, &[u8])]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    body.extend(b"\x01d\0\x01t\0");
    body.push(columns.len() as u8);
    body.extend(columns.iter().map(|(type_code, _)| type_code));
    let metadata: Vec<u8> = columns.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    body.push(metadata.len() as u8);
    body.extend(metadata);
    body.extend(vec![0xff; columns.len().div_ceil(8)]);
    // The names of the columns.
    let names: Vec<u8> = (0..columns.len()).flat_map(|index| [1, b'a' + index as u8]).collect();
    body.extend([4, names.len() as u8]);
    body.extend(names);
    body
}

fn rows_event(type_code: u8, columns: usize, images: &[u8]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0];
    if matches!(type_code, 30..=39 | 169..) {
        body.extend([2, 0]);
    }
    body.push(columns as u8);
    let bitmaps = if matches!(type_code, 31 | 24 | 39 | 167 | 170) { 2 } else { 1 };
    body.extend(vec![0xff; columns.div_ceil(8) * bitmaps]);
    body.extend_from_slice(images);
    body
}
