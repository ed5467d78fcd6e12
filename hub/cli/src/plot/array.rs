//! Arrays as the hub writes them.

use super::PlotError;

/// A C-ordered array of doubles.
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Array {
    /// Reads what the hub writes: `.npy` v1.0, `<f8` or `<f4`, C order.
    pub fn read(bytes: &[u8]) -> Result<Array, PlotError> {
        let bad = PlotError::Array;
        let length = bytes.get(8..10).ok_or(bad("it is cut"))?;
        let start = 10 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        let header = bytes.get(10..start).and_then(|h| std::str::from_utf8(h).ok()).ok_or(bad("it has no header"))?;
        if !bytes.starts_with(b"\x93NUMPY\x01") || header.contains("True") {
            return Err(bad("it is not version 1.0 in C order"));
        }
        let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).map(|(shape, _)| shape);
        let shape: Option<Vec<usize>> = shape
            .ok_or(bad("it has no shape"))?
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().ok())
            .collect();
        let shape = shape.ok_or(bad("its shape does not read"))?;
        let body = &bytes[start..];
        let values: Vec<f64> = if header.contains("<f8") {
            body.chunks_exact(8).map(|c| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]])).collect()
        } else if header.contains("<f4") {
            body.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect()
        } else {
            return Err(bad("its entries are not floats"));
        };
        if shape.iter().product::<usize>() != values.len() {
            return Err(bad("its length is not its shape's"));
        }
        Ok(Array { shape, values })
    }
}
