//! A job of each family, in four shardings.

use forge_event::Digest;
use forge_tests::{Client, call, is_full, npy, put};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// What the demo shows: a storm that crosses a coast with towns on it.
const STORM: &[u8] = include_bytes!("../../../hub/cli/src/local/demo/storm.csv");
const TOWNS: &[u8] = include_bytes!("../../../hub/cli/src/local/demo/towns.csv");

/// A family's job, and the bodies that submit it: equal but for how it is cut into shards.
pub struct Case {
    pub name: &'static str,
    pub jobs: Vec<Value>,
}

/// A body with so many cells a shard; `null` leaves it to the planner.
pub fn cut(mut body: Value, shard_cells: Value) -> Value {
    if !shard_cells.is_null() {
        body["shard_cells"] = shard_cells;
    }
    body
}

/// A storm and its perturbed likes over some towns.
pub async fn storms(client: &Client, members: u64) -> Value {
    let (tracks, exposure) = (keep(client, STORM.to_vec()).await, keep(client, TOWNS.to_vec()).await);
    json!({"kind": "cat_model", "spec": {"tracks": tracks, "tracks_format": "csv", "exposure": exposure,
        "members": members, "include_original": true, "perturb": {"max_shift_ini": 0.75, "max_dspeed_rel": 0.3,
        "max_ddirection": 0.00873, "autocorr_dspeed": 0.85, "autocorr_ddirection": 0.5}, "dt_h": 1, "wind": "H08",
        "wind_threshold": 17.0, "vulnerability": {"kind": "table", "v": [0, 30, 60], "mdr": [0, 0.2, 1]},
        "years": 10, "rates": null, "years_simulated": null, "return_periods": [5, 20], "seed": 7}})
}

/// Puts a blob; gives its digest.
async fn keep(client: &Client, bytes: Vec<u8>) -> String {
    let digest = Digest::of(&bytes).to_string();
    put(client, &digest, bytes).await;
    digest
}

/// All families; their inputs are put through `client`. FFmpeg's is missing where there is no `ffmpeg`.
pub async fn cases(client: &Client) -> Vec<Case> {
    let keep = async |bytes: Vec<u8>| keep(client, bytes).await;
    let cells = |name, body: Value, cells: [Value; 4]| {
        let jobs = cells.into_iter().map(|cells| cut(body.clone(), cells)).collect();
        Case { name, jobs }
    };
    let tiles = |name, spec: Value, tiles: [[usize; 2]; 4]| {
        let tiled = |tile: [usize; 2]| {
            let mut spec = spec.clone();
            spec["tile"] = json!(tile);
            json!({"kind": "blas", "spec": spec})
        };
        Case { name, jobs: tiles.into_iter().map(tiled).collect() }
    };
    let size = if is_full() { 512 } else { 192 };
    let wave = |i: usize, j: usize| ((i * 31 + j * 17) % 101) as f64 / 7.0 - 6.5;
    let matrix = keep(npy(size, size, wave)).await;
    // Heavy on its diagonal, so that it has a factor.
    let definite = keep(npy(size, size, |i, j| if i == j { 900.0 } else { wave(i.min(j), i.max(j)) / 50.0 })).await;
    let field = keep(npy(48, 400, |i, j| (i as f64 * 0.3).sin() * (j as f64 * 0.05).cos() + wave(i, j) / 90.0)).await;
    let climate = json!({"kind": "climate_pca", "spec": {"members": [field], "layout": "npy", "var": null, "lat": null,
        "weights": "none", "modes": 3, "mask": "nan", "outputs": ["eigenvalues", "eofs", "pcs"]}});
    let mut cat = storms(client, 40).await;
    cat["spec"]["years_simulated"] = json!(200);
    let mut cases = vec![
        cells("monte_carlo", call(20_000, Value::Null), [json!(null), json!(100), json!(700), json!(4999)]),
        tiles(
            "gemm",
            json!({"op": "gemm", "dtype": "f64", "A": matrix, "B": definite, "alpha": 0.3}),
            [[17, 23], [64, 64], [size, 5], [40, 40]],
        ),
        tiles("cholesky", json!({"op": "cholesky", "dtype": "f64", "A": definite}), [16, 48, 64, 31].map(|n| [n, n])),
        cells("climate_pca", climate, [json!(null), json!(64), json!(97), json!(400)]),
        cells("cat_model", cat, [json!(null), json!(5), json!(13), json!(41)]),
    ];
    match film() {
        Some(film) => {
            let film = keep(film).await;
            let video = json!({"codec": "libx264", "args": {"crf": 30, "preset": "ultrafast"}, "filters": [], "cell_frames": 15});
            let spec = json!({"input": film, "video": video, "audio": [], "container": "mp4", "subtitle": "drop"});
            let body = json!({"kind": "ffmpeg", "spec": spec});
            cases.push(cells("ffmpeg", body, [json!(null), json!(1), json!(2), json!(3)]));
        }
        None => eprintln!("SKIPPED ffmpeg among the families: no ffmpeg on PATH"),
    }
    cases
}

/// A film of three seconds; `None` without ffmpeg.
fn film() -> Option<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=3", "-c:v", "ffv1"]);
    let made = command.args(["-f", "matroska", "-"]).stdin(Stdio::null()).output().ok()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(made.stdout)
}
