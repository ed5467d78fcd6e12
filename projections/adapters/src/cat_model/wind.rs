//! Surface winds of a storm: a rotation by one of Holland's profiles, and the storm's own movement.
//!
//! Sources: G. Holland, MWR 108 (1980) 1212; MWR 136 (2008) 3432, eq. 11; G. Holland et al., MWR 138 (2010) 4393.

use super::geo;
use super::spec::Wind;
use super::tracks::Node;
use alloc::vec::Vec;

/// Points farther from the eye have no wind. Units: km.
pub const REACH_KM: f64 = 300.0;
/// Points nearer to the eye have no wind. Units: km.
pub const EYE_KM: f64 = 0.001;
/// Fastest movement that counts. Units: m/s; 30 kn.
pub const MOVEMENT_MS_MAX: f64 = 30.0 * KNOT_MS;
/// Highest shape parameter of any model.
pub const B_MAX: f64 = 2.5;

const KNOT_MS: f64 = 1852.0 / 3600.0;
const NAUTICAL_KM: f64 = 1.852;
/// Density of air. Units: kg/m³.
const RHO: f64 = 1.15;
/// Turning rate of the earth. Units: 1/s.
const OMEGA: f64 = 7.29e-5;
/// Winds at the surface are this share of those above it.
const SURFACE: f64 = 0.9;
/// The 2010 profile's wind at [`REACH_KM`], and bounds of its exponent. Units: m/s.
const PERIPHERY_MS: f64 = 17.0;
const EXPONENT_CORE: f64 = 0.5;
const EXPONENT_MIN: f64 = 0.4;

/// A storm at a node, ready to be asked for winds.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    wind: Wind,
    pub lat: f64,
    pub lon: f64,
    cos_lat: f64,
    /// Anticlockwise is 1, clockwise -1.
    turn: f64,
    /// Movement, east and north. Units: m/s.
    movement: (f64, f64),
    speed: f64,
    /// Radius of maximum wind. Units: km.
    radius_km: f64,
    b: f64,
    /// Pressure drop. Units: Pa.
    drop_pa: f64,
    coriolis: f64,
    /// 2010 only: the highest wind, and the exponent at [`REACH_KM`].
    vmax: f64,
    exponent: f64,
}

/// The storms of a track: one a node but the first, which has no movement yet and so no wind.
pub fn storms(nodes: &[Node], wind: Wind) -> Vec<Storm> {
    nodes.windows(2).map(|pair| Storm::new(wind, &pair[0], &pair[1])).collect()
}

impl Storm {
    fn new(wind: Wind, before: &Node, node: &Node) -> Storm {
        let (east, north) = geo::offset_km((before.lat, before.lon), (node.lat, node.lon));
        let to_ms = 1000.0 / 3600.0 / node.dt_h;
        let (mut east, mut north) = (east * to_ms, north * to_ms);
        let mut speed = libm::sqrt(east * east + north * north);
        if speed > MOVEMENT_MS_MAX {
            let share = MOVEMENT_MS_MAX / speed;
            (east, north, speed) = (east * share, north * share, MOVEMENT_MS_MAX);
        }
        let drop_hpa = (node.penv - node.pcen).max(f64::MIN_POSITIVE);
        let sin_lat = core_math::sin(geo::radians(node.lat.abs()));
        let mut storm = Storm {
            wind,
            lat: node.lat,
            lon: node.lon,
            cos_lat: core_math::cos(geo::radians(node.lat)),
            turn: if node.lat < 0.0 { -1.0 } else { 1.0 },
            movement: (east, north),
            speed,
            radius_km: node.rmax_nm * NAUTICAL_KM,
            b: 0.0,
            drop_pa: drop_hpa * 100.0,
            coriolis: 2.0 * OMEGA * sin_lat,
            vmax: 0.0,
            exponent: 0.0,
        };
        storm.b = match wind {
            Wind::H80 => storm.b_1980(node.vmax_kn * KNOT_MS),
            Wind::H08 | Wind::H10 => b_2008(drop_hpa, (node.pcen - before.pcen) / node.dt_h, node.lat.abs(), speed),
        };
        if wind == Wind::H10 {
            storm.vmax = libm::sqrt(storm.b / (RHO * core::f64::consts::E) * storm.drop_pa);
            let at_reach = storm.profile_2010(REACH_KM);
            let exponent = core_math::log(PERIPHERY_MS / storm.vmax) / core_math::log(at_reach);
            // An eye as wide as the reach, or a storm without wind, gives no number.
            storm.exponent = if exponent.is_finite() { exponent } else { EXPONENT_CORE };
        }
        storm
    }

    fn b_1980(&self, vmax: f64) -> f64 {
        let above = (vmax - self.speed).max(0.0) / SURFACE;
        (above * above * core::f64::consts::E * RHO / self.drop_pa).clamp(1.0, B_MAX)
    }

    /// The 2010 profile before its exponent: 1 at the radius of maximum wind, less elsewhere.
    fn profile_2010(&self, r_km: f64) -> f64 {
        let q = core_math::pow(self.radius_km / r_km, self.b);
        q * core_math::exp(1.0 - q)
    }

    /// The wind at a place. Units: m/s; degrees.
    #[inline]
    pub fn at(&self, lat: f64, lon: f64) -> f64 {
        let dy = geo::DEGREE_KM * (lat - self.lat);
        if dy.abs() > REACH_KM {
            return 0.0;
        }
        let dx = geo::DEGREE_KM * geo::wrapped(lon - self.lon) * self.cos_lat;
        if dx.abs() > REACH_KM {
            return 0.0;
        }
        let r_km = libm::sqrt(dx * dx + dy * dy);
        if !(EYE_KM..=REACH_KM).contains(&r_km) {
            return 0.0;
        }
        let near = (self.radius_km / r_km).min(1.0);
        let rotation = match self.wind {
            Wind::H08 => self.holland(r_km) - self.speed * near,
            Wind::H80 => SURFACE * self.holland(r_km),
            Wind::H10 => self.holland_2010(r_km) - self.speed * near,
        };
        // The direction of the rotation is a quarter turn from that of the place.
        let (east, north) = (-dy / r_km * self.turn, dx / r_km * self.turn);
        let (u, v) = (rotation * east + self.movement.0 * near, rotation * north + self.movement.1 * near);
        libm::sqrt(u * u + v * v)
    }

    /// Gradient wind of the profile of 1980.
    fn holland(&self, r_km: f64) -> f64 {
        let q = core_math::pow(self.radius_km / r_km, self.b);
        let turning = 0.5 * (r_km * 1000.0) * self.coriolis;
        let square = self.b / RHO * q * self.drop_pa * core_math::exp(-q) + turning * turning;
        libm::sqrt(square.max(0.0)) - turning
    }

    fn holland_2010(&self, r_km: f64) -> f64 {
        let mut exponent = EXPONENT_CORE;
        if r_km > self.radius_km {
            let share = (r_km - self.radius_km) / (REACH_KM - self.radius_km);
            exponent += share * (self.exponent - EXPONENT_CORE);
        }
        self.vmax * core_math::pow(self.profile_2010(r_km), exponent.max(EXPONENT_MIN))
    }
}

/// The shape parameter of 2008. Units: hPa, hPa/h, degrees, m/s.
fn b_2008(drop: f64, change: f64, lat: f64, speed: f64) -> f64 {
    let x = 0.6 * (1.0 - drop / 215.0);
    let moved = 0.15 * core_math::pow(speed, x);
    (-4.4e-5 * drop * drop + 0.01 * drop + 0.03 * change - 0.014 * lat + moved + 1.0).clamp(0.81, 2.025)
}

/// No wind of any model passes this, whatever the track, if its pressure drop is at most `drop_hpa`. Units: m/s.
pub fn bound(drop_hpa: f64) -> f64 {
    let rotation = libm::sqrt(B_MAX / (RHO * core::f64::consts::E) * (drop_hpa.max(0.0) * 100.0));
    // A little more, for the roundings on both sides.
    (rotation + 2.0 * MOVEMENT_MS_MAX) * (1.0 + 1e-9)
}
