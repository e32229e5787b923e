//! Events as a server writes them, damaged ones, and any bytes.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{EventData, GtidEvent as TheirGtid};
use mysql_common::packets::Tag;
use mysql_common::proto::MySerialize;
use proptest::prelude::*;

use super::scribe::{Scribe, rows, table_map};
use super::*;
use crate::charset::Charset;
use crate::column::code::ENUM;
use crate::gtid::{Gtid, GtidSet};
use crate::rows::source_columns;

/// Reads all events of a scribe; what each is, in a word or two.
fn describe(body: &EventBody<'_>) -> String {
    match body {
        EventBody::FormatDescription(format) => {
            format!("format {} {}", format.server_version, format.checksums)
        }
        EventBody::Rotate(rotate) => format!("rotate {}:{}", rotate.file, rotate.position),
        EventBody::Gtid(event) => match event.gtid {
            Some(gtid) => format!("gtid {gtid}"),
            None => "anonymous".into(),
        },
        EventBody::PreviousGtids(previous) => format!("previous {}", previous.set().unwrap()),
        EventBody::Query(query) => {
            format!("query {} {} {}", query.database_text(), query.charset.name(), query.text())
        }
        EventBody::Xid(xid) => format!("xid {xid}"),
        EventBody::TableMap(map) => format!("map {} {}", map.display_name(), map.column_count()),
        EventBody::Rows(event) => format!("rows {} {:?}", event.table_id, event.kind),
        EventBody::Payload(payload) => {
            let mut events = payload.events().unwrap();
            let mut all = Vec::new();
            while let Some(event) = events.next().unwrap() {
                all.push(describe(&event.body));
            }
            format!("payload [{}]", all.join(", "))
        }
        EventBody::XaPrepare(prepare) => format!("xa {}", prepare.identifier()),
        EventBody::Heartbeat(beat) => {
            format!("heartbeat {}:{}", String::from_utf8_lossy(beat.file), beat.position)
        }
        EventBody::LoadStatement => "load".into(),
        EventBody::Incident => "incident".into(),
        EventBody::Stop => "stop".into(),
        EventBody::Ignored => "ignored".into(),
    }
}

fn read(scribe: &Scribe) -> Vec<String> {
    let mut reader = EventReader::new();
    let read = |packet: &Vec<u8>| match reader.read(packet) {
        Ok(event) => describe(&event.unwrap().body),
        Err(error) => error.to_string(),
    };
    scribe.packets().iter().map(read).collect()
}

fn query(database: &str, variables: &[u8], sql: &[u8]) -> Vec<u8> {
    let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, u8::try_from(database.len()).unwrap(), 0, 0];
    body.extend(u16::try_from(variables.len()).unwrap().to_le_bytes());
    body.extend_from_slice(variables);
    body.extend_from_slice(database.as_bytes());
    body.push(0);
    body.extend_from_slice(sql);
    body
}

/// `bytes` as MariaDB compresses them, with the length that is said.
fn deflated(bytes: &[u8], length: u8) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![0x81, length], Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The events that only MariaDB writes.
fn write_mariadb(scribe: &mut Scribe) {
    let sql = b"create table t (i int)";
    scribe.write(code::ANNOTATE_ROWS, b"INSERT");
    let list = [&1_u32.to_le_bytes()[..], &[0; 4], &1_u32.to_le_bytes(), &7_u64.to_le_bytes()];
    scribe.write(code::GTID_LIST, &list.concat());
    let gtid =
        |number: u64, rest: &[u8]| [&number.to_le_bytes()[..], &4_u32.to_le_bytes(), rest].concat();
    scribe.write(code::MARIADB_GTID, &gtid(9, &[0x29, 0, 0, 0, 0, 0, 0]));
    scribe.write(code::MARIADB_GTID, &gtid(10, &[0x0e, 1, 0, 0, 0, 0, 0, 0, 0]));
    scribe.write(code::QUERY_COMPRESSED, &query("shop", &[], &deflated(sql, 22)));
    scribe.write(code::WRITE_ROWS_COMPRESSED_V1 + 1, &rows(code::UPDATE_ROWS_V1, 5, 2, &[]));
    scribe.write(code::DELETE_ROWS_COMPRESSED, &rows(code::DELETE_ROWS, 5, 2, &[]));
    scribe.write(code::QUERY_COMPRESSED, &query("shop", &[], &deflated(sql, 21)));
    scribe.write(code::QUERY_COMPRESSED, &query("shop", &[], &[0x91, 0]));
}

#[test]
fn transactions_of_mariadb_open_themselves() {
    let mut scribe = Scribe::new(true);
    let body = |flags: u8| [&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags][..], &[0; 6]].concat();
    for (flags, opens, prepares) in
        [(0x0c, true, false), (0x29, false, false), (0x4c, true, true), (0x8d, false, false)]
    {
        scribe.write(code::MARIADB_GTID, &body(flags));
        let packets = scribe.packets();
        let mut reader = EventReader::new();
        reader.read(&packets[0]).unwrap();
        let event = reader.read(packets.last().unwrap()).unwrap().unwrap();
        let EventBody::Gtid(gtid) = event.body else { panic!("no GTID") };
        assert_eq!((gtid.opens_transaction, gtid.prepares_xa), (opens, prepares), "{flags:x}");
    }
}

#[test]
fn a_bit_column_of_too_many_bytes_is_refused() {
    for (metadata, is_type) in [([7, 7], true), ([0, 8], true), ([1, 255], false), ([8, 0], false)]
    {
        let mut scribe = Scribe::new(false);
        let names = scribe::names(&["c"]);
        scribe.write(code::TABLE_MAP, &table_map(5, &[(16, &metadata)], &[names]));
        let packets = scribe.packets();
        let mut reader = EventReader::new();
        reader.read(&packets[0]).unwrap();
        let event = reader.read(&packets[1]).unwrap().unwrap();
        let EventBody::TableMap(map) = event.body else { panic!("no table map") };
        assert_eq!(source_columns(&map, &[]).is_ok(), is_type, "{metadata:?}");
    }
}

#[test]
fn a_small_stream_cannot_claim_to_be_a_large_one() {
    let claim = [&[0x84, 0x7f, 0xff, 0xff, 0xff][..], &deflated(&[0; 9_999], 0)[2..]].concat();
    inflate(&claim, "statement").unwrap_err();
}

#[test]
fn events_are_read_by_type() {
    let gtid: Gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:9".parse().unwrap();
    let set: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-8".parse().unwrap();
    let event = TheirGtid::new(*gtid.source.uuid(), gtid.number);
    let mut gtid_body = Vec::new();
    event.serialize(&mut gtid_body);
    for checksums in [true, false] {
        let mut scribe = Scribe::new(checksums);
        scribe.write(code::PREVIOUS_GTIDS, &set.encode());
        scribe.write(code::GTID, &gtid_body);
        scribe.write(code::ANONYMOUS_GTID, &gtid_body);
        scribe.write(code::QUERY, &query("shop", &[], "BEGIN".as_bytes()));
        let latin1 = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 4, 8, 0, 8, 0, 8, 0];
        scribe.write(code::QUERY, &query("shöp", &latin1, b"create table \xe4 (i int)"));
        scribe.write(code::TABLE_MAP, &table_map(5, &[(3, &[]), (15, &[255, 0])], &[]));
        scribe.write(code::UPDATE_ROWS, &rows(code::UPDATE_ROWS, 5, 2, &[]));
        scribe.write(code::DELETE_ROWS_V1, &rows(code::DELETE_ROWS_V1, 5, 2, &[]));
        scribe.write(code::PARTIAL_UPDATE_ROWS, &rows(code::UPDATE_ROWS, 6, 2, &[]));
        scribe.write(code::XID, &77_u64.to_le_bytes());
        let prepare = [&[0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0][..], b"abc"].concat();
        scribe.write(code::XA_PREPARE, &prepare);
        scribe.write(code::HEARTBEAT, b"binlog.000007");
        scribe.write(code::HEARTBEAT_V2, b"\x01\x03b.7\x02\x03\xfc\x00\x02\x00");
        scribe.write(code::ROWS_QUERY, b"\x05INSER");
        scribe.write(code::EXECUTE_LOAD_QUERY, b"");
        scribe.write(code::ROTATE, &[&4_u64.to_le_bytes()[..], b"binlog.000008"].concat());
        scribe.write_flagged(99, IGNORABLE_FLAG, b"");
        scribe.write(99, b"");
        write_mariadb(&mut scribe);
        let read = read(&scribe).join("\n");
        let read = read.replace("9.7.4 true", "9.7.4").replace("9.7.4 false", "9.7.4");
        // The dump thread's position of the first heartbeat is its end position.
        let read =
            read.lines().map(|l| if l.starts_with("heartbeat binlog") { "heartbeat" } else { l });
        insta::allow_duplicates! {
            insta::assert_snapshot!(read.collect::<Vec<_>>().join("\n"), @r"
            format 9.7.4
            previous 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-8
            gtid 3e11fa47-71ca-11e1-9e33-c80aa9429562:9
            anonymous
            query shop utf8mb4 BEGIN
            query shöp latin1 create table ä (i int)
            map shop.orders 2
            rows 5 Update
            rows 5 Delete
            rows 6 Update
            xid 77
            xa X'6162',X'63',1
            heartbeat
            heartbeat b.7:512
            ignored
            load
            rotate binlog.000008:4
            ignored
            the binlog holds an event of the unknown type 99; rows might be lost if it were passed over
            ignored
            previous 0-1-7
            gtid 4-1-9
            gtid 4-1-10
            query shop utf8mb4 create table t (i int)
            rows 5 Update
            rows 5 Delete
            malformed statement: its compressed bytes are damaged
            a statement is compressed with algorithm 1, which is unknown
            ");
        }
    }
}

#[test]
fn damage_is_noticed_and_an_early_rotate_needs_no_format() {
    let mut scribe = Scribe::new(true);
    scribe.write(code::ROTATE, &[&4_u64.to_le_bytes()[..], b"binlog.000008"].concat());
    scribe.write(code::XID, &77_u64.to_le_bytes());
    scribe.events[2][20] ^= 1;
    let [_, rotate, damaged] = &scribe.packets()[..] else { panic!("three events") };
    // With a checksum and without one, before the format is known.
    for packet in [rotate.clone(), rotate[..rotate.len() - 4].to_vec()] {
        let event = EventReader::new().read(&packet).unwrap().unwrap();
        assert_eq!(describe(&event.body), "rotate binlog.000008:4");
    }
    let all = read(&scribe);
    assert!(all[2].starts_with("the checksum of the binlog event"), "{}", all[2]);
    assert!(!damaged.is_empty());
    assert!(matches!(EventReader::new().read(b"\xff\xd4\x04#HY000purged"), Err(Error::Server(_))));
    assert!(EventReader::new().read(&[0xfe, 0, 0]).unwrap().is_none());
}

#[test]
fn gtid_events_equal_those_of_mysql_common() {
    let base = || {
        TheirGtid::new([9; 16], 123)
            .with_last_committed(5)
            .with_sequence_number(6)
            .with_immediate_commit_timestamp(1_700_000_000_000_001)
            .with_original_commit_timestamp(1_700_000_000_000_000)
            .with_tx_length(70_000)
    };
    let tag = Tag::new("my_tag").unwrap();
    let mut tagged = TheirGtid::new_tagged([9; 16], tag, 123)
        .with_last_committed(5)
        .with_sequence_number(6)
        .with_immediate_commit_timestamp(1_700_000_000_000_001)
        .with_original_commit_timestamp(1_700_000_000_000_000)
        .with_tx_length(70_000);
    tagged = tagged.with_original_server_version(90_704).with_immediate_server_version(90_704);
    for (type_code, event) in [(code::GTID, base()), (code::TAGGED_GTID, tagged)] {
        let mut body = Vec::new();
        event.serialize(&mut body);
        let mut scribe = Scribe::new(true);
        scribe.write(type_code, &body);
        let mut reader = EventReader::new();
        let packets = scribe.packets();
        reader.read(&packets[0]).unwrap();
        let EventBody::Gtid(ours) = reader.read(&packets[1]).unwrap().unwrap().body else {
            panic!("no GTID event")
        };
        let gtid = ours.gtid.unwrap();
        assert_eq!((gtid.source.uuid(), gtid.number), (&[9; 16], 123));
        assert_eq!(gtid.source.tag(), event.tag().map_or("", |tag| tag.as_str()));
        assert_eq!((ours.last_committed, ours.sequence_number), (5, 6));
        assert_eq!(ours.immediate_commit_us, 1_700_000_000_000_001);
        assert_eq!(ours.original_commit_us, 1_700_000_000_000_000);
        assert_eq!(ours.transaction_length, 70_000);
    }
}

#[test]
fn a_compressed_transaction_is_read_event_by_event() {
    let mut inner = Scribe::new(false);
    inner.write(code::QUERY, &query("shop", &[], b"BEGIN"));
    inner.write(code::TABLE_MAP, &table_map(5, &[(3, &[])], &[]));
    let many: Vec<u8> =
        (0..200_000_u32).flat_map(|i| [&[0xfe][..], &i.to_le_bytes()].concat()).collect();
    inner.write(code::WRITE_ROWS, &rows(code::WRITE_ROWS, 5, 1, &many));
    inner.write(code::XID, &1_u64.to_le_bytes());
    let bytes = inner.events[1..].concat();
    for compressed in [true, false] {
        let content =
            if compressed { zstd::encode_all(&bytes[..], 3).unwrap() } else { bytes.clone() };
        let mut body = vec![2, 1, if compressed { 0 } else { 0xfc }];
        if !compressed {
            body = vec![2, 3, 0xfc, 255, 0];
        }
        body.extend([3, 4, 0xfd, 0, 0, 16, 1, 4, 0xfd]);
        body.extend(&u32::try_from(content.len()).unwrap().to_le_bytes()[..3]);
        body.push(0);
        body.extend(&content);
        let mut scribe = Scribe::new(true);
        scribe.write(code::TRANSACTION_PAYLOAD, &body);
        let expected =
            "payload [query shop utf8mb4 BEGIN, map shop.orders 1, rows 5 Insert, xid 1]";
        assert_eq!(read(&scribe)[1], expected);
        // Cut within the compressed bytes: an error, never an early end.
        let cut = body.len() - content.len() / 2;
        let mut short = TransactionPayload::parse(&body, EventReader::new().inside()).unwrap();
        short.bytes_for_tests(cut - (body.len() - content.len()));
        let mut events = short.events().unwrap();
        let outcome = loop {
            match events.next() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        assert!(matches!(outcome, Err(Error::Malformed { .. })), "{outcome:?}");
    }
}

#[test]
fn table_maps_equal_those_of_mysql_common() {
    let columns: &[(u8, &[u8])] = &[
        (8, &[]),
        (15, &[0x00, 0x04]),
        (246, &[12, 2]),
        (18, &[6]),
        (254, &[0xf7, 1]),
        (254, &[0xf8, 1]),
        (252, &[2]),
    ];
    let members = b"\x02\x01a\x02b\xe9".to_vec();
    let optional = [
        (1, vec![0b1000_0000]),
        (2, vec![8, 1, 63]),
        scribe::names(&["id", "name", "price", "at", "kind", "flags", "doc"]),
        (5, members.clone()),
        (6, members),
        (8, vec![0]),
        (10, vec![8]),
    ];
    let mut scribe = Scribe::new(true);
    scribe.write(code::TABLE_MAP, &table_map(5, columns, &optional));
    let packets = scribe.packets();
    let mut reader = EventReader::new();
    reader.read(&packets[0]).unwrap();
    let EventBody::TableMap(map) = reader.read(&packets[1]).unwrap().unwrap().body else {
        panic!("no table map")
    };
    let described = source_columns(&map, &[]).unwrap();
    let described: Vec<String> =
        described.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
    insta::assert_snapshot!(described.join("\n"), @r"
    id BIGINT UNSIGNED
    name text in latin1
    price DECIMAL(12, 2)
    at DATETIME(6)
    kind ENUM
    flags SET
    doc VARBINARY or BLOB
    ");
    let metadata = map.metadata().unwrap();
    assert_eq!(metadata.primary_key, Some(vec![0]));
    let members = metadata.members(ENUM, 0, Charset::named("latin1")).unwrap();
    assert_eq!(*members, ["a".to_owned(), "bé".to_owned()]);

    let mut theirs = EventStreamReader::new(BinlogVersion::Version4);
    let mut stream = &scribe.events.concat()[..];
    theirs.read(&mut stream).unwrap();
    let event = theirs.read(&mut stream).unwrap().unwrap();
    let Some(EventData::TableMapEvent(event)) = event.read_data().unwrap() else {
        panic!("no table map")
    };
    assert_eq!(event.columns_count(), 7);
    assert_eq!(event.table_name_raw(), map.table);
    assert_eq!(event.iter_optional_meta().count(), optional.len());
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(
        type_code in prop_oneof![0_u8..45, 160_u8..172],
        body in prop::collection::vec(any::<u8>(), 0..120),
        known: bool,
    ) {
        let mut scribe = Scribe::new(false);
        scribe.write(type_code, &body);
        let packets = scribe.packets();
        let mut reader = EventReader::new();
        if known {
            reader.read(&packets[0]).unwrap();
        }
        if let Ok(Some(event)) = reader.read(&packets[1]) {
            match event.body {
                EventBody::TableMap(map) => drop(source_columns(&map, &[])),
                EventBody::Payload(payload) => {
                    if let Ok(mut events) = payload.events() {
                        while let Ok(Some(_)) = events.next() {}
                    }
                }
                EventBody::Query(query) => drop(query.text()),
                _ => {}
            }
        }
        drop(EventReader::new().read(&body));
    }
}
