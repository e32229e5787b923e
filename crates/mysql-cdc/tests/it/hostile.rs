//! Servers that do not do what a MySQL server does: what the user is told, and that it does not take for ever.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shardlake_change::LogicalType;
use shardlake_connector::{Fault, ReadPhase};
use shardlake_testkit::{
    Act, MysqlServer, ScriptedServer, ServerOptions, Spoil, TcpProxy, or_skip,
};

use crate::load::{check_equal, definition, fill};
use crate::reading::Definition;

/// The greeting of a server, up to the name of its authentication plugin.
fn greeting() -> Act {
    let mut bytes = vec![10];
    bytes.extend_from_slice(b"8.0.36\0");
    bytes.extend_from_slice(&[1, 0, 0, 0]);
    bytes.extend_from_slice(b"abcdefgh\0");
    bytes.extend_from_slice(&[0xff, 0xf7, 0xff, 2, 0, 0xff, 0xdf, 21]);
    bytes.extend_from_slice(&[0; 10]);
    bytes.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
    Act::Packet(0, bytes)
}

/// The greeting, a login that succeeds, and then a script.
fn after_login(script: &[Act]) -> Vec<Act> {
    let ok = Act::Packet(2, vec![0, 0, 0, 2, 0, 0, 0]);
    [greeting(), Act::Hear, ok, Act::Hear].into_iter().chain(script.iter().cloned()).collect()
}

fn definition_at(port: u16) -> Definition {
    Definition::at(port, "d", "t")
        .column("id", LogicalType::BigInt)
        .option("connect.timeout", "300ms")
        .option("connect.max-retries", "1")
        .option("jdbc.properties.sslMode", "DISABLED")
        .option("jdbc.properties.socketTimeout", "300")
}

/// What the user is told, with its consequence.
fn told(script: Vec<Act>) -> (Fault, String) {
    let server = ScriptedServer::start(script).unwrap();
    let before = Instant::now();
    let error = definition_at(server.port()).read(None).err().expect("there is no MySQL server");
    let report = error.report();
    assert!(before.elapsed() < Duration::from_secs(30), "{report}");
    assert!(report.contains(&format!("127.0.0.1:{}", server.port())), "{report}");
    let tries = if error.fault() == Fault::Transient { 2 } else { 1 };
    assert_eq!(server.connection_count(), tries, "{report}");
    (error.fault(), report.replace(&server.port().to_string(), "PORT"))
}

#[test]
fn what_a_server_sends_instead_of_a_greeting_is_explained() {
    let error_packet = |code: u16, text: &str| {
        let mut payload = vec![0xff];
        payload.extend_from_slice(&code.to_le_bytes());
        payload.extend_from_slice(text.as_bytes());
        vec![Act::Packet(0, payload)]
    };
    let truncated = Act::Send(vec![80, 0, 0, 0, 10, b'8', b'.', b'0']);
    for (what, script, fault, words) in [
        ("closes", vec![], Fault::Transient, "failed while connecting"),
        ("is silent", vec![Act::Wait], Fault::Transient, "failed while connecting: the server"),
        ("is cut off", vec![truncated.clone()], Fault::Transient, "failed while connecting"),
        (
            "stops",
            vec![truncated, Act::Wait],
            Fault::Transient,
            "failed while connecting: the server",
        ),
        (
            "dawdles",
            vec![Act::Trickle(vec![60, 0, 0, 0, 10, 56, 46, 48], Duration::from_millis(60))],
            Fault::Transient,
            "the server takes too long to answer",
        ),
        ("has no room", error_packet(1_040, "Too many connections"), Fault::Transient, "1040"),
        ("bars the host", error_packet(1_130, "Host is not allowed"), Fault::Job, "1130"),
        (
            "is a web server",
            vec![Act::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())],
            Fault::Job,
            "does not speak MySQL's protocol",
        ),
        (
            "sends garbage",
            vec![Act::Send(vec![0xab; 999])],
            Fault::Job,
            "check 'hostname' and 'port'",
        ),
        ("is ancient", vec![Act::Packet(0, vec![9; 40])], Fault::Job, "PORT"),
        ("is empty", vec![Act::Packet(0, vec![])], Fault::Job, "does not speak MySQL's protocol"),
    ] {
        let (actual, report) = told(script);
        assert!(actual == fault && report.contains(words), "{what}: {actual:?} {report}");
    }
}

#[test]
fn what_a_server_sends_after_its_greeting_is_explained() {
    let login = |script: &[Act]| {
        [greeting(), Act::Hear].into_iter().chain(script.iter().cloned()).collect::<Vec<_>>()
    };
    let endless_row: Vec<u8> = {
        let mut bytes = vec![0, 0, 1, 4, 0xfd, 0xfd, 0xff, 0];
        bytes.resize(4 + (1 << 16), b'x');
        bytes
    };
    for (what, script, fault, words) in [
        ("closes", login(&[]), Fault::Transient, "failed while connecting"),
        ("is silent", login(&[Act::Wait]), Fault::Transient, "failed while connecting: the server"),
        ("sends garbage", login(&[Act::Packet(2, vec![0x77; 50])]), Fault::Job, "PORT"),
        (
            "skips packets",
            login(&[Act::Packet(9, vec![0, 0, 0, 2, 0, 0, 0])]),
            Fault::Job,
            "does not speak MySQL's protocol",
        ),
        ("closes later", after_login(&[]), Fault::Transient, "setting up the session"),
        ("is silent later", after_login(&[Act::Wait]), Fault::Transient, "the server says nothing"),
        (
            "promises columns for ever",
            after_login(&[Act::Packet(1, vec![1]), Act::Packet(2, vec![3, 100]), Act::Wait]),
            Fault::Transient,
            "the server says nothing",
        ),
        (
            "answers without end",
            after_login(&[
                Act::Packet(1, vec![1]),
                Act::Packet(2, vec![3, 100]),
                Act::Packet(3, vec![0xfe, 0, 0, 0, 0]),
                Act::Flood(endless_row),
            ]),
            Fault::Bug,
            "PORT",
        ),
    ] {
        let (actual, report) = told(script);
        assert!(actual == fault && report.contains(words), "{what}: {actual:?} {report}");
    }
}

#[test]
fn a_broken_server_leaves_its_lane_trying() {
    let server = ScriptedServer::start(vec![Act::Send(vec![1, 2])]).unwrap();
    let lane = format!("127.0.0.1:{}", server.port());
    let position: Value = json!({
        "version": 1, "server_uuid": "u", "file": "binlog.000001", "offset": 4
    });
    let job = definition_at(server.port()).read(Some(BTreeMap::from([(lane, position)]))).unwrap();
    let before = Instant::now();
    while job.lane_status().retries < 3 {
        assert!(before.elapsed() < Duration::from_secs(30), "{:?}", job.lane_status());
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert!(server.connection_count() >= 3);
}

/// Connections that break at many places, in every phase: in the end the rows are right.
#[test]
fn connections_that_break_anywhere_lose_nothing() {
    let server = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&server);
    let proxy = TcpProxy::start(server.port()).unwrap();
    let mut job = definition(&server)
        .option("port", &proxy.port().to_string())
        .option("jdbc.properties.sslMode", "DISABLED")
        .option("jdbc.properties.socketTimeout", "400")
        .option("connect.timeout", "400ms")
        .read(None)
        .unwrap();
    // The first two are the cutter's and a reader's: broken within handshake, statements and rows.
    let spoils: Vec<Spoil> = [3, 60, 400, 1_200, 2_000, 5_000, 9_000, 20_000, 44_444]
        .into_iter()
        .flat_map(|after| [Spoil::CloseAfter(after), Spoil::StallAfter(after)])
        .chain([Spoil::Trickle(0)])
        .collect();
    proxy.spoil_next(&spoils);
    job.until_streaming();
    for (number, spoil) in (0..).zip([
        Spoil::CloseAfter(700),
        Spoil::GarbleAfter(900),
        Spoil::CloseAfter(1_100),
        Spoil::GarbleAfter(1_300),
        Spoil::CloseAfter(1_501),
        Spoil::GarbleAfter(3_000),
    ]) {
        proxy.spoil_next(&[Spoil::CloseAfter(100_000), spoil]);
        proxy.cut();
        for id in 0..20 {
            let sql = format!("UPDATE shop_1.orders SET version = {number} WHERE id = {id} * 2");
            server.execute(&sql).unwrap();
        }
        check_equal(&server, &mut job, 3_000_000 + number);
    }
    assert_eq!(job.lane_status().phase, ReadPhase::Binlog);
}
