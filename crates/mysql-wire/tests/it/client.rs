//! A blocking client over the wire layer, just enough for the tests.

use std::net::TcpStream;

use shardlake_change::{ChangeBatch, Column};
use shardlake_mysql_wire::command::{self, DumpFlags, Parameter};
use shardlake_mysql_wire::decode::{BatchBuilder, ResultSetPlan, ZoneOffset};
use shardlake_mysql_wire::event::{Event, EventBody, EventReader};
use shardlake_mysql_wire::gtid::GtidSet;
use shardlake_mysql_wire::handshake::{Encryption, HandshakeOptions, Password, authenticate};
use shardlake_mysql_wire::packet::PacketReader;
use shardlake_mysql_wire::reply::{self, Head, RowPacket};
use shardlake_mysql_wire::rows::{Lookup, PlanCache, RowsPlan, UpdateImages};
use shardlake_mysql_wire::{Result, SourceColumn};
use shardlake_testkit::MysqlServer;

/// The zone of the tests: an hour ahead of UTC.
pub(crate) fn zone() -> ZoneOffset {
    ZoneOffset::new(|_| 3_600)
}

pub(crate) struct Client {
    packets: PacketReader<TcpStream>,
}

impl Client {
    pub(crate) fn open(server: &MysqlServer, user: &str, password: &str) -> Result<Self> {
        let stream = TcpStream::connect((server.host(), server.port()))?;
        let options = HandshakeOptions {
            user: user.to_owned(),
            password: Password::new(password),
            encryption: Encryption::Disabled,
            attributes: vec![("program_name".to_owned(), "shardlake".to_owned())],
            ..HandshakeOptions::default()
        };
        let (packets, greeting) = authenticate(PacketReader::new(stream), options, Ok)?;
        assert!(greeting.version_numbers().0 >= 5, "{greeting:?}");
        Ok(Self { packets })
    }

    pub(crate) fn root(server: &MysqlServer) -> Self {
        let mut client = Self::open(server, "root", "").unwrap();
        client.run("SET time_zone = '+00:00', NAMES utf8mb4");
        client
    }

    /// Runs a statement without rows.
    pub(crate) fn run(&mut self, sql: &str) {
        self.packets.send_command(&command::query(sql)).unwrap();
        let head = reply::parse_head(self.packets.next().unwrap());
        let head = head.unwrap_or_else(|error| panic!("{error} in {sql}"));
        assert!(matches!(head, Head::Done(_)), "{sql}");
    }

    /// The rows of a statement as text.
    pub(crate) fn text(&mut self, sql: &str) -> Vec<Vec<Option<Vec<u8>>>> {
        self.packets.send_command(&command::query(sql)).unwrap();
        let Head::Columns(count) = reply::parse_head(self.packets.next().unwrap()).unwrap() else {
            panic!("no rows: {sql}")
        };
        for _ in 0..count {
            self.packets.next().unwrap();
        }
        let mut rows = Vec::new();
        loop {
            match reply::parse_text_row(self.packets.next().unwrap()).unwrap() {
                RowPacket::Row(row) => {
                    let cells = reply::text_cells(row).unwrap();
                    rows.push(cells.into_iter().map(|cell| cell.map(<[u8]>::to_vec)).collect());
                }
                RowPacket::End(_) => return rows,
            }
        }
    }

    /// The rows of a statement through the binary protocol.
    pub(crate) fn select(
        &mut self,
        sql: &str,
        parameters: &[Parameter],
        declared: &[Column],
    ) -> ChangeBatch {
        self.packets.send_command(&command::statement_prepare(sql)).unwrap();
        let prepared = reply::parse_prepared(self.packets.next().unwrap()).unwrap();
        for _ in 0..prepared.parameter_count + prepared.column_count {
            self.packets.next().unwrap();
        }
        let execute = command::statement_execute(prepared.statement_id, parameters);
        self.packets.send_command(&execute).unwrap();
        let Head::Columns(count) = reply::parse_head(self.packets.next().unwrap()).unwrap() else {
            panic!("no rows: {sql}")
        };
        let source: Vec<SourceColumn> = (0..count)
            .map(|_| SourceColumn::from_definition(self.packets.next().unwrap()).unwrap())
            .collect();
        let plan = ResultSetPlan::new(&source, declared, &zone()).unwrap();
        let mut builder = BatchBuilder::new(declared).unwrap();
        while let RowPacket::Row(row) =
            reply::parse_binary_row(self.packets.next().unwrap()).unwrap()
        {
            plan.append(row, &mut builder).unwrap();
        }
        self.packets.send_command(&command::statement_close(prepared.statement_id)).unwrap();
        builder.finish().unwrap()
    }

    /// The columns of a table as `information_schema` has them.
    pub(crate) fn known_columns(&mut self, table: &str) -> Vec<SourceColumn> {
        let rows = self.text(&format!(
            "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = 'wire' AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
        ));
        let text = |cell: &Option<Vec<u8>>| {
            cell.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap())
        };
        rows.iter()
            .map(|row| {
                let (name, kind, charset) = (text(&row[0]), text(&row[1]), text(&row[2]));
                SourceColumn::declared(&name.unwrap(), &kind.unwrap(), charset.as_deref()).unwrap()
            })
            .collect()
    }

    /// Hands every event of the binlog from its start on to `each`. The connection is used up.
    pub(crate) fn dump(mut self, each: impl FnMut(&Event<'_>)) {
        let files = self.text("SHOW BINARY LOGS");
        let file = String::from_utf8(files[0][0].clone().unwrap()).unwrap();
        let flags = DumpFlags { non_blocking: true, ..DumpFlags::default() };
        self.follow(&command::binlog_dump(4_321, &file, 4, flags), each);
    }

    /// Hands the events of the transactions that are not in a set to `each`.
    pub(crate) fn dump_after(self, executed: &GtidSet, each: impl FnMut(&Event<'_>)) {
        let flags = DumpFlags { non_blocking: true, ..DumpFlags::default() };
        self.follow(&command::binlog_dump_gtid(4_321, executed, flags), each);
    }

    fn follow(mut self, dump: &[u8], mut each: impl FnMut(&Event<'_>)) {
        self.run("SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32'");
        self.packets.send_command(&command::register_replica(4_321, "wire-test")).unwrap();
        reply::parse_done(self.packets.next().unwrap()).unwrap();
        self.packets.send_command(dump).unwrap();
        let mut reader = EventReader::new();
        while let Some(event) = reader.read(self.packets.next().unwrap()).unwrap() {
            match &event.body {
                EventBody::Payload(payload) => {
                    let mut events = payload.events().unwrap();
                    while let Some(event) = events.next().unwrap() {
                        each(&event);
                    }
                }
                _ => each(&event),
            }
        }
    }

    /// The rows of one table from its row events.
    pub(crate) fn replay(
        self,
        table: &str,
        known: &[SourceColumn],
        declared: &[Column],
        images: UpdateImages,
    ) -> ChangeBatch {
        let mut builder = BatchBuilder::new(declared).unwrap();
        let mut cache = PlanCache::new();
        let key = vec![known[0].name.clone()];
        self.dump(|event| match &event.body {
            EventBody::TableMap(map) => cache
                .observe(map, |map| {
                    if map.table != table.as_bytes() {
                        return Ok(None);
                    }
                    RowsPlan::new(map, known, declared, &key, &zone()).map(Some)
                })
                .unwrap(),
            EventBody::Rows(rows) => {
                if let Lookup::Wanted(plan) = cache.get(rows.table_id) {
                    plan.append(rows, &mut builder, images).unwrap();
                }
            }
            _ => {}
        });
        builder.finish().unwrap()
    }
}
