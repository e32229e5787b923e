//! The rules of closing, one by one, and the invariants under random events.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    interval_ms: 100,
    min_pause_ms: 0,
    timeout_ms: 1_000,
    size_bytes_max: 500,
    in_flight: 2,
};

const IDLE: Load = Load { active: false, size_bytes: 0 };
const BUSY: Load = Load { active: true, size_bytes: 1 };

fn coordinator(limits: Limits) -> Coordinator {
    Coordinator::new(limits, 7, 0)
}

#[test]
fn an_epoch_closes_when_its_interval_is_over_and_something_happened() {
    let mut c = coordinator(LIMITS);
    assert_eq!(c.poll(0, IDLE).unwrap(), Step::Wait);
    assert_eq!(c.poll(10, BUSY).unwrap(), Step::WaitUntil(100));
    assert_eq!(c.poll(100, IDLE).unwrap(), Step::Wait);
    assert_eq!(c.poll(100, BUSY).unwrap(), Step::Close(7));
    assert_eq!(c.open_epoch(), Some(8));
}

#[test]
fn the_first_change_after_a_pause_does_not_wait() {
    let mut c = coordinator(LIMITS);
    assert_eq!(c.poll(5_000, BUSY).unwrap(), Step::Close(7));
}

#[test]
fn a_full_epoch_closes_early() {
    let mut c = coordinator(LIMITS);
    let full = Load { active: true, size_bytes: 500 };
    assert_eq!(c.poll(1, full).unwrap(), Step::Close(7));
    // The next one waits for the commit, however full it is.
    assert_eq!(c.poll(2, full).unwrap(), Step::WaitUntil(1_001));
    c.committed(7, 3).unwrap();
    assert_eq!(c.poll(3, full).unwrap(), Step::Close(8));
}

#[test]
fn the_minimal_pause_counts_from_the_commit() {
    let mut c = coordinator(Limits { min_pause_ms: 300, ..LIMITS });
    assert_eq!(c.poll(100, BUSY).unwrap(), Step::Close(7));
    c.committed(7, 150).unwrap();
    assert_eq!(c.poll(200, BUSY).unwrap(), Step::WaitUntil(450));
    assert_eq!(c.poll(450, BUSY).unwrap(), Step::Close(8));
}

#[test]
fn a_stop_closes_one_last_epoch_at_once() {
    let mut c = coordinator(LIMITS);
    c.request_stop();
    assert_eq!(c.poll(1, IDLE).unwrap(), Step::Close(7));
    assert_eq!(c.open_epoch(), None);
    assert!(!c.is_done());
    c.committed(7, 2).unwrap();
    assert!(c.is_done());
    assert_eq!(c.poll(9, IDLE).unwrap(), Step::Wait);
}

#[test]
fn the_end_of_all_inputs_closes_the_open_epoch() {
    let mut c = coordinator(LIMITS);
    c.inputs_ended(5);
    assert_eq!(c.open_epoch(), None);
    c.committed(7, 6).unwrap();
    assert!(c.is_done());
}

#[test]
fn a_commit_that_takes_too_long_is_a_failure() {
    let mut c = coordinator(LIMITS);
    assert_eq!(c.poll(100, BUSY).unwrap(), Step::Close(7));
    assert_eq!(c.poll(1_099, IDLE).unwrap(), Step::WaitUntil(1_100));
    let error = c.poll(1_100, IDLE).unwrap_err();
    assert!(error.to_string().starts_with("epoch 7 was not committed within 1000 ms"), "{error}");
}

#[test]
fn commits_out_of_order_are_refused() {
    let mut c = coordinator(Limits { in_flight: 3, ..LIMITS });
    assert_eq!(c.poll(100, BUSY).unwrap(), Step::Close(7));
    assert_eq!(c.poll(200, BUSY).unwrap(), Step::Close(8));
    assert!(c.committed(8, 201).is_err());
    c.committed(7, 202).unwrap();
    c.committed(8, 203).unwrap();
    assert!(c.committed(9, 204).is_err());
}

/// Something that may happen to a coordinator.
#[derive(Clone, Debug)]
enum Event {
    Poll { after_ms: u64, load: Load },
    Commit { epoch_ahead: u64 },
    Stop,
    End,
}

fn event() -> impl Strategy<Value = Event> {
    let load = (any::<bool>(), 0..800_u64)
        .prop_map(|(active, size_bytes)| Load { active: active || size_bytes > 0, size_bytes });
    prop_oneof![
        20 => (0..120_u64, load).prop_map(|(after_ms, load)| Event::Poll { after_ms, load }),
        10 => (0..3_u64).prop_map(|epoch_ahead| Event::Commit { epoch_ahead }),
        1 => Just(Event::Stop),
        1 => Just(Event::End),
    ]
}

proptest! {
    #[test]
    fn epochs_are_committed_in_order_and_never_too_many_in_flight(
        events in prop::collection::vec(event(), 1..200),
        in_flight in 2..5_usize,
        min_pause_ms in 0..50_u64,
    ) {
        let limits = Limits { in_flight, min_pause_ms, timeout_ms: u64::MAX / 2, ..LIMITS };
        let mut c = Coordinator::new(limits, 1, 0);
        let (mut now_ms, mut closed, mut committed) = (0, 0, 0);
        for event in events {
            match event {
                Event::Poll { after_ms, load } => {
                    now_ms += after_ms;
                    match c.poll(now_ms, load).unwrap() {
                        Step::Close(epoch) => {
                            prop_assert_eq!(epoch, closed + 1);
                            closed = epoch;
                        }
                        Step::WaitUntil(at) => prop_assert!(at > now_ms),
                        Step::Wait => {}
                    }
                }
                Event::Commit { epoch_ahead } => {
                    let epoch = committed + 1 + epoch_ahead;
                    let in_order = epoch_ahead == 0 && epoch <= closed;
                    prop_assert_eq!(c.committed(epoch, now_ms).is_ok(), in_order);
                    committed += u64::from(in_order);
                }
                Event::Stop => c.request_stop(),
                Event::End => {
                    if c.open_epoch().is_some() {
                        closed += 1;
                    }
                    c.inputs_ended(now_ms);
                }
            }
            prop_assert!(c.in_flight() <= in_flight);
            prop_assert_eq!(c.is_done(), c.open_epoch().is_none() && committed == closed);
        }
    }
}
