//! The `shardlake` binary: reads its arguments and wires the crates together.

mod allocator;
mod arguments;
mod client;
mod connectors;
mod logging;
mod output;
mod repl;
mod screen;
mod script;
mod server_command;
mod server_settings;
mod signals;
mod sql_command;
mod state_dir;
mod verify_command;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

#[expect(clippy::print_stderr, reason = "this is the program's answer to its user")]
fn main() -> ExitCode {
    allocator::keep_memory_small();
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Sql(sql) => sql_command::run(sql),
        Command::Server(server) => server_command::run(server),
        Command::Verify(verify) => verify_command::run(&verify),
    };
    result.unwrap_or_else(|error| {
        eprintln!("[ERROR] {error:#}");
        ExitCode::FAILURE
    })
}
