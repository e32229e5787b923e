//! A replica takes the place of its source behind one address.

use shardlake_connector::Fault;
use shardlake_testkit::{MysqlServer, ServerOptions, TcpProxy, or_skip};

use crate::load::{Load, check_equal, definition, fill};
use crate::reading::Step;

/// A replica that follows a server by GTIDs and has everything that it has.
fn replica_of(source: &MysqlServer) -> Result<MysqlServer, shardlake_testkit::Error> {
    let replica = MysqlServer::start(
        ServerOptions::default().with_server_id(2).with_flag("--log-replica-updates=ON"),
    )?;
    source.create_reader("follower", "secret")?;
    replica.execute(&format!(
        "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', \
         SOURCE_PORT = {}, SOURCE_USER = 'follower', SOURCE_PASSWORD = 'secret', \
         SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA",
        source.port()
    ))?;
    catch_up(source, &replica);
    Ok(replica)
}

fn executed(server: &MysqlServer) -> String {
    let set = &server.query("SELECT @@GLOBAL.gtid_executed").unwrap()[0][0];
    set.chars().filter(|c| !c.is_whitespace()).collect()
}

fn catch_up(source: &MysqlServer, replica: &MysqlServer) {
    let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', 60)", executed(source));
    assert_eq!(replica.query(&sql).unwrap()[0][0], "0", "the replica did not catch up");
}

#[test]
fn a_promoted_replica_is_followed_by_gtids() {
    let mut source = or_skip!(MysqlServer::start(ServerOptions::default()));
    fill(&source);
    let replica = or_skip!(replica_of(&source));
    let proxy = TcpProxy::start(source.port()).unwrap();
    let mut job = definition(&source).option("port", &proxy.port().to_string()).read(None).unwrap();
    job.until_streaming();
    let load = Load::start(&source);
    job.until(|job| job.changes > 18_100);
    load.stop();
    catch_up(&source, &replica);
    source.kill_dash_nine().unwrap();
    // The binlogs of the two have other files and offsets.
    replica
        .execute("STOP REPLICA; RESET REPLICA ALL; FLUSH BINARY LOGS; FLUSH BINARY LOGS")
        .unwrap();
    proxy.switch_to(replica.port());
    let load = Load::start(&replica);
    load.stop();
    check_equal(&replica, &mut job, 4_000_000);
    // A job that starts again goes on there as well.
    let place = job.position();
    let rows = job.into_rows();
    let mut job =
        definition(&replica).option("port", &proxy.port().to_string()).read(place).unwrap();
    job.rows = rows;
    check_equal(&replica, &mut job, 4_000_001);
}

#[test]
fn another_server_without_gtids_is_not_taken_for_the_first() {
    let options = || ServerOptions::default().without_gtid();
    let first = or_skip!(MysqlServer::start(options()));
    let second = or_skip!(MysqlServer::start(options()));
    fill(&first);
    fill(&second);
    let proxy = TcpProxy::start(first.port()).unwrap();
    let mut job = definition(&first).option("port", &proxy.port().to_string()).read(None).unwrap();
    job.until_streaming();
    proxy.switch_to(second.port());
    let error = loop {
        if let Step::Failed(error) = job.step() {
            break error;
        }
    };
    assert_eq!(error.fault(), Fault::Job);
    assert!(error.report().contains("without GTIDs its binlog has no common position"), "{error}");
}
