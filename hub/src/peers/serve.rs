//! The answering side: commands of other nodes enter this node's sequencer.

use super::{Answered, Asked, FORWARDED_MAX, FRAME_BYTES, FRAME_COMMANDS_MAX, Purpose, items, question};
use crate::handle::Hub;
use bytes::Bytes;
use forge_log::network::Link;
use std::time::Duration;
use tokio::sync::mpsc;

/// A link says what it is for within this time.
const FIRST_FRAME_WAIT: Duration = Duration::from_secs(5);

/// Serves one link until it closes.
pub async fn serve(hub: Hub, mut link: Link) {
    let Ok(Ok(Some(first))) = tokio::time::timeout(FIRST_FRAME_WAIT, link.recv()).await else { return };
    match Purpose::of(&first) {
        Some(Purpose::Commands) => commands(hub, link).await,
        Some(Purpose::Question) => question::serve(&hub, link).await,
        None => {}
    }
}

async fn commands(hub: Hub, link: Link) {
    let (mut sender, mut receiver) = link.split();
    let mut running = 0;
    // Room for every answer that can be under way: none waits for another.
    let (answers, mut answered) = mpsc::channel(FORWARDED_MAX + FRAME_COMMANDS_MAX);
    loop {
        tokio::select! { biased;
            Some(first) = answered.recv() => {
                let mut frame = Vec::new();
                let mut next = Some(first);
                while let Some((number, answer)) = next {
                    running -= 1;
                    let Ok(bytes) = postcard::to_stdvec(&Answered { number, answer }) else { return };
                    frame.extend_from_slice(&bytes);
                    // Commits end many commands at once: their answers go together.
                    next = if frame.len() < FRAME_BYTES { answered.try_recv().ok() } else { None };
                }
                if sender.send(Bytes::from(frame)).await.is_err() {
                    return;
                }
            }
            frame = receiver.recv(), if running < FORWARDED_MAX => {
                let Ok(Some(frame)) = frame else { return };
                let Ok(asked) = items::<Asked>(&frame) else { return };
                if asked.len() > FRAME_COMMANDS_MAX {
                    return;
                }
                running += asked.len();
                for Asked { number, command } in asked {
                    hub.command_numbered(command, number, &answers);
                }
            }
        }
    }
}
