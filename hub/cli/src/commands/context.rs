//! `forge context …`: kept on this machine, no hub is asked.

use super::Done;
use crate::args::Global;
use crate::contexts::{self, Context, Contexts};
use crate::fail::Failure;
use crate::output::{self, column, text};
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum Verb {
    /// List contexts
    List,
    /// Show a context: NAME, or the one in use
    Show { name: Option<String> },
    /// Use a context from now on
    Use { name: String },
    /// Add or replace a context
    #[command(after_help = "Examples:
  forge context add prod --url https://hub1:7400,https://hub2:7400 --key fk_… --ca ca.pem")]
    Add {
        name: String,
        /// The project its key belongs to, for the record
        #[arg(long)]
        project: Option<String>,
    },
    /// Remove a context
    Remove { name: String },
}

pub fn run(global: &Global, verb: Verb) -> Done {
    let mut contexts = Contexts::load()?;
    match verb {
        Verb::List => {
            let entry = |(name, context): (&String, &Context)| {
                let mut entry = context.to_value(name);
                entry["current"] = (contexts.current.as_ref() == Some(name)).into();
                entry["id"] = name.as_str().into();
                entry["key"] = context.key.as_ref().map(|_| "…").into();
                entry
            };
            let data: Vec<Value> = contexts.contexts.iter().map(entry).collect();
            let columns = [
                column("NAME", |c| text(&c["name"])),
                column("IN USE", |c| if c["current"] == true { "✓".into() } else { String::new() }),
                column("URLS", |c| text(&c["urls"])),
                column("PROJECT", |c| text(&c["project"])),
            ];
            output::list(global.output, &json!({"data": data}), &columns);
        }
        Verb::Show { name } => {
            let (name, context) = match name {
                Some(name) => (name.clone(), contexts.named(&name)?.clone()),
                None => contexts::resolve(global)?,
            };
            let fields = [
                column("name", |c| text(&c["name"])),
                column("urls", |c| text(&c["urls"])),
                column("key", |c| text(&c["key"])),
                column("project", |c| text(&c["project"])),
                column("ca", |c| text(&c["ca"])),
            ];
            output::object(global.output, &context.to_value(&name), &fields);
        }
        Verb::Use { name } => {
            contexts.named(&name)?;
            contexts.current = Some(name);
            contexts.save()?;
        }
        Verb::Add { name, project } => {
            if global.url.is_empty() {
                return Err(Failure::usage("say where the hub is: --url https://HOST:PORT"));
            }
            let absolute = |path: &String| std::path::absolute(path).unwrap_or_else(|_| path.into());
            let ca = global.ca.as_ref().filter(|c| !c.is_empty()).map(absolute);
            Contexts::keep(&name, Context { urls: global.url.clone(), key: global.key.clone(), project, ca })?;
        }
        Verb::Remove { name } => {
            contexts.named(&name)?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|c| *c != name);
            contexts.save()?;
        }
    }
    Ok(0)
}
