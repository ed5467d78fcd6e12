//! `forge demo --kind all`: a small job of each other family, on the cluster and again from nothing on a single node
//! with other shards; the documents must be equal to the byte, and each answer is one that is known beforehand.

use super::checks::Failed;
use super::house::House;
use super::run::{is_final, say, wait_for};
use anyhow::{Context, Result, bail};
use forge_adapters::npy::{Dtype, Header};
use forge_event::Digest;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// Frames of the film.
const FRAMES: u64 = 75;
/// Samples and points of the climate field.
const FIELD: (usize, usize) = (24, 30);
/// Rows, inner length and columns of the product.
const PRODUCT: (usize, usize, usize) = (150, 90, 120);

/// A storm that crosses a coast with towns on it.
const STORM: &[u8] = include_bytes!("storm.csv");
const TOWNS: &[u8] = include_bytes!("towns.csv");

/// What a document must say; gives what is worth showing.
type Check = Box<dyn Fn(&Value) -> Result<String, Failed>>;

/// A job of one family, in two shardings.
struct Case {
    kind: &'static str,
    /// What submits it.
    bodies: [Value; 2],
    check: Check,
}

/// What the other families gave, a line each, and their documents by kind.
pub struct Ran {
    pub kind: &'static str,
    pub document: Vec<u8>,
    pub line: String,
}

/// Runs every family on a cluster; `second` takes the other sharding.
///
/// # Errors
/// If a request fails: no verdict.
pub async fn run(house: &House, folder: &Path, second: bool) -> Result<Result<Vec<Ran>, Failed>> {
    let mut ran = Vec::new();
    for case in cases(house, folder).await? {
        let [first, other] = case.bodies;
        let id = house.submit(if second { other } else { first }).await?;
        let done = wait_for(house, &id, is_final).await?;
        if done["state"] != "succeeded" {
            let seen = format!("{id} {}: {}", done["state"], done["error"]);
            return Ok(Err(Failed::new(case.kind, seen, "expected succeeded")));
        }
        let (document, digest) = house.result(&id).await?;
        let read: Value = serde_json::from_slice(&document).context("reading a result")?;
        let shown = match (case.check)(&read) {
            Ok(shown) => shown,
            Err(failed) => return Ok(Err(failed)),
        };
        let line = format!("OK demo kind={} {shown} digest={digest}", case.kind);
        ran.push(Ran { kind: case.kind, document, line });
    }
    Ok(Ok(ran))
}

/// Whether both gave the same documents.
pub fn compare(ran: &[Ran], again: &[Ran]) -> Result<(), Failed> {
    for (one, other) in ran.iter().zip(again) {
        if one.document != other.document {
            let show = |bytes: &[u8]| Digest::of(bytes).to_string();
            let expected = format!("expected {}", show(&other.document));
            return Err(Failed::new(one.kind, format!("saw {}", show(&one.document)), expected));
        }
    }
    Ok(())
}

async fn cases(house: &House, folder: &Path) -> Result<Vec<Case>> {
    let keep = async |name: &str, bytes: Vec<u8>| -> Result<String> {
        let file = folder.join(name);
        std::fs::write(&file, &bytes).with_context(|| format!("writing {}", file.display()))?;
        let digest = Digest::of(&bytes).to_string();
        house.client()?.put_blob(&digest, &file).await?;
        Ok(digest)
    };
    let (m, k, n) = PRODUCT;
    let (a, b) = (keep("a.npy", array(&[m, k], &left())).await?, keep("b.npy", array(&[k, n], &right())).await?);
    let field = keep("field.npy", array(&[FIELD.0, FIELD.1], &waves())).await?;
    let tracks = keep("tracks.csv", STORM.to_vec()).await?;
    let exposure = keep("exposure.csv", TOWNS.to_vec()).await?;
    let mut cases = vec![blas(&a, &b), climate(&field), cat(&tracks, &exposure)];
    match film(folder)? {
        Some(film) => cases.push(ffmpeg(&keep("film.mkv", film).await?)),
        None => say("ffmpeg is not installed: its family is left out"),
    }
    Ok(cases)
}

fn expect(holds: bool, check: &'static str, seen: String, expected: String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::new(check, format!("saw {seen}"), format!("expected {expected}"))) }
}

/// A body cut as the planner will, and one of `shard_cells`.
fn cut(kind: &str, spec: Value, shard_cells: u64) -> [Value; 2] {
    [json!({"kind": kind, "spec": spec}), json!({"kind": kind, "spec": spec, "shard_cells": shard_cells})]
}

/// A C-ordered array of doubles as `numpy.save` writes it.
fn array(shape: &[usize], values: &[f64]) -> Vec<u8> {
    let shape: Vec<u64> = shape.iter().map(|length| *length as u64).collect();
    let mut bytes = Header::c_order(Dtype::F64, &shape).encode();
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn left() -> Vec<f64> {
    (0..PRODUCT.0 * PRODUCT.1).map(|i| ((i * 7 + 3) % 19) as f64 - 9.0).collect()
}

fn right() -> Vec<f64> {
    (0..PRODUCT.1 * PRODUCT.2).map(|i| ((i * 5 + 1) % 17) as f64 - 8.0).collect()
}

/// Integers: the product is exact, and known.
fn blas(a: &str, b: &str) -> Case {
    let (m, k, n) = PRODUCT;
    let (left, right) = (left(), right());
    let entry = |i: usize, j: usize| (0..k).map(|l| left[i * k + l] * right[l * n + j]).sum::<f64>();
    let product: Vec<f64> = (0..m * n).map(|at| entry(at / n, at % n)).collect();
    let expected = Digest::of(&array(&[m, n], &product)).to_string();
    let body =
        |tile: Value| json!({"kind": "blas", "spec": {"op": "gemm", "dtype": "f64", "A": a, "B": b, "tile": tile}});
    Case {
        kind: "blas",
        bodies: [body(json!([64, 32])), body(json!([37, 50]))],
        check: Box::new(move |document| {
            let seen = document["C"]["digest"].as_str().unwrap_or_default().to_string();
            expect(seen == expected, "blas", seen, expected.clone())?;
            Ok(format!("shape={m}x{n} exact=true"))
        }),
    }
}

/// Two standing waves of known strength.
fn waves() -> Vec<f64> {
    let (samples, points) = FIELD;
    let turn = |i: usize, of: usize| 2.0 * std::f64::consts::PI * i as f64 / of as f64;
    let value = |s: usize, p: usize| {
        3.0 * turn(s, samples).cos() * turn(p, points).cos()
            + (2.0 * turn(s, samples)).sin() * (3.0 * turn(p, points)).sin()
    };
    (0..samples * points).map(|at| value(at / points, at % points)).collect()
}

fn climate(field: &str) -> Case {
    let (samples, points) = FIELD;
    // A full wave of amplitude one sums its squares to half its length, in time as in space.
    let strength = |amplitude: f64| {
        amplitude * amplitude * (samples as f64 / 2.0) * (points as f64 / 2.0) / (samples as f64 - 1.0)
    };
    let expected = [strength(3.0), strength(1.0)];
    let spec = json!({"members": [field], "layout": "npy", "var": null, "lat": null, "weights": "none", "modes": 2, "mask": "nan",
        "outputs": ["eigenvalues", "eofs", "pcs"]});
    Case {
        kind: "climate_pca",
        bodies: cut("climate_pca", spec, 7),
        check: Box::new(move |document| {
            let seen = [0, 1].map(|mode| document["eigenvalues"][mode]["value"].as_f64().unwrap_or(f64::NAN));
            let near = seen.iter().zip(&expected).all(|(seen, known)| (seen - known).abs() <= 1e-9 * known);
            expect(near, "climate_pca", format!("{seen:?}"), format!("{expected:?} to 1e-9"))?;
            Ok(format!("eigenvalues={:.6},{:.6}", seen[0], seen[1]))
        }),
    }
}

/// Whatever is hit is lost: what is lost is then known without a wind model.
fn cat(tracks: &str, exposure: &str) -> Case {
    let spec = json!({"tracks": tracks, "tracks_format": "csv", "exposure": exposure, "members": 0, "include_original": true,
        "perturb": {"max_shift_ini": 0.75, "max_dspeed_rel": 0.3, "max_ddirection": 0.00873, "autocorr_dspeed": 0.85,
            "autocorr_ddirection": 0.5},
        "dt_h": 1, "wind": "H08", "wind_threshold": 0.0, "vulnerability": {"kind": "table", "v": [0, 1], "mdr": [1, 1]},
        "years": 10, "rates": null, "years_simulated": 2000, "return_periods": [5, 20], "seed": 7});
    let total: f64 = (1..=8).map(|i| 1000.0 * f64::from(i)).sum();
    Case {
        kind: "cat_model",
        bodies: cut("cat_model", spec, 300),
        check: Box::new(move |document| {
            let aal = document["aal"]["value"].as_f64().unwrap_or(f64::NAN);
            let expected = total / 10.0;
            expect((aal - expected).abs() <= 1e-9 * expected, "cat_model", aal.to_string(), expected.to_string())?;
            Ok(format!("aal={aal}"))
        }),
    }
}

/// A film of known length; `None` without ffmpeg.
fn film(folder: &Path) -> Result<Option<Vec<u8>>> {
    let file = folder.join("source.mkv");
    let source = format!("testsrc2=s=160x90:r=25:d={}", FRAMES / 25);
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &source, "-c:v", "ffv1"]).arg(&file);
    let made = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        made => made.context("starting ffmpeg")?,
    };
    if !made.status.success() {
        bail!("ffmpeg made no film: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    std::fs::read(&file).map(Some).with_context(|| format!("reading {}", file.display()))
}

fn ffmpeg(film: &str) -> Case {
    let spec = json!({"input": film, "video": {"codec": "ffv1", "args": {}, "filters": [], "cell_frames": 20}, "audio": [],
        "container": "mov", "subtitle": "drop"});
    Case {
        kind: "ffmpeg",
        bodies: cut("ffmpeg", spec, 1),
        check: Box::new(|document| {
            let frames = document["frames"].as_u64().unwrap_or(0);
            expect(frames == FRAMES, "ffmpeg", frames.to_string(), FRAMES.to_string())?;
            Ok(format!("frames={frames}"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_padded_as_numpy_pads_it() {
        let bytes = array(&[150, 120], &vec![0.0; 18_000]);
        assert_eq!((bytes.len() - 144_000) % 64, 0);
        assert!(
            bytes.starts_with(
                b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (150, 120), }"
            )
        );
    }
}
