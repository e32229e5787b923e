//! Transactions by their identifiers: those of a dump are those that the server says it has executed.

use shardlake_mysql_wire::event::{Event, EventBody};
use shardlake_mysql_wire::gtid::GtidSet;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, or_skip};

use crate::client::Client;

fn executed(client: &mut Client) -> GtidSet {
    let rows = client.text("SELECT @@GLOBAL.gtid_executed");
    String::from_utf8(rows[0][0].clone().unwrap()).unwrap().parse().unwrap()
}

/// Collects the identifiers of a dump, and the last set that a file began with.
fn collect<'a>(gtids: &'a mut GtidSet, previous: &'a mut GtidSet) -> impl FnMut(&Event<'_>) + 'a {
    |event| match &event.body {
        EventBody::Gtid(event) => {
            assert!(event.transaction_length > 0 && event.original_commit_us > 0);
            gtids.add(&event.gtid.unwrap());
        }
        EventBody::PreviousGtids(set) => *previous = set.set().unwrap(),
        _ => {}
    }
}

#[test]
fn transactions_of_a_dump_are_those_that_were_executed() {
    let options = ServerOptions::default().with_flavor(Flavor::Mysql);
    let server = or_skip!(MysqlServer::start(options));
    let mut client = Client::root(&server);
    client.run("CREATE DATABASE wire");
    client.run("CREATE TABLE wire.t (id int PRIMARY KEY)");
    client.run("SET gtid_next = 'AUTOMATIC:my_tag_1'");
    for id in 0..3 {
        client.run(&format!("INSERT INTO wire.t VALUES ({id})"));
    }
    client.run("SET gtid_next = 'AUTOMATIC'");
    client.run("FLUSH BINARY LOGS");
    let before = executed(&mut client);
    client.run("XA START 'a', 'b'");
    client.run("INSERT INTO wire.t VALUES (10)");
    client.run("XA END 'a', 'b'");
    client.run("XA PREPARE 'a', 'b'");
    client.run("XA COMMIT 'a', 'b'");
    let after = executed(&mut client);

    let (mut gtids, mut previous) = (GtidSet::new(), GtidSet::new());
    let mut identifiers = Vec::new();
    let mut collector = collect(&mut gtids, &mut previous);
    Client::root(&server).dump(|event| {
        collector(event);
        match &event.body {
            EventBody::XaPrepare(prepare) => identifiers.push(prepare.identifier()),
            EventBody::Query(query) => {
                if let Some(identifier) = query.text().strip_prefix("XA COMMIT ") {
                    identifiers.push(identifier.to_owned());
                }
            }
            _ => {}
        }
    });
    drop(collector);
    assert_eq!(gtids, after);
    assert_eq!(previous, before);
    assert!(after.to_string().contains(":my_tag_1:1-3"), "{after}");
    assert_eq!(identifiers, ["X'61',X'62',1", "X'61',X'62',1"]);

    // From the middle on, by a set that has a tag.
    let (mut gtids, mut previous) = (GtidSet::new(), GtidSet::new());
    Client::root(&server).dump_after(&before, collect(&mut gtids, &mut previous));
    let mut missing = after;
    missing.subtract(&before);
    assert_eq!(gtids, missing);
}
