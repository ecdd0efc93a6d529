//! The `worker` binary: reads the command line, starts logging, calls the library.

use std::process::ExitCode;

use clap::Parser;
use worker::cli::{Cli, Verb};
use worker::commands;

fn main() -> ExitCode {
    let cli = Cli::parse();
    commands::start_logging(&cli.command);
    match cli.command {
        Verb::Engine { layers, gpu } => match worker::engine::run(layers, gpu) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "engine");
                ExitCode::FAILURE
            }
        },
        Verb::Transcode(args) => commands::transcode(args),
        Verb::Run(args) => commands::run(args),
        Verb::Probe { input, insecure_engine, json } => commands::probe(&input, insecure_engine, json),
        Verb::Ladders { json } => commands::ladders(json),
        Verb::Sandbox { json } => commands::sandbox(json),
        Verb::Check { folder, json } => commands::check(&folder, json),
    }
}
