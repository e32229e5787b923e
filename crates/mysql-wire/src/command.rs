//! Commands → payloads. Everything that is sent to a server after the handshake.

use crate::cursor::put_lenenc_bytes;
use crate::gtid::{GtidSet, put_gtid_set};

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0e;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_REPLICA: u8 = 0x15;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

const TYPE_NULL: u8 = 6;
const TYPE_LONGLONG: u8 = 8;
const TYPE_BLOB: u8 = 252;
const TYPE_VAR_STRING: u8 = 253;
const UNSIGNED: u8 = 0x80;

/// What the dump thread is asked for besides the place to begin. All off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpFlags {
    /// End the stream with an EOF packet at the end of the last file instead of waiting.
    pub non_blocking: bool,
    /// Send heartbeats whose offset has 64 bits, from MySQL 8.0.26 on; earlier versions take no notice. Not to be asked
    /// of MariaDB, which takes it for something else.
    pub wide_heartbeats: bool,
}

impl DumpFlags {
    const fn bits(self) -> u16 {
        self.non_blocking as u16 | (self.wide_heartbeats as u16) << 1
    }
}

/// A value for a `?` of a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    UInt(u64),
    /// Text in the connection's character set. Decimals and dates travel as text too.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// `COM_QUIT`.
#[must_use]
pub fn quit() -> Vec<u8> {
    vec![COM_QUIT]
}

/// `COM_PING`.
#[must_use]
pub fn ping() -> Vec<u8> {
    vec![COM_PING]
}

/// `COM_QUERY`: a statement whose rows come as text.
#[must_use]
pub fn query(sql: &str) -> Vec<u8> {
    with_text(COM_QUERY, sql)
}

/// `COM_STMT_PREPARE`.
#[must_use]
pub fn statement_prepare(sql: &str) -> Vec<u8> {
    with_text(COM_STMT_PREPARE, sql)
}

/// `COM_STMT_EXECUTE` without a cursor: the rows come in the binary form.
#[must_use]
pub fn statement_execute(statement_id: u32, parameters: &[Parameter]) -> Vec<u8> {
    let mut out = vec![COM_STMT_EXECUTE];
    out.extend(statement_id.to_le_bytes());
    out.push(0);
    out.extend(1_u32.to_le_bytes());
    if parameters.is_empty() {
        return out;
    }
    let mut nulls = vec![0_u8; parameters.len().div_ceil(8)];
    for (index, parameter) in parameters.iter().enumerate() {
        if let (Parameter::Null, Some(byte)) = (parameter, nulls.get_mut(index / 8)) {
            *byte |= 1 << (index % 8);
        }
    }
    out.extend(nulls);
    out.push(1);
    for parameter in parameters {
        out.extend(match parameter {
            Parameter::Null => [TYPE_NULL, 0],
            Parameter::Int(_) => [TYPE_LONGLONG, 0],
            Parameter::UInt(_) => [TYPE_LONGLONG, UNSIGNED],
            Parameter::Text(_) => [TYPE_VAR_STRING, 0],
            Parameter::Bytes(_) => [TYPE_BLOB, 0],
        });
    }
    for parameter in parameters {
        match parameter {
            Parameter::Null => {}
            Parameter::Int(number) => out.extend(number.to_le_bytes()),
            Parameter::UInt(number) => out.extend(number.to_le_bytes()),
            Parameter::Text(text) => put_lenenc_bytes(&mut out, text.as_bytes()),
            Parameter::Bytes(bytes) => put_lenenc_bytes(&mut out, bytes),
        }
    }
    out
}

/// `COM_STMT_CLOSE`, which the server does not answer.
#[must_use]
pub fn statement_close(statement_id: u32) -> Vec<u8> {
    let mut out = vec![COM_STMT_CLOSE];
    out.extend(statement_id.to_le_bytes());
    out
}

/// `COM_REGISTER_REPLICA`: makes the reader visible in `SHOW REPLICAS` under this server id. `host` is
/// what is shown there.
#[must_use]
pub fn register_replica(server_id: u32, host: &str) -> Vec<u8> {
    let mut out = vec![COM_REGISTER_REPLICA];
    out.extend(server_id.to_le_bytes());
    put_short_text(&mut out, host);
    put_short_text(&mut out, "");
    put_short_text(&mut out, "");
    out.extend(0_u16.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out
}

/// `COM_BINLOG_DUMP`: the stream from a position of a file. Positions past 4 GB cannot be named; start
/// from a GTID set there.
#[must_use]
pub fn binlog_dump(server_id: u32, file: &str, position: u32, flags: DumpFlags) -> Vec<u8> {
    let mut out = vec![COM_BINLOG_DUMP];
    out.extend(position.to_le_bytes());
    out.extend(flags.bits().to_le_bytes());
    out.extend(server_id.to_le_bytes());
    out.extend_from_slice(file.as_bytes());
    out
}

/// `COM_BINLOG_DUMP_GTID`: the stream of the transactions that are not in `executed`.
#[must_use]
pub fn binlog_dump_gtid(server_id: u32, executed: &GtidSet, flags: DumpFlags) -> Vec<u8> {
    const THROUGH_GTID: u16 = 0x04;
    let mut out = vec![COM_BINLOG_DUMP_GTID];
    out.extend((flags.bits() | THROUGH_GTID).to_le_bytes());
    out.extend(server_id.to_le_bytes());
    // No file name, and the position of the first event of a file.
    out.extend(0_u32.to_le_bytes());
    out.extend(4_u64.to_le_bytes());
    put_gtid_set(&mut out, executed);
    out
}

fn with_text(command: u8, text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + text.len());
    out.push(command);
    out.extend_from_slice(text.as_bytes());
    out
}

/// Text of at most 255 bytes behind its length in one byte; longer text is cut at a character.
fn put_short_text(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(255);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    out.push(u8::try_from(len).unwrap_or(0));
    out.extend(text.as_bytes().iter().take(len));
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_common::packets::{ComBinlogDump, ComBinlogDumpGtid, ComRegisterSlave, Sid};
    use mysql_common::proto::MySerialize;

    fn bytes(packet: &impl MySerialize) -> Vec<u8> {
        let mut out = Vec::new();
        packet.serialize(&mut out);
        out
    }

    #[test]
    fn dump_commands_equal_those_of_mysql_common() {
        let dump = ComBinlogDump::new(77).with_pos(1234).with_filename(&b"binlog.000003"[..]);
        assert_eq!(binlog_dump(77, "binlog.000003", 1234, DumpFlags::default()), bytes(&dump));

        for text in [
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:9",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:t_g:2",
        ] {
            let sid: Sid<'_> = text.parse().unwrap();
            let dump = ComBinlogDumpGtid::new(77)
                .with_flags(mysql_common::packets::BinlogDumpFlags::BINLOG_THROUGH_GTID)
                .with_pos(4_u64)
                .with_sids(vec![sid]);
            let mut ours = binlog_dump_gtid(77, &text.parse().unwrap(), DumpFlags::default());
            if text.contains("t_g") {
                // The server writes the format number into both ends of the count, mysql_common into one.
                assert_eq!((ours[23], ours[30]), (1, 1));
                ours[23] = 0;
            }
            assert_eq!(ours, bytes(&dump), "{text}");
        }

        let register = ComRegisterSlave::new(77).with_hostname(&b"shardlake"[..]);
        assert_eq!(register_replica(77, "shardlake"), bytes(&register));
    }

    #[test]
    fn parameters_are_laid_out_as_the_binary_protocol_wants() {
        let parameters =
            [Parameter::Null, Parameter::Int(-2), Parameter::UInt(3), Parameter::Text("a".into())];
        let out = statement_execute(9, &parameters);
        let expected = [
            &[0x17, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0b0001, 1][..],
            &[6, 0, 8, 0, 8, 0x80, 253, 0],
            &(-2_i64).to_le_bytes(),
            &3_u64.to_le_bytes(),
            &[1, b'a'],
        ];
        assert_eq!(out, expected.concat());
    }
}
