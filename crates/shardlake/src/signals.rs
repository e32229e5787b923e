//! SIGINT and SIGTERM.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Signals that the process has received. Clones see the same signals, each in its own time.
#[derive(Clone)]
pub(crate) struct Signals {
    interrupts: watch::Receiver<u64>,
    terminations: watch::Receiver<u64>,
    _keep: Arc<()>,
}

impl Signals {
    /// Listens from now on; the process no longer ends by these signals.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupts: counted(SignalKind::interrupt())?,
            terminations: counted(SignalKind::terminate())?,
            _keep: Arc::new(()),
        })
    }

    /// Waits for the next SIGINT or SIGTERM that was not waited for before.
    pub(crate) async fn interrupt(&mut self) {
        // The senders live as long as the runtime; an error means that the process is ending.
        tokio::select! {
            _ = self.interrupts.changed() => {}
            _ = self.terminations.changed() => {}
        }
    }

    /// Forgets the SIGINTs so far, so that one that came between two statements stops neither.
    pub(crate) fn forget_interrupts(&mut self) {
        self.interrupts.mark_unchanged();
    }

    /// Whether SIGTERM has come.
    pub(crate) fn is_terminated(&self) -> bool {
        *self.terminations.borrow() > 0
    }

    /// Whether any signal has come that was not waited for.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_terminated() || self.interrupts.has_changed().unwrap_or(false)
    }
}

fn counted(kind: SignalKind) -> io::Result<watch::Receiver<u64>> {
    let mut arriving = signal(kind)?;
    let (count, seen) = watch::channel(0);
    tokio::spawn(async move {
        while arriving.recv().await.is_some() {
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(seen)
}
