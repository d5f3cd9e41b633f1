//! One encoded row against one vector: dot product and decoding, as plain loops that compilers turn into SIMD.
//!
//! On x86-64 the same loops are compiled a second time for AVX2 and FMA and chosen at run time; elsewhere (NEON,
//! WebAssembly's simd128) the target's own baseline decides.

use super::encoding::{BLOCK, BadWeight, Encoding, Q4_BYTES, Q8_BYTES};

/// Independent partial sums: enough to fill two AVX2 registers, so that additions do not wait for each other.
const LANES: usize = 16;

impl Encoding {
    /// Decodes one row, `out.len()` weights.
    ///
    /// # Errors
    /// [`BadWeight`] for the first NaN or infinity.
    pub fn decode_row(self, row: &[u8], out: &mut [f32]) -> Result<(), BadWeight> {
        if let Some(index) = self.first_not_finite(row) {
            let index = if self.is_blocks() { index * BLOCK } else { index };
            return Err(BadWeight { index, value: f32::NAN, encoding: self });
        }
        decode(self, row, out);
        Ok(())
    }
}

/// The dot product of an encoded row with `x`.
pub(super) fn dot(encoding: Encoding, row: &[u8], x: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { dot_avx2(encoding, row, x) };
    }
    dot_body::<false>(encoding, row, x)
}

/// Decodes a row into `out`, whose length is the row's.
pub(super) fn decode(encoding: Encoding, row: &[u8], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { decode_avx2(encoding, row, out) };
    }
    decode_body(encoding, row, out)
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_avx2(encoding: Encoding, row: &[u8], x: &[f32]) -> f32 {
    dot_body::<true>(encoding, row, x)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn decode_avx2(encoding: Encoding, row: &[u8], out: &mut [f32]) {
    decode_body(encoding, row, out)
}

#[inline(always)]
fn dot_body<const FMA: bool>(encoding: Encoding, row: &[u8], x: &[f32]) -> f32 {
    match encoding {
        Encoding::F32 => dot_plain::<FMA, 4>(row, x, f32_at),
        Encoding::F16 => dot_plain::<FMA, 2>(row, x, f16_at),
        Encoding::Bf16 => dot_plain::<FMA, 2>(row, x, bf16_at),
        Encoding::Q8 => dot_blocks::<FMA, Q8_BYTES>(row, x, q8_block),
        Encoding::Q4 => dot_blocks::<FMA, Q4_BYTES>(row, x, q4_block),
    }
}

#[inline(always)]
fn decode_body(encoding: Encoding, row: &[u8], out: &mut [f32]) {
    match encoding {
        Encoding::F32 => decode_plain::<4>(row, out, f32_at),
        Encoding::F16 => decode_plain::<2>(row, out, f16_at),
        Encoding::Bf16 => decode_plain::<2>(row, out, bf16_at),
        Encoding::Q8 => decode_blocks::<Q8_BYTES>(row, out, q8_block),
        Encoding::Q4 => decode_blocks::<Q4_BYTES>(row, out, q4_block),
    }
}

/// `a · b + c`, fused only where the instruction exists: in software it is a slow call.
#[inline(always)]
fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn dot_plain<const FMA: bool, const SIZE: usize>(row: &[u8], x: &[f32], at: impl Fn([u8; SIZE]) -> f32) -> f32 {
    // Decoded apart from the sums, in stretches long enough to be worth a loop of their own.
    const STRETCH: usize = 256;
    let mut weights = [0.0; STRETCH];
    let mut sums = [0.0; LANES];
    for (row, x) in row.chunks(STRETCH * SIZE).zip(x.chunks(STRETCH)) {
        decode_plain(row, &mut weights, &at);
        let (x, x_tail) = x.as_chunks::<LANES>();
        let weights = weights.as_chunks::<LANES>().0;
        for (weights, x) in weights.iter().zip(x) {
            for lane in 0..LANES {
                sums[lane] = mul_add::<FMA>(weights[lane], x[lane], sums[lane]);
            }
        }
        for (lane, (&weight, &x)) in weights[x.len()..].as_flattened().iter().zip(x_tail).enumerate() {
            sums[lane] += weight * x;
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn decode_plain<const SIZE: usize>(row: &[u8], out: &mut [f32], at: impl Fn([u8; SIZE]) -> f32) {
    for (out, &weight) in out.iter_mut().zip(row.as_chunks::<SIZE>().0) {
        *out = at(weight);
    }
}

#[inline(always)]
fn dot_blocks<const FMA: bool, const SIZE: usize>(
    row: &[u8],
    x: &[f32],
    unpack: impl Fn(&[u8; SIZE], &mut [f32; BLOCK]),
) -> f32 {
    let blocks = row.as_chunks::<SIZE>().0;
    let (x, x_tail) = x.as_chunks::<BLOCK>();
    let mut sums = [0.0; LANES];
    let mut weights = [0.0; BLOCK];
    for (block, x) in blocks.iter().zip(x) {
        unpack(block, &mut weights);
        let scale = f16_at([block[0], block[1]]);
        for lane in 0..LANES {
            let part = mul_add::<FMA>(weights[lane], x[lane], weights[lane + LANES] * x[lane + LANES]);
            sums[lane] = mul_add::<FMA>(part, scale, sums[lane]);
        }
    }
    let mut sum = sums.iter().sum();
    if let (Some(block), false) = (blocks.get(x.len()), x_tail.is_empty()) {
        unpack(block, &mut weights);
        let scale = f16_at([block[0], block[1]]);
        sum += scale * x_tail.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f32>();
    }
    sum
}

#[inline(always)]
fn decode_blocks<const SIZE: usize>(row: &[u8], out: &mut [f32], unpack: impl Fn(&[u8; SIZE], &mut [f32; BLOCK])) {
    let blocks = row.as_chunks::<SIZE>().0;
    let (out, out_tail) = out.as_chunks_mut::<BLOCK>();
    for (out, block) in out.iter_mut().zip(blocks) {
        let mut weights = [0.0; BLOCK];
        unpack(block, &mut weights);
        let scale = f16_at([block[0], block[1]]);
        for i in 0..BLOCK {
            out[i] = weights[i] * scale;
        }
    }
    if let (Some(block), false) = (blocks.get(out.len()), out_tail.is_empty()) {
        let mut weights = [0.0; BLOCK];
        unpack(block, &mut weights);
        let scale = f16_at([block[0], block[1]]);
        for (out, weight) in out_tail.iter_mut().zip(weights) {
            *out = weight * scale;
        }
    }
}

#[inline(always)]
fn q8_block(block: &[u8; Q8_BYTES], weights: &mut [f32; BLOCK]) {
    for (weight, &byte) in weights.iter_mut().zip(&block[2..]) {
        *weight = f32::from(byte as i8);
    }
}

#[inline(always)]
fn q4_block(block: &[u8; Q4_BYTES], weights: &mut [f32; BLOCK]) {
    // Two loops, one for each half: a single one that writes to both is not turned into SIMD.
    let (low, high) = weights.split_at_mut(BLOCK / 2);
    for (weight, &byte) in low.iter_mut().zip(&block[2..]) {
        *weight = f32::from((byte & 15) as i8 - 8);
    }
    for (weight, &byte) in high.iter_mut().zip(&block[2..]) {
        *weight = f32::from((byte >> 4) as i8 - 8);
    }
}

#[inline(always)]
fn f32_at(bytes: [u8; 4]) -> f32 {
    f32::from_le_bytes(bytes)
}

#[inline(always)]
fn bf16_at(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// Exact for every finite f16, subnormals included; not for NaN and infinities, which loading refuses. Branchless, so
/// that it vectorises without the F16C instructions: mantissa and exponent move into place, and one multiplication by
/// 2¹¹² makes up for the different exponent bias.
#[inline(always)]
fn f16_at(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((112 + 127) << 23);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_f16_decodes_exactly() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits);
            if expected.is_finite() {
                assert_eq!(f16_at(bits.to_le_bytes()).to_bits(), expected.to_f32().to_bits(), "{bits:#x}");
            }
        }
    }

    #[test]
    fn portable_and_dispatched_loops_agree() {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8, Encoding::Q4] {
            for cols in [1, 15, 32, 47, 160] {
                let weights: Vec<f32> = (0..cols).map(|i| ((i * 37 % 23) as f32 - 11.0) / 9.0).collect();
                let x: Vec<f32> = (0..cols).map(|i| ((i * 17 % 19) as f32 - 9.0) / 7.0).collect();
                let mut row = Vec::new();
                encoding.encode_row(&weights, &mut row).unwrap();
                let mut decoded = vec![0.0; cols];
                decode(encoding, &row, &mut decoded);
                let exact: f64 = decoded.iter().zip(&x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                for sum in [dot(encoding, &row, &x), dot_body::<false>(encoding, &row, &x)] {
                    assert!((f64::from(sum) - exact).abs() < 1e-4, "{encoding} {cols}: {sum} {exact}");
                }
            }
        }
    }
}
