//! Jobs with several sinks, and sinks that remember nothing.

use shardlake_job::JobStatus;
use shardlake_testkit::{MemorySink, ScriptSource, SinkFailure};

use crate::harness::{Plan, ends, expected, filled, jobs, lines_of, submit, until};

const A: [(&str, i64); 1] = [("a", 1)];

#[test]
fn a_crash_between_the_commits_of_two_sinks_is_mended() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::bounded(&["a"]), &A, 20);
    let (first, second) = (MemorySink::default(), MemorySink::default());
    second.fail(SinkFailure::BeforeCommit(3));
    first.fail(SinkFailure::AfterCommit(7));
    second.fail(SinkFailure::AfterCommit(9));
    let job = submit(&jobs(state.path()), Plan::new(&[&source], &first).and_sink(&second));
    ends(&job, JobStatus::Finished);
    for sink in [&first, &second] {
        assert_eq!(lines_of(&sink.text(), 1), expected(20, 2, 3));
    }
    assert_eq!(job.counters().restarts, 3);
    assert_eq!(second.recovered_epochs().len(), 2, "{:?}", second.recovered_epochs());
    assert_eq!(first.recovered_epochs(), Vec::<u64>::new());
}

#[test]
fn a_crash_between_two_commits_is_mended_by_the_next_process() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 10);
    let (first, second) = (MemorySink::default(), MemorySink::default());
    second.fail(SinkFailure::BeforeCommit(2));
    let plan = || Plan::new(&[&source], &first).and_sink(&second);
    let job = submit(&jobs(state.path()), plan().set("restart-strategy.type", "none"));
    ends(&job, JobStatus::Failed);
    assert_eq!(first.commits().len(), 3);
    assert_eq!(second.commits().len(), 2);

    let job = submit(&jobs(state.path()), plan());
    until("all rows are committed", || lines_of(&second.text(), 1).len() == 60);
    job.stop();
    ends(&job, JobStatus::Finished);
    for sink in [&first, &second] {
        assert_eq!(lines_of(&sink.text(), 1), expected(10, 2, 3));
    }
    assert_eq!(second.recovered_epochs(), [3]);
}

#[test]
fn without_the_checkpoint_sinks_that_differ_are_refused_or_replayed() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 10);
    let (first, second) = (MemorySink::default(), MemorySink::default());
    second.fail(SinkFailure::BeforeCommit(2));
    let plan = || Plan::new(&[&source], &first).and_sink(&second);
    let job = submit(&jobs(state.path()), plan().set("restart-strategy.type", "none"));
    ends(&job, JobStatus::Failed);

    let elsewhere = tempfile::tempdir().unwrap();
    let jobs = jobs(elsewhere.path());
    let job = submit(&jobs, plan());
    ends(&job, JobStatus::Failed);
    let failure = job.failure().unwrap();
    assert!(failure.contains("stand at different epochs"), "{failure}");

    let job = submit(&jobs, plan().set("shardlake.recovery.mode", "replay"));
    until("all rows are committed", || lines_of(&second.text(), 1).len() == 60);
    job.stop();
    ends(&job, JobStatus::Finished);
    assert_eq!(lines_of(&second.text(), 1), expected(10, 2, 3));
    // The sink that was ahead saw the rows of one epoch again.
    assert_eq!(lines_of(&first.text(), 1).len(), 66);
}

#[test]
fn a_sink_that_remembers_nothing_misses_nothing_beside_one_that_does() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::bounded(&["a"]), &A, 10);
    let (forgetful, remembering) = (MemorySink::forgetful(), MemorySink::default());
    remembering.fail(SinkFailure::BeforeCommit(4));
    let plan = Plan::new(&[&source], &remembering).and_sink(&forgetful);
    ends(&submit(&jobs(state.path()), plan), JobStatus::Finished);
    for sink in [&forgetful, &remembering] {
        assert_eq!(lines_of(&sink.text(), 1), expected(10, 2, 3));
    }
}

#[test]
fn a_job_whose_sinks_remember_nothing_goes_on_after_a_restart_and_starts_over_when_resubmitted() {
    let state = tempfile::tempdir().unwrap();
    let jobs = jobs(state.path());
    let source = filled(ScriptSource::bounded(&["a"]), &A, 10);
    let sink = MemorySink::forgetful();
    sink.fail(SinkFailure::BeforeCommit(5));
    let job = submit(&jobs, Plan::new(&[&source], &sink));
    ends(&job, JobStatus::Finished);
    assert_eq!(lines_of(&sink.text(), 1), expected(10, 2, 3));
    let other = MemorySink::forgetful();
    ends(&submit(&jobs, Plan::new(&[&source], &other)), JobStatus::Finished);
    assert_eq!(lines_of(&other.text(), 1), expected(10, 2, 3));
}
