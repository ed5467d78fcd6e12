//! One value of every event type, with every optional field both present and absent somewhere.

#![allow(dead_code)]

use forge_event::*;

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn runs() -> Runs {
    Runs(vec![Run { first: 0, last: 3 }, Run { first: 300, last: 70_000 }])
}

fn rate() -> Rate {
    Rate { num: 2_500, den: 3 }
}

fn addresses() -> Addresses {
    Addresses { rest: "127.0.0.1:7400".into(), agents: "127.0.0.1:7401".into(), peers: "127.0.0.1:7402".into() }
}

fn submitted() -> JobSubmitted {
    JobSubmitted {
        project: ProjectId(3),
        kind: "null".into(),
        family_version: 1,
        name: Some("call".into()),
        labels: vec![("team".into(), "ocean".into())],
        spec: br#"{"shards":4,"sleep_us":0,"payload_bytes":0}"#.to_vec(),
        shard_cells: None,
        requirements: Requirements {
            cpu_class: Some("avx2".into()),
            gpu: None,
            mem_bytes_min: 1 << 30,
            regions: vec!["eu".into()],
            software: vec!["ffmpeg-5.1".into()],
        },
        limits: Limits { max_credits: Some(Credits(25_000_000)), deadline_ms: Some(300_000), max_attempts: Some(5) },
        priority: 5,
        allow_wait: true,
        verify: Some(Verify::Care { assurance: Assurance::Standard }),
        inputs: vec![digest(9)],
    }
}

fn received() -> ResultReceived {
    let run = |count, inline: Option<Vec<u8>>| ResultRun { count, digest: digest(7), root: None, bytes: 2, inline };
    ResultReceived {
        job: JobId(1842),
        agent: AgentId(37),
        epoch: 4,
        attempt: 2,
        shards: Runs::span(17, 24),
        position: 300,
        results: vec![run(7, Some(vec![1, 2])), ResultRun { root: Some(digest(8)), ..run(1, None) }],
        checks: Checks { version: 1, bits: 5 },
    }
}

fn paid() -> Vec<PaidResults> {
    vec![PaidResults { agent: AgentId(37), attempt: 2, shards: runs() }]
}

/// Facts, then decisions, in encoding order.
pub fn events() -> Vec<Event> {
    let (job, agent, node) = (JobId(1842), AgentId(37), NodeId(2));
    let share = |num| Rate { num, den: 100 };
    vec![
        LeaderStarted { node, term: 7, wall: Timestamp(1_795_428_843_221), extend_ms: 10_400 }.into(),
        NodeInvited { token_digest: digest(1), expires_at: Timestamp(1_795_428_900_000) }.into(),
        NodeAdmitted {
            node,
            invite: Some(EventIndex(12)),
            addresses: addresses(),
            public_key: [3; 32],
            tip: digest(4),
            voter: true,
        }
        .into(),
        NodeMoved { node, addresses: addresses() }.into(),
        NodeRemoved { node }.into(),
        NodeLost { node, term: 7 }.into(),
        SegmentArchived { node, first: EventIndex(1), last: EventIndex(65_540), digest: digest(5) }.into(),
        ProjectCreated { name: "ocean".into(), quota: Some(Credits(1)), weight: 3 }.into(),
        KeyCreated {
            label: "ci".into(),
            scopes: Scope::ALL.into(),
            project: Some(ProjectId(3)),
            expires_at: None,
            digest: digest(6),
        }
        .into(),
        KeyRevoked { key: KeyId(9) }.into(),
        ProviderCreated { name: "uni-b".into() }.into(),
        PolicyChanged {
            version: 2,
            prices: vec![("monte_carlo".into(), rate()), ("null".into(), rate())],
            payout: share(80),
            fee: share(15),
            verification: share(5),
        }
        .into(),
        EnrolmentCreated {
            provider: ProviderId(12),
            anchor: false,
            expires_at: Timestamp(1_795_428_900_000),
            token_digest: digest(1),
        }
        .into(),
        AgentEnrolled { provider: ProviderId(12), anchor: false, public_key: [2; 32], enrolment: EventIndex(30) }
            .into(),
        AgentJoined {
            agent,
            node,
            epoch: 4,
            slots: 8,
            capabilities: Capabilities {
                cpu_class: "avx2".into(),
                gpu: Some("h100".into()),
                mem_bytes: 16 << 30,
                region: "eu".into(),
                software: vec!["ffmpeg-5.1".into()],
            },
        }
        .into(),
        AgentDraining { agent, epoch: 4 }.into(),
        AgentLost { agent, epoch: 4, reason: LostReason::Protocol }.into(),
        AgentsObserved {
            node,
            agents: vec![Observation { agent, latency_us: 81_000, load_permille: 250, speed: 4_000 }],
        }
        .into(),
        submitted().into(),
        JobCancelRequested { job, reason: Some("no longer needed".into()) }.into(),
        StagePlanned {
            job,
            stage: 0,
            try_number: 1,
            shards: Run { first: 0, last: 99_999_999 },
            segments: 1,
            last: true,
            plan_body: vec![1, 0, 0, 0],
        }
        .into(),
        EffectStarted { effect: EffectId::Plan { job, stage: 0 }, try_number: 1, node }.into(),
        EffectFailed {
            effect: EffectId::Reduce { job, version: 1 },
            try_number: 2,
            code: "not-positive-definite".into(),
            detail: "pivot 3 is -1".into(),
        }
        .into(),
        received().into(),
        ResultsSealed { agent, upto: 307, head: [9; 32], signature: [[1; 32], [2; 32]] }.into(),
        ShardReportedFailed { job, agent, epoch: 4, attempt: 2, shards: runs(), code: "out-of-memory".into() }.into(),
        JobReduced {
            job,
            version: 1,
            try_number: 1,
            digest: digest(7),
            bytes: 2,
            document: Some(b"{}".to_vec()),
            outputs: vec![digest(8)],
        }
        .into(),
        CreditsIssued { project: ProjectId(3), amount: Credits(1_000_000_000), reference: "invoice 7".into() }.into(),
        JobAdmitted { job, max_cost: Credits(12_500_000) }.into(),
        JobSucceeded { job, version: 1, digest: digest(7), bytes: 2, structural: 100, evidence: digest(8) }.into(),
        JobFailed { job, code: "attempts-exhausted".into(), detail: "shard j1842.3".into() }.into(),
        JobCancelled { job, reason: None }.into(),
        ShardAssigned {
            job,
            agent,
            epoch: 4,
            shards: runs(),
            attempt: 1,
            role: Role::Work,
            deadline: Timestamp(1_795_428_963_221),
        }
        .into(),
        ShardRequeued { job, shards: runs(), reason: RequeueReason::Voided, attempt: 2 }.into(),
        LeaseExpired { job, agent, shards: runs(), attempt: 2 }.into(),
        LeaseRevoked { job, agent, shards: runs(), attempt: 2, reason: RevokeReason::Drained }.into(),
        ResultAccepted { job, agent, attempt: 2, shards: runs(), class: Class::Structural }.into(),
        ResultRefused { job, agent, attempt: 2, shards: runs(), code: RefusalCode::Closed }.into(),
        CreditHeld { job, amount: Credits(12_500_000) }.into(),
        CreditAccrued {
            job,
            provider: ProviderId(12),
            purpose: Purpose::Result,
            results: paid(),
            count: 69_705,
            rate: rate(),
            prices: 2,
        }
        .into(),
        CreditVoided { job, of: TransferId(900), results: paid(), reason: VoidReason::Unsealed }.into(),
        CreditReleased { job, of: TransferId(890), amount: Credits(0) }.into(),
        StateRooted { upto: EventIndex(65_536), roots: (1..=7).map(digest).collect() }.into(),
        BlobRecorded { project: ProjectId(3), digest: digest(5), bytes: 1 << 30, job: Some(job) }.into(),
        CheckpointReceived {
            job,
            agent,
            epoch: 4,
            attempt: 2,
            shard: 17,
            cells: 1_250_000,
            digest: digest(6),
            inline: vec![1, 2, 3],
            checks: Checks { version: 1, bits: 0 },
            signature: [[7; 32], [8; 32]],
        }
        .into(),
        ShardResumed { job, shard: 17, agent, attempt: 2, from: 1_250_000 }.into(),
        QuotaChanged {
            project: ProjectId(3),
            quota: Quota {
                credits: Some(Credits(2_500_000)),
                shards: Some(64),
                blob_bytes: None,
                blob_count: None,
                vmem_bytes: Some(1 << 20),
                uploads: Some(2),
            },
            replaces: Some(EventIndex(3)),
        }
        .into(),
    ]
}

/// A turn of all of them, with and without a request behind a fact.
pub fn turn() -> Turn {
    let (facts, decisions): (Vec<Event>, Vec<Event>) = events().into_iter().partition(|e| e.nature() == Nature::Fact);
    let by = |n: usize| match n % 3 {
        0 => None,
        1 => Some(By { key: Some(KeyId(9)), idempotency: Some(digest(1)), request: Some(digest(2)) }),
        _ => Some(By { key: Some(KeyId(9)), idempotency: None, request: None }),
    };
    Turn {
        expected: Head { turns: 300, events: 70_000, digest: digest(1) },
        at: Timestamp(1_795_428_843_221),
        salt: [5; 32],
        policy: PolicyVersion(1),
        facts: facts.into_iter().enumerate().map(|(n, event)| Fact { by: by(n), event }).collect(),
        decisions,
    }
}
