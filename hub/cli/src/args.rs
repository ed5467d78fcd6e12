//! The command line. One screen of help a level.

use crate::commands::{agents, bench, blob, cluster, context, job, key, ledger, local, log, project, provider};
use crate::output::{Colour, Format};
use clap::{Args, Parser, Subcommand};

/// A compute hub whose every decision can be replayed and explained.
#[derive(Parser)]
#[command(name = "forge", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  forge dev                                    an embedded hub with agents
  forge submit monte_carlo model=pi samples=1e8 --wait  a job, and wait for its result
  forge explain last                           why it waits
  forge log export all.forge && forge log verify all.forge")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// How to write the answer
    #[arg(short, long, global = true, value_enum, default_value_t, help_heading = "Global")]
    pub output: Format,
    /// The context to use
    #[arg(long, global = true, env = "FORGE_CONTEXT", help_heading = "Global")]
    pub context: Option<String>,
    /// URLs of the hub's nodes, instead of the context's
    #[arg(long, global = true, env = "FORGE_URL", value_delimiter = ',', help_heading = "Global")]
    pub url: Vec<String>,
    /// API key, instead of the context's
    #[arg(long, global = true, env = "FORGE_KEY", hide_env_values = true, help_heading = "Global")]
    pub key: Option<String>,
    /// PEM file of the CA to trust, instead of the context's
    #[arg(long, global = true, env = "FORGE_CA", help_heading = "Global")]
    pub ca: Option<String>,
    /// Act for this project (needs cluster:admin)
    #[arg(long, global = true, value_name = "ID", help_heading = "Global")]
    pub in_project: Option<String>,
    /// Do not ask before something final
    #[arg(long, global = true, help_heading = "Global")]
    pub yes: bool,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Global")]
    pub color: Colour,
    /// Say more on stderr
    #[arg(short, long, global = true, help_heading = "Global")]
    pub verbose: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// An embedded hub and agents, with a project, credits and a key
    Dev(local::Dev),
    /// The main job on three hub processes, checking itself
    Demo(crate::local::demo::DemoOptions),
    /// A node of a hub cluster
    #[command(subcommand)]
    Hub(local::HubVerb),
    /// An agent on this machine
    #[command(subcommand)]
    Agent(local::AgentVerb),
    /// Submit a job (short for `job submit`)
    Submit(job::Submit),
    /// Follow a job (short for `job watch`)
    Watch(job::One),
    /// Why a job, shard or agent waits (short for `job explain`)
    Explain(job::One),
    /// Jobs
    #[command(subcommand)]
    Job(job::Verb),
    /// The log: tail, show, export
    #[command(subcommand)]
    Log(log::Verb),
    /// The cluster's nodes
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Agents
    #[command(subcommand)]
    Agents(agents::Verb),
    /// Projects
    #[command(subcommand)]
    Project(project::Verb),
    /// Providers: whoever is paid for what agents compute
    #[command(subcommand)]
    Provider(provider::Verb),
    /// Files that jobs read and results point to
    #[command(subcommand)]
    Blob(blob::Verb),
    /// API keys
    #[command(subcommand)]
    Key(key::Verb),
    /// The books
    #[command(subcommand)]
    Ledger(ledger::Verb),
    /// Contexts: which hub, which key
    #[command(subcommand)]
    Context(context::Verb),
    /// Figures of this machine
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Agents of a bench
    #[command(hide = true)]
    BenchAgents(bench::Fleet),
    /// A hub of a bench, with writers in it
    #[command(hide = true)]
    BenchHub(bench::WritingHub),
    /// The other side of a bench's bare QUIC streams
    #[command(hide = true)]
    BenchEcho,
    /// Shell completions
    #[command(after_help = "Examples:\n  forge completions bash > ~/.local/share/bash-completion/completions/forge")]
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}
