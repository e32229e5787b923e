//! Drains a MySQL server as fast as packets can be framed, and does nothing with them: the limit of every reader.
//!
//!     drain query PORT STATEMENT...     runs each statement on a connection of its own, at the same time
//!     drain binlog PORT FILE            reads the binlog from the start of a file to its present end
//!
//! Connects as root without a password, without TLS. Prints packets, bytes and seconds as one JSON line.

use std::env;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use shardlake_mysql_wire::command::{self, DumpFlags};
use shardlake_mysql_wire::handshake::{Encryption, HandshakeOptions, authenticate};
use shardlake_mysql_wire::packet::PacketReader;
use shardlake_mysql_wire::reply::{Head, RowPacket, parse_done, parse_head, parse_text_row};

const SERVER_ID: u32 = 7_654_321;

#[derive(Default)]
struct Drained {
    packets: u64,
    bytes: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let started = Instant::now();
    let drained = match words.as_slice() {
        ["query", port, statements @ ..] if !statements.is_empty() => {
            drain_queries(port.parse()?, statements)?
        }
        ["binlog", port, file] => drain_binlog(port.parse()?, file)?,
        _ => bail!("usage: drain query PORT STATEMENT... | drain binlog PORT FILE"),
    };
    report(&drained, started.elapsed().as_secs_f64());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this program's output is its result")]
fn report(drained: &Drained, seconds: f64) {
    let Drained { packets, bytes } = drained;
    println!("{{\"packets\":{packets},\"bytes\":{bytes},\"seconds\":{seconds:.6}}}");
}

fn connect(port: u16) -> Result<PacketReader<TcpStream>> {
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

fn drain_queries(port: u16, statements: &[&str]) -> Result<Drained> {
    thread::scope(|scope| {
        let readers: Vec<_> = statements
            .iter()
            .map(|statement| scope.spawn(move || drain_query(port, statement)))
            .collect();
        let mut total = Drained::default();
        for reader in readers {
            let Ok(drained) = reader.join() else { bail!("a reader ended early") };
            let drained = drained?;
            total.packets += drained.packets;
            total.bytes += drained.bytes;
        }
        Ok(total)
    })
}

fn drain_query(port: u16, statement: &str) -> Result<Drained> {
    let mut packets = connect(port)?;
    packets.send_command(&command::query(statement))?;
    let Head::Columns(columns) = parse_head(packets.next()?)? else {
        bail!("the statement has no rows: {statement}");
    };
    for _ in 0..columns {
        packets.next()?;
    }
    let mut drained = Drained::default();
    while let RowPacket::Row(row) = parse_text_row(packets.next()?)? {
        drained.packets += 1;
        drained.bytes += row.len() as u64;
    }
    Ok(drained)
}

fn drain_binlog(port: u16, file: &str) -> Result<Drained> {
    let mut packets = connect(port)?;
    // The reader says that it knows checksums, else the server refuses to send them.
    packets.send_command(&command::query("SET @source_binlog_checksum = 'CRC32'"))?;
    parse_done(packets.next()?)?;
    let flags = DumpFlags { non_blocking: true, ..DumpFlags::default() };
    packets.send_command(&command::binlog_dump(SERVER_ID, file, 4, flags))?;
    let mut drained = Drained::default();
    loop {
        let packet = packets.next()?;
        match packet.first() {
            Some(0x00) => {
                drained.packets += 1;
                drained.bytes += packet.len() as u64;
            }
            Some(0xfe) => return Ok(drained),
            _ => bail!("the server does not send its binlog: {:?}", parse_done(packet).err()),
        }
    }
}
