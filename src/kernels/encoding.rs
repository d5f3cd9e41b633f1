//! How the weights of a matrix row are written as bytes: plain floats, or blocks of 32 weights behind one f16 scale.
//!
//! | encoding | bytes for 32 weights | a weight is | largest error (`m`: largest magnitude of the block) |
//! |---|---|---|---|
//! | `f32` | 128 | itself | none |
//! | `f16`, `bf16` | 64 | itself, rounded | 2⁻¹¹·\|w\|, 2⁻⁸·\|w\| |
//! | `q8` | 34: scale, 32 × i8 | scale · i8 | m / 254, and the scale's own rounding (m / 2048) |
//! | `q4` | 18: scale, 16 × two nibbles | scale · (nibble − 8) | m / 8, and the scale's own rounding |
//!
//! The block layouts equal GGUF's Q8_0 and Q4_0: in a q4 block, byte `j` holds weight `j` in its low nibble and weight
//! `j + 16` in its high one. A row whose length is no multiple of 32 ends in a block padded with zeros. Everything is
//! little-endian.

use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};

/// Weights in one block of `q8` and `q4`.
pub const BLOCK: usize = 32;
/// Bytes of a `q8` block.
pub(super) const Q8_BYTES: usize = 2 + BLOCK;
/// Bytes of a `q4` block.
pub(super) const Q4_BYTES: usize = 2 + BLOCK / 2;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    Q8,
    Q4,
}

/// A weight that an encoding cannot hold: NaN, infinite (both reported as NaN where decoding met them), or beyond what
/// an f16 (scale) reaches.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("weight {index} is {value}, which {encoding} weights cannot be")]
pub struct BadWeight {
    /// Position in the row or, in a matrix, in row-major order.
    pub index: usize,
    pub value: f32,
    pub encoding: Encoding,
}

impl Encoding {
    /// Bytes of a row of `cols` weights; `None` if that does not fit into a `usize`.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        match self {
            Encoding::F32 => cols.checked_mul(4),
            Encoding::F16 | Encoding::Bf16 => cols.checked_mul(2),
            Encoding::Q8 => cols.div_ceil(BLOCK).checked_mul(Q8_BYTES),
            Encoding::Q4 => cols.div_ceil(BLOCK).checked_mul(Q4_BYTES),
        }
    }

    /// Whether rows are blocks with a scale each.
    pub fn is_blocks(self) -> bool {
        matches!(self, Encoding::Q8 | Encoding::Q4)
    }

    /// Appends a row, encoded, to `out`.
    ///
    /// # Errors
    /// [`BadWeight`] for NaN, infinities and what overflows; `out` may then hold a part of the row.
    pub fn encode_row(self, row: &[f32], out: &mut Vec<u8>) -> Result<(), BadWeight> {
        let bad = |index: usize, value: f32| BadWeight { index, value, encoding: self };
        if let Some(index) = row.iter().position(|w| !w.is_finite()) {
            return Err(bad(index, row[index]));
        }
        match self {
            Encoding::F32 => row.iter().for_each(|w| out.extend(w.to_le_bytes())),
            Encoding::F16 => {
                for (index, &w) in row.iter().enumerate() {
                    let rounded = f16::from_f32(w);
                    if !rounded.is_finite() {
                        return Err(bad(index, w));
                    }
                    out.extend(rounded.to_le_bytes());
                }
            }
            Encoding::Bf16 => {
                for (index, &w) in row.iter().enumerate() {
                    let rounded = bf16::from_f32(w);
                    if !rounded.is_finite() {
                        return Err(bad(index, w));
                    }
                    out.extend(rounded.to_le_bytes());
                }
            }
            Encoding::Q8 | Encoding::Q4 => {
                for (i, weights) in row.chunks(BLOCK).enumerate() {
                    let peak = peak(weights);
                    // A q4 scale carries the peak's sign, so that the peak is −8 exactly and the 16 levels are all used.
                    let scale = f16::from_f32(if self == Encoding::Q8 { peak.abs() / 127.0 } else { peak / -8.0 });
                    if !scale.is_finite() {
                        return Err(bad(i * BLOCK, peak));
                    }
                    out.extend(scale.to_le_bytes());
                    let scale = scale.to_f32();
                    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
                    let mut block = [0.0; BLOCK];
                    block[..weights.len()].copy_from_slice(weights);
                    if self == Encoding::Q8 {
                        out.extend(block.map(|w| (w * inverse).round().clamp(-127.0, 127.0) as i8 as u8));
                    } else {
                        let levels = block.map(|w| ((w * inverse).round() + 8.0).clamp(0.0, 15.0) as u8);
                        out.extend((0..BLOCK / 2).map(|j| levels[j] | levels[j + BLOCK / 2] << 4));
                    }
                }
            }
        }
        Ok(())
    }

    /// The first thing in encoded bytes that is no finite number: the index of its value (of its scale, for blocks).
    pub(super) fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        let half = |bytes: &[u8], exponent: u16| u16::from_le_bytes([bytes[0], bytes[1]]) & exponent == exponent;
        match self {
            Encoding::F32 => bytes.chunks_exact(4).position(|b| b[3] & 0x7f == 0x7f && b[2] & 0x80 != 0),
            Encoding::F16 => bytes.chunks_exact(2).position(|b| half(b, 0x7c00)),
            Encoding::Bf16 => bytes.chunks_exact(2).position(|b| half(b, 0x7f80)),
            Encoding::Q8 => bytes.chunks_exact(Q8_BYTES).position(|b| half(b, 0x7c00)),
            Encoding::Q4 => bytes.chunks_exact(Q4_BYTES).position(|b| half(b, 0x7c00)),
        }
    }
}

/// The weight of largest magnitude, with its sign.
fn peak(weights: &[f32]) -> f32 {
    weights.iter().fold(0.0, |peak: f32, &w| if w.abs() > peak.abs() { w } else { peak })
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Bf16 => "bf16",
            Encoding::Q8 => "q8",
            Encoding::Q4 => "q4",
        })
    }
}

impl FromStr for Encoding {
    type Err = crate::error::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8, Encoding::Q4]
            .into_iter()
            .find(|encoding| encoding.to_string() == name)
            .ok_or_else(|| {
                crate::error::Error::BadInput(format!("expected one of f32, f16, bf16, q8, q4 but got `{name}`"))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_infinity_and_overflow_are_refused() {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8, Encoding::Q4] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let error = encoding.encode_row(&[0.0, 1.0, bad], &mut Vec::new()).unwrap_err();
                assert_eq!(error.index, 2);
            }
        }
        for encoding in [Encoding::F16, Encoding::Q8, Encoding::Q4] {
            assert!(encoding.encode_row(&[1e30], &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn a_row_takes_the_bytes_it_says() {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8, Encoding::Q4] {
            for cols in [0, 1, 31, 32, 33, 64, 100] {
                let mut out = Vec::new();
                encoding.encode_row(&vec![0.5; cols], &mut out).unwrap();
                assert_eq!(Some(out.len()), encoding.row_bytes(cols), "{encoding} {cols}");
                assert_eq!(encoding.first_not_finite(&out), None);
            }
            assert_eq!(encoding.to_string().parse::<Encoding>().unwrap(), encoding);
        }
        assert_eq!(Encoding::F32.row_bytes(usize::MAX), None);
    }

    #[test]
    fn a_scale_that_is_not_finite_is_found() {
        let mut out = Vec::new();
        Encoding::Q8.encode_row(&[1.0; 64], &mut out).unwrap();
        out[34..36].copy_from_slice(&f16::NAN.to_le_bytes());
        assert_eq!(Encoding::Q8.first_not_finite(&out), Some(1));
        assert_eq!(Encoding::F32.first_not_finite(&f32::NEG_INFINITY.to_le_bytes()), Some(0));
        assert_eq!(Encoding::F32.first_not_finite(&f32::MAX.to_le_bytes()), None);
    }
}
