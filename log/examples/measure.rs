#[path = "../tests/support/machine.rs"]
mod machine;
#[path = "../tests/cluster/rig.rs"]
mod rig;
use forge_event::Head;
use forge_event::codec::encode_turn;
use forge_log::*;
use std::collections::VecDeque;
use std::time::Instant;
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut cluster = rig::Cluster::new();
    cluster.segment_leaves = 65536;
    let nodes = cluster.three().await;
    let leader = rig::leader(&nodes).await;
    let node = &nodes[leader];
    let mut head = Head::default();
    for _ in 0..20 {
        head = node.append(head).await;
    }
    let term = node.log.role().borrow().term;
    let mut lat = Vec::new();
    for _ in 0..2000 {
        let f = machine::frame(head, 1, 256, 1);
        let t = Instant::now();
        match node.log.append(term, f).await {
            Appended::Committed { head: h, .. } => head = h,
            o => panic!("{o:?}"),
        }
        lat.push(t.elapsed().as_micros());
    }
    lat.sort();
    println!("one at a time: p50 {} us p99 {} us", lat[1000], lat[1980]);
    for per in [16usize, 64, 240, 900] {
        let mut flight: VecDeque<(Instant, Ticket)> = VecDeque::new();
        let mut done = 0u64;
        let mut lat = Vec::new();
        let t0 = Instant::now();
        while t0.elapsed().as_secs_f64() < 4.0 {
            while flight.len() < 4 {
                let turn = machine::turn(head, per, 256, 1);
                let f = encode_turn(&turn);
                head = head.after(&f, per as u64);
                flight.push_back((Instant::now(), node.log.append(term, f)));
            }
            let (t, ticket) = flight.pop_front().unwrap();
            match ticket.await {
                Appended::Committed { .. } => done += per as u64,
                o => panic!("{o:?}"),
            }
            lat.push(t.elapsed().as_micros());
        }
        while let Some((_, t)) = flight.pop_front() {
            t.await;
        }
        lat.sort();
        println!(
            "{per} events a turn, 4 in flight: {:.0} events/s, turn p50 {} us p99 {} us",
            done as f64 / t0.elapsed().as_secs_f64(),
            lat[lat.len() / 2],
            lat[lat.len() * 99 / 100]
        );
    }
    for n in nodes {
        n.stop().await;
    }
}
