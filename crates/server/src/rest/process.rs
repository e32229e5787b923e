//! What the operating system says of this process: memory, processor time, threads.

use std::fs;
use std::time::Duration;

/// A reading of the process; zero where the system does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessReading {
    /// Memory that the process holds, in bytes.
    pub(crate) resident_bytes: u64,
    /// The most that it has held, in bytes.
    pub(crate) peak_bytes: u64,
    /// Memory of the machine, in bytes.
    pub(crate) machine_bytes: u64,
    /// Processor time that it has taken.
    pub(crate) cpu: Duration,
    /// Its threads.
    pub(crate) thread_count: u64,
    /// Its open files and sockets.
    pub(crate) file_count: u64,
}

/// Ticks of `/proc/self/stat` in a second: fixed on Linux.
const TICKS: u64 = 100;

impl ProcessReading {
    /// A reading now.
    pub(crate) fn take() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            resident_bytes: field(&status, "VmRSS:") << 10,
            peak_bytes: field(&status, "VmHWM:") << 10,
            machine_bytes: field(&machine, "MemTotal:") << 10,
            cpu: cpu_time(),
            thread_count: field(&status, "Threads:"),
            file_count: files as u64,
        }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; what follows it does not.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks =
        behind.split_whitespace().skip(11).take(2).filter_map(|part| part.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 1_000 / TICKS)
}

/// The names of the threads, and what each is doing (`R` running, `S` waiting, and so on).
pub(crate) fn threads() -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let read = |entry: fs::DirEntry| {
        let path = entry.path();
        let name = fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.split(' ').next()?.to_owned();
        Some((name, state))
    };
    entries.flatten().filter_map(read).collect()
}
