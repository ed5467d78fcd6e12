//! Normal quantiles: Wichura's AS241 (PPND16), one uniform a normal.
//!
//! Only + − × ÷, the square root and a correctly rounded ln, in one fixed order: the same bits everywhere.
//! The operations are those of CPython's `statistics.NormalDist().inv_cdf`, which is the oracle.
//! Source: M. J. Wichura, "Algorithm AS 241", Applied Statistics 37 (1988) 477-484.

#![allow(clippy::excessive_precision)] // The constants stand as published.

/// Replaces each uniform in (0, 1) by its normal quantile.
///
/// The centre's formula is evaluated for all of a chunk, several at a time; the tails, a sixth of them, are then done
/// one by one from a list that was made without branches.
#[inline]
pub fn normals(values: &mut [f64]) {
    const CHUNK: usize = 64;
    for chunk in values.chunks_mut(CHUNK) {
        let mut uniforms = [0.0; CHUNK];
        uniforms[..chunk.len()].copy_from_slice(chunk);
        for value in chunk.iter_mut() {
            *value = in_centre(*value - 0.5);
        }
        let mut tails = [0u8; CHUNK];
        let mut count = 0;
        for (i, uniform) in uniforms[..chunk.len()].iter().enumerate() {
            tails[count % CHUNK] = i as u8;
            count += usize::from((uniform - 0.5).abs() > CENTRE);
        }
        for i in &tails[..count] {
            let i = usize::from(*i);
            chunk[i] = in_tail(uniforms[i], uniforms[i] - 0.5);
        }
    }
}

/// The normal quantile of `p` in (0, 1).
pub fn normal(p: f64) -> f64 {
    let mut one = [p];
    normals(&mut one);
    one[0]
}

const CENTRE: f64 = 0.425;

#[inline]
fn in_centre(q: f64) -> f64 {
    let r = 0.180625 - q * q;
    // The product with q comes before the division.
    let x = (poly(&CENTRE_NUM, r) * q) / poly(&CENTRE_DEN, r);
    x + 0.0
}

#[inline]
fn in_tail(p: f64, q: f64) -> f64 {
    let r = if q <= 0.0 { p } else { 1.0 - p };
    let r = libm::sqrt(-core_math::log(r));
    let x = if r <= 5.0 {
        let r = r - 1.6;
        poly(&TAIL_NUM, r) / poly(&TAIL_DEN, r)
    } else {
        let r = r - 5.0;
        poly(&FAR_NUM, r) / poly(&FAR_DEN, r)
    };
    if q < 0.0 { -x } else { x }
}

/// Horner's rule, highest power first.
#[inline]
fn poly(coefficients: &[f64; 8], r: f64) -> f64 {
    let mut sum = coefficients[0];
    for c in &coefficients[1..] {
        sum = sum * r + c;
    }
    sum
}

const CENTRE_NUM: [f64; 8] = [
    2.5090809287301226727e3,
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080e0,
];
const CENTRE_DEN: [f64; 8] = [
    5.2264952788528545610e3,
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1.0,
];
const TAIL_NUM: [f64; 8] = [
    7.74545014278341407640e-4,
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258e0,
    3.64784832476320460504e0,
    5.76949722146069140550e0,
    4.63033784615654529590e0,
    1.42343711074968357734e0,
];
const TAIL_DEN: [f64; 8] = [
    1.05075007164441684324e-9,
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940e0,
    2.05319162663775882187e0,
    1.0,
];
const FAR_NUM: [f64; 8] = [
    2.01033439929228813265e-7,
    2.71155556874348757815e-5,
    1.24266094738807843860e-3,
    2.65321895265761230930e-2,
    2.96560571828504891230e-1,
    1.78482653991729133580e0,
    5.46378491116411436990e0,
    6.65790464350110377720e0,
];
const FAR_DEN: [f64; 8] = [
    2.04426310338993978564e-15,
    1.42151175831644588870e-7,
    1.84631831751005468180e-5,
    7.86869131145613259100e-4,
    1.48753612908506148525e-2,
    1.36929880922735805310e-1,
    5.99832206555887937690e-1,
    1.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_published_tables() {
        assert_eq!(normal(0.5), 0.0);
        assert!((normal(0.975) - 1.959963984540054).abs() < 1e-15);
        assert!((normal(1e-10) + 6.361340902404056).abs() < 1e-14);
        assert!((normal(2f64.powi(-54)) + 8.292361075813595).abs() < 1e-13);
    }

    #[test]
    fn the_two_sides_mirror_each_other() {
        for p in [0.01, 0.25, 0.07421875, 0.4375] {
            let p = (p * 1024.0_f64) as u32 as f64 / 1024.0;
            assert_eq!(normal(p), -normal(1.0 - p), "{p}");
        }
    }
}
