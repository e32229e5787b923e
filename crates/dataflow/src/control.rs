//! What the user wants of a job: run on, stop, or end at once.
//!
//! A wish only ever becomes stronger. It outlives single runs: a job that is asked to stop while it
//! waits for its restart does not start again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// What the user wants of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Go on.
    #[default]
    Run,
    /// Commit what the sources have sent and end.
    Stop,
    /// End at once.
    Cancel,
}

type Listener = Arc<dyn Fn(Wish) + Send + Sync>;

#[derive(Default)]
struct State {
    wish: Wish,
    listener: Option<Listener>,
}

/// Carries the user's wishes to a job. Clones stand for the same job.
#[derive(Clone, Default)]
pub struct Control(Arc<(Mutex<State>, Condvar)>);

impl Control {
    /// Asks for a graceful end.
    pub fn stop(&self) {
        self.raise(Wish::Stop);
    }

    /// Asks for an end at once.
    pub fn cancel(&self) {
        self.raise(Wish::Cancel);
    }

    /// What the user wants now.
    #[must_use]
    pub fn wish(&self) -> Wish {
        self.0.0.lock().wish
    }

    /// Waits until the user wants something else than to go on, at most `timeout`.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Wish {
        let mut state = self.0.0.lock();
        let _ended = self.0.1.wait_while_for(&mut state, |state| state.wish == Wish::Run, timeout);
        state.wish
    }

    fn raise(&self, wish: Wish) {
        let listener = {
            let mut state = self.0.0.lock();
            if wish <= state.wish {
                return;
            }
            state.wish = wish;
            state.listener.clone()
        };
        self.0.1.notify_all();
        if let Some(listener) = listener {
            listener(wish);
        }
    }

    /// Has `listener` called with a wish that stands already and with later ones, until
    /// [`Control::unlisten`].
    pub(crate) fn listen(&self, listener: Listener) {
        let wish = {
            let mut state = self.0.0.lock();
            state.listener = Some(Arc::clone(&listener));
            state.wish
        };
        if wish > Wish::Run {
            listener(wish);
        }
    }

    pub(crate) fn unlisten(&self) {
        self.0.0.lock().listener = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_grow_stronger_only() {
        let control = Control::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        control.stop();
        let ears = Arc::clone(&heard);
        control.listen(Arc::new(move |wish| ears.lock().push(wish)));
        control.cancel();
        control.stop();
        assert_eq!(control.wish(), Wish::Cancel);
        assert_eq!(*heard.lock(), [Wish::Stop, Wish::Cancel]);
        control.unlisten();
        assert_eq!(control.wait(Duration::from_secs(60)), Wish::Cancel);
    }
}
