//! A job of 10^8 null shards on the projections alone: how long its admission takes, and what the
//! state grows by, at once and after 10^6 of its shards finished in random order.
//!
//! Prints one JSON object. Run with `cargo bench --workspace --bench scale`.

use forge_simulations::scale;

fn main() {
    println!("{}", scale::measure(scale::SHARDS, scale::FINISHED));
}
