//! The source against a real MySQL server. Tests are skipped by name where none can be had.

#[cfg(test)]
mod chunks;
#[cfg(test)]
mod columns;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod evolution;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod load;
#[cfg(test)]
mod mariadb;
#[cfg(test)]
mod purged;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod tutorial;
#[cfg(test)]
mod types;
