//! Row images of random tables, beside `mysql_common`'s reader.

use arrow::array::{Array, AsArray};
use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::EventData;
use mysql_common::binlog::value::BinlogValue;
use mysql_common::value::Value as TheirValue;
use proptest::prelude::*;
use shardlake_change::{LogicalType, changelog_text};

use super::*;
use crate::event::scribe::{Scribe, image, names, rows, table_map};
use crate::event::{EventBody, EventReader};
use crate::value::temporal::Moment;

const WRITE: u8 = 30;
const UPDATE: u8 = 31;
const DELETE: u8 = 32;

/// A table of a binlog and what is declared for it.
struct Case {
    map: Vec<u8>,
    declared: Vec<Column>,
    key: Vec<String>,
    known: Vec<SourceColumn>,
}

impl Case {
    /// `id INT, name VARCHAR(100) utf8mb4`, key `id`.
    fn orders() -> Self {
        let columns: &[(u8, &[u8])] = &[(3, &[]), (15, &[100, 0])];
        Self {
            map: table_map(5, columns, &[(2, vec![45]), names(&["id", "name"])]),
            declared: vec![
                Column::new("id", LogicalType::Int).not_null(),
                Column::new("name", LogicalType::String),
            ],
            key: vec!["id".into()],
            known: Vec::new(),
        }
    }

    fn scribe(&self, events: &[(u8, Vec<u8>)]) -> Scribe {
        let mut scribe = Scribe::new(true);
        scribe.write(19, &self.map);
        for (type_code, body) in events {
            scribe.write(*type_code, body);
        }
        scribe
    }

    /// Runs `each` for every rows event.
    fn read(
        &self,
        events: &[(u8, Vec<u8>)],
        mut each: impl FnMut(&RowsPlan, &RowsEvent<'_>, &mut BatchBuilder) -> Result<usize>,
    ) -> Result<BatchBuilder> {
        let mut builder = BatchBuilder::new(&self.declared)?;
        let mut cache = PlanCache::new();
        let mut reader = EventReader::new();
        for packet in self.scribe(events).packets() {
            match reader.read(&packet)?.unwrap().body {
                EventBody::TableMap(map) => cache.observe(&map, |map| {
                    let zone = ZoneOffset::new(|_| 3_600);
                    RowsPlan::new(map, &self.known, &self.declared, &self.key, &zone).map(Some)
                })?,
                EventBody::Rows(event) => match cache.get(event.table_id) {
                    Lookup::Wanted(plan) => drop(each(plan, &event, &mut builder)?),
                    other => panic!("{other:?}"),
                },
                _ => {}
            }
        }
        Ok(builder)
    }

    fn text(&self, events: &[(u8, Vec<u8>)], images: UpdateImages) -> Result<String> {
        let mut builder =
            self.read(events, |plan, event, builder| plan.append(event, builder, images))?;
        Ok(changelog_text(&[builder.finish()?]).unwrap())
    }
}

fn order(id: i32, name: Option<&str>) -> Vec<u8> {
    let text = |name: &str| [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    image(&[Some(id.to_le_bytes().to_vec()), name.map(text)])
}

fn event(type_code: u8, images: &[Vec<u8>]) -> (u8, Vec<u8>) {
    (type_code, rows(type_code, 5, 2, &images.concat()))
}

fn story() -> Vec<(u8, Vec<u8>)> {
    vec![
        event(WRITE, &[order(1, Some("ann")), order(2, None)]),
        event(
            UPDATE,
            &[order(1, Some("ann")), order(1, Some("bob")), order(2, None), order(7, Some("zoë"))],
        ),
        event(DELETE, &[order(7, Some("zoë"))]),
        // Version 1, as MariaDB and old servers write.
        event(23, &[order(-9, Some(""))]),
    ]
}

#[test]
fn rows_become_changes() {
    insta::assert_snapshot!(Case::orders().text(&story(), UpdateImages::Both).unwrap(), @r"
    +I 1 | ann
    +I 2 | NULL
    -U 1 | ann
    +U 1 | bob
    -U 2 | NULL
    +U 7 | zoë
    -D 7 | zoë
    +I -9 |
    ");
    let upserts = Case::orders().text(&story(), UpdateImages::AfterUnlessKeyChanged).unwrap();
    insta::assert_snapshot!(upserts, @r"
    +I 1 | ann
    +I 2 | NULL
    +U 1 | bob
    -U 2 | NULL
    +U 7 | zoë
    -D 7 | zoë
    +I -9 |
    ");
}

#[test]
fn a_filter_sees_the_key_of_every_image() {
    let case = Case::orders();
    let mut seen = Vec::new();
    let filtered = |images, seen: &mut Vec<String>| {
        let mut builder = case
            .read(&story(), |plan, event, builder| {
                plan.append_filtered(event, builder, images, |kind, key| {
                    seen.push(format!("{kind} {key:?}"));
                    key != [KeyValue::Integer(2)]
                })
            })
            .unwrap();
        changelog_text(&[builder.finish().unwrap()]).unwrap()
    };
    insta::assert_snapshot!(filtered(UpdateImages::Both, &mut seen), @r"
    +I 1 | ann
    -U 1 | ann
    +U 1 | bob
    +U 7 | zoë
    -D 7 | zoë
    +I -9 |
    ");
    assert_eq!(seen.len(), 8);
    assert_eq!(seen[4], "-U [Integer(2)]");
    seen.clear();
    insta::assert_snapshot!(filtered(UpdateImages::AfterUnlessKeyChanged, &mut seen), @r"
    +I 1 | ann
    +U 1 | bob
    +U 7 | zoë
    -D 7 | zoë
    +I -9 |
    ");
    assert_eq!(seen.len(), 7);
}

#[test]
fn partial_images_are_refused() {
    let mut body = event(UPDATE, &[order(1, None), order(1, None)]);
    // The second bitmap lacks the second column.
    body.1[12] = 0b1111_1101;
    let error = Case::orders().text(&[body], UpdateImages::Both).unwrap_err();
    assert!(matches!(&error, Error::RowImage { table } if table == "shop.orders"), "{error}");
}

#[test]
fn a_changed_table_is_refused_without_names() {
    let mut case = Case::orders();
    case.map = table_map(5, &[(3, &[]), (15, &[100, 0])], &[(2, vec![45])]);
    let known = |name: &str, kind: &str| SourceColumn::declared(name, kind, None).unwrap();
    case.known = vec![known("id", "int"), known("name", "varchar(100)")];
    assert_eq!(case.text(&story()[..1], UpdateImages::Both).unwrap(), "+I 1 | ann\n+I 2 | NULL\n");
    for other in [vec![known("id", "int")], vec![known("name", "varchar(100)"), known("id", "int")]]
    {
        case.known = other;
        let error = case.text(&[], UpdateImages::Both).unwrap_err().to_string();
        assert!(error.contains("set binlog_row_metadata=FULL"), "{error}");
    }
}

#[test]
fn a_plan_lives_as_long_as_the_table_map_is_the_same() {
    let case = Case::orders();
    let packets = case.scribe(&[]).packets();
    let mut reader = EventReader::new();
    reader.read(&packets[0]).unwrap();
    let EventBody::TableMap(map) = reader.read(&packets[1]).unwrap().unwrap().body else {
        panic!()
    };
    let mut cache = PlanCache::new();
    let mut bound = 0;
    let mut observe = |cache: &mut PlanCache<u8>, map: &TableMap<'_>| {
        cache
            .observe(map, |_| {
                bound += 1;
                Ok::<_, Error>(Some(bound))
            })
            .unwrap();
    };
    assert_eq!(cache.get(5), Lookup::Unknown);
    observe(&mut cache, &map);
    observe(&mut cache, &map);
    assert_eq!(cache.get(5), Lookup::Wanted(&mut 1));
    let other = table_map(5, &[(3, &[])], &[]);
    let mut scribe = Scribe::new(true);
    scribe.write(19, &other);
    let packets = scribe.packets();
    let EventBody::TableMap(map) = reader.read(&packets[1]).unwrap().unwrap().body else {
        panic!()
    };
    observe(&mut cache, &map);
    assert_eq!(cache.get(5), Lookup::Wanted(&mut 2));
}

/// A column of a random table: its type number and metadata, its name in `information_schema`, and cells.
#[derive(Clone, Debug)]
struct RandomColumn {
    type_code: u8,
    metadata: Vec<u8>,
    unsigned: bool,
    cells: Vec<Option<Vec<u8>>>,
}

const ROWS: usize = 4;

/// A date and time in the packed form of DATETIME(n), and cells of the other types that need care.
fn cell(type_code: u8, metadata: &[u8]) -> BoxedStrategy<Vec<u8>> {
    let bytes = |len: usize| prop::collection::vec(any::<u8>(), len).boxed();
    let fraction = |digits: u8| match digits {
        0 => Just(Vec::new()).boxed(),
        1 | 2 => (0_u8..100).prop_map(|f| vec![f]).boxed(),
        3 | 4 => (0_u16..10_000).prop_map(|f| f.to_be_bytes().to_vec()).boxed(),
        _ => (0_u32..1_000_000).prop_map(|f| f.to_be_bytes()[1..].to_vec()).boxed(),
    };
    match type_code {
        1 => bytes(1),
        2 => bytes(2),
        // mysql_common reads negative MEDIUMINTs without their sign.
        9 => bytes(3).prop_map(|bytes| vec![bytes[0], bytes[1], bytes[2] & 0x7f]).boxed(),
        3 => bytes(4),
        8 => bytes(8),
        4 => any::<f32>()
            .prop_filter("no NaN", |f| f.is_finite())
            .prop_map(|f| f.to_le_bytes().to_vec())
            .boxed(),
        5 => any::<f64>()
            .prop_filter("no NaN", |f| f.is_finite())
            .prop_map(|f| f.to_le_bytes().to_vec())
            .boxed(),
        13 => (1_u8..=255).prop_map(|year| vec![year]).boxed(),
        10 => (0_u32..10_000, 0_u32..13, 0_u32..32)
            .prop_map(|(y, m, d)| (y << 9 | m << 5 | d).to_le_bytes()[..3].to_vec())
            .boxed(),
        17 => (1_u32..u32::MAX / 2, fraction(metadata[0]))
            .prop_map(|(seconds, fraction)| [&seconds.to_be_bytes()[..], &fraction].concat())
            .boxed(),
        18 => (
            (0_u64..10_000, 0_u64..13, 0_u64..32),
            (0_u64..24, 0_u64..60, 0_u64..60),
            fraction(metadata[0]),
        )
            .prop_map(|((y, m, d), (h, i, s), fraction)| {
                let packed = ((y * 13 + m) << 5 | d) << 17 | h << 12 | i << 6 | s;
                [&(packed + 0x80_0000_0000).to_be_bytes()[3..], &fraction].concat()
            })
            .boxed(),
        19 => (any::<bool>(), 0_i64..839, 0_i64..60, 0_i64..60, fraction(metadata[0]))
            .prop_map(|(negative, h, i, s, fraction)| {
                // mysql_common reads negative times with one or two digits wrongly.
                let negative = negative && fraction.len() != 1;
                let bits = 8 * fraction.len();
                let frac = fraction.iter().fold(0_i64, |n, byte| n << 8 | i64::from(*byte));
                let size = (h << 12 | i << 6 | s) << bits | frac;
                let packed = if negative { -size } else { size } + (0x80_0000 << bits);
                packed.to_be_bytes()[8 - 3 - fraction.len()..].to_vec()
            })
            .boxed(),
        _ => long_cell(type_code),
    }
}

/// Text and decimals.
fn long_cell(type_code: u8) -> BoxedStrategy<Vec<u8>> {
    match type_code {
        15 => "[a-zé]{0,20}"
            .prop_map(|text| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat())
            .boxed(),
        252 => "[a-zé]{0,300}"
            .prop_map(|text| {
                let len = u16::try_from(text.len()).unwrap().to_le_bytes();
                [&len[..], text.as_bytes()].concat()
            })
            .boxed(),
        246 => (any::<bool>(), 0_u32..10, 0_u32..1_000_000_000, 0_u8..100)
            .prop_map(|(negative, head, middle, tail)| {
                // DECIMAL(12, 2): one digit and nine before the point.
                let mut bytes = vec![u8::try_from(head).unwrap()];
                bytes.extend(middle.to_be_bytes());
                bytes.push(tail);
                bytes[0] ^= 0x80;
                if negative {
                    bytes.iter_mut().for_each(|byte| *byte = !*byte);
                }
                bytes
            })
            .boxed(),
        _ => unreachable!("no cells for type {type_code}"),
    }
}

fn random_column() -> impl Strategy<Value = RandomColumn> {
    let kinds =
        prop::sample::select(vec![1_u8, 2, 9, 3, 8, 4, 5, 13, 10, 15, 252, 17, 18, 19, 246]);
    (kinds, any::<bool>(), 0_u8..=6).prop_flat_map(|(type_code, unsigned, fraction)| {
        let metadata = match type_code {
            4 => vec![4],
            5 => vec![8],
            15 => vec![200, 0],
            252 => vec![2],
            17..=19 => vec![fraction],
            246 => vec![12, 2],
            _ => Vec::new(),
        };
        let cells =
            prop::collection::vec(prop::option::weighted(0.8, cell(type_code, &metadata)), ROWS);
        cells.prop_map(move |cells| RandomColumn {
            type_code,
            metadata: metadata.clone(),
            unsigned,
            cells,
        })
    })
}

/// What mysql_common read, as text.
fn their_text(value: BinlogValue<'_>, column: &RandomColumn) -> Option<String> {
    let BinlogValue::Value(value) = value else { panic!("no value") };
    let digits = usize::from(column.metadata.first().copied().unwrap_or(0));
    let fraction = |micros: u32| match digits {
        0 => String::new(),
        digits => format!(".{micros:06}").chars().take(1 + digits).collect(),
    };
    match value {
        TheirValue::NULL => None,
        TheirValue::Int(number) => Some(number.to_string()),
        TheirValue::UInt(number) => Some(number.to_string()),
        TheirValue::Float(number) => Some(format!("f{number:?}")),
        TheirValue::Double(number) => Some(format!("f{number:?}")),
        TheirValue::Date(y, m, d, ..) if column.type_code == 10 => {
            Some(format!("{y:04}-{m:02}-{d:02}"))
        }
        TheirValue::Date(y, m, d, h, i, s, u) => {
            Some(format!("{y:04}-{m:02}-{d:02} {h:02}:{i:02}:{s:02}{}", fraction(u)))
        }
        TheirValue::Time(negative, d, h, i, s, u) => {
            let sign = if negative { "-" } else { "" };
            let hours = d * 24 + u32::from(h);
            Some(format!("{sign}{hours:02}:{i:02}:{s:02}{}", fraction(u)))
        }
        TheirValue::Bytes(bytes) => {
            let text = String::from_utf8(bytes).unwrap();
            match column.type_code {
                17 => {
                    let (seconds, micros) = text.split_once('.').unwrap_or((&text, "0"));
                    // The test's zone is an hour ahead.
                    let local = seconds.parse::<i64>().unwrap() + 3_600;
                    let moment = Moment::at(local, micros.parse().unwrap());
                    let mut out = Vec::new();
                    moment.write_datetime(column.metadata[0], &mut out);
                    Some(String::from_utf8(out).unwrap())
                }
                _ => Some(text),
            }
        }
    }
}

fn case_of(columns: &[RandomColumn]) -> (Case, Vec<(u8, Vec<u8>)>) {
    let types: Vec<(u8, &[u8])> =
        columns.iter().map(|column| (column.type_code, &column.metadata[..])).collect();
    let column_names: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
    let mut signs = Vec::new();
    let numeric = |column: &&RandomColumn| matches!(column.type_code, 1..=5 | 8 | 9 | 13 | 246);
    for (index, column) in columns.iter().filter(numeric).enumerate() {
        if index % 8 == 0 {
            signs.push(0_u8);
        }
        if column.unsigned {
            *signs.last_mut().unwrap() |= 0x80 >> (index % 8);
        }
    }
    let borrowed: Vec<&str> = column_names.iter().map(String::as_str).collect();
    let optional = [(1, signs), (2, vec![45]), names(&borrowed)];
    let case = Case {
        map: table_map(5, &types, &optional),
        declared: column_names.iter().map(|name| Column::new(name, LogicalType::String)).collect(),
        key: Vec::new(),
        known: Vec::new(),
    };
    let images: Vec<u8> = (0..ROWS)
        .flat_map(|row| {
            let cells: Vec<_> = columns.iter().map(|column| column.cells[row].clone()).collect();
            image(&cells)
        })
        .collect();
    (case, vec![(WRITE, rows(WRITE, 5, columns.len(), &images))])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rows_equal_those_of_mysql_common(columns in prop::collection::vec(random_column(), 1..20)) {
        let (case, events) = case_of(&columns);
        let mut builder = case
            .read(&events, |plan, event, builder| plan.append(event, builder, UpdateImages::Both))
            .unwrap();
        let batch = builder.finish().unwrap();

        let mut theirs = EventStreamReader::new(BinlogVersion::Version4);
        let bytes = case.scribe(&events).events.concat();
        let mut stream = &bytes[..];
        theirs.read(&mut stream).unwrap();
        theirs.read(&mut stream).unwrap();
        let event = theirs.read(&mut stream).unwrap().unwrap();
        let Some(EventData::RowsEvent(event)) = event.read_data().unwrap() else { panic!("no rows") };
        let map = theirs.get_tme(5).unwrap();
        let mut count = 0;
        for (row, images) in event.rows(map).enumerate() {
            let (_, after) = images.unwrap();
            for (index, value) in after.unwrap().unwrap().into_iter().enumerate() {
                let ours = batch.rows().column(index).as_string::<i32>();
                let ours = ours.is_valid(row).then(|| ours.value(row).to_owned());
                let their = their_text(value, &columns[index]);
                match their.as_deref().and_then(|text| text.strip_prefix('f')) {
                    Some(number) if matches!(columns[index].type_code, 4 | 5) => {
                        let ours: f64 = ours.unwrap().parse().unwrap();
                        prop_assert_eq!(ours.to_bits(), number.parse::<f64>().unwrap().to_bits());
                    }
                    _ => prop_assert_eq!(ours, their, "type {}", columns[index].type_code),
                }
            }
            count += 1;
        }
        prop_assert_eq!(count, ROWS);
        prop_assert_eq!(batch.row_count(), ROWS);
    }

    #[test]
    fn damaged_rows_are_rows_or_an_error(
        columns in prop::collection::vec(random_column(), 1..8),
        cut in 0_usize..400,
        flips in prop::collection::vec((0_usize..400, any::<u8>()), 0..6),
    ) {
        let (mut case, mut events) = case_of(&columns);
        case.key = vec!["c0".into()];
        events[0].0 = UPDATE;
        let body = &mut events[0].1;
        // An update has a second bitmap.
        body.insert(11, 0xff);
        for (at, value) in flips {
            let len = body.len();
            body[at % len] = value;
        }
        body.truncate(cut.max(11));
        for images in [UpdateImages::Both, UpdateImages::AfterUnlessKeyChanged] {
            let read = |plan: &RowsPlan, event: &RowsEvent<'_>, builder: &mut BatchBuilder| {
                plan.append_filtered(event, builder, images, |_, _| true)
            };
            // Another table's number, a short row, a bad number: anything but a panic.
            if body_names_the_table(&events[0].1) {
                drop(case.read(&events, read).and_then(|mut builder| builder.finish()));
            }
        }
    }
}

fn body_names_the_table(body: &[u8]) -> bool {
    body.starts_with(&[5, 0, 0, 0, 0, 0])
}
