//! The life of a job: its end by a stop, a cancel, a failure or a panic.

use shardlake_change::ChangeBatch;
use shardlake_connector::{Error, Fault};
use shardlake_job::{Error as JobError, JobStatus};
use shardlake_testkit::{MemorySink, ScriptSource, SinkFailure};

use crate::harness::{Plan, ends, expected, filled, jobs, lines_of, submit, until};

const A: [(&str, i64); 1] = [("a", 1)];

#[test]
fn a_stop_commits_everything_that_was_sent() {
    for parallelism in ["1", "2"] {
        let state = tempfile::tempdir().unwrap();
        let source = filled(ScriptSource::unbounded(&["a"]), &A, 100);
        let sink = MemorySink::default();
        let plan = Plan::new(&[&source], &sink)
            .set("shardlake.epoch.max-size", "1 gb")
            .set("parallelism.default", parallelism);
        let job = submit(&jobs(state.path()), plan);
        until("all rows are sent", || source.row_count() == 600);
        assert_eq!(sink.text(), "", "the interval is an hour");
        job.stop();
        ends(&job, JobStatus::Finished);
        assert_eq!(lines_of(&sink.text(), 1), expected(100, 2, 3));
        until("the readers have ended", || source.thread_count() == 0);
    }
}

#[test]
fn a_stop_ends_a_job_whose_source_never_pauses() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::unbounded(&["a"]).with_capacity(2), &A, 20_000);
    let sink = MemorySink::default();
    let plan = Plan::new(&[&source], &sink).set("shardlake.epoch.max-size", "1 gb");
    let job = submit(&jobs(state.path()), plan);
    until("rows are written", || sink.row_count() > 0);
    job.stop();
    ends(&job, JobStatus::Finished);
    let lines = lines_of(&sink.text(), 1);
    assert!(!lines.is_empty());
    assert_eq!(lines.len() % 6, 0, "whole transactions only");
    assert_eq!(lines[..], expected(20_000, 2, 3)[..lines.len()]);
}

#[test]
fn a_cancel_ends_at_once_and_commits_nothing_more() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 10);
    let sink = MemorySink::default();
    let plan = Plan::new(&[&source], &sink).set("shardlake.epoch.max-size", "1 gb");
    let job = submit(&jobs(state.path()), plan);
    until("rows are written", || sink.row_count() == 60);
    job.cancel();
    ends(&job, JobStatus::Canceled);
    assert_eq!(sink.text(), "");
    until("the readers have ended", || source.thread_count() == 0);
}

#[test]
fn a_panic_in_an_operator_ends_the_job_and_not_the_process() {
    for parallelism in ["1", "2"] {
        let state = tempfile::tempdir().unwrap();
        let jobs = jobs(state.path());
        let source = filled(ScriptSource::unbounded(&["a", "b"]), &[("a", 1), ("b", 2)], 10);
        let sink = MemorySink::default();
        let plan = Plan::new(&[&source], &sink)
            .set("restart-strategy.type", "none")
            .set("parallelism.default", parallelism)
            .transform(|_: &ChangeBatch| -> Result<ChangeBatch, Error> { panic!("on purpose") });
        let job = submit(&jobs, plan);
        ends(&job, JobStatus::Failed);
        let failure = job.failure().unwrap();
        assert!(failure.contains("panicked: on purpose"), "{failure}");
        assert_eq!(sink.text(), "");
        until("the readers have ended", || source.thread_count() == 0);

        let source = filled(ScriptSource::bounded(&["a"]), &A, 10);
        let job = submit(&jobs, Plan::new(&[&source], &sink));
        ends(&job, JobStatus::Finished);
        assert_eq!(lines_of(&sink.text(), 1), expected(10, 2, 3));
    }
}

#[test]
fn a_failing_expression_fails_the_job_without_committing_its_epoch() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::bounded(&["a"]), &A, 10);
    let sink = MemorySink::default();
    let plan = Plan::new(&[&source], &sink)
        .transform(|_: &ChangeBatch| Err(Error::job("division by zero in column x")));
    let job = submit(&jobs(state.path()), plan);
    ends(&job, JobStatus::Failed);
    assert_eq!(job.failure().as_deref(), Some("division by zero in column x"));
    assert!(sink.requested_epochs().is_empty());
}

#[test]
fn a_fault_that_a_user_has_to_mend_is_not_tried_again() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 3);
    source.fail_before("a", 2, Fault::Job);
    let job = submit(&jobs(state.path()), Plan::new(&[&source], &MemorySink::default()));
    ends(&job, JobStatus::Failed);
    assert_eq!(source.starts().len(), 1);
    assert_eq!(job.failure().as_deref(), Some("a was told to fail"));
}

#[test]
fn a_job_whose_table_was_taken_ends() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 1);
    let sink = MemorySink::default();
    let job = submit(&jobs(state.path()), Plan::new(&[&source], &sink));
    until("a commit", || sink.commits().len() == 1);
    sink.fence();
    filled(source, &A, 1);
    ends(&job, JobStatus::Failed);
    assert_eq!(job.failure().as_deref(), Some("a newer run has taken the table"));
}

#[test]
fn a_stop_while_a_job_waits_for_its_restart_ends_it() {
    let state = tempfile::tempdir().unwrap();
    let source = filled(ScriptSource::unbounded(&["a"]), &A, 1);
    let sink = MemorySink::default();
    sink.fail(SinkFailure::Write(0));
    let plan = Plan::new(&[&source], &sink).set("restart-strategy.fixed-delay.delay", "1 h");
    let job = submit(&jobs(state.path()), plan);
    until("the job waits", || job.status() == JobStatus::Restarting);
    job.stop();
    // The stop could not commit what was sent.
    ends(&job, JobStatus::Failed);
}

#[test]
fn two_jobs_of_one_name_do_not_run_at_once() {
    let state = tempfile::tempdir().unwrap();
    let jobs = jobs(state.path());
    let source = ScriptSource::unbounded(&["a"]);
    let (first, second) = (MemorySink::default(), MemorySink::default());
    let job = submit(&jobs, Plan::new(&[&source], &first));
    let refused = jobs.submit(Plan::new(&[&source], &second).build()).err().unwrap();
    assert!(matches!(refused, JobError::AlreadyRunning { .. }), "{refused}");
    let other = submit(&jobs, Plan::new(&[&source], &second).named("other"));
    assert_eq!(jobs.running().len(), 2);
    jobs.stop_all();
    assert_eq!([job.status(), other.status()], [JobStatus::Finished; 2]);
    assert!(jobs.running().is_empty());
    assert_eq!(jobs.get(job.id()).map(|job| job.name().to_owned()).as_deref(), Some("job"));
    submit(&jobs, Plan::new(&[&source], &first)).stop();
    jobs.stop_all();
}

#[test]
fn wrong_settings_are_refused_at_submission_and_notices_are_given() {
    let state = tempfile::tempdir().unwrap();
    let jobs = jobs(state.path());
    let (source, sink) = (ScriptSource::unbounded(&["a"]), MemorySink::default());
    let plan = Plan::new(&[&source], &sink).set("execution.checkpointing.interval", "1 ms");
    let refused = jobs.submit(plan.build()).err().unwrap().to_string();
    assert!(
        refused.contains("'execution.checkpointing.interval' must be at least 50 ms"),
        "{refused}"
    );
    assert!(jobs.list().is_empty());

    let mut plan = Plan::new(&[&source], &sink).build();
    plan.configuration.remove("execution.checkpointing.interval");
    let submitted = jobs.submit(plan).unwrap();
    assert_eq!(submitted.notices.len(), 1, "{:?}", submitted.notices);
    jobs.stop_all();
}
