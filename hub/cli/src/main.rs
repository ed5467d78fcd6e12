//! `forge`: the one binary. Stdout is the answer, everything else is stderr.

mod args;
mod client;
mod commands;
mod contexts;
mod fail;
mod ids;
mod local;
mod output;
mod sugar;
mod transfer;
mod watch;

use args::Cli;
use clap::Parser;
use fail::Failure;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Exactly one TLS provider, chosen before anything could choose another.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { fail::USAGE } else { 0 };
            // Nobody left to read help is no error.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    output::choose_colour(cli.global.color);
    let format = cli.global.output;
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(&failure, format),
    }
}

fn report(failure: &Failure, format: output::Format) -> ExitCode {
    if !failure.is_silent() {
        failure.print(format);
    }
    ExitCode::from(failure.exit)
}
