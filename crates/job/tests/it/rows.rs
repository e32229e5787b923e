//! What arrives: all rows, once, in order, whole transactions, at a bounded cost.

use std::time::Duration;

use shardlake_connector::{Fault, Phase};
use shardlake_job::JobStatus;
use shardlake_testkit::{MemorySink, ScriptSource, SinkFailure};

use crate::harness::{Plan, ends, expected, filled, jobs, lines_of, submit, transaction, until};

const LANES: [(&str, i64); 2] = [("a", 1), ("b", 2)];

fn check(sink: &MemorySink, transactions: usize) {
    for (_, id) in LANES {
        assert_eq!(lines_of(&sink.text(), id), expected(transactions, 2, 3), "lane {id}");
    }
}

#[test]
fn a_bounded_job_commits_everything_and_finishes() {
    let state = tempfile::tempdir().unwrap();
    let (source, sink) =
        (filled(ScriptSource::bounded(&["a", "b"]), &LANES, 20), MemorySink::default());
    let job = submit(&jobs(state.path()), Plan::new(&[&source], &sink));
    ends(&job, JobStatus::Finished);
    check(&sink, 20);
    let counters = job.counters();
    assert_eq!(counters.sources[0].row_count, 240);
    assert_eq!(counters.sinks[0].row_count, 240);
    assert_eq!(counters.sinks[0].committed_row_count, 240);
    let last = sink.commits().pop().unwrap();
    assert_eq!(counters.last_epoch, Some(last.progress.epoch));
    let lanes = &last.progress.position["c.d.source0"];
    assert_eq!(serde_json::json!(lanes), serde_json::json!({"a": 20, "b": 20}));
}

#[test]
fn every_row_arrives_once_whatever_fails() {
    for parallelism in ["1", "2"] {
        let state = tempfile::tempdir().unwrap();
        let source = filled(ScriptSource::bounded(&["a", "b"]), &LANES, 40);
        let sink = MemorySink::default();
        for number in [3, 11, 30] {
            source.fail_before("a", number, Fault::Transient);
            source.fail_before("b", number + 4, Fault::Transient);
            sink.fail(SinkFailure::Write(number as u64 * 2));
            sink.fail(SinkFailure::WritePanics(number as u64 * 2 + 5));
            sink.fail(SinkFailure::Close(number as u64 + 1));
            sink.fail(SinkFailure::BeforeCommit(number as u64 / 2));
            sink.fail(SinkFailure::AfterCommit(number as u64 / 2 + 1));
        }
        let plan = Plan::new(&[&source], &sink).set("parallelism.default", parallelism);
        let job = submit(&jobs(state.path()), plan);
        ends(&job, JobStatus::Finished);
        check(&sink, 40);
        assert!(job.counters().restarts >= 10, "{:?}", job.counters());
    }
}

#[test]
fn a_transaction_is_never_split_between_epochs() {
    let state = tempfile::tempdir().unwrap();
    let source = ScriptSource::bounded(&["a", "b"]);
    for (lane, id) in LANES {
        for number in 0..30 {
            source.push(lane, transaction(id, number, 5, 7));
        }
    }
    let sink = MemorySink::default();
    let job = submit(&jobs(state.path()), Plan::new(&[&source], &sink));
    ends(&job, JobStatus::Finished);
    for commit in sink.commits() {
        for (lane, id) in LANES {
            let lines = lines_of(&commit.text, id);
            assert_eq!(lines.len() % 35, 0, "epoch {} of lane {id}", commit.progress.epoch);
            // The position agrees with the rows: it is the number of the last transaction.
            if let Some(last) = lines.last() {
                let at = &commit.progress.position["c.d.source0"][lane];
                let number = at.as_u64().unwrap() - 1;
                assert!(last.starts_with(&format!("t{number} ")), "{last} at {at}");
            }
        }
    }
    assert!(sink.commits().len() > 3, "the test is about several epochs");
}

#[test]
fn changes_of_one_key_stay_in_order_with_two_workers() {
    let state = tempfile::tempdir().unwrap();
    let source = ScriptSource::bounded(&["a", "b", "c"]);
    let lanes = [("a", 1), ("b", 2), ("c", 3)];
    let source = filled(source, &lanes, 200);
    let sink = MemorySink::default();
    let plan = Plan::new(&[&source], &sink)
        .set("parallelism.default", "2")
        .set("shardlake.epoch.max-size", "20 kb");
    ends(&submit(&jobs(state.path()), plan), JobStatus::Finished);
    for (_, id) in lanes {
        assert_eq!(lines_of(&sink.text(), id), expected(200, 2, 3), "lane {id}");
    }
}

#[test]
fn epochs_without_rows_commit_nothing() {
    let state = tempfile::tempdir().unwrap();
    let (source, sink) = (ScriptSource::unbounded(&["a", "b"]), MemorySink::default());
    let plan = Plan::new(&[&source], &sink).set("execution.checkpointing.interval", "50 ms");
    let job = submit(&jobs(state.path()), plan);
    for number in 0..3 {
        source.push("a", transaction(1, number, 1, 1));
        until("the row is committed", || sink.commits().len() == number + 1);
    }
    job.stop();
    ends(&job, JobStatus::Finished);
    assert_eq!(sink.commits().len(), 3);
    // The committer is not even asked when neither a row nor a position came.
    assert!(sink.requested_epochs().len() <= 5, "{:?}", sink.requested_epochs());
}

#[test]
fn an_idle_source_does_not_hold_up_the_others() {
    let state = tempfile::tempdir().unwrap();
    let idle = ScriptSource::unbounded(&["idle"]);
    let (busy, sink) = (ScriptSource::unbounded(&["a"]), MemorySink::default());
    let job = submit(&jobs(state.path()), Plan::new(&[&idle, &busy], &sink));
    for number in 0..5 {
        busy.push("a", transaction(1, number, 1, 1));
        until("the row is committed", || sink.commits().len() == number + 1);
    }
    job.stop();
    ends(&job, JobStatus::Finished);
}

#[test]
fn a_slow_sink_holds_the_source_back_and_memory_is_bounded() {
    let state = tempfile::tempdir().unwrap();
    let source = ScriptSource::bounded(&["a"]).with_capacity(4);
    let (transactions, rows) = (400, 1_000);
    for number in 0..transactions {
        source.push("a", transaction(1, number, 1, rows));
    }
    let sink = MemorySink::default();
    sink.close_gate();
    let plan = Plan::new(&[&source], &sink)
        .set("shardlake.memory.size", "4 mb")
        .set("shardlake.epoch.max-size", "1 gb");
    let job = submit(&jobs(state.path()), plan);
    // The source comes to a halt: it has sent as much as fits and no more.
    until("rows are sent", || source.row_count() > 0);
    let mut sent = source.row_count();
    let mut quiet = 0;
    while quiet < 20 {
        std::thread::park_timeout(Duration::from_millis(10));
        let now = source.row_count();
        quiet = if now == sent { quiet + 1 } else { 0 };
        sent = now;
    }
    // A row takes about 25 bytes: 2 MiB of credit and a few batches in channels.
    assert!(sent > 10_000, "{sent}");
    assert!(sent < 200_000, "{sent} rows are under way");
    sink.open_gate();
    ends(&job, JobStatus::Finished);
    assert_eq!(lines_of(&sink.text(), 1), expected(transactions, 1, rows));
}

#[test]
fn the_snapshot_phase_is_told_to_the_sink_and_remembered_by_lane() {
    let state = tempfile::tempdir().unwrap();
    let copying = ScriptSource::unbounded(&["a"]).in_snapshot_phase();
    let copying = filled(copying, &[("a", 1)], 1);
    let following = filled(ScriptSource::unbounded(&["b"]), &[("b", 2)], 1);
    let sink = MemorySink::default();
    let run = |rows: usize| {
        let job = submit(&jobs(state.path()), Plan::new(&[&copying, &following], &sink));
        until("all rows are committed", || sink.row_count() >= rows as u64);
        job.stop();
        ends(&job, JobStatus::Finished);
    };
    run(12);
    // The copying lane is silent now; that it copies is known from the stored position.
    copying.set_silent();
    filled(following.clone(), &[("b", 2)], 1);
    run(18);
    assert!(sink.commits().iter().all(|commit| commit.phase == Phase::Snapshot));
    let last = sink.commits().pop().unwrap().progress.position;
    assert_eq!(last["$snapshot"].keys().collect::<Vec<_>>(), ["c.d.source0/a"]);
    assert_eq!(lines_of(&sink.text(), 2).len(), 12);
}

#[test]
fn after_the_snapshot_phase_commits_say_so() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::bounded(&["a"]), &[("a", 1)], 2);
    let sink = MemorySink::default();
    ends(&submit(&jobs(state.path()), Plan::new(&[&source], &sink)), JobStatus::Finished);
    let last = sink.commits().pop().unwrap();
    assert_eq!(last.phase, Phase::Streaming);
    assert!(!last.progress.position.contains_key("$snapshot"));
}
