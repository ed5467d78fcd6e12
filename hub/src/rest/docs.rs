//! The API's description and the pages of its problem codes.

use super::answer::{self, Answered};
use super::state::Rest;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use forge_api::{Code, Problem};
use serde_json::json;
use utoipa::openapi::OpenApi;

/// What the generator cannot know: nothing of the machine it ran on, a stable order.
pub fn polish(mut description: OpenApi) -> OpenApi {
    description.info.version = env!("CARGO_PKG_VERSION").into();
    description
}

/// `/openapi.json`.
pub fn serve_description(description: &OpenApi) -> Router<Rest> {
    let text: std::sync::Arc<str> = description.to_pretty_json().expect("the description is JSON").into();
    let show = move || async move { answer::bytes_as(StatusCode::OK, "application/json", text.as_bytes().to_vec()) };
    Router::new().route("/openapi.json", get(show))
}

/// Lists the problem codes.
#[utoipa::path(get, path = "/docs/errors", operation_id = "listErrorPages", tag = "docs",
    responses((status = 200, description = "Every code with its page")), security(()))]
pub async fn errors() -> Response {
    let entry = |c: &Code| json!({"code": c.name(), "status": c.status(), "title": c.title(), "page": c.path()});
    answer::json(StatusCode::OK, &json!({"data": Code::ALL.iter().map(entry).collect::<Vec<_>>()}))
}

/// Explains a problem code.
#[utoipa::path(get, path = "/docs/errors/{code}", operation_id = "getErrorPage", tag = "docs", params(("code" = String, Path)),
    responses((status = 200, description = "Markdown", content_type = "text/markdown")), security(()))]
pub async fn error(Path(code): Path<String>) -> Answered {
    let known = Code::named(&code).ok_or_else(|| Problem::not_found(format!("problem code {code}")))?;
    Ok(answer::bytes_as(StatusCode::OK, "text/markdown; charset=utf-8", known.document()))
}

#[cfg(test)]
mod tests {
    use super::super::openapi;

    #[test]
    fn the_checked_in_description_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = openapi().to_pretty_json().expect("json") + "\n";
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &text).expect("writes");
        }
        let known = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text == known, "the API changed: run the test again with UPDATE_OPENAPI=1 and look at the difference");
    }

    #[test]
    fn every_operation_has_an_id_a_summary_and_a_scope() {
        let text = openapi().to_json().expect("json");
        let description: serde_json::Value = serde_json::from_str(&text).expect("json");
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in description["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let name = format!("{method} {path}");
                let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no id"));
                assert!(ids.insert(id.to_string()), "{id} stands twice");
                assert!(operation["summary"].as_str().is_some_and(|s| s.len() > 8), "{name} has no summary");
                assert!(operation["security"].is_array(), "{name} does not say which scope it needs");
                let with_key = operation["security"][0].get("key").is_some();
                assert_eq!(with_key, path.starts_with("/v1/"), "{name}: exactly /v1 needs a key");
                let problems = operation["responses"].get("4XX").is_some();
                assert!(problems || !with_key, "{name} does not name its problems");
            }
        }
    }
}
