//! Where jobs begin, case by case.

use std::collections::BTreeMap;

use serde_json::json;
use shardlake_checkpoint::SinkResults;
use shardlake_connector::{Phase, WriteResult};

use super::*;

const OURS: &str = "ours";

fn progress(epoch: u64, fingerprint: &str) -> Progress {
    let lanes = BTreeMap::from([("db:3306".to_owned(), json!(epoch))]);
    let position = BTreeMap::from([("s".to_owned(), lanes)]);
    Progress { epoch, position, fingerprint: fingerprint.to_owned() }
}

fn sink(name: &str, progress: Option<Progress>) -> SinkMemory {
    SinkMemory { name: name.to_owned(), stores_progress: true, progress }
}

fn plain_sink(name: &str) -> SinkMemory {
    SinkMemory { name: name.to_owned(), stores_progress: false, progress: None }
}

fn memory(sinks: Vec<SinkMemory>) -> Memory<'static> {
    Memory {
        job_name: "job",
        job_id: "id",
        fingerprint: OURS,
        sinks,
        checkpoint: None,
        bounded: None,
        last: None,
    }
}

/// A checkpoint in which each named sink stood at an epoch before and has something to commit if the
/// flag says so.
fn checkpoint(epoch: u64, sinks: &[(&str, Option<u64>, bool)]) -> Checkpoint {
    let results = |something: bool| WriteResult {
        row_count: u64::from(something),
        size_bytes: 0,
        committable: if something { vec![1] } else { Vec::new() },
    };
    let sinks = sinks.iter().map(|(name, before, something)| SinkResults {
        name: (*name).to_owned(),
        before: *before,
        results: vec![results(*something)],
    });
    Checkpoint {
        job_name: "job".to_owned(),
        progress: progress(epoch, OURS),
        phase: Phase::Streaming,
        event_time_ms: None,
        sinks: sinks.collect(),
    }
}

fn check(memory: &Memory<'_>, mode: RecoveryMode) -> String {
    match decide(memory, mode) {
        Ok(Beginning { missing, epoch, is_over: _, position }) => {
            let at = position.map(|position| json!(position).to_string());
            let at = at.unwrap_or_else(|| "the beginning".to_owned());
            format!("epoch {epoch} from {at}, commit first to {missing:?}")
        }
        Err(error) => error.to_string(),
    }
}

fn exact(memory: &Memory<'_>) -> String {
    check(memory, RecoveryMode::Exact)
}

#[test]
fn a_new_job_begins_at_the_beginning() {
    assert_eq!(
        exact(&memory(vec![sink("a", None)])),
        "epoch 1 from the beginning, commit first to []"
    );
}

#[test]
fn a_job_resumes_where_its_sink_stands() {
    assert_eq!(
        exact(&memory(vec![sink("a", Some(progress(4, OURS)))])),
        r#"epoch 5 from {"s":{"db:3306":4}}, commit first to []"#
    );
}

#[test]
fn the_position_of_another_query_is_refused_with_the_ways_out() {
    let memory = memory(vec![sink("a", Some(progress(4, "other")))]);
    insta::assert_snapshot!(exact(&memory), @"job 'job' cannot resume: its sink holds the position of another query or of other sources. SET 'pipeline.name' = '<another name>' to run it as a new job, or SET 'shardlake.recovery.mode' = 'fresh' to read its sources from the beginning");
    assert_eq!(
        check(&memory, RecoveryMode::Fresh),
        "epoch 5 from the beginning, commit first to []"
    );
}

const ANEW: &str = "epoch 5 from the beginning, commit first to []";
const GOES_ON: &str = r#"epoch 5 from {"$finished":{},"s":{"db:3306":4}}, commit first to []"#;

/// A sink that holds the last commit of a bounded job.
fn ended(fingerprint: &str, bounded: Option<Bounded>) -> Memory<'static> {
    let mut progress = progress(4, fingerprint);
    progress.position.insert(FINISHED_KEY.to_owned(), BTreeMap::new());
    Memory { bounded, ..memory(vec![sink("a", Some(progress))]) }
}

#[test]
fn a_bounded_job_that_ended_begins_anew_whatever_its_query() {
    // In another state folder the sink's word is enough.
    assert_eq!(exact(&ended("other", None)), ANEW);
    let finished = |fingerprint: &str, epoch| {
        Some(Bounded::Finished { fingerprint: fingerprint.to_owned(), epoch })
    };
    assert_eq!(exact(&ended("other", finished("other", 4))), ANEW);

    // The last epoch may have been empty and so not marked in the sink.
    let mut unmarked = memory(vec![sink("a", Some(progress(4, "other")))]);
    unmarked.bounded = finished("other", 6);
    assert_eq!(exact(&unmarked), ANEW);
    // An epoch past the noted end belongs to a later job that has not ended.
    unmarked.sinks = vec![sink("a", Some(progress(7, OURS)))];
    unmarked.bounded = finished(OURS, 6);
    assert_eq!(exact(&unmarked), r#"epoch 8 from {"s":{"db:3306":7}}, commit first to []"#);
}

#[test]
fn a_bounded_job_that_was_cut_off_after_its_last_commit_goes_on() {
    let running = |afresh, first_epoch| Some(Bounded::Running { afresh, first_epoch });
    assert_eq!(exact(&ended(OURS, running(true, 3))), GOES_ON);
    assert_eq!(exact(&ended(OURS, running(false, 5))), GOES_ON);
    // It was run once more and cut off before it committed anything: the run before had ended.
    assert_eq!(exact(&ended(OURS, running(true, 5))), ANEW);
}

#[test]
fn a_crash_between_two_commits_is_mended_from_the_checkpoint() {
    let mut crashed =
        memory(vec![sink("a", Some(progress(7, OURS))), sink("b", Some(progress(6, OURS)))]);
    crashed.checkpoint = Some(checkpoint(7, &[("a", Some(6), true), ("b", Some(6), true)]));
    assert_eq!(exact(&crashed), r#"epoch 8 from {"s":{"db:3306":7}}, commit first to [1]"#);
}

#[test]
fn a_sink_without_anything_in_the_epoch_lacks_nothing() {
    let mut crashed =
        memory(vec![sink("a", Some(progress(7, OURS))), sink("b", Some(progress(2, OURS)))]);
    crashed.checkpoint = Some(checkpoint(7, &[("a", Some(6), true), ("b", Some(2), false)]));
    assert_eq!(exact(&crashed), r#"epoch 8 from {"s":{"db:3306":7}}, commit first to []"#);
}

#[test]
fn a_sink_that_remembers_nothing_gets_the_epoch_again_unless_another_proves_that_it_has_it() {
    let mut crashed = memory(vec![plain_sink("a"), sink("b", Some(progress(6, OURS)))]);
    crashed.checkpoint = Some(checkpoint(7, &[("a", None, true), ("b", Some(6), true)]));
    assert_eq!(exact(&crashed), r#"epoch 8 from {"s":{"db:3306":7}}, commit first to [0, 1]"#);
    crashed.sinks = vec![plain_sink("a"), sink("b", Some(progress(7, OURS)))];
    assert_eq!(exact(&crashed), r#"epoch 8 from {"s":{"db:3306":7}}, commit first to []"#);
}

#[test]
fn sinks_at_different_epochs_without_a_fitting_checkpoint_are_refused() {
    let mut lost =
        memory(vec![sink("a", Some(progress(7, OURS))), sink("b", Some(progress(6, OURS)))]);
    let refusal = exact(&lost);
    assert!(refusal.contains("its sinks a and b stand at different epochs"), "{refusal}");
    assert!(refusal.contains("'shardlake.recovery.mode' = 'replay'"), "{refusal}");
    assert_eq!(
        check(&lost, RecoveryMode::Replay),
        r#"epoch 8 from {"s":{"db:3306":6}}, commit first to []"#
    );
    // A checkpoint that is older than a sink's epoch, or of another job, does not count.
    lost.checkpoint = Some(checkpoint(6, &[("a", Some(5), true), ("b", Some(5), true)]));
    assert_eq!(exact(&lost), refusal);
    lost.checkpoint = Some(checkpoint(9, &[("a", Some(7), true)]));
    assert_eq!(exact(&lost), refusal);
    // One sink has nothing at all: replay begins at the beginning.
    lost.sinks = vec![sink("a", Some(progress(7, OURS))), sink("b", None)];
    assert_eq!(
        check(&lost, RecoveryMode::Replay),
        "epoch 8 from the beginning, commit first to []"
    );
}

#[test]
fn a_job_without_remembering_sinks_resumes_within_its_process_only() {
    let mut plain = memory(vec![plain_sink("a")]);
    assert_eq!(exact(&plain), "epoch 1 from the beginning, commit first to []");
    plain.last = Some(progress(3, OURS));
    assert_eq!(exact(&plain), r#"epoch 4 from {"s":{"db:3306":3}}, commit first to []"#);
}

#[test]
fn lanes_and_sources_that_are_gone_are_refused() {
    let stored = progress(1, OURS).position;
    let error = check_lanes("job", "s", &stored["s"], &["other:1".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("names db:3306, which source s does not read"), "{error}");
    let error = check_sources("job", &stored, &["t".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("names source s"), "{error}");
    check_sources("job", &stored, &["s".to_owned()]).unwrap();
}

#[test]
fn a_checkpoint_of_tables_that_were_dropped_is_not_used() {
    let mut dropped = memory(vec![sink("a", None), sink("b", None)]);
    dropped.checkpoint = Some(checkpoint(7, &[("a", Some(6), true), ("b", Some(5), true)]));
    assert_eq!(exact(&dropped), "epoch 1 from the beginning, commit first to []");
    // Before the first commit of all, the sinks stand nowhere either.
    dropped.checkpoint = Some(checkpoint(1, &[("a", None, true), ("b", None, true)]));
    assert_eq!(exact(&dropped), r#"epoch 2 from {"s":{"db:3306":1}}, commit first to [0, 1]"#);
}
