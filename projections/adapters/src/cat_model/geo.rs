//! Places on the sphere: the plane approximation of distances, and great circles.
//!
//! Angles of places in degrees, of directions and arcs in radians.

use core::f64::consts::PI;

/// One degree of a great circle. Units: km.
pub const DEGREE_KM: f64 = 111.12;
const RADIANS: f64 = PI / 180.0;

/// Degrees as radians.
#[inline]
pub fn radians(degrees: f64) -> f64 {
    degrees * RADIANS
}

/// A longitude, or a difference of two, from -180 to below 180; exact where it is so already.
#[inline]
pub fn wrapped(degrees: f64) -> f64 {
    if (-180.0..180.0).contains(&degrees) {
        return degrees;
    }
    let turned = degrees - 360.0 * libm::floor((degrees + 180.0) / 360.0);
    // Rounding may take it to 180.
    if turned >= 180.0 { turned - 360.0 } else { turned }
}

/// East and north of `to` as seen from `from`, in the plane of `from`. Units: km. Places are (lat, lon).
#[inline]
pub fn offset_km(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    let east = DEGREE_KM * wrapped(to.1 - from.1) * core_math::cos(radians(from.0));
    (east, DEGREE_KM * (to.0 - from.0))
}

/// Direction of the great circle from one place to another, clockwise from north.
pub fn bearing(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (lat1, lat2) = (radians(from.0), radians(to.0));
    let (sin_d, cos_d) = core_math::sincos(radians(to.1 - from.1));
    let ((sin1, cos1), (sin2, cos2)) = (core_math::sincos(lat1), core_math::sincos(lat2));
    core_math::atan2(sin_d * cos2, cos1 * sin2 - sin1 * cos2 * cos_d)
}

/// Arc of the great circle between two places, by the haversine.
pub fn arc(from: (f64, f64), to: (f64, f64)) -> f64 {
    let half = |degrees: f64| core_math::sin(radians(degrees) / 2.0);
    let (lat, lon) = (half(to.0 - from.0), half(to.1 - from.1));
    let cosines = core_math::cos(radians(from.0)) * core_math::cos(radians(to.0));
    let a = lat * lat + cosines * (lon * lon);
    2.0 * core_math::asin(libm::sqrt(a.clamp(0.0, 1.0)))
}

/// Where a great circle leads: `arc` from `from` in the direction `bearing`.
pub fn destination(from: (f64, f64), bearing: f64, arc: f64) -> (f64, f64) {
    let (sin1, cos1) = core_math::sincos(radians(from.0));
    let (sin_a, cos_a) = core_math::sincos(arc);
    let (sin_b, cos_b) = core_math::sincos(bearing);
    let sin2 = (sin1 * cos_a + cos1 * sin_a * cos_b).clamp(-1.0, 1.0);
    let turn = core_math::atan2(sin_b * sin_a * cos1, cos_a - sin1 * sin2);
    (core_math::asin(sin2) / RADIANS, wrapped(from.1 + turn / RADIANS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longitudes_wrap_and_keep_their_bits() {
        for (given, expected) in [(270.0, -90.0), (180.0, -180.0), (-180.0, -180.0), (-80.3, -80.3), (359.5, -0.5)] {
            assert_eq!(wrapped(given), expected);
        }
        let (east, north) = offset_km((0.0, 179.5), (1.0, -179.5));
        assert_eq!((east, north), (DEGREE_KM, DEGREE_KM));
    }

    #[test]
    fn a_destination_is_found_again() {
        for from in [(25.0, -80.0), (-30.0, 179.5), (0.0, 0.0), (69.0, 10.0)] {
            for bearing_given in [0.1, 1.5, -2.0, 3.0] {
                let to = destination(from, bearing_given, 0.02);
                assert!((arc(from, to) - 0.02).abs() < 1e-12);
                assert!((bearing(from, to) - bearing_given).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn nothing_of_the_pole_is_not_a_number() {
        for place in [(90.0, 0.0), (-90.0, 10.0)] {
            let (east, north) = offset_km(place, (89.0, -179.0));
            assert!(east.is_finite() && north.is_finite());
            assert!(destination(place, 1.0, 0.01).0.is_finite() && bearing(place, place).is_finite());
        }
    }
}
