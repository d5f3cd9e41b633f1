//! A matrix that stays encoded in memory, and its products on the CPU.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use bytes::Bytes;

use super::encoding::{BadWeight, Encoding};
use super::row;

/// Up to so many vectors, each weight row is read once and multiplied as it is; beyond, decoding it first pays.
const FEW: usize = 4;
/// Weight rows decoded at a time: the vectors are packed anew for each tile, so a tile must be worth it.
const TILE: usize = 256;
/// Multiplications below which handing work to other threads costs more than it brings.
#[cfg(feature = "native")]
const WORTH_THREADS: usize = 1 << 16;

/// Encoded rows, `[rows, cols]`. Cloning shares the memory.
#[derive(Clone)]
pub struct Encoded {
    encoding: Encoding,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    pieces: Arc<[Piece]>,
}

/// Consecutive rows from `first_row` on.
struct Piece {
    first_row: usize,
    bytes: Bytes,
}

impl Encoded {
    /// Rows as files have them, in one or more pieces of whole rows.
    ///
    /// # Errors
    /// What is wrong with the sizes, or where a value or scale is NaN or infinite.
    pub fn from_pieces(encoding: Encoding, shape: [usize; 2], bytes: Vec<Bytes>) -> Result<Self, String> {
        let [rows, cols] = shape;
        let row_bytes = encoding.row_bytes(cols).filter(|&bytes| bytes > 0 && rows > 0);
        let row_bytes = row_bytes.ok_or_else(|| format!("a matrix of shape {shape:?} cannot be"))?;
        let mut first_row = 0;
        let mut pieces = Vec::with_capacity(bytes.len());
        for bytes in bytes {
            if bytes.len() % row_bytes != 0 {
                return Err(format!("{} bytes are no whole number of {encoding} rows of {row_bytes}", bytes.len()));
            }
            if let Some(index) = encoding.first_not_finite(&bytes) {
                let (what, per_row) = if encoding.is_blocks() {
                    ("scale", cols.div_ceil(super::encoding::BLOCK))
                } else {
                    ("value", cols)
                };
                let row = first_row + index / per_row;
                return Err(format!("a NaN or infinite {what} in row {row}; every weight must be a finite number"));
            }
            let count = bytes.len() / row_bytes;
            pieces.push(Piece { first_row, bytes });
            first_row += count;
        }
        if first_row != rows {
            return Err(format!("expected {rows} rows of {cols} weights in {encoding} but the bytes hold {first_row}"));
        }
        Ok(Self { encoding, rows, cols, row_bytes, pieces: pieces.into() })
    }

    /// Encodes row-major `weights`, `rows · cols` of them.
    ///
    /// # Errors
    /// [`BadWeight`] for the first weight that the encoding cannot hold.
    ///
    /// # Panics
    /// If there are not `rows · cols` weights, or none.
    pub fn encode(encoding: Encoding, shape: [usize; 2], weights: &[f32]) -> Result<Self, BadWeight> {
        let [rows, cols] = shape;
        assert!(weights.len() == rows * cols && !weights.is_empty(), "{} weights for {shape:?}", weights.len());
        let mut bytes = Vec::new();
        for (i, row) in weights.chunks_exact(cols).enumerate() {
            encoding.encode_row(row, &mut bytes).map_err(|bad| BadWeight { index: i * cols + bad.index, ..bad })?;
        }
        let row_bytes = bytes.len() / rows;
        let pieces = [Piece { first_row: 0, bytes: bytes.into() }];
        Ok(Self { encoding, rows, cols, row_bytes, pieces: pieces.into() })
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// `[rows, cols]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Bytes of memory that the weights take.
    pub fn bytes(&self) -> usize {
        self.rows * self.row_bytes
    }

    /// The rows as they are encoded, in stretches.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &*piece.bytes)
    }

    /// All weights as floats, row-major.
    pub fn decode(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        self.decode_rows(0, &mut out);
        out
    }

    /// All weights as a float tensor `[rows, cols]`.
    pub fn to_tensor(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.decode(), [self.rows, self.cols]), device)
    }

    /// The rows of those indices, decoded one behind the other.
    ///
    /// # Panics
    /// If an index is not below the number of rows.
    pub fn gather(&self, indices: impl ExactSizeIterator<Item = usize>) -> Vec<f32> {
        let mut out = vec![0.0; indices.len() * self.cols];
        for (out, index) in out.chunks_exact_mut(self.cols).zip(indices) {
            row::decode(self.encoding, self.row(index), out);
        }
        out
    }

    /// `x · Wᵀ` for row-major `x`, `[n, cols]`: `[n, rows]`.
    ///
    /// # Panics
    /// If the length of `x` is no multiple of `cols`.
    pub fn project(&self, x: &[f32]) -> Vec<f32> {
        assert_eq!(x.len() % self.cols, 0, "expected vectors of {} numbers but got {} numbers", self.cols, x.len());
        let n = x.len() / self.cols;
        if n <= FEW { self.project_few(x, n) } else { self.project_many(x, n) }
    }

    /// `x · Wᵀ` for the rows of those indices alone: `[n, indices.len()]`.
    ///
    /// # Panics
    /// If an index is not below the number of rows, or the length of `x` no multiple of `cols`.
    pub fn project_rows(&self, x: &[f32], indices: &[u32]) -> Vec<f32> {
        assert_eq!(x.len() % self.cols, 0, "expected vectors of {} numbers but got {} numbers", self.cols, x.len());
        let dot = |x, &index: &u32| row::dot(self.encoding, self.row(index as usize), x);
        x.chunks_exact(self.cols).flat_map(|x| indices.iter().map(move |index| dot(x, index))).collect()
    }

    fn row(&self, index: usize) -> &[u8] {
        assert!(index < self.rows, "expected a row below {} but got {index}", self.rows);
        let piece = &self.pieces[self.pieces.partition_point(|piece| piece.first_row <= index) - 1];
        let start = (index - piece.first_row) * self.row_bytes;
        &piece.bytes[start..start + self.row_bytes]
    }

    /// Decodes consecutive rows from `first` on until `out` is full.
    fn decode_rows(&self, first: usize, out: &mut [f32]) {
        for (i, out) in out.chunks_exact_mut(self.cols).enumerate() {
            row::decode(self.encoding, self.row(first + i), out);
        }
    }

    /// Reads each weight row once, for all vectors.
    fn project_few(&self, x: &[f32], n: usize) -> Vec<f32> {
        if n == 0 {
            return Vec::new();
        }
        // [rows, n], so that each thread writes a stretch of its own.
        let mut by_row = vec![0.0; self.rows * n];
        let tile = |(tile, out): (usize, &mut [f32])| {
            for (i, out) in out.chunks_exact_mut(n).enumerate() {
                let weights = self.row(tile * TILE + i);
                for (out, x) in out.iter_mut().zip(x.chunks_exact(self.cols)) {
                    *out = row::dot(self.encoding, weights, x);
                }
            }
        };
        for_each_tile(&mut by_row, TILE * n, self.cols, tile);
        if n == 1 { by_row } else { transpose(&by_row, n) }
    }

    /// Decodes a tile of weight rows, then multiplies all vectors with it.
    fn project_many(&self, x: &[f32], n: usize) -> Vec<f32> {
        let mut by_row = vec![0.0; self.rows * n];
        let tile = |(tile, out): (usize, &mut [f32])| {
            let rows = out.len() / n;
            let mut weights = vec![0.0; rows * self.cols];
            self.decode_rows(tile * TILE, &mut weights);
            multiply(&weights, x, out, [rows, n, self.cols]);
        };
        for_each_tile(&mut by_row, TILE * n, self.cols, tile);
        transpose(&by_row, n)
    }
}

/// Runs `work` on stretches of `out`, on several threads where there are any and it pays.
fn for_each_tile(out: &mut [f32], len: usize, cols: usize, work: impl Fn((usize, &mut [f32])) + Send + Sync) {
    #[cfg(feature = "native")]
    if out.len() * cols >= WORTH_THREADS {
        use rayon::prelude::*;
        return out.par_chunks_mut(len).enumerate().for_each(work);
    }
    #[cfg(not(feature = "native"))]
    let _ = cols;
    out.chunks_mut(len).enumerate().for_each(work);
}

/// `out = a · bᵀ`: `a` is `[m, k]`, `b` is `[n, k]`, `out` is `[m, n]`, all row-major.
fn multiply(a: &[f32], b: &[f32], out: &mut [f32], [m, n, k]: [usize; 3]) {
    assert!(a.len() == m * k && b.len() == n * k && out.len() == m * n);
    let (k_stride, n_stride) = (k as isize, n as isize);
    // SAFETY: the assertion above keeps every index that these shapes and strides give inside its slice; `out` is
    // borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n_stride,
            false,
            a.as_ptr(),
            1,
            k_stride,
            b.as_ptr(),
            k_stride,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `[rows, n]` to `[n, rows]`.
fn transpose(by_row: &[f32], n: usize) -> Vec<f32> {
    let rows = by_row.len() / n;
    let mut out = vec![0.0; by_row.len()];
    // In stretches that fit the cache lines of both sides.
    for (block, source) in by_row.chunks(16 * n).enumerate() {
        for i in 0..n {
            for (j, row) in source.chunks_exact(n).enumerate() {
                out[i * rows + block * 16 + j] = row[i];
            }
        }
    }
    out
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} [{}, {}])", self.encoding, self.rows, self.cols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_swaps_the_axes() {
        let by_row: Vec<f32> = (0..35 * 3).map(|i| i as f32).collect();
        let out = transpose(&by_row, 3);
        assert!((0..35).all(|row| (0..3).all(|i| out[i * 35 + row] == by_row[row * 3 + i])));
    }

    #[test]
    fn pieces_must_add_up_to_the_shape() {
        let piece = |rows: usize| Bytes::from(vec![0; rows * 34]);
        assert!(Encoded::from_pieces(Encoding::Q8, [5, 20], vec![piece(2), piece(3)]).is_ok());
        assert!(Encoded::from_pieces(Encoding::Q8, [5, 20], vec![piece(2)]).is_err());
        assert!(Encoded::from_pieces(Encoding::Q8, [1, 20], vec![Bytes::from(vec![0; 33])]).is_err());
        assert!(Encoded::from_pieces(Encoding::Q8, [usize::MAX, usize::MAX], vec![piece(1)]).is_err());
        assert!(Encoded::from_pieces(Encoding::Q8, [0, 0], vec![]).is_err());
    }
}
