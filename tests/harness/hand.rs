//! An agent by hand: says what a good agent never says, or not when.

use crate::until::within;
use forge_agent::executors::run;
use forge_agent::{AgentKey, Context, Fleet, Stored};
use forge_event::{AgentId, Digest, LeaseId, seal};
use forge_protocol::{AgentToHub, Assembler, Assign, Hello, HubToAgent, PROTOCOL_VERSION, Seal, frame};
use quinn::{Connection, RecvStream, SendStream};
use std::path::Path;

/// A session that its test drives stream by stream.
pub struct Hand {
    connection: Connection,
    control: SendStream,
    agent: AgentId,
    key: AgentKey,
    /// Its chain: results so far, and the head over them.
    chain: (u64, [u8; 32]),
    /// Ends with this value: the hub takes that for the session's end.
    _control: RecvStream,
}

/// An attempt on its stream.
pub struct Attempt {
    pub assign: Assign,
    send: SendStream,
    recv: RecvStream,
    assembler: Assembler,
}

impl Hand {
    /// Opens the session of the agent that was enrolled into `folder`, at the first hub it knows.
    ///
    /// # Panics
    /// If it is not welcomed.
    pub async fn welcomed(folder: &Path, slots: u32) -> Hand {
        let stored = Stored::load(folder).expect("an enrolled agent's folder");
        let key = AgentKey::load(&folder.join("agent.key")).expect("the agent's key");
        let connection = Fleet::new().connect(&key, &stored.hubs[0]).await.expect("the hub answers");
        let (mut send, mut recv) = connection.open_bi().await.expect("the control stream");
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            agent: stored.agent,
            slots,
            capabilities: forge_agent::capabilities::detect("", None, &[]),
            position: stored.position,
            chain: stored.chain,
            held: Vec::new(),
            unacknowledged: Vec::new(),
        };
        send.write_all(&frame::encode(&AgentToHub::Hello(hello))).await.expect("said");
        let first = next(&mut recv, &mut Assembler::new()).await;
        assert!(matches!(first, HubToAgent::Welcome(_)), "{first:?}");
        let chain = (stored.position, stored.chain);
        Hand { connection, control: send, agent: stored.agent, key, chain, _control: recv }
    }

    /// Takes a result that was acknowledged into the chain, and signs it.
    pub async fn seal(&mut self, lease: LeaseId, digest: &Digest) {
        let (upto, before) = self.chain;
        self.chain = (upto + 1, seal::extend(&before, lease, digest, &seal::single_root(digest)));
        let (upto, head) = self.chain;
        let signature = self.key.sign(&seal::message(self.agent, upto, &head));
        let said = AgentToHub::Seal(Seal { upto, head, signature });
        self.control.write_all(&frame::encode(&said)).await.expect("the session is up");
    }

    /// The next attempt that the hub opens a stream for.
    pub async fn attempt(&self) -> Attempt {
        let opened = within("the hub opens a stream", self.connection.accept_bi()).await;
        let (send, mut recv) = opened.expect("the session is up");
        let mut assembler = Assembler::new();
        match next(&mut recv, &mut assembler).await {
            HubToAgent::Assign(assign) => Attempt { assign, send, recv, assembler },
            other => panic!("{other:?} instead of an assignment"),
        }
    }
}

impl Attempt {
    /// The digest of its result, and the frame that says it.
    pub fn result(&self) -> (Digest, Vec<u8>) {
        let Assign { kind, family_version, payload, .. } = &self.assign;
        let bytes = run(kind, *family_version, payload, &mut Context::default()).expect("it computes");
        let digest = Digest::of(&bytes);
        (digest, frame::encode(&AgentToHub::Result { digest, bytes }))
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        within("the hub takes bytes", self.send.write_all(bytes)).await.expect("the stream is open");
    }

    /// Ends the agent's side and gives the hub's answer.
    pub async fn answer(mut self) -> HubToAgent {
        self.send.finish().expect("the stream is open");
        next(&mut self.recv, &mut self.assembler).await
    }
}

async fn next(recv: &mut RecvStream, assembler: &mut Assembler) -> HubToAgent {
    loop {
        if let Some(message) = assembler.next().expect("frames of the hub") {
            return message;
        }
        let chunk = within("the hub says something", recv.read_chunk(usize::MAX, true)).await;
        let chunk = chunk.expect("the session is up").expect("the stream goes on");
        assembler.push(&chunk.bytes);
    }
}
