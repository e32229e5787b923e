//! Jobs from submission to their end, over scripted sources and sinks in memory.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod life;
#[cfg(test)]
mod random;
#[cfg(test)]
mod resuming;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod sinks;
