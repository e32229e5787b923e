//! Exactly once under random transactions, failures, parallelism and process ends.

use proptest::prelude::*;
use shardlake_connector::Fault;
use shardlake_job::{JobHandle, JobStatus};
use shardlake_testkit::{MemorySink, ScriptSource, SinkFailure};

use crate::harness::{Plan, jobs, lines_of, submit, transaction, until};

const LANES: [(&str, i64); 3] = [("a", 1), ("b", 2), ("c", 3)];

/// How one life of the process ends.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Stop,
    Cancel,
}

fn failure() -> impl Strategy<Value = SinkFailure> {
    (0..40_u64, 0..5_u8).prop_map(|(number, kind)| match kind {
        0 => SinkFailure::Write(number),
        1 => SinkFailure::WritePanics(number),
        2 => SinkFailure::Close(number),
        3 => SinkFailure::BeforeCommit(number / 2),
        _ => SinkFailure::AfterCommit(number / 2),
    })
}

/// Batches and rows of each transaction.
type Sizes = Vec<(usize, usize)>;

fn sizes() -> impl Strategy<Value = Sizes> {
    prop::collection::vec((1..4_usize, prop_oneof![1..9_usize, Just(1_100)]), 1..25)
}

fn lines(sizes: &Sizes) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, (batches, rows)) in sizes.iter().enumerate() {
        for batch in 0..*batches {
            lines.extend((0..*rows).map(|row| format!("t{number} b{batch} r{row}")));
        }
    }
    lines
}

fn wait_for_rows(job: &JobHandle, rows: u64) {
    until("rows or the end", || {
        job.status().is_terminal() || job.counters().sinks[0].row_count >= rows
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_sink_gets_every_row_once_and_in_order(
        lanes in prop::collection::vec(sizes(), 3),
        source_failures in prop::collection::vec((0..3_usize, 0..25_usize), 0..4),
        first_failures in prop::collection::vec(failure(), 0..5),
        second_failures in prop::collection::vec(failure(), 0..5),
        parallelism in 1..3_usize,
        two_sinks in any::<bool>(),
        epoch_bytes in prop_oneof![Just(1_u64), Just(20_000), Just(1 << 30)],
        exits in prop::collection::vec(
            (prop_oneof![Just(Exit::Stop), Just(Exit::Cancel)], 0..3_000_u64), 0..3),
    ) {
        let state = tempfile::tempdir().unwrap();
        let source = ScriptSource::bounded(&["a", "b", "c"]);
        for ((lane, id), sizes) in LANES.iter().zip(&lanes) {
            for (number, (batches, rows)) in sizes.iter().enumerate() {
                source.push(lane, transaction(*id, number, *batches, *rows));
            }
        }
        for (lane, number) in source_failures {
            source.fail_before(LANES[lane].0, number, Fault::Transient);
        }
        let (first, second) = (MemorySink::default(), MemorySink::default());
        first_failures.into_iter().for_each(|failure| first.fail(failure));
        second_failures.into_iter().for_each(|failure| second.fail(failure));
        let plan = || {
            let plan = Plan::new(&[&source], &first);
            let plan = if two_sinks { plan.and_sink(&second) } else { plan };
            plan.set("parallelism.default", &parallelism.to_string())
                .set("shardlake.epoch.max-size", &epoch_bytes.to_string())
        };
        // Each life of the process has jobs of its own over the same state folder.
        let mut finished = false;
        for (exit, rows) in exits {
            let job = submit(&jobs(state.path()), plan());
            wait_for_rows(&job, rows);
            match exit {
                Exit::Stop => job.stop(),
                Exit::Cancel => job.cancel(),
            }
            let status = job.wait();
            // A stop may come as the job ends by itself, or fail for an injected failure.
            let everything = lines_of(&first.text(), 1).len() == lines(&lanes[0]).len()
                && lines_of(&first.text(), 2).len() == lines(&lanes[1]).len()
                && lines_of(&first.text(), 3).len() == lines(&lanes[2]).len();
            if status == JobStatus::Finished && everything {
                finished = true;
                break;
            }
        }
        if !finished {
            let job = submit(&jobs(state.path()), plan());
            prop_assert_eq!(job.wait(), JobStatus::Finished, "{:?}", job.failure());
        }
        let sinks = if two_sinks { vec![first, second] } else { vec![first] };
        for sink in sinks {
            for ((_, id), sizes) in LANES.iter().zip(&lanes) {
                prop_assert_eq!(lines_of(&sink.text(), *id), lines(sizes), "lane {}", id);
            }
        }
    }
}
