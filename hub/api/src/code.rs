//! The closed list of problem codes.

macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $retryable:ident $title:literal $page:literal $example:literal;)*) => {
        /// What went wrong, as programs read it. Programs must tolerate codes that are added later.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// Kebab-case, as in `code` and in `/docs/errors/<code>`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// HTTP status; [`Code::InvalidRequest`] is 422 where it names fields.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// The same request may succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Code::$variant => codes!(@ $retryable),)* }
            }

            /// One line, equal for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// What it means and what to do, for its page.
            pub fn page(self) -> &'static str {
                match self { $(Code::$variant => $page,)* }
            }

            /// A `detail` as it may look.
            pub fn example(self) -> &'static str {
                match self { $(Code::$variant => $example,)* }
            }
        }
    };
    (@ yes) => { true };
    (@ no) => { false };
}

codes! {
    InvalidRequest "invalid-request" 400 no "The request could not be read"
        "The body is not JSON, a query parameter or header is malformed, or (status 422) a field has a wrong value; `errors` then names each field by JSON pointer. Nothing was applied. Correct the request."
        "#/priority: priority is an integer from 0 to 9";
    UnknownField "unknown-field" 422 no "The request has a field that does not exist"
        "Bodies are read strictly, so that a misspelt field is never silently ignored. `errors` names the field and `fix` suggests the nearest one. Nothing was applied."
        "#/spec/sample: spec has no field `sample`";
    UnknownKind "unknown-kind" 422 no "There is no such job kind"
        "`kind` names no workload family of this hub. `fix` suggests the nearest one."
        "#/kind: there is no job kind `monte_calro`";
    UnknownModel "unknown-model" 422 no "The job kind has no such model"
        "`spec.model` names no model of this job kind, or one this hub does not run."
        "#/spec/model: monte_carlo has no model `wasm`";
    DigestMismatch "digest-mismatch" 422 no "The bytes are not those of the digest"
        "A blob is named by the BLAKE3 of its bytes, and these have another. Nothing was kept: hash the file again and send it anew."
        "the bytes hash to blake3:41c7…, the path says blake3:90aa…; nothing was kept";
    BlobMissing "blob-missing" 422 no "The project does not have this blob"
        "A spec names only blobs that its own project has. Upload it first: `forge blob put FILE` prints its digest."
        "#/spec/A: the project has no blob blake3:41c7…";
    BadSignature "bad-signature" 403 no "The signed URL does not allow this"
        "A signed URL allows one method on one blob of one project, with its length and range, until it expires. Ask for a new one at POST /v1/blobs/sign."
        "the signature does not fit: the URL was altered";
    OffsetMismatch "offset-mismatch" 409 no "The upload does not stand there"
        "A resumed upload goes on where the last one stopped on this node; `upload_offset` says where that is. A HEAD on the same URL tells it too."
        "the upload stands at byte 1048576; go on with Upload-Offset: 1048576, or begin anew at 0";
    ContainerRefusesCodec "container-refuses-codec" 422 no "The container cannot hold this codec"
        "The output container and a chosen codec do not go together. Choose another of the two."
        "#/spec/container: mp4 does not hold ffv1";
    NotYet "not-yet" 422 no "This hub cannot do this yet"
        "The request is well formed and part of the API, but the feature is not built into this version."
        "#/verify/mode: `quorum` is not available yet; use care or none";
    TooLargeInline "too-large-inline" 422 no "Too large to travel in the log"
        "Specs, plans, results and documents up to 64 KiB travel in the log; larger ones need the blob service."
        "#/spec: the spec has 91,204 bytes, the limit is 65,536";
    Unauthenticated "unauthenticated" 401 no "No valid API key was given"
        "Send `Authorization: Bearer fk_…`. The key may be misspelt (its checksum is checked), revoked, expired, or of another cluster."
        "the API key k9 is revoked";
    Forbidden "forbidden" 403 no "The API key lacks a scope"
        "The key is valid but may not do this. `detail` names the missing scope; ask whoever holds cluster:admin for a key that has it."
        "this needs the scope jobs:write; key k12 has jobs:read";
    EnrolmentSpent "enrolment-spent" 403 no "The one-time token was used before"
        "An enrolment token makes one agent. Ask for a new one with `forge agents invite`."
        "the enrolment token was used before; ask for a new one";
    TokenUnknown "token-unknown" 403 no "The one-time token is expired or unknown"
        "Tokens expire; ask for a new one with `forge agents invite` or `forge cluster add`."
        "the token is expired or unknown; ask for a new one";
    NotFound "not-found" 404 no "There is no such thing"
        "The id does not exist, or belongs to a project this key cannot see; the two look the same on purpose."
        "there is no job j1842";
    NotYetCreated "not-yet-created" 404 no "It did not exist at that point of history"
        "With `?at=`, the object is younger than the point asked for."
        "job j1842 was created after index 1200";
    MethodNotAllowed "method-not-allowed" 405 no "The resource does not take this method"
        "The `Allow` header lists the methods that are taken."
        "/v1/jobs/j1842 takes GET, HEAD";
    IdempotencyInFlight "idempotency-in-flight" 409 yes "The same request is being worked on"
        "A request with this Idempotency-Key has not been answered yet. Its outcome is unknown; repeat it with the same key after `Retry-After`."
        "a request with this Idempotency-Key is being worked on; try again";
    PlanChanged "plan-changed" 409 no "The plan is not the expected one"
        "`expect_plan` named a plan, and the hub would now cut the job differently. Both digests are given; plan again and decide."
        "expected blake3:41c7…, the plan is now blake3:90aa…";
    InvalidTransition "invalid-transition" 409 no "The object is not in a state for this"
        "What was asked cannot follow from the object's present state; `detail` names the state and the index it was reached at."
        "cancel: job already succeeded at index 1907";
    NotFinished "not-finished" 409 no "The job has no result yet"
        "Wait for the job to end, for example with `?wait=60s&until=terminal` on the job, then ask again."
        "job j1842 is running";
    NoResult "no-result" 409 no "The job ended without a result"
        "The job failed or was cancelled; its `error` says why."
        "job j1842 was cancelled at index 1907";
    QuotaExceeded "quota-exceeded" 409 no "A limit of the project or of the job is reached"
        "The project's available credits, its quota (of credits, blobs, mid-states or uploads) or the job's own max_credits do not cover what was asked; `detail` has the numbers. Ask for less, raise the limit (`forge project quota`), or top up."
        "the job needs 21.000000 credits; project p3 has 9.750000 available";
    QuorumAtRisk "quorum-at-risk" 409 no "The change would lose the quorum"
        "Removing this node would leave fewer healthy voters than a majority. Bring another node back, or add one, first."
        "removing n2 would leave 1 healthy voter of 2";
    HistoryArchived "history-archived" 410 no "That part of history is not on this node"
        "The events lie in segments that this node does not hold (yet). Ask another node, or wait until it has pulled them."
        "events before 65,712 are not on this node";
    StaleEtag "stale-etag" 412 no "The object changed since it was read"
        "`If-Match` does not name the present version. Read again, decide again."
        "the job is at j1842@1911, not j1842@1907";
    PayloadTooLarge "payload-too-large" 413 no "The body is too large"
        "JSON bodies may have 1 MiB. Large inputs are blobs."
        "the body has 2,097,152 bytes, the limit is 1,048,576";
    UnsupportedMediaType "unsupported-media-type" 415 no "The body is of the wrong type"
        "Bodies are JSON: send `Content-Type: application/json`, or no body at all."
        "the body is text/plain, it must be application/json";
    Unschedulable "unschedulable" 422 no "No agent could ever run this"
        "No enrolled class of agents matches the requirements. Loosen them, enrol such an agent, or set `allow_wait`."
        "no agent class has gpu `h100`";
    IdempotencyKeyReuse "idempotency-key-reuse" 422 no "The Idempotency-Key was used for another request"
        "Within 24 hours a key stands for one request. Make a new key for a new request."
        "this Idempotency-Key was used for another request, at index 1842";
    RateLimited "rate-limited" 429 yes "Too many requests"
        "A queue or a limit is full. Try again after `Retry-After`."
        "the node works on 1,024 requests already";
    Internal "internal" 500 yes "The hub failed"
        "A fault of the hub; the request id finds it in the node's log. Whether the request was applied is unknown: repeat it with the same Idempotency-Key."
        "an internal error; its request id is in the node's log";
    NoLeader "no-leader" 503 yes "The cluster has no leader right now"
        "An election is under way, or a majority of nodes is down. Nothing was applied. Try again, on any node."
        "no leader is known; the last one was n2";
    ReplicaBehind "replica-behind" 503 yes "This node has not caught up"
        "`Forge-Min-Index` asked for a state this node does not have yet. Try again, or ask another node."
        "this node is at index 18,442, 18,460 was asked for";
    Draining "draining" 503 yes "This node is shutting down"
        "Nothing was applied. Ask another node of the cluster."
        "node n2 is draining";
    StorageDegraded "storage-degraded" 503 yes "The disk is nearly full"
        "The node takes no new work until space is freed; reads go on. Nothing was applied."
        "node n2 is short of disk space";
    BlobStoreUnavailable "blob-store-unavailable" 503 yes "The object store of the blobs is not to be had"
        "Blobs lie in an object store that does not answer, or refuses this node. Nothing was applied; what was uploaded need not be sent again if an `Upload-Offset` says so. If it lasts, the operator finds the reason in the node's log."
        "the object store cannot be reached, or failed";
    OutcomeUnknown "outcome-unknown" 504 yes "Whether it was applied is unknown"
        "The leader was lost after the request was proposed, or the deadline passed. Repeat it with the same Idempotency-Key: that gives the first outcome, or applies it once."
        "the outcome is not known; repeat with the same Idempotency-Key";
}

impl Code {
    pub fn named(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|c| c.name() == name)
    }

    /// Whether a request that got this code may have been applied.
    pub fn outcome(self) -> &'static str {
        match self {
            Code::Internal | Code::OutcomeUnknown | Code::IdempotencyInFlight => "unknown",
            _ => "not_applied",
        }
    }

    /// After how many seconds to try again, where that is worth saying.
    pub fn retry_after_s(self) -> Option<u32> {
        self.retryable().then_some(1)
    }

    /// `/docs/errors/<code>`.
    pub fn path(self) -> String {
        format!("/docs/errors/{}", self.name())
    }

    /// The page at [`Code::path`], as Markdown.
    pub fn document(self) -> String {
        let example = crate::Problem::new(self, self.example()).to_value();
        let example = serde_json::to_string_pretty(&example).unwrap_or_default();
        format!(
            "# {}\n\n`{}` · HTTP {} · {} · outcome: {}\n\n{}\n\n## Example\n\n```json\n{example}\n```\n",
            self.title(),
            self.name(),
            self.status(),
            if self.retryable() { "may be retried" } else { "retrying does not help" },
            self.outcome(),
            self.page(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_kebab_case_has_a_page_and_an_example() {
        for code in Code::ALL {
            assert!(code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", code.name());
            assert_eq!(Code::named(code.name()), Some(*code));
            assert!(code.page().len() > 40 && !code.example().is_empty(), "{}", code.name());
            assert!(code.document().contains(code.example()));
        }
    }

    #[test]
    fn only_what_may_have_been_applied_is_unknown() {
        let unknown = |c: &Code| matches!(c.status(), 500 | 504) || *c == Code::IdempotencyInFlight;
        for code in Code::ALL {
            assert_eq!(code.outcome() == "unknown", unknown(code), "{}", code.name());
        }
    }
}
