//! Missing history, pulled from peers and verified before it counts.

use super::read::History;
use super::segment::{Note, SegmentFile, SegmentWriter, segment_name, stub_name, verify};
use super::{Archive, ArchiveTask, Place};
use crate::apply::Applied;
use crate::form::to_bytes;
use crate::network::client::within;
use crate::network::wire::{bad, read_form, recv_message, send_message};
use crate::network::{FrameReceiver, FrameSender, Lane, Link};
use bytes::Bytes;
use forge_event::codec::decode_turn;
use forge_event::{Digest, EventIndex, Head, NodeId};
use openraft::async_runtime::WatchReceiver;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// A peer may take this long over one step.
const STEP: Duration = Duration::from_secs(10);
/// Pause before the peers are asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// Bytes of a file in one message.
const CHUNK_BYTES: usize = 256 * 1024;
/// Segments listed in one answer.
const LIST_MAX: usize = 1024;

/// What an incomplete node asks.
#[derive(Serialize, Deserialize)]
enum Want {
    /// The notes of the segments that end behind this event.
    List { after: u64 },
    /// The bytes of the segment that starts at this event.
    Segment { first: u64 },
    /// The accepted turns behind `after` up to Raft entry `upto`.
    Turns { after: Head, upto: u64 },
}

#[derive(Serialize, Deserialize)]
enum Given<'a> {
    List(Vec<Note>),
    /// Part of a segment, or a turn's frame.
    Part(#[serde(borrow)] &'a [u8]),
    /// Behind the last part.
    End,
    Refused(String),
}

impl ArchiveTask {
    /// Asks the other members, one after the other, until files and Raft log meet.
    pub(super) async fn pull(&mut self) {
        let peers: Vec<NodeId> = {
            let metrics = self.raft.borrow_watched();
            let mut ids: Vec<u64> = metrics.membership_config.membership().nodes().map(|(id, _)| *id).collect();
            ids.sort_by_key(|id| Some(*id) != metrics.current_leader);
            ids.into_iter().map(NodeId).filter(|id| *id != self.node).collect()
        };
        for peer in peers {
            match self.pull_from(peer).await {
                Ok(()) if !self.archive.judge() => return,
                Ok(()) => {}
                Err(error) => tracing::info!(%peer, %error, "history could not be pulled from this peer"),
            }
        }
        sleep(PAUSE).await;
    }

    async fn pull_from(&self, peer: NodeId) -> io::Result<()> {
        let mut link = within(STEP, self.transport.open(peer, Lane::Archive)).await?;
        let archive = &self.archive;
        loop {
            let end = archive.sealed_end();
            let notes = list(&mut link, end.head.events).await?;
            if notes.is_empty() {
                break;
            }
            for note in notes {
                if note.before != archive.sealed_end().head {
                    return Err(bad("segments that do not continue ours"));
                }
                let segment = fetch(&mut link, archive, note).await?;
                segment.keep(&archive.files)?;
                archive.add(segment);
                if let Some(stub) = archive.set_stub(None) {
                    stub.discard(&archive.files)?;
                }
            }
        }
        if archive.judge() {
            self.pull_stub(&mut link).await?;
        }
        Ok(())
    }

    /// Pulls the turns between the last segment and what the Raft log starts with.
    async fn pull_stub(&self, link: &mut Link) -> io::Result<()> {
        let archive = &self.archive;
        let (after, applied) = (archive.sealed_end(), *self.places.applied.borrow());
        let Some(purged) = archive.store.purged() else { return Ok(()) };
        let (sender, receiver) = link.halves();
        within(STEP, send_message(sender, &to_bytes(&Want::Turns { after: after.head, upto: purged.index }))).await?;
        let mut head = after.head;
        let mut writer: Option<SegmentWriter> = None;
        loop {
            let message = receive(receiver).await?;
            let frame = match read_form(&message, "a turn")? {
                Given::Part(frame) => message.slice_ref(frame),
                Given::End => break,
                Given::Refused(why) => return Err(io::Error::other(why)),
                Given::List(_) => return Err(bad("a list that nobody asked for")),
            };
            let (turn, _) = decode_turn(&frame).map_err(io::Error::other)?;
            if turn.expected != head {
                return Err(bad("a turn that does not continue the chain"));
            }
            let before = head;
            head = head.after(&frame, turn.len());
            if writer.is_none() {
                let cluster = match archive.held().segments.first() {
                    Some(first) => first.cluster,
                    None => Digest::of(&frame),
                };
                let name = stub_name(EventIndex(after.head.events + 1));
                writer = Some(SegmentWriter::create(&archive.files, name, cluster, after.head)?);
            }
            if let Some(writer) = &mut writer {
                writer.push(before, &frame, head)?;
            }
        }
        let Some(writer) = writer else { return Err(bad("no turns where some are missing")) };
        let stub = writer.finish(&archive.files, purged.index).map_err(io::Error::other)?;
        archive.set_stub(Some(stub.clone()));
        // The peer could have left turns out: files and Raft log together must lead to our own head.
        if let Err(error) = self.reaches(applied).await {
            archive.set_stub(None);
            return Err(error);
        }
        stub.keep(&archive.files)
    }

    async fn reaches(&self, applied: Applied) -> io::Result<()> {
        let from = EventIndex(self.archive.end().head.events + 1);
        let mut history = History::new(self.archive.clone(), from, applied);
        while history.next().map_err(io::Error::other)?.is_some() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

async fn list(link: &mut Link, after: u64) -> io::Result<Vec<Note>> {
    let (sender, receiver) = link.halves();
    within(STEP, send_message(sender, &to_bytes(&Want::List { after }))).await?;
    let message = receive(receiver).await?;
    match read_form(&message, "a list of segments")? {
        Given::List(notes) => Ok(notes),
        Given::Refused(why) => Err(io::Error::other(why)),
        Given::Part(_) | Given::End => Err(bad("no list of segments")),
    }
}

/// Fetches a segment and verifies it whole; the caller notes it.
async fn fetch(link: &mut Link, archive: &Archive, note: Note) -> io::Result<SegmentFile> {
    let (sender, receiver) = link.halves();
    within(STEP, send_message(sender, &to_bytes(&Want::Segment { first: note.first().0 }))).await?;
    let name = segment_name(note.first());
    let mut file = archive.files.create(&name)?;
    let mut received = 0;
    loop {
        let message = receive(receiver).await?;
        match read_form(&message, "a part of a segment")? {
            Given::Part(part) => {
                received += part.len() as u64;
                if received > note.bytes {
                    return Err(bad("a segment longer than it was said to be"));
                }
                file.write(part)?;
            }
            Given::End => break,
            Given::Refused(why) => return Err(io::Error::other(why)),
            Given::List(_) => return Err(bad("a list that nobody asked for")),
        }
    }
    file.finish()?;
    let segment = note.into_file(name);
    verify(&archive.files, &segment).map_err(io::Error::other)?;
    Ok(segment)
}

async fn receive(receiver: &mut dyn FrameReceiver) -> io::Result<Bytes> {
    within(STEP, recv_message(receiver)).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

async fn give(sender: &mut dyn FrameSender, given: &Given<'_>) -> io::Result<()> {
    within(STEP, send_message(sender, &to_bytes(given))).await
}

impl Archive {
    /// Gives a peer what it misses, until it closes the link.
    pub(crate) async fn serve(self: Arc<Self>, mut link: Link, applied: watch::Receiver<Applied>) -> io::Result<()> {
        let (sender, receiver) = link.halves();
        while let Some(message) = recv_message(receiver).await? {
            match read_form(&message, "a question to the archive")? {
                Want::List { after } => {
                    let held: Vec<Note> = {
                        let held = self.held();
                        let behind = held.segments.iter().filter(|s| s.sealed.last.0 > after);
                        behind.take(LIST_MAX).map(SegmentFile::note).collect()
                    };
                    give(sender, &Given::List(held)).await?;
                }
                Want::Segment { first } => self.give_segment(sender, first).await?,
                Want::Turns { after, upto } => {
                    let applied = *applied.borrow();
                    if let Err(error) = self.give_turns(sender, after, upto, applied).await {
                        give(sender, &Given::Refused(error.to_string())).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn give_segment(&self, sender: &mut dyn FrameSender, first: u64) -> io::Result<()> {
        let found = self.held().segments.iter().find(|s| s.sealed.first.0 == first).cloned();
        let Some(segment) = found else {
            return give(sender, &Given::Refused("this segment is not here".into())).await;
        };
        let mut at = 0;
        while at < segment.sealed.bytes {
            let part = self.files.read_at(&segment.name, at, CHUNK_BYTES)?;
            if part.is_empty() {
                return Err(bad("a segment shorter than it was"));
            }
            at += part.len() as u64;
            give(sender, &Given::Part(&part)).await?;
        }
        give(sender, &Given::End).await
    }

    async fn give_turns(
        self: &Arc<Self>,
        sender: &mut dyn FrameSender,
        after: Head,
        upto: u64,
        applied: Applied,
    ) -> io::Result<()> {
        if applied.log_id.is_none_or(|id| id.index < upto) {
            return Err(io::Error::other("this node has not applied that far"));
        }
        let stub_end: Option<Place> = {
            let held = self.held();
            held.stub.as_ref().map(|s| Place { head: s.sealed.head, raft_index: Some(s.sealed.raft_index) })
        };
        if stub_end.is_some_and(|end| end.raft_index > Some(upto)) {
            return Err(io::Error::other("this node installed a later snapshot; ask another"));
        }
        let mut history = History::new(self.clone(), EventIndex(after.events + 1), applied);
        while let Some((turn, index)) = history.next().map_err(io::Error::other)? {
            if index.is_some_and(|index| index > upto) {
                break;
            }
            give(sender, &Given::Part(&turn.frame)).await?;
        }
        give(sender, &Given::End).await
    }
}
