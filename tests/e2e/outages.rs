//! What surrounds a job breaks: the server, the connection, the warehouse.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shardlake_e2e::{Scene, wait_until};
use shardlake_testkit::{ServerOptions, or_skip, report_skipped};

fn script(scene: &Scene) -> (String, String) {
    scene.server.execute("CREATE DATABASE shop").unwrap();
    scene.server.execute("CREATE TABLE shop.item (id INT PRIMARY KEY, name VARCHAR(40))").unwrap();
    scene.server.execute("INSERT INTO shop.item VALUES (1, 'one')").unwrap();
    let lake = format!(
        "CREATE TABLE item_lake (id INT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({});",
        scene.lake_options()
    );
    let script = format!(
        "SET 'execution.checkpointing.interval' = '200ms';
         SET 'restart-strategy.type' = 'fixed-delay';
         SET 'restart-strategy.fixed-delay.attempts' = '1000';
         SET 'restart-strategy.fixed-delay.delay' = '200ms';
         CREATE TABLE item (id INT NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({});
         {lake}
         INSERT INTO item_lake SELECT * FROM item;",
        scene.source_options("root", "", "shop", "item")
    );
    (lake, script)
}

const QUERY: &str = "SELECT id, name FROM item_lake";

#[test]
fn server_restarts_and_cut_connections_are_survived() {
    for options in [ServerOptions::default(), ServerOptions::default().without_gtid()] {
        let mut scene = or_skip!(Scene::start(options.with_sync_binlog(1)));
        let (lake, script) = script(&scene);
        let mut job = scene.job("outage", &script).unwrap();
        scene.await_rows(&mut job, &lake, QUERY, &["1|one"]).unwrap();

        // The binlog connection is cut, twice.
        for id in [2, 3] {
            let killed = wait_until("a dump to kill", Duration::from_secs(30), || {
                let dumps = scene.server.query("SHOW PROCESSLIST")?;
                let dump = dumps
                    .into_iter()
                    .find(|row| row.iter().any(|cell| cell.starts_with("Binlog Dump")));
                Ok((dump.is_some(), dump))
            });
            let connection = killed.unwrap().unwrap()[0].clone();
            scene.server.execute(&format!("KILL {connection}")).unwrap();
            scene.server.execute(&format!("INSERT INTO shop.item VALUES ({id}, 'cut')")).unwrap();
        }
        scene.await_rows(&mut job, &lake, QUERY, &["1|one", "2|cut", "3|cut"]).unwrap();

        // The server goes away in order, and comes back with a new binlog file.
        scene.server.stop().unwrap();
        job.ensure_running().unwrap();
        scene.server.start_again().unwrap();
        scene.server.execute("UPDATE shop.item SET name = 'back' WHERE id = 2").unwrap();
        scene.await_rows(&mut job, &lake, QUERY, &["1|one", "2|back", "3|cut"]).unwrap();

        // The server crashes.
        scene.server.kill_dash_nine().unwrap();
        scene.server.start_again().unwrap();
        scene.server.execute("DELETE FROM shop.item WHERE id = 1").unwrap();
        scene.await_rows(&mut job, &lake, QUERY, &["2|back", "3|cut"]).unwrap();
        assert_eq!(job.stop("TERM").unwrap().code(), Some(0));
    }
}

/// A file system of its own, that can be filled and made read-only.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let size = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"];
        let mounted = Command::new("mount").args(size).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap();
        assert!(status.success(), "mount -o {options}");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// With a disk that refuses to be written, the job says why, and goes on when it can be written again.
fn unwritable(name: &str, break_it: fn(&SmallDisk<'_>), mend_it: fn(&SmallDisk<'_>), reason: &str) {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let warehouse = scene.warehouse();
    let Some(disk) = SmallDisk::mount(&warehouse) else {
        assert!(report_skipped(name, "this machine does not let us mount a small file system"));
        return;
    };
    let (lake, script) = script(&scene);
    let mut job = scene.job("unwritable", &script).unwrap();
    scene.await_rows(&mut job, &lake, QUERY, &["1|one"]).unwrap();

    break_it(&disk);
    scene.server.execute("INSERT INTO shop.item VALUES (2, 'two')").unwrap();
    let log = wait_until("the reason is given", Duration::from_secs(60), || {
        let log = job.log();
        Ok((log.to_lowercase().contains(reason), log))
    });
    mend_it(&disk);
    let log = log.unwrap();
    assert!(!log.contains("panicked"), "{log}");

    // A job that gave up is started again by its user; one that retries goes on by itself.
    if job.ensure_running().is_err() {
        job = scene.job("unwritable", &script).unwrap();
    }
    scene.await_rows(&mut job, &lake, QUERY, &["1|one", "2|two"]).unwrap();
    drop(job);
    drop(disk);
}

#[test]
fn read_only_warehouse_is_reported_and_survived() {
    unwritable(
        "read_only_warehouse_is_reported_and_survived",
        |disk| disk.remount("ro"),
        |disk| disk.remount("rw"),
        "read-only file system",
    );
}

#[test]
fn full_disk_is_reported_and_survived() {
    unwritable(
        "full_disk_is_reported_and_survived",
        |disk| {
            let filling = vec![0_u8; 8 << 20];
            assert!(std::fs::write(disk.0.join("filling"), filling).is_err());
        },
        |disk| std::fs::remove_file(disk.0.join("filling")).unwrap(),
        "no space left on device",
    );
}
