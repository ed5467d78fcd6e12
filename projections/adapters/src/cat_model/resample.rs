//! Nodes at equal steps in time, and what no file says.

use super::tracks::{Node, TRACK_NODES_MAX};
use alloc::vec::Vec;

/// Usual radius of maximum wind by central pressure. Units: hPa, nautical miles.
const RMAX: [(f64, f64); 4] = [(872.0, 14.907318), (940.0, 15.726927), (980.0, 25.742142), (1021.0, 56.856522)];

/// Nodes of a track of this many hours at steps of `dt_h`, the first one included.
pub fn count(hours: f64, dt_h: f64) -> f64 {
    libm::floor(hours / dt_h) + 1.0
}

/// The track at times 0, `dt_h`, 2·`dt_h`, … up to its last node, each thing linear in time between nodes.
///
/// Shape: at most [`TRACK_NODES_MAX`] nodes.
pub fn resampled(nodes: &[Node], dt_h: f64) -> Vec<Node> {
    let Some(first) = nodes.first() else { return Vec::new() };
    let hours: f64 = nodes.iter().map(|n| n.dt_h).sum();
    let count = count(hours, dt_h).min(TRACK_NODES_MAX as f64) as usize;
    let mut found = Vec::with_capacity(count);
    found.push(*first);
    let (mut next, mut before) = (1, 0.0);
    for i in 1..count {
        let at = i as f64 * dt_h;
        while next + 1 < nodes.len() && before + nodes[next].dt_h <= at {
            before += nodes[next].dt_h;
            next += 1;
        }
        let Some(to) = nodes.get(next) else { break };
        let share = ((at - before) / to.dt_h).clamp(0.0, 1.0);
        found.push(between(&nodes[next - 1], to, share, dt_h));
    }
    found
}

fn between(from: &Node, to: &Node, share: f64, dt_h: f64) -> Node {
    // At a node as it is there; between two, NaN as soon as one is not known.
    let mix = |a: f64, b: f64| {
        if share <= 0.0 {
            a
        } else if share >= 1.0 {
            b
        } else {
            a + share * (b - a)
        }
    };
    Node {
        dt_h,
        lat: mix(from.lat, to.lat),
        lon: super::geo::wrapped(from.lon + share * super::geo::wrapped(to.lon - from.lon)),
        vmax_kn: mix(from.vmax_kn, to.vmax_kn),
        pcen: mix(from.pcen, to.pcen),
        penv: mix(from.penv, to.penv),
        rmax_nm: mix(from.rmax_nm, to.rmax_nm),
    }
}

/// Puts the usual radius where none is known. Units: nautical miles.
pub fn fill_rmax(nodes: &mut [Node]) {
    for node in nodes.iter_mut().filter(|n| n.rmax_nm.is_nan()) {
        node.rmax_nm = usual_rmax(node.pcen);
    }
}

fn usual_rmax(pcen: f64) -> f64 {
    let above = RMAX.partition_point(|(p, _)| *p <= pcen);
    match (above.checked_sub(1).map(|below| RMAX[below]), RMAX.get(above)) {
        (None, _) => RMAX[0].1,
        (Some((_, r)), None) => r,
        (Some((p0, r0)), Some((p1, r1))) => r0 + (r1 - r0) / (p1 - p0) * (pcen - p0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(dt_h: f64, lon: f64, pcen: f64) -> Node {
        Node { dt_h, lat: 20.0, lon, vmax_kn: f64::NAN, pcen, penv: 1010.0, rmax_nm: f64::NAN }
    }

    #[test]
    fn steps_are_equal_and_cross_the_date_line() {
        let track = [node(0.0, 179.0, 990.0), node(6.0, -178.0, 984.0), node(3.0, -177.0, 990.0)];
        let found = resampled(&track, 2.0);
        let places: Vec<(f64, f64)> = found.iter().map(|n| (n.lon, n.pcen)).collect();
        assert_eq!(
            places,
            [(179.0, 990.0), (-180.0, 988.0), (-179.0, 986.0), (-178.0, 984.0), (-178.0 + 2.0 / 3.0, 988.0)]
        );
        assert!(found[1..].iter().all(|n| n.dt_h == 2.0) && found[0].dt_h == 0.0);
        assert_eq!(resampled(&track[..1], 1.0).len(), 1);
    }

    #[test]
    fn a_radius_is_linear_between_published_ones() {
        assert_eq!([800.0, 872.0, 980.0, 1100.0].map(usual_rmax), [14.907318, 14.907318, 25.742142, 56.856522]);
        let mut nodes = [node(0.0, 0.0, 960.0)];
        fill_rmax(&mut nodes);
        assert!((nodes[0].rmax_nm - 20.7345345).abs() < 1e-9);
    }
}
