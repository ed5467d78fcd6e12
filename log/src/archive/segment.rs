//! One archive file: written once, read turn by turn with bounded memory.

use super::{corrupt, io_error};
use crate::files::{FileWriter, Files};
use crate::form::{from_bytes, to_bytes};
use crate::log::{ReadError, ReadTurn, SealedSegment};
use bytes::{Buf, Bytes, BytesMut};
use forge_event::archive::{Header, MAGIC, Trailer, encode_header, encode_trailer};
use forge_event::codec::{FRAME_HEADER_BYTES, decode_turn, frame, unframe};
use forge_event::limits::TURN_BYTES_MAX;
use forge_event::{Digest, EventIndex, Head};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

pub const FOLDER: &str = "archive";
const NOTE_VERSION: u8 = 1;
const HEADER_VERSION: u8 = 1;
const TRAILER_VERSION: u8 = 255;
const EDGE_BYTES_MAX: usize = 4096;
/// Bytes per read of a file.
const READ_BYTES: usize = 256 * 1024;

/// A file whose bytes were verified when it was written.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    pub name: String,
    pub sealed: SealedSegment,
    /// The head before its first turn.
    pub before: Head,
    pub cluster: Digest,
}

/// What is noted beside a segment once it was read back: a segment counts only with its note.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Note {
    pub cluster: Digest,
    pub before: Head,
    pub head: Head,
    pub raft_index: u64,
    pub digest: Digest,
    pub bytes: u64,
}

impl Note {
    pub fn first(&self) -> EventIndex {
        EventIndex(self.before.events + 1)
    }

    pub fn last(&self) -> EventIndex {
        EventIndex(self.head.events)
    }

    pub fn into_file(self, name: String) -> SegmentFile {
        let sealed = SealedSegment {
            first: self.first(),
            last: self.last(),
            digest: self.digest,
            bytes: self.bytes,
            head: self.head,
            raft_index: self.raft_index,
        };
        SegmentFile { name, sealed, before: self.before, cluster: self.cluster }
    }
}

impl SegmentFile {
    pub fn note(&self) -> Note {
        Note {
            cluster: self.cluster,
            before: self.before,
            head: self.sealed.head,
            raft_index: self.sealed.raft_index,
            digest: self.sealed.digest,
            bytes: self.sealed.bytes,
        }
    }

    /// Notes a file that was read back; from now on it is found by [`list`].
    pub fn keep(&self, files: &Arc<dyn Files>) -> io::Result<()> {
        let mut note = files.create(&format!("{}.note", self.name))?;
        note.write(&frame(NOTE_VERSION, &to_bytes(&self.note())))?;
        note.finish()
    }

    /// Removes the file, its note first.
    pub fn discard(&self, files: &Arc<dyn Files>) -> io::Result<()> {
        files.remove(&format!("{}.note", self.name))?;
        files.remove(&self.name)
    }
}

/// Name of a sealed segment.
pub fn segment_name(first: EventIndex) -> String {
    format!("{FOLDER}/{:020}.segment", first.0)
}

/// Name of the stub that starts at `first`.
pub fn stub_name(first: EventIndex) -> String {
    format!("{FOLDER}/{:020}.stub", first.0)
}

/// The segments on disk, ascending, and the stub behind them if there is one.
pub fn list(files: &Arc<dyn Files>) -> io::Result<(Vec<SegmentFile>, Option<SegmentFile>)> {
    let (mut segments, mut stubs): (Vec<SegmentFile>, Vec<SegmentFile>) = (Vec::new(), Vec::new());
    for name in files.list(FOLDER)? {
        let Some(data) = name.strip_suffix(".note") else { continue };
        let file = read_note(files, &format!("{FOLDER}/{name}"))?.into_file(format!("{FOLDER}/{data}"));
        let length = files.length(&file.name)?;
        if length != file.sealed.bytes {
            let text = format!("{} has {length} bytes, not the {} noted", file.name, file.sealed.bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if data.ends_with(".stub") { stubs.push(file) } else { segments.push(file) }
    }
    segments.sort_by_key(|s| s.sealed.first);
    let mut end = Head::default();
    for segment in &segments {
        if segment.before != end {
            let text = format!("{} does not continue the segment before it", segment.name);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        end = segment.sealed.head;
    }
    Ok((segments, stubs.into_iter().rfind(|stub| stub.before == end)))
}

fn read_note(files: &Arc<dyn Files>, name: &str) -> io::Result<Note> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{name} does not verify: {why}"));
    let bytes = files.read_at(name, 0, EDGE_BYTES_MAX)?;
    let (version, payload, rest) = unframe(&bytes, EDGE_BYTES_MAX).map_err(|error| bad(error.to_string()))?;
    if version != NOTE_VERSION || !rest.is_empty() {
        return Err(bad("its format is not one this program reads".into()));
    }
    from_bytes(payload, "a segment's note").map_err(|error| bad(error.to_string()))
}

/// Writes an archive file.
pub struct SegmentWriter {
    file: Box<dyn FileWriter>,
    name: String,
    hasher: blake3::Hasher,
    bytes: u64,
    cluster: Digest,
    before: Head,
    head: Head,
}

impl SegmentWriter {
    pub fn create(files: &Arc<dyn Files>, name: String, cluster: Digest, before: Head) -> io::Result<Self> {
        let file = files.create(&name)?;
        let hasher = blake3::Hasher::new();
        let mut writer = SegmentWriter { file, name, hasher, bytes: 0, cluster, before, head: before };
        writer.write(&encode_header(&Header { magic: MAGIC, cluster, before }))?;
        Ok(writer)
    }

    /// Takes the turn that leads from `before` to `head`.
    pub fn push(&mut self, before: Head, frame: &[u8], head: Head) -> io::Result<()> {
        assert_eq!(before, self.head, "a segment's turns follow each other");
        self.head = head;
        self.write(frame)
    }

    /// Makes the file durable, reads it back and compares; the caller notes it.
    ///
    /// Its turns were decoded and chained when they were applied or as they came: equal bytes need no second decoding.
    pub fn finish(mut self, files: &Arc<dyn Files>, raft_index: u64) -> Result<SegmentFile, ReadError> {
        let name = self.name.clone();
        let trailer = encode_trailer(&trailer(self.before, self.head));
        self.write(&trailer).map_err(|error| io_error(&name, error))?;
        let digest = Digest(*self.hasher.finalize().as_bytes());
        let note =
            Note { cluster: self.cluster, before: self.before, head: self.head, raft_index, digest, bytes: self.bytes };
        self.file.finish().map_err(|error| io_error(&name, error))?;
        let segment = note.into_file(name);
        read_back(files, &segment)?;
        Ok(segment)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write(bytes)
    }
}

/// What stands behind turns that lead from `before` to `head`.
pub fn trailer(before: Head, head: Head) -> Trailer {
    Trailer { turns: head.turns - before.turns, events: head.events - before.events, head }
}

/// Reads a whole file: frames, chain, trailer and digest must be what the note says.
pub fn verify(files: &Arc<dyn Files>, segment: &SegmentFile) -> Result<(), ReadError> {
    let mut reader = SegmentReader::open(files.clone(), segment)?;
    while reader.next()?.is_some() {}
    read_back(files, segment)
}

/// Reads a whole file: its bytes must have the digest that the note says.
fn read_back(files: &Arc<dyn Files>, segment: &SegmentFile) -> Result<(), ReadError> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < segment.sealed.bytes {
        let part = files.read_at(&segment.name, at, READ_BYTES).map_err(|error| io_error(&segment.name, error))?;
        if part.is_empty() {
            break;
        }
        at += part.len() as u64;
        hasher.update(&part);
    }
    if hasher.finalize().as_bytes() != &segment.sealed.digest.0 {
        return Err(corrupt(&segment.name));
    }
    Ok(())
}

/// Reads a file turn by turn.
pub struct SegmentReader {
    files: Arc<dyn Files>,
    file: SegmentFile,
    offset: u64,
    buffer: BytesMut,
    head: Head,
    done: bool,
}

impl SegmentReader {
    pub fn open(files: Arc<dyn Files>, file: &SegmentFile) -> Result<Self, ReadError> {
        let head = file.before;
        let buffer = BytesMut::new();
        let mut reader = SegmentReader { files, file: file.clone(), offset: 0, buffer, head, done: false };
        let header = reader.frame()?.ok_or_else(|| reader.bad())?;
        let (version, payload, _) = unframe(&header, EDGE_BYTES_MAX).map_err(|_| reader.bad())?;
        let read: Header = from_bytes(payload, "a header").map_err(|_| reader.bad())?;
        let expected = Header { magic: MAGIC, cluster: file.cluster, before: file.before };
        if version != HEADER_VERSION || read != expected {
            return Err(reader.bad());
        }
        Ok(reader)
    }

    /// The next turn; `None` behind a good trailer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<ReadTurn>, ReadError> {
        if self.done {
            return Ok(None);
        }
        let frame = self.frame()?.ok_or_else(|| self.bad())?;
        if frame.first() == Some(&TRAILER_VERSION) {
            let (_, payload, _) = unframe(&frame, EDGE_BYTES_MAX).map_err(|_| self.bad())?;
            let read: Trailer = from_bytes(payload, "a trailer").map_err(|_| self.bad())?;
            let last = read == trailer(self.file.before, self.head) && self.head == self.file.sealed.head;
            if !last || self.frame()?.is_some() {
                return Err(self.bad());
            }
            self.done = true;
            return Ok(None);
        }
        let (turn, _) = decode_turn(&frame).map_err(|_| self.bad())?;
        if turn.expected != self.head {
            return Err(self.bad());
        }
        self.head = self.head.after(&frame, turn.len());
        Ok(Some(ReadTurn { turn, frame, head: self.head }))
    }

    /// The next frame with its header; `None` at the end of the file.
    fn frame(&mut self) -> Result<Option<Bytes>, ReadError> {
        if !self.fill(FRAME_HEADER_BYTES)? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(self.bad()) };
        }
        let length = u32::from_le_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]) as usize;
        if length > TURN_BYTES_MAX || !self.fill(FRAME_HEADER_BYTES + length)? {
            return Err(self.bad());
        }
        Ok(Some(self.buffer.split_to(FRAME_HEADER_BYTES + length).freeze()))
    }

    /// Reads on until `length` bytes are there; false if the file ends before.
    fn fill(&mut self, length: usize) -> Result<bool, ReadError> {
        while self.buffer.remaining() < length {
            let part = self.files.read_at(&self.file.name, self.offset, READ_BYTES);
            let part = part.map_err(|error| io_error(&self.file.name, error))?;
            if part.is_empty() {
                return Ok(false);
            }
            self.offset += part.len() as u64;
            self.buffer.extend_from_slice(&part);
        }
        Ok(true)
    }

    fn bad(&self) -> ReadError {
        corrupt(&self.file.name)
    }
}
