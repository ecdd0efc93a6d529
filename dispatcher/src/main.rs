//! The dispatcher's command line.

use std::process::ExitCode;

use clap::Parser;
use dispatcher::cli::Cli;
use dispatcher::commands;

fn main() -> ExitCode {
    commands::run(Cli::parse())
}
