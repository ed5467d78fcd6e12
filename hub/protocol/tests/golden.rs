//! The wire is frozen: one golden frame a message variant, append-only.

use forge_event::*;
use forge_protocol::message::Secret;
use forge_protocol::*;

fn lease() -> LeaseId {
    LeaseId { job: JobId(1842), shard: 17, attempt: 2 }
}

fn hubs() -> Vec<HubAddress> {
    vec![HubAddress { address: "127.0.0.1:7401".into(), public_key: [0xab; 32] }]
}

fn agent_to_hub() -> Vec<(&'static str, AgentToHub)> {
    let capabilities = Capabilities {
        cpu_class: "avx2".into(),
        gpu: None,
        mem_bytes: 1 << 34,
        region: "eu".into(),
        software: vec!["ffmpeg-5.1".into()],
    };
    let hello = Hello {
        protocol: 1,
        agent: AgentId(37),
        slots: 4,
        capabilities,
        position: 300,
        chain: [1; 32],
        held: vec![lease()],
        unacknowledged: vec![(LeaseId { shard: 18, ..lease() }, Digest([2; 32]))],
    };
    vec![
        ("hello", AgentToHub::Hello(hello)),
        ("seal", AgentToHub::Seal(Seal { upto: 300, head: [3; 32], signature: [[4; 32], [5; 32]] })),
        ("report", AgentToHub::Report { load_permille: 250, speed: 70_000 }),
        ("draining", AgentToHub::Draining),
        ("leaving", AgentToHub::Leaving),
        ("enrol", AgentToHub::Enrol { secret: Secret([6; 32]) }),
        ("have", AgentToHub::Have),
        ("result", AgentToHub::Result { digest: Digest::of(b"xyz"), bytes: b"xyz".to_vec() }),
        ("failed", AgentToHub::Failed { code: "bad-payload".into(), detail: "cut short".into() }),
        (
            "checkpoint",
            AgentToHub::Checkpoint(Checkpoint {
                lease: lease(),
                cells: 70_000,
                bytes: b"xyz".to_vec(),
                signature: [[4; 32], [5; 32]],
            }),
        ),
    ]
}

fn hub_to_agent() -> Vec<(&'static str, HubToAgent)> {
    let fates = vec![
        (lease(), Presented::Live),
        (lease(), Presented::Recorded { position: 301, fate: Fate::Voided }),
        (lease(), Presented::Gone(Gone::JobOver)),
    ];
    let welcome = Welcome { epoch: 5, position: 301, chain: [7; 32], sealed: 256, fates, hubs: hubs() };
    let assign = Assign {
        lease: lease(),
        kind: "null".into(),
        family_version: 1,
        deadline: Timestamp(1_795_428_843_221),
        payload: vec![1, 2],
        blobs: Some(BlobAccess {
            bases: vec!["https://10.0.0.1:7400".into()],
            ca: Some("-----BEGIN CERTIFICATE-----".into()),
            read: vec![BlobGrant { digest: Digest([3; 32]), bytes: 7, query: "op=get&sig=00".into() }],
            keep: "op=keep&sig=01".into(),
        }),
    };
    let enrolled = Enrolled { agent: AgentId(37), provider: ProviderId(12), cluster: Digest([8; 32]), hubs: hubs() };
    vec![
        ("welcome", HubToAgent::Welcome(welcome)),
        ("addresses", HubToAgent::Addresses(hubs())),
        ("drain", HubToAgent::Drain),
        ("seal_rejected", HubToAgent::SealRejected { position: 300 }),
        ("enrolled", HubToAgent::Enrolled(enrolled)),
        ("enrol_refused", HubToAgent::EnrolRefused(EnrolRefusal::Spent)),
        ("assign", HubToAgent::Assign(assign)),
        ("ack", HubToAgent::Ack { position: 301, fate: Fate::Refused(RefusalCode::Duplicate) }),
        ("failure_recorded", HubToAgent::FailureRecorded),
        ("cancel", HubToAgent::Cancel { reason: CancelReason::Revoked(RevokeReason::Raced) }),
    ]
}

fn golden() -> String {
    let mut text = String::new();
    for (name, message) in agent_to_hub() {
        text += &format!("agent_to_hub {name} {}\n", digest::hex(&frame::encode(&message)));
    }
    for (name, message) in hub_to_agent() {
        text += &format!("hub_to_agent {name} {}\n", digest::hex(&frame::encode(&message)));
    }
    let token = Token { kind: TokenKind::Agent, cluster: Digest([8; 32]), secret: Secret([6; 32]), hubs: hubs() };
    text + &format!("token agent {}\ntoken digest {}\n", token.encode(), token.digest().hex())
}

#[test]
fn frames_are_the_golden_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames.txt");
    if std::env::var_os("FORGE_REGENERATE_GOLDEN").is_some() {
        std::fs::write(path, golden()).expect("the golden file can be written");
    }
    let frozen = std::fs::read_to_string(path).expect("the golden file is checked in");
    assert_eq!(golden(), frozen, "the wire changed; append variants, never change them");
}

#[test]
fn every_variant_reads_back() {
    for (name, message) in agent_to_hub() {
        let bytes = frame::encode(&message);
        assert_eq!(frame::take(&bytes), Ok(Some((message, bytes.len()))), "{name}");
    }
    for (name, message) in hub_to_agent() {
        let bytes = frame::encode(&message);
        assert_eq!(frame::take(&bytes), Ok(Some((message, bytes.len()))), "{name}");
    }
}

#[test]
fn no_prefix_of_garbage_panics() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20_000 {
        let mut payload = Vec::new();
        for _ in 0..(state % 64) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            payload.push((state >> 33) as u8);
        }
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bytes = codec::frame(frame::FRAME_VERSION, &payload);
        let _ = frame::take::<AgentToHub>(&bytes);
        let _ = frame::take::<HubToAgent>(&bytes);
    }
}
