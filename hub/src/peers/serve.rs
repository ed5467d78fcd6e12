//! The answering side: commands of other nodes enter this node's sequencer.

use super::{Answered, Asked, FORWARDED_MAX};
use crate::handle::Hub;
use bytes::Bytes;
use forge_log::network::Link;
use forge_projections::{CommandError, Committed};
use futures::stream::{FuturesUnordered, StreamExt};

type Answer = (u64, Result<Committed, CommandError>);

/// Serves one link until it closes.
pub async fn serve(hub: Hub, link: Link) {
    let (mut sender, mut receiver) = link.split();
    let mut running: FuturesUnordered<futures::future::BoxFuture<'static, Answer>> = FuturesUnordered::new();
    loop {
        tokio::select! { biased;
            Some((number, answer)) = running.next() => {
                let Ok(frame) = postcard::to_stdvec(&Answered { number, answer }) else { return };
                if sender.send(Bytes::from(frame)).await.is_err() {
                    return;
                }
            }
            frame = receiver.recv(), if running.len() < FORWARDED_MAX => {
                let Ok(Some(frame)) = frame else { return };
                let Ok(Asked { number, command }) = postcard::from_bytes(&frame) else { return };
                let hub = hub.clone();
                running.push(Box::pin(async move { (number, hub.command_here(command).await) }));
            }
        }
    }
}
