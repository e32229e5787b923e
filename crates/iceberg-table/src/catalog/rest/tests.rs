mod fake;

use std::sync::Arc;

use futures::executor::block_on;
use proptest::prelude::*;
use shardlake_testkit::{SeaweedServer, or_skip};
use tokio::sync::Mutex;

use self::fake::{FakeCatalog, Fault};
use super::vended::{Credential, Vended};
use super::*;
use crate::catalog::open_catalog;
use crate::catalog::tests::{live, run, users, write_and_go_on};
use crate::storage::{CredentialSource, S3Credentials};
use crate::testing::rows_by_scan;

fn catalog(fake: &FakeCatalog, more: &[(&str, &str)]) -> RestCatalog {
    let mut options = BTreeMap::from([("uri", fake.uri.as_str())]);
    options.extend(more.iter().copied());
    RestCatalog::new(&options, Storage::local()).unwrap()
}

fn name() -> TableName {
    TableName::new("db", "users")
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => prop_oneof![Just(Fault::Cut), Just(Fault::CutBefore)],
        1 => prop_oneof![Just(500), Just(502), Just(504)].prop_map(Fault::MadeBut),
        1 => prop_oneof![Just(429), Just(500), Just(502), Just(503)].prop_map(Fault::Refused),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Each epoch becomes one snapshot, whatever becomes of answers.
    #[test]
    fn a_commit_whose_answer_is_lost_is_made_once(
        faults in prop::collection::vec(fault(), 0..10),
    ) {
        let fake = FakeCatalog::start();
        let catalog: Arc<dyn Catalog> = Arc::new(catalog(&fake, &[]));
        block_on(catalog.create(&name(), &users())).unwrap();
        let mut job = run(&catalog, &name());
        // Four failures in a row end an epoch, as they should.
        let mut in_a_row = 0;
        let faults = faults.into_iter().filter(|fault| {
            in_a_row = if *fault == Fault::None { 0 } else { in_a_row + 1 };
            in_a_row < 4
        });
        fake.state.lock().faults = faults.collect();
        let mut expected = Vec::new();
        for epoch in 1..=6_u64 {
            job.epoch(epoch, &format!("+I {epoch} | a"));
            expected.push(format!("{epoch} | a"));
        }
        let table = block_on(catalog.load(&name())).unwrap();
        prop_assert_eq!(rows_by_scan(&table), expected);
        prop_assert_eq!(fake.snapshot_count("users"), 7);
    }
}

#[test]
fn a_commit_is_sent_again_under_the_same_key() {
    let fake = FakeCatalog::start();
    let catalog: Arc<dyn Catalog> = Arc::new(catalog(&fake, &[]));
    block_on(catalog.create(&name(), &users())).unwrap();
    let mut job = run(&catalog, &name());
    fake.state.lock().requests.clear();
    fake.state.lock().faults = [Fault::Refused(502), Fault::CutBefore].into();
    job.epoch(1, "+I 1 | a");
    job.epoch(2, "+I 2 | b");
    let requests = fake.state.lock().requests.clone();
    let keys: Vec<&str> = requests
        .iter()
        .filter(|(method, ..)| method == "POST")
        .map(|(.., key)| key.as_deref().unwrap())
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3]);
}

#[test]
fn what_lasts_is_reported_and_shows_no_secret() {
    let fake = FakeCatalog::start();
    let options = [("token", "sesame"), ("header.X-Key", "sesame")];
    let catalog: Arc<dyn Catalog> = Arc::new(catalog(&fake, &options));
    block_on(catalog.create(&name(), &users())).unwrap();
    let mut job = run(&catalog, &name());
    fake.state.lock().faults = [Fault::Refused(500); 5].into();
    let error = job.commit(1, crate::WrittenFiles::default()).unwrap_err();
    assert!(matches!(error, Error::Storage { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("sesame"));
    // The next try of the same run may go on.
    job.commit(1, crate::WrittenFiles::default()).unwrap();
    assert_eq!(fake.snapshot_count("users"), 2);
    fake.state.lock().token = Some("other".into());
    let error = block_on(catalog.load(&name())).unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("check 'credential'"), "{error}");
}

#[test]
fn tokens_are_asked_for_and_renewed() {
    let fake = FakeCatalog::start();
    fake.state.lock().token = Some("none yet".into());
    let catalog = catalog(&fake, &[("credential", "id:sesame")]);
    block_on(catalog.create(&name(), &users())).unwrap();
    assert_eq!(fake.state.lock().tokens_given, 1);
    fake.state.lock().token = Some("revoked".into());
    block_on(catalog.load(&name())).unwrap();
    assert_eq!(fake.state.lock().tokens_given, 2);
}

#[test]
fn pages_and_levels_are_put_together() {
    let fake = FakeCatalog::start();
    let catalog = catalog(&fake, &[]);
    block_on(async {
        for name in ["a", "b.c", "b.d", "e", "f"] {
            catalog.create_namespace(name).await.unwrap();
        }
        assert_eq!(catalog.list_namespaces().await.unwrap(), ["a", "b.c", "b.d", "e", "f"]);
        assert!(catalog.namespace_exists("b.c").await.unwrap());
        assert!(!catalog.namespace_exists("b.x").await.unwrap());
    });
    assert!(fake.folder().path().is_dir());
}

#[test]
fn credentials_that_come_with_a_table_are_renewed_before_they_end() {
    let fake = FakeCatalog::start();
    let catalog = catalog(&fake, &[]);
    let keys = |id: &str, expires: &str| {
        json!({"s3.access-key-id": id, "s3.secret-access-key": "x", "s3.session-token": "t",
               "s3.session-token-expires-at-ms": expires})
    };
    let credentials = json!([{"prefix": "s3://lake", "config": keys("second", "99999999999999")}]);
    fake.state.lock().credentials = Some(credentials);
    fake.state.lock().table_answer.insert("config".into(), keys("first", "1"));
    let table = block_on(catalog.create(&name(), &users())).unwrap();
    assert!(!format!("{table:?}").contains("first"));
    let keys = S3Credentials { key_id: "first".into(), secret: "x".into(), session_token: None };
    let old = Credential { prefix: String::new(), keys, expires_at_ms: Some(1) };
    let path = RestCatalog::table_path(&name());
    let access = TableAccess { client: Arc::clone(&catalog.client), path };
    let vended = Vended { access, held: Mutex::new(vec![old]) };
    for _ in 0..2 {
        assert_eq!(block_on(vended.credentials("lake")).unwrap().key_id, "second");
    }
    let asked = fake
        .state
        .lock()
        .requests
        .iter()
        .filter(|(_, path, _)| path.ends_with("/credentials"))
        .count();
    assert_eq!(asked, 1);
    assert!(block_on(vended.credentials("other")).is_err());
}

/// A server that is not ours, by OAuth2 and by signature.
#[test]
fn a_real_server_keeps_tables() {
    let server = or_skip!(SeaweedServer::start());
    server.create_warehouse("lake").unwrap();
    let base = [
        ("catalog-type", "rest".to_owned()),
        ("uri", server.catalog_uri()),
        ("warehouse", "s3://lake/".to_owned()),
    ];
    let mut base: Vec<(String, String)> =
        base.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    base.extend(server.s3_options());
    let open = |more: &[(&str, &str)]| {
        let options = base.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        open_catalog("lake", options.chain(more.iter().copied())).unwrap()
    };
    let credential = server.credential();
    let by_token = open(&[("credential", credential.as_str())]);
    block_on(live(by_token.as_ref(), true));
    write_and_go_on(&by_token, &TableName::new("jobs", "by_token"));
    let by_signature = open(&[
        ("rest.sigv4-enabled", "true"),
        ("rest.signing-name", "s3tables"),
        ("rest.signing-region", "us-east-1"),
    ]);
    // A REST catalog compares the branch, not all of the metadata: that a second writer is told needs snapshots.
    block_on(live(by_signature.as_ref(), true));
    write_and_go_on(&by_signature, &TableName::new("jobs", "by_signature"));
    let found = block_on(by_token.list_tables("jobs")).unwrap();
    assert_eq!(found.len(), 2);
}

/// No key of the store is given to us: all of them come with the tables.
#[test]
fn a_real_server_hands_out_credentials() {
    let server = or_skip!(SeaweedServer::start_vending());
    server.create_warehouse("lake").unwrap();
    let (uri, credential) = (server.catalog_uri(), server.credential());
    let options = [
        ("catalog-type", "rest"),
        ("uri", uri.as_str()),
        ("warehouse", "s3://lake/"),
        ("credential", credential.as_str()),
    ];
    let catalog = open_catalog("lake", options).unwrap();
    write_and_go_on(&catalog, &TableName::new("jobs", "users"));
}
