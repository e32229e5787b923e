//! Kill -9 of the process at any moment, under load: nothing is lost, nothing doubled, no transaction is seen in part.
//!
//! The load moves money between accounts in four shard tables: every transaction keeps the sum. So the sum of every
//! snapshot of the streaming phase tells whether it shows whole transactions only, and the final rows tell the rest.
//!
//! A small bank is copied at once, so nearly all kills fall into the streaming phase; a large bank in tiny chunks takes many
//! starts to copy, so most kills fall into the snapshot phase.

use std::collections::BTreeSet;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use shardlake_e2e::{Scene, pause, wait_until};
use shardlake_testkit::{Reader, ServerOptions, Session, or_skip, say};

const TABLES: [&str; 4] =
    ["bank_db_1.account_1", "bank_db_1.account_2", "bank_db_2.account_1", "bank_db_2.account_2"];
const BALANCE: u32 = 1_000;

/// What is copied, and how long a process lives.
#[derive(Clone, Copy)]
struct Bank {
    accounts_per_table: u32,
    chunk_rows: u32,
    life_ms_max: u64,
    /// How many times as many accounts it may have in a long test.
    growth_max: u32,
}

const SMALL: Bank =
    Bank { accounts_per_table: 3_000, chunk_rows: 50, life_ms_max: 2_500, growth_max: 1 };
const LARGE: Bank =
    Bank { accounts_per_table: 30_000, chunk_rows: 20, life_ms_max: 900, growth_max: 8 };

impl Bank {
    /// A bank that is to be copied through many kills grows with them.
    fn grown_for(self, kills: u64) -> Self {
        let factor = u32::try_from(kills / 20).unwrap().clamp(1, self.growth_max);
        Self { accounts_per_table: self.accounts_per_table * factor, ..self }
    }
}

#[test]
fn crash_loses_and_doubles_nothing_with_gtid() {
    crash("gtid", SMALL, ServerOptions::default().with_sync_binlog(1));
}

#[test]
fn crash_loses_and_doubles_nothing_without_gtid() {
    crash("no_gtid", SMALL, ServerOptions::default().with_sync_binlog(1).without_gtid());
}

#[test]
fn crash_while_rows_are_copied_with_gtid() {
    crash("gtid", LARGE, ServerOptions::default().with_sync_binlog(1));
}

#[test]
fn crash_while_rows_are_copied_without_gtid() {
    crash("no_gtid", LARGE, ServerOptions::default().with_sync_binlog(1).without_gtid());
}

fn crash(name: &str, bank: Bank, options: ServerOptions) {
    let scene = or_skip!(Scene::start(options));
    or_skip!(Reader::ensure_available());
    let kills = number_from_env("SHARDLAKE_KILLS", 10);
    let bank = bank.grown_for(kills);
    let seed = number_from_env("SHARDLAKE_SEED", rand::random_range(1..1_000_000));
    say(&format!("crash {name}: {kills} kills, SHARDLAKE_SEED={seed}"));
    let mut random = StdRng::seed_from_u64(seed);
    create_accounts(&scene, bank);
    let lake = lake_table(&scene);
    let script = job_script(&scene, &lake, bank);
    let load = Load::start(&scene, bank, seed);

    for _ in 0..kills {
        let mut job = scene.job("crash", &script).unwrap();
        pause(Duration::from_millis(random.random_range(20..bank.life_ms_max)));
        job.ensure_running().unwrap();
        job.kill_dash_nine().unwrap();
    }

    let mut job = scene.job("crash", &script).unwrap();
    pause(Duration::from_secs(2));
    let transactions = load.stop();
    let expected = rows_in_mysql(&scene, bank);
    let query = "SELECT db_name, table_name, id, balance, note FROM accounts";
    wait_until("lake equals MySQL", Duration::from_secs(120), || {
        job.ensure_running()?;
        let mut rows = scene.client("reader").select(&lake, query)?;
        rows.sort_unstable();
        let difference = first_difference(&expected, &rows);
        Ok((difference.is_none(), difference))
    })
    .unwrap();
    assert_eq!(job.stop("TERM").unwrap().code(), Some(0));

    let history = check_snapshots(&scene, bank);
    say(&format!(
        "crash {name}: {kills} kills, {} of them before the snapshot phase had ended, {transactions} \
         transactions, {} rows equal, {} of {} snapshots checked for whole transactions",
        history.generations_copying.saturating_sub(1),
        expected.len(),
        history.streaming,
        history.snapshots,
    ));
}

fn number_from_env(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn create_accounts(scene: &Scene, bank: Bank) {
    scene.server.execute("CREATE DATABASE bank_db_1; CREATE DATABASE bank_db_2").unwrap();
    for table in TABLES {
        let columns = "id INT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL, note VARCHAR(200)";
        scene.server.execute(&format!("CREATE TABLE {table} ({columns})")).unwrap();
        let rows: Vec<String> =
            (0..bank.accounts_per_table).map(|id| format!("({id}, {BALANCE}, 'first')")).collect();
        for part in rows.chunks(10_000) {
            let values = part.join(",");
            scene.server.execute(&format!("INSERT INTO {table} VALUES {values}")).unwrap();
        }
    }
}

fn lake_table(scene: &Scene) -> String {
    format!(
        "CREATE TABLE accounts (db_name STRING, table_name STRING, id INT NOT NULL, \
         balance BIGINT, note STRING, PRIMARY KEY (db_name, table_name, id) NOT ENFORCED) \
         WITH ({});",
        scene.lake_options()
    )
}

fn job_script(scene: &Scene, lake: &str, bank: Bank) -> String {
    let chunk_rows = bank.chunk_rows;
    let source = scene.source_options("root", "", "bank_db_[0-9]+", "account_[0-9]+");
    format!(
        "SET 'execution.checkpointing.interval' = '200ms';
         CREATE TABLE source (db_name STRING METADATA FROM 'database_name' VIRTUAL, \
           table_name STRING METADATA VIRTUAL, id INT NOT NULL, balance BIGINT, note STRING, \
           PRIMARY KEY (id) NOT ENFORCED) \
           WITH ({source}, 'scan.incremental.snapshot.chunk.size' = '{chunk_rows}');
         {lake}
         INSERT INTO accounts SELECT * FROM source;"
    )
}

/// Two sessions that change accounts until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(scene: &Scene, bank: Bank, seed: u64) -> Self {
        let id_max = bank.accounts_per_table + 500;
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let threads = (0..2)
            .map(|thread| {
                let session = scene.server.session();
                let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
                let mut random = StdRng::seed_from_u64(seed.wrapping_mul(31) + thread);
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if change_something(&session, &mut random, id_max) {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        pause(Duration::from_millis(random.random_range(0..6)));
                    }
                })
            })
            .collect();
        Self { stop, count, threads }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.count.load(Ordering::Relaxed)
    }
}

/// One transaction that keeps the sum of all balances. Returns whether it was committed.
fn change_something(session: &Session, random: &mut StdRng, id_max: u32) -> bool {
    let mut table = || TABLES[random.random_range(0..TABLES.len())];
    let (from, to) = (table(), table());
    let (id, other) = (random.random_range(0..id_max), random.random_range(0..id_max));
    let amount = random.random_range(1..50);
    let statements = match random.random_range(0..10) {
        // An account is closed and its balance goes to a new one, elsewhere.
        0 => {
            let new = random.random_range(1_000..1_000_000_u32);
            format!(
                "SET @balance = NULL; SELECT balance INTO @balance FROM {from} WHERE id = {id} FOR UPDATE;
                 DELETE FROM {from} WHERE id = {id};
                 INSERT INTO {to} SELECT {new}, @balance, 'moved' FROM DUAL WHERE @balance IS NOT NULL"
            )
        }
        // An account gets another number.
        1 => {
            let new = random.random_range(0..id_max);
            format!("UPDATE {from} SET id = {new}, note = NULL WHERE id = {id}")
        }
        // An account is opened and closed at once, with a longer note than any before.
        2 => format!(
            "INSERT INTO {from} VALUES (-{id}, 0, REPEAT('x', 150)); DELETE FROM {from} WHERE id = -{id}"
        ),
        // Many rows in one transaction.
        3 => format!(
            "UPDATE {from} SET balance = balance - 1 WHERE id BETWEEN 0 AND 99;
             SET @moved = ROW_COUNT();
             UPDATE {from} SET balance = balance + @moved WHERE id >= 0 ORDER BY id DESC LIMIT 1"
        ),
        _ => format!(
            "UPDATE {from} SET balance = balance - {amount}, note = 'paid' WHERE id = {id};
             SET @paid = ROW_COUNT();
             UPDATE {to} SET balance = balance + {amount} * @paid WHERE id = {other};
             SET @arrived = ROW_COUNT();
             UPDATE {from} SET balance = balance + {amount} * @paid * (@arrived = 0) WHERE id = {id}"
        ),
    };
    // Deadlocks and taken numbers undo the whole transaction.
    let done = session.execute(&format!("START TRANSACTION; {statements}; COMMIT"));
    if done.is_err() {
        session.execute("ROLLBACK").unwrap();
    }
    done.is_ok()
}

fn rows_in_mysql(scene: &Scene, bank: Bank) -> Vec<String> {
    let selects = TABLES.map(|table| {
        let (database, name) = table.split_once('.').unwrap();
        format!("SELECT '{database}', '{name}', id, balance, note FROM {table}")
    });
    let rows = scene.server.query(&selects.join(" UNION ALL ")).unwrap();
    let sum: i64 = rows.iter().map(|row| row[3].parse::<i64>().unwrap()).sum();
    assert_eq!(sum, expected_sum(bank), "the load itself must keep the sum");
    let mut lines: Vec<String> = rows.into_iter().map(|row| row.join("|")).collect();
    lines.sort_unstable();
    lines
}

fn expected_sum(bank: Bank) -> i64 {
    i64::from(BALANCE) * i64::from(bank.accounts_per_table) * 4
}

fn first_difference(expected: &[String], seen: &[String]) -> Option<String> {
    if expected == seen {
        return None;
    }
    let (ours, theirs): (BTreeSet<_>, BTreeSet<_>) =
        (expected.iter().collect(), seen.iter().collect());
    let missing = ours.difference(&theirs).next();
    let extra = theirs.difference(&ours).next();
    let counts = format!("{} rows in MySQL, {} in the lake", expected.len(), seen.len());
    Some(format!("{counts}; missing {missing:?}; extra {extra:?}"))
}

/// What the history of the lake says.
struct History {
    /// Generations (starts that claimed the table) up to the one that ended the snapshot phase.
    generations_copying: u64,
    /// Snapshots of the streaming phase.
    streaming: usize,
    /// All snapshots.
    snapshots: usize,
}

/// Every snapshot after the snapshot phase has the whole sum and no key twice.
fn check_snapshots(scene: &Scene, bank: Bank) -> History {
    let table = scene.table("accounts");
    let arguments = [table.to_str().unwrap(), "balance", "db_name", "table_name", "id"];
    let lines = Reader::run_script("replay.py", &arguments).unwrap();
    let snapshots: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut history = History { generations_copying: 0, streaming: 0, snapshots: snapshots.len() };
    let mut last_position = (0, 0);
    for snapshot in &snapshots {
        let summary = &snapshot["summary"];
        let number = |key: &str| -> u64 { summary[key].as_str().unwrap_or("0").parse().unwrap() };
        let position = (number("shardlake.generation"), number("shardlake.epoch"));
        assert!(position >= last_position, "epochs go back: {snapshot}");
        last_position = position;
        if summary["shardlake.phase"] == "streaming" {
            if history.streaming == 0 {
                history.generations_copying = position.0;
            }
            history.streaming += 1;
            assert_eq!(snapshot["sum"], expected_sum(bank), "half a transaction: {snapshot}");
        }
        if summary["shardlake.phase"].is_string() {
            assert_eq!(snapshot["repeated"], 0, "a key twice: {snapshot}");
        }
    }
    assert!(history.streaming > 0, "no snapshot of the streaming phase in {}", snapshots.len());
    history
}
