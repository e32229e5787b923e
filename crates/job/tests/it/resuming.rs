//! A resubmitted job goes on where its sink stands.

use shardlake_job::JobStatus;
use shardlake_testkit::{MemorySink, ScriptSource, SinkFailure};

use crate::harness::{Plan, ends, expected, filled, jobs, lines_of, submit, until};

const A: [(&str, i64); 1] = [("a", 1)];

#[test]
fn a_job_that_was_stopped_goes_on_without_any_local_state() {
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 10);
    let sink = MemorySink::default();
    for round in 1..=3 {
        let state = tempfile::tempdir().unwrap();
        let job = submit(&jobs(state.path()), Plan::new(&[&source], &sink));
        until("the source is started", || source.starts().len() == round);
        until("all rows are committed", || lines_of(&sink.text(), 1).len() == 60);
        job.stop();
        ends(&job, JobStatus::Finished);
    }
    assert_eq!(lines_of(&sink.text(), 1), expected(10, 2, 3));
    let starts = source.starts();
    assert_eq!(starts[0], None);
    assert_eq!(serde_json::json!(starts[1]), serde_json::json!({"a": 10}));
    let generations: Vec<u64> = sink.commits().iter().map(|commit| commit.generation).collect();
    assert!(generations.is_sorted());
}

#[test]
fn a_cancelled_job_reads_again_what_was_not_committed() {
    let state = tempfile::tempdir().unwrap();
    let jobs = jobs(state.path());
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 10);
    let sink = MemorySink::default();
    let plan = || Plan::new(&[&source], &sink).set("shardlake.epoch.max-size", "1 gb");
    let job = submit(&jobs, plan());
    until("rows are written", || sink.row_count() == 60);
    job.cancel();
    ends(&job, JobStatus::Canceled);
    let job = submit(&jobs, plan());
    until("rows are written again", || sink.row_count() == 120);
    job.stop();
    ends(&job, JobStatus::Finished);
    assert_eq!(lines_of(&sink.text(), 1), expected(10, 2, 3));
}

#[test]
fn the_position_of_another_query_is_refused_unless_the_user_wants_a_fresh_start() {
    let state = tempfile::tempdir().unwrap();
    let jobs = jobs(state.path());
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 2);
    let sink = MemorySink::default();
    let job = submit(&jobs, Plan::new(&[&source], &sink));
    until("all rows are committed", || lines_of(&sink.text(), 1).len() == 12);
    job.stop();
    ends(&job, JobStatus::Finished);

    let other = || Plan::new(&[&source], &sink).fingerprint("another query");
    let job = submit(&jobs, other());
    ends(&job, JobStatus::Failed);
    let failure = job.failure().unwrap();
    assert!(failure.contains("SET 'pipeline.name' = '<another name>'"), "{failure}");
    assert_eq!(source.starts().len(), 1);

    let job = submit(&jobs, other().set("shardlake.recovery.mode", "fresh"));
    until("all rows came again", || lines_of(&sink.text(), 1).len() == 24);
    job.stop();
    ends(&job, JobStatus::Finished);
}

#[test]
fn a_lane_that_is_gone_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let jobs = jobs(state.path());
    let sink = MemorySink::default();
    let source = filled(ScriptSource::unbounded(&["a", "b"]), &[("a", 1), ("b", 2)], 1);
    let job = submit(&jobs, Plan::new(&[&source], &sink));
    until("all rows are committed", || sink.text().lines().count() == 12);
    job.stop();
    ends(&job, JobStatus::Finished);
    let smaller = ScriptSource::unbounded(&["a"]);
    let job = submit(&jobs, Plan::new(&[&smaller], &sink));
    ends(&job, JobStatus::Failed);
    let failure = job.failure().unwrap();
    assert!(failure.contains("the stored position names b"), "{failure}");
    until("the readers have ended", || smaller.thread_count() == 0);
}

#[test]
fn a_bounded_statement_that_ended_may_be_run_again() {
    let state = tempfile::tempdir().unwrap();
    let jobs = jobs(state.path());
    let sink = MemorySink::default();
    let source = filled(ScriptSource::bounded(&["a"]), &A, 1);
    for round in 1..=3 {
        // The same name each time, and once another query.
        let fingerprint = if round == 2 { "other values" } else { "values" };
        let job = submit(&jobs, Plan::new(&[&source], &sink).fingerprint(fingerprint));
        ends(&job, JobStatus::Finished);
        assert_eq!(lines_of(&sink.text(), 1).len(), round * 6);
    }
}

#[test]
fn a_bounded_statement_that_fails_after_its_last_commit_does_not_begin_anew() {
    let state = tempfile::tempdir().unwrap();
    let sink = MemorySink::default();
    sink.fail(SinkFailure::AfterCommit(0));
    let source = filled(ScriptSource::bounded(&["a"]), &A, 1);
    let job = submit(&jobs(state.path()), Plan::new(&[&source], &sink));
    ends(&job, JobStatus::Finished);
    assert_eq!(job.counters().restarts, 1);
    assert_eq!(lines_of(&sink.text(), 1), expected(1, 2, 3));
}
