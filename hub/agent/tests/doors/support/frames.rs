//! Frames as they come off a stream.

use super::WAIT;
use forge_protocol::Assembler;
use quinn::RecvStream;

/// The next message of a stream.
///
/// # Panics
/// If the stream ends first, or none comes in time.
pub async fn read<T: serde::de::DeserializeOwned>(recv: &mut RecvStream, assembler: &mut Assembler) -> T {
    let next = async {
        loop {
            if let Some(message) = assembler.next().expect("frames") {
                return message;
            }
            let chunk = recv.read_chunk(usize::MAX, true).await.expect("readable").expect("not over");
            assembler.push(&chunk.bytes);
        }
    };
    tokio::time::timeout(WAIT, next).await.expect("a message in time")
}
