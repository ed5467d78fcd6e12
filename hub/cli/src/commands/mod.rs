//! One file a noun.

pub mod agents;
pub mod bench;
pub mod blob;
pub mod cluster;
pub mod context;
pub mod job;
pub mod key;
pub mod ledger;
pub mod local;
pub mod log;
pub mod offline;
mod plot;
pub mod project;
pub mod provider;
mod submit;

use crate::args::{Cli, Command, Global};
use crate::client::Client;
use crate::contexts;
use crate::fail::{Failure, INTERRUPTED, OTHER};
use clap::CommandFactory;
use forge_event::EventIndex;
use std::io::IsTerminal;

/// What a command gives: its exit code.
pub type Done = Result<u8, Failure>;

/// What every command that talks to a hub has.
pub struct Session {
    pub client: Client,
    pub global: Global,
}

/// Runs a command to its exit code.
pub fn run(cli: Cli) -> Done {
    let Cli { global, command } = cli;
    match command {
        Command::Context(verb) => context::run(&global, verb),
        Command::Dev(args) => local::run_dev(&global, args),
        Command::Demo(options) => local::run_demo(&options),
        Command::Hub(verb) => local::run_hub(&global, verb),
        Command::Log(log::Verb::Verify { file }) => offline::run(global.output, &file, None, false),
        Command::Log(log::Verb::Replay { file, until }) => {
            offline::run(global.output, &file, until.map(EventIndex), true)
        }
        Command::Agent(verb) => local::run_agent(&global, verb),
        Command::Bench(verb) => bench::run(&global, verb),
        Command::BenchAgents(fleet) => bench::run_fleet(&fleet),
        Command::BenchHub(hub) => bench::run_hub(&hub),
        Command::BenchEcho => bench::run_echo(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "forge", &mut anstream::stdout());
            Ok(0)
        }
        remote => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| Failure::new(OTHER, "runtime", format!("starting: {e}")))?;
            runtime.block_on(async {
                tokio::select! { biased;
                    // Who has something to say about it looks for Ctrl-C as well, and sees it first.
                    done = talk(global, remote) => done,
                    _ = tokio::signal::ctrl_c() => Err(Failure::silent(INTERRUPTED)),
                }
            })
        }
    }
}

async fn talk(global: Global, command: Command) -> Done {
    let (name, context) = contexts::resolve(&global)?;
    let client = Client::new(name, context, global.in_project.clone(), global.verbose)?;
    let session = Session { client, global };
    match command {
        Command::Submit(submit) => job::submit(&session, submit).await,
        Command::Watch(one) => job::watch(&session, &one.id).await,
        Command::Explain(one) => job::explain(&session, &one.id).await,
        Command::Job(verb) => job::run(&session, verb).await,
        Command::Log(verb) => log::run(&session, verb).await,
        Command::Cluster(verb) => cluster::run(&session, verb).await,
        Command::Agents(verb) => agents::run(&session, verb).await,
        Command::Project(verb) => project::run(&session, verb).await,
        Command::Provider(verb) => provider::run(&session, verb).await,
        Command::Blob(verb) => blob::run(&session, verb).await,
        Command::Key(verb) => key::run(&session, verb).await,
        Command::Ledger(verb) => ledger::run(&session, verb).await,
        Command::Context(_)
        | Command::Completions { .. }
        | Command::Dev(_)
        | Command::Demo(_)
        | Command::Bench(_)
        | Command::BenchAgents(_)
        | Command::BenchHub(_)
        | Command::BenchEcho
        | Command::Hub(_)
        | Command::Agent(_) => unreachable!("handled without a client"),
    }
}

/// Asks before something final; a program that is not at a terminal has decided already.
pub fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(());
    }
    anstream::eprint!("{what}? This cannot be undone. [y/N] ");
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    match read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(Failure::usage("nothing was done")),
    }
}
