//! Users whom a server lets in, and whom not.

use shardlake_mysql_wire::Error;
use shardlake_testkit::{Flavor, MysqlServer, ServerOptions, or_skip};

use crate::client::Client;

#[test]
fn passwords_are_checked_with_and_without_the_servers_cache() {
    let options = ServerOptions::default().with_flavor(Flavor::Mysql);
    let server = or_skip!(MysqlServer::start(options));
    let password = "geheim \"ü' ;";
    server.create_reader("reader", password).unwrap();
    // The first login needs the public key, the second is in the server's cache.
    for _ in 0..2 {
        let mut client = Client::open(&server, "reader", password).unwrap();
        assert_eq!(client.text("SELECT 1 + 1")[0][0].as_deref(), Some(&b"2"[..]));
    }
    for (user, password) in [("reader", "wrong"), ("reader", ""), ("nobody", "x")] {
        let error = Client::open(&server, user, password).err().unwrap();
        assert!(matches!(&error, Error::Server(error) if error.code == 1_045), "{error}");
    }
}
