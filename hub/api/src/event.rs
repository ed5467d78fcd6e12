//! Events as CloudEvents.

use forge_event::{EventIndex, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A CloudEvent (1.0, JSON). `id` is the position in the log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CloudEvent {
    pub specversion: String,
    #[schema(example = "18442")]
    pub id: String,
    #[schema(example = "/clusters/4b1d…")]
    pub source: String,
    #[schema(example = "hub.forge.shard.assigned.v1")]
    pub r#type: String,
    #[schema(example = "j1842")]
    pub subject: Option<String>,
    pub time: String,
    pub datacontenttype: String,
    /// Fields by type: see the events reference.
    #[schema(value_type = Object)]
    pub data: Value,
    /// What caused it, where it is a decision.
    pub cause: Option<u64>,
}

impl CloudEvent {
    pub fn new(cluster: &str, index: EventIndex, name: &str, at: Timestamp) -> CloudEvent {
        CloudEvent {
            specversion: "1.0".into(),
            id: index.to_string(),
            source: format!("/clusters/{cluster}"),
            r#type: format!("hub.forge.{name}.v1"),
            subject: None,
            time: at.to_string(),
            datacontenttype: "application/json".into(),
            data: Value::Null,
            cause: None,
        }
    }
}

/// Whether an event's name fits a `?type=` filter: names with `*` for any ending, separated by commas.
pub fn type_fits(filter: &str, name: &str) -> bool {
    filter.split(',').map(str::trim).filter(|p| !p.is_empty()).any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_filter_is_a_list_of_names_and_beginnings() {
        assert!(type_fits("job.*,shard.assigned", "job.submitted"));
        assert!(type_fits("job.*, shard.assigned", "shard.assigned"));
        assert!(!type_fits("job.*,shard.assigned", "shard.requeued"));
        assert!(type_fits("*", "leader.started"));
    }
}
