//! The event loss table: its rows, their binary form in blobs, and the CSV of the document.

use crate::json::{float, write};
use alloc::string::String;
use alloc::vec::Vec;

/// A row in the binary. Units: bytes.
pub const ROW_BYTES: usize = 28;
/// First line of the CSV.
pub const HEADER: &str = "track,member,loss,loss_bits,max_wind,max_wind_bits,points_hit\n";

/// One event.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    /// Position in the input, from 0.
    pub track: u32,
    /// 0 is the track as given, 1 and up the perturbed ones.
    pub member: u32,
    /// Units: the currency of the exposure.
    pub loss: f64,
    /// Highest wind at any point. Units: m/s.
    pub max_wind: f64,
    /// Points with any wind from the threshold on.
    pub points_hit: u32,
}

impl Row {
    /// The row's binary form: little-endian, floats as their bits.
    pub fn encode(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..4].copy_from_slice(&self.track.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.member.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.loss.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.max_wind.to_le_bytes());
        bytes[24..].copy_from_slice(&self.points_hit.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; ROW_BYTES]) -> Row {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut middle = [0; 16];
        middle.copy_from_slice(&bytes[8..24]);
        let [loss, max_wind] = floats(&middle);
        Row { track: word(0), member: word(4), loss, max_wind, points_hit: word(24) }
    }

    /// The row as a line of the CSV.
    pub fn csv(&self, out: &mut String) {
        write(out, format_args!("{},{},", self.track, self.member));
        float(out, self.loss);
        write(out, format_args!(",0x{:016x},", self.loss.to_bits()));
        float(out, self.max_wind);
        write(out, format_args!(",0x{:016x},{}\n", self.max_wind.to_bits(), self.points_hit));
    }
}

/// Rows of a blob; what does not fill a row at its end is left out.
pub fn rows(bytes: &[u8]) -> Vec<Row> {
    bytes.as_chunks::<ROW_BYTES>().0.iter().map(Row::decode).collect()
}

/// `N` little-endian floats out of `8·N` bytes; what is missing is 0.
pub fn floats<const N: usize>(bytes: &[u8]) -> [f64; N] {
    let mut floats = [0.0; N];
    for (float, bytes) in floats.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *float = f64::from_le_bytes(*bytes);
    }
    floats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_and_shows_its_bits() {
        let row = Row { track: 3, member: 9, loss: 528.5, max_wind: 70.25, points_hit: 50 };
        assert_eq!(rows(&row.encode()), [row]);
        let mut line = String::new();
        row.csv(&mut line);
        assert_eq!(line, "3,9,528.5,0x4080840000000000,70.25,0x4051900000000000,50\n");
    }
}
