#[path = "../tests/support/mod.rs"]
mod support;
use forge_agent::{AgentConfig, Fleet};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let rest = text.rsplit(')').next().unwrap();
    let f: Vec<&str> = rest.split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn rss() -> u64 {
    let t = std::fs::read_to_string("/proc/self/status").unwrap();
    t.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").trim().parse().unwrap()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let threads: usize = std::env::var("T").ok().and_then(|t| t.parse().ok()).unwrap_or(2);
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    if args[1] == "agents" {
        let at: usize = std::env::var("AT").ok().and_then(|t| t.parse().ok()).unwrap_or(1);
        let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(at).enable_all().build().unwrap();
        return rt.block_on(async {
            let fleet = Fleet::new();
            let configs =
                args[2..].iter().map(|d| AgentConfig { slots: 2, ..AgentConfig::new(PathBuf::from(d)) }).collect();
            let agents = fleet.start_many(configs).await.unwrap();
            for a in &agents {
                a.ready().await.unwrap();
            }
            println!("ready");
            let mut line = String::new();
            tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line)).await.unwrap().unwrap();
            eprintln!("agents cpu {:.2}s", cpu());
        });
    }
    let agents: usize = args[1].parse().unwrap();
    let shards: u64 = args[2].parse().unwrap();
    rt.block_on(async {
        let mut rig = support::Rig::start().await;
        let base = tempfile::tempdir().unwrap();
        let mut dirs = vec![];
        let t0 = Instant::now();
        for n in 0..agents {
            let d = base.path().join(format!("a{n}"));
            rig.enrol(&d).await;
            dirs.push(d);
        }
        println!("enrolled {:.2}s", t0.elapsed().as_secs_f64());
        let rss0 = rss();
        use std::io::{BufRead, Write};
        let mut kids = vec![];
        for chunk in dirs.chunks(agents.div_ceil(2)) {
            let mut kid = std::process::Command::new(&args[0])
                .arg("agents")
                .args(chunk)
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            std::io::BufReader::new(kid.stdout.take().unwrap()).read_line(&mut line).unwrap();
            kids.push(kid);
        }
        println!("sessions {} rss/agent {} KiB", rig.sessions.count(), (rss() - rss0) / agents as u64);
        let (c0, t0) = (cpu(), Instant::now());
        let job = rig.submit("null", json!({"shards": shards})).await;
        let mut last = 0;
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let (done, state) = rig.hub.read(|w| {
                let j = w.jobs.jobs.get(&job).unwrap();
                (j.accepted_count, j.state)
            });
            eprintln!("{} +{} {:?}", done, done - last, state);
            last = done;
            if state == forge_projections::jobs::JobState::Succeeded {
                break;
            }
        }
        let (c, t) = (cpu() - c0, t0.elapsed().as_secs_f64());
        println!(
            "{:.0} shards/s, hub cpu {:.1} us/shard; shard p50 {} p99 {} us; turns {}",
            shards as f64 / t,
            c * 1e6 / shards as f64,
            rig.hub.metrics().shard.at(0.5),
            rig.hub.metrics().shard.at(0.99),
            rig.log.turns().len()
        );
        let bytes: usize = rig.log.turns().iter().map(|t| t.frame.len()).sum();
        println!("log bytes/shard {:.1}", bytes as f64 / shards as f64);
        for mut k in kids {
            k.stdin.take().unwrap().write_all(b"\n").unwrap();
            k.wait().unwrap();
        }
        std::process::exit(0);
    });
}
