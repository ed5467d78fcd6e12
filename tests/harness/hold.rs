//! Holds a node where nothing outside would catch it: in a reduction that is made and not recorded.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// While a folder of this name lies in a node's folder, its reductions come no further, each beside a file of its name there:
/// such a node is to be killed.
pub const HELD: &str = "held";

/// Stops the thread that says that a reduction is made.
struct Hold {
    held: PathBuf,
}

/// What holds the node of this folder.
pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(folder: &Path) -> impl Layer<S> {
    let target = Targets::new().with_target("forge_hub::effects::reduce", LevelFilter::DEBUG);
    Hold { held: folder.join(HELD) }.with_filter(target)
}

impl<S: Subscriber> Layer<S> for Hold {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut effect = Effect(None);
        event.record(&mut effect);
        let Some(effect) = effect.0.filter(|_| self.held.exists()) else { return };
        std::fs::write(self.held.join(effect), []).expect("the test's folder can be written");
        loop {
            std::thread::park();
        }
    }
}

/// The field `effect`.
struct Effect(Option<String>);

impl Visit for Effect {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "effect" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}
