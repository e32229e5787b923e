//! The tutorial from the server's page, in a real browser: submitted there, and each change seen to arrive.
//!
//! `SHARDLAKE_SCREENSHOTS=FOLDER` also takes the pictures of docs/.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use shardlake_e2e::{Scene, Server, tutorial_script, wait_until};
use shardlake_testkit::{Browser, ServerOptions, or_skip};

/// Waits until a view shows what is wanted.
fn expect(browser: &mut Browser, from: &str, what: &str, is_it: impl Fn(&[String]) -> bool) {
    wait_until(what, Duration::from_secs(60), || {
        let texts = browser.read(from)?;
        Ok((is_it(&texts), texts))
    })
    .unwrap();
}

/// The rows of the lake as the page's result grid shows them: the ids with their addresses, sorted.
fn select(browser: &mut Browser) -> Vec<String> {
    browser.open("#/sql").unwrap();
    browser.write("#script", "SELECT id, address FROM all_users_sink;").unwrap();
    browser.click("[data-action=run]").unwrap();
    wait_until("the query ends", Duration::from_secs(60), || {
        let states = browser.read(".result > p.quiet, .result > .notice")?;
        assert!(!states.iter().any(|state| state.starts_with("failed")), "{states:?}");
        Ok((states.iter().any(|state| state.starts_with("done")), states))
    })
    .unwrap();
    let cells = browser.read(".result .grid tbody td").unwrap();
    let mut rows: Vec<String> = cells.chunks(2).map(|row| row.join(" ")).collect();
    rows.sort_unstable();
    rows
}

/// Selects until the lake has these rows.
fn await_rows(browser: &mut Browser, wanted: &[&str]) {
    wait_until("the next state", Duration::from_secs(60), || {
        let rows = select(browser);
        Ok((rows == wanted, rows))
    })
    .unwrap();
}

fn shoot(browser: &mut Browser, name: &str, theme: &str) {
    if let Some(folder) = env::var_os("SHARDLAKE_SCREENSHOTS") {
        browser.shoot(&PathBuf::from(folder).join(format!("{name}.png")), theme).unwrap();
    }
}

#[test]
fn page_submits_the_tutorial_and_shows_each_change() {
    let scene = or_skip!(Scene::start(ServerOptions::default()));
    let script = tutorial_script(&scene).unwrap();
    let (state, log) = (scene.folder().join("server"), scene.folder().join("server.log"));
    let mut server = Server::start(&state, &log).unwrap();
    let mut browser = or_skip!(Browser::start(server.url()));
    let root = scene.server.session_of("root", "123456");

    browser.open("#/sql").unwrap();
    browser.write("#script", &script).unwrap();
    browser.click("[data-action=run]").unwrap();
    expect(&mut browser, ".result > p.quiet", "the job is submitted", |states| {
        states.len() == 5 && states.iter().all(|state| state.starts_with("done"))
    });
    assert!(browser.read(".result .notice.bad").unwrap().is_empty());

    await_rows(
        &mut browser,
        &["11100 Shanghai", "12100 Shanghai", "21100 Shanghai", "22100 Shanghai"],
    );
    let insert = "INSERT INTO user_db_1.user_table_1 VALUES \
                  (11101,'user_11101','Shanghai','123567891234','user_11101@foo.com')";
    root.execute(insert).unwrap();
    let five =
        ["11100 Shanghai", "11101 Shanghai", "12100 Shanghai", "21100 Shanghai", "22100 Shanghai"];
    await_rows(&mut browser, &five);
    root.execute("UPDATE user_db_1.user_table_2 SET address='Beijing' WHERE id=12100").unwrap();
    let moved =
        ["11100 Shanghai", "11101 Shanghai", "12100 Beijing", "21100 Shanghai", "22100 Shanghai"];
    await_rows(&mut browser, &moved);
    root.execute("DELETE FROM user_db_2.user_table_1 WHERE id=21100").unwrap();
    await_rows(
        &mut browser,
        &["11100 Shanghai", "11101 Shanghai", "12100 Beijing", "22100 Shanghai"],
    );
    shoot(&mut browser, "sql", "light");

    look_at_the_job(&mut browser);
    restart(&mut server, &mut browser);
    root.execute("DELETE FROM user_db_2.user_table_2 WHERE id=22100").unwrap();
    await_rows(&mut browser, &["11100 Shanghai", "11101 Shanghai", "12100 Beijing"]);

    // What could not be loaded while the server was gone is no fault; a script's error or a refused policy is.
    let mut complaints = browser.end().unwrap();
    complaints.retain(|complaint| !complaint.contains("Failed to load resource"));
    assert!(complaints.is_empty(), "the browser's console: {complaints:?}");
}

/// The views of the job show its shards, its epochs and its table.
fn look_at_the_job(browser: &mut Browser) {
    browser.open("#/").unwrap();
    expect(browser, ".status-running", "the job runs", |found| found.len() == 1);
    shoot(browser, "overview", "light");
    browser.click("tbody a").unwrap();
    expect(browser, ".operator .name", "the graph is drawn", |found| found.len() >= 2);
    shoot(browser, "graph", "dark");
    browser.click(".tabs a[href$='/shards']").unwrap();
    expect(browser, ".scroll[aria-label=Shards] tbody th", "the shards are listed", |found| {
        found == ["user_table_1", "user_table_2", "user_table_1", "user_table_2"]
    });
    shoot(browser, "shards", "light");
    browser.click(".tabs a[href$='/checkpoints']").unwrap();
    expect(browser, ".bar", "the epochs are drawn", |found| found.len() >= 4);
    shoot(browser, "checkpoints", "dark");
    browser.click(".tabs a[href$='/lake']").unwrap();
    expect(
        browser,
        ".scroll[aria-label=Snapshots] tbody th",
        "the snapshots are listed",
        |found| found.len() >= 4,
    );
    shoot(browser, "lake", "light");
    browser.click(".tabs a[href$='/errors']").unwrap();
    expect(browser, ".notice.good", "nothing has failed", |found| found.len() == 1);
}

/// A page that is open while the server is killed says so, and goes on by itself when the server is back with its job.
fn restart(server: &mut Server, browser: &mut Browser) {
    browser.open("#/jobs").unwrap();
    expect(browser, ".status-running", "the job runs", |found| found.len() == 1);
    server.kill_dash_nine().unwrap();
    expect(browser, "#connection.bad", "the page tells it", |found| found.len() == 1);
    server.start_again().unwrap();
    expect(browser, "#connection.good", "the page is live again", |found| found.len() == 1);
    expect(browser, ".status-running", "the job was resumed", |found| found.len() == 1);
}
