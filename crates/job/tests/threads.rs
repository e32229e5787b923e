//! Jobs leave no thread behind. A test binary of its own, because it counts the process's threads.

use std::sync::Arc;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use shardlake_connector::{ObjectName, Options};
use shardlake_job::{Environment, JobStatus, Jobs};
use shardlake_sql::plan::{JobPlan, PlannedSink, PlannedSource, StreamNode};
use shardlake_testkit::{MemorySink, ScriptSource};

fn plan(source: &ScriptSource, parallelism: &str) -> JobPlan {
    let name = |object: &str| ObjectName {
        catalog: "c".to_owned(),
        database: "d".to_owned(),
        object: object.to_owned(),
    };
    let configuration = [("parallelism.default", parallelism)];
    let configuration = configuration.map(|(key, value)| (key.to_owned(), value.to_owned()));
    JobPlan {
        name: "job".to_owned(),
        fingerprint: "query".to_owned(),
        sources: vec![PlannedSource {
            name: name("source"),
            source: Arc::new(source.clone()),
            kept: None,
            schema_change: None,
            key_columns: None,
            columns: vec![0],
        }],
        sinks: vec![PlannedSink {
            name: name("sink"),
            sink: Arc::new(MemorySink::default()),
            schema: Default::default(),
            equality_key: Vec::new(),
            input: StreamNode::Source { index: 0 },
        }],
        configuration: Options::from_iter(configuration),
    }
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(0)
}

#[test]
fn two_hundred_starts_and_stops_leave_the_number_of_threads_unchanged() {
    let state = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let environment =
        Environment { state_dir: state.path().to_owned(), runtime: runtime.handle().clone() };
    let jobs = Jobs::new(environment);
    let source = ScriptSource::unbounded(&["a", "b"]);
    let before = thread_count();
    for cycle in 0..200 {
        let parallelism = if cycle % 2 == 0 { "1" } else { "2" };
        let job = jobs.submit(plan(&source, parallelism)).unwrap().job;
        if cycle % 3 == 0 {
            job.cancel();
            assert_eq!(job.wait(), JobStatus::Canceled);
        } else {
            job.stop();
            assert_eq!(job.wait(), JobStatus::Finished, "{:?}", job.failure());
        }
    }
    let start = Instant::now();
    while thread_count() > before {
        assert!(start.elapsed() < Duration::from_secs(60), "{} threads", thread_count());
        park_timeout(Duration::from_millis(5));
    }
}
