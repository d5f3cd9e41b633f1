//! Named tensors on their way from files into a model: each asked for once, by name and shape.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use bytes::Bytes;

use super::shard::{Shard, TensorHeader};
use crate::error::{Error, Result};
use crate::kernels::{Encoded, Encoding, Matrix, runs_encoded};

/// Tensors by their Hugging Face names. A model takes what it needs; [`finish`](Weights::finish) names what is left.
///
/// Bytes stay as the files encode them until a tensor is taken; a quantised matrix keeps them beyond, without a copy.
/// For a device that cannot use them so, they are decoded to it shard by shard.
#[derive(Debug)]
pub struct Weights {
    device: Device,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    file: Arc<str>,
    shape: Vec<usize>,
    encoding: Encoding,
    pieces: Pieces,
}

/// Rows of a tensor, in order: as the file has them, or on a device that cannot use them so.
enum Pieces {
    Encoded(Vec<Bytes>),
    Floats(Vec<Tensor<2>>),
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pieces::Encoded(pieces) => write!(f, "Encoded({} bytes)", pieces.iter().map(Bytes::len).sum::<usize>()),
            Pieces::Floats(pieces) => f.debug_tuple("Floats").field(pieces).finish(),
        }
    }
}

impl Pieces {
    fn extend(&mut self, more: Self) {
        match (self, more) {
            (Pieces::Encoded(pieces), Pieces::Encoded(more)) => pieces.extend(more),
            (Pieces::Floats(pieces), Pieces::Floats(more)) => pieces.extend(more),
            // All tensors are settled, or none: see `Weights::settle`.
            _ => unreachable!("encoded and decoded rows of one tensor"),
        }
    }
}

impl Weights {
    /// Tensors from memory: names, shapes and row-major values, as a model that was just trained has them.
    ///
    /// # Errors
    /// [`Error::BadModel`] if a name comes twice or a shape and its values do not agree.
    pub fn from_tensors(
        device: &Device,
        tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    ) -> Result<Self> {
        let mut weights = Self::new(device);
        for (name, shape, values) in tensors {
            if shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)) != Some(values.len()) {
                return Err(Error::BadModel(format!(
                    "tensor `{name}` of shape {shape:?} has {} values, which do not agree",
                    values.len()
                )));
            }
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let header = TensorHeader { name, shape, encoding: Encoding::F32, bytes: bytes.len() };
            weights.insert("memory".into(), header, bytes.into())?;
        }
        weights.join_parts()?;
        Ok(weights)
    }

    /// No tensors yet: [`read`](Self::read) shards, then [`join_parts`](Self::join_parts).
    pub(super) fn new(device: &Device) -> Self {
        Self { device: device.clone(), tensors: BTreeMap::new() }
    }

    /// Adds every tensor of a shard, but those that `skip` names.
    pub(super) fn read(&mut self, shard: &mut Shard, skip: impl Fn(&str) -> bool) -> Result<()> {
        while let Some(header) = shard.next()? {
            let bytes = shard.take(header.bytes)?;
            if !skip(&header.name) {
                self.insert(shard.file.clone(), header, bytes)?;
            }
        }
        Ok(())
    }

    /// Decodes what was read to the device, if that cannot multiply encoded weights, and lets go of the bytes: a bundle
    /// larger than the memory beside the device still loads.
    pub(super) fn settle(&mut self) -> Result<()> {
        if runs_encoded(&self.device) {
            return Ok(());
        }
        for (name, entry) in &mut self.tensors {
            let Pieces::Encoded(bytes) = &mut entry.pieces else { continue };
            let bytes = std::mem::take(bytes);
            let shape = match entry.shape[..] {
                [rows, cols] => [rows, cols],
                _ => [1, entry.shape.iter().product()],
            };
            let encoded = encoded(name, &entry.file, entry.encoding, shape, bytes)?;
            entry.pieces = Pieces::Floats(vec![encoded.to_tensor(&self.device)]);
        }
        Ok(())
    }

    fn insert(&mut self, file: Arc<str>, header: TensorHeader, bytes: Bytes) -> Result<()> {
        if let Some(first) = self.tensors.get(&header.name) {
            return Err(Error::BadModel(format!(
                "tensor `{}` comes twice: in `{}` and in `{file}`",
                header.name, first.file
            )));
        }
        let TensorHeader { name, shape, encoding, .. } = header;
        self.tensors.insert(name, Entry { file, shape, encoding, pieces: Pieces::Encoded(vec![bytes]) });
        Ok(())
    }

    /// Makes one matrix of `<name>.part0`, `<name>.part1`, … once all shards are read.
    pub(super) fn join_parts(&mut self) -> Result<()> {
        let mut split: HashMap<String, BTreeMap<usize, Entry>> = HashMap::new();
        let parts: Vec<String> = self.tensors.keys().filter(|name| part_of(name).is_some()).cloned().collect();
        for name in parts {
            if let (Some((whole, index)), Some(entry)) = (part_of(&name), self.tensors.remove(&name)) {
                split.entry(whole.to_owned()).or_default().insert(index, entry);
            }
        }
        for (name, parts) in split {
            let bad = |what: String| Error::BadModel(format!("the parts of tensor `{name}` {what}"));
            if self.tensors.contains_key(&name) {
                return Err(bad("come in addition to the whole".into()));
            }
            let mut whole: Option<Entry> = None;
            for (expected, (index, part)) in parts.into_iter().enumerate() {
                if index != expected {
                    return Err(bad(format!("are incomplete: expected part {expected} but found part {index}")));
                }
                let &[rows, cols] = part.shape.as_slice() else {
                    return Err(bad(format!("must be matrices, but part {index} has the shape {:?}", part.shape)));
                };
                match &mut whole {
                    None => whole = Some(part),
                    Some(whole) if whole.shape[1] == cols && whole.encoding == part.encoding => {
                        let sum = whole.shape[0].checked_add(rows);
                        whole.shape[0] = sum.ok_or_else(|| bad("have more rows than can be".into()))?;
                        whole.pieces.extend(part.pieces);
                    }
                    Some(whole) => {
                        return Err(bad(format!(
                            "do not fit together: part 0 is {} with {} columns, part {index} is {} with {cols}",
                            whole.encoding, whole.shape[1], part.encoding
                        )));
                    }
                }
            }
            self.tensors.extend(whole.map(|whole| (name, whole)));
        }
        Ok(())
    }

    /// The device that the tensors are created on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether a tensor of that name is still there.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names and shapes of what is still there, in alphabetical order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// Takes a matrix, `[rows, cols]`: encoded as the file has it where the device can multiply it so, else floats.
    ///
    /// # Errors
    /// [`Error::BadModel`] if there is none of that name and shape, or a weight is NaN or infinite.
    pub fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let Entry { file, encoding, pieces, .. } = self.take(name, &shape)?;
        match pieces {
            Pieces::Floats(rows) => Ok(Matrix::from_tensor(Tensor::cat(rows, 0))),
            Pieces::Encoded(bytes) => {
                Ok(Matrix::from_encoded(encoded(name, &file, encoding, shape, bytes)?, &self.device))
            }
        }
    }

    /// Takes a vector as f32, `[len]`.
    ///
    /// # Errors
    /// [`Error::BadModel`] if there is none of that name and length, or a value is NaN or infinite.
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>> {
        let Entry { file, encoding, pieces, .. } = self.take(name, &[len])?;
        let row = match pieces {
            Pieces::Floats(rows) => Tensor::cat(rows, 0),
            Pieces::Encoded(bytes) => encoded(name, &file, encoding, [1, len], bytes)?.to_tensor(&self.device),
        };
        Ok(row.reshape([len]))
    }

    /// Forgets a tensor, if it is there, that a model has no use for.
    pub fn ignore(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Entry> {
        let Some(entry) = self.tensors.remove(name) else {
            return Err(Error::BadModel(format!(
                "tensor `{name}` is missing: expected the shape {shape:?}; {} other tensors are there",
                self.tensors.len()
            )));
        };
        if entry.shape != shape {
            return Err(Error::BadModel(format!(
                "tensor `{name}` in `{}`: expected the shape {shape:?} but found {:?}; \
                 do config and weights belong together?",
                entry.file, entry.shape
            )));
        }
        Ok(entry)
    }

    /// An error that names the tensors nobody asked for.
    pub fn finish(self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        const NAMED: usize = 8;
        let names: Vec<String> = self
            .tensors
            .iter()
            .take(NAMED)
            .map(|(name, e)| format!("`{name}` {:?} in `{}`", e.shape, e.file))
            .collect();
        let more = self.tensors.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        Err(Error::BadModel(format!("the model has no place for these tensors: {}{more}", names.join(", "))))
    }
}

fn encoded(name: &str, file: &str, encoding: Encoding, shape: [usize; 2], bytes: Vec<Bytes>) -> Result<Encoded> {
    Encoded::from_pieces(encoding, shape, bytes)
        .map_err(|what| Error::BadModel(format!("tensor `{name}` in `{file}`: {what}")))
}

/// `x.part3` is part 3 of `x`.
fn part_of(name: &str) -> Option<(&str, usize)> {
    let (whole, index) = name.rsplit_once(".part")?;
    // No second spelling of the same number.
    let canonical = index == "0" || !index.starts_with('0');
    let index = index.parse().ok().filter(|_| canonical && index.bytes().all(|b| b.is_ascii_digit()))?;
    Some((whole, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(tensors: &[(&str, &[usize])]) -> Result<Weights> {
        let tensors = tensors.iter().map(|(name, shape)| {
            (name.to_string(), shape.to_vec(), (0..shape.iter().product()).map(|i| i as f32).collect())
        });
        Weights::from_tensors(&Device::flex(), tensors)
    }

    fn message<T>(result: Result<T>) -> String {
        match result {
            Ok(_) => panic!("expected an error"),
            Err(error) => {
                assert_eq!(error.code(), "bad_model");
                error.to_string()
            }
        }
    }

    #[test]
    fn tensors_are_taken_once_by_name_and_shape() {
        let mut all = weights(&[("a", &[2, 3]), ("b", &[4])]).unwrap();
        assert!(all.has("a"));
        assert_eq!(all.matrix("a", [2, 3]).unwrap().dims(), [2, 3]);
        assert!(!all.has("a"));
        assert_eq!(all.vector("b", 4).unwrap().into_data().as_slice::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0]);
        all.finish().unwrap();
    }

    #[test]
    fn missing_misshapen_and_left_over_tensors_are_named() {
        let mut all = weights(&[("a", &[2, 3]), ("b", &[4]), ("c", &[1])]).unwrap();
        assert!(message(all.matrix("x.weight", [1, 1])).contains("`x.weight` is missing"));
        let misshapen = message(all.matrix("a", [3, 2]));
        assert!(misshapen.contains("`a`") && misshapen.contains("[3, 2]") && misshapen.contains("[2, 3]"));
        assert!(message(all.vector("b", 5)).contains("[4]"));
        assert!(message(all.finish()).contains("`c`"));
    }

    #[test]
    fn parts_make_one_matrix_and_must_be_complete() {
        let mut all = weights(&[("a.part1", &[1, 3]), ("a.part0", &[2, 3]), ("a.part2", &[4, 3])]).unwrap();
        assert_eq!(all.matrix("a", [7, 3]).unwrap().dims(), [7, 3]);
        assert!(message(weights(&[("a.part1", &[1, 3])])).contains("expected part 0"));
        assert!(message(weights(&[("a.part0", &[1, 3]), ("a.part2", &[1, 3])])).contains("expected part 1"));
        assert!(message(weights(&[("a.part0", &[1, 3]), ("a.part1", &[1, 2])])).contains("do not fit"));
        assert!(message(weights(&[("a.part0", &[1, 3]), ("a", &[1, 3])])).contains("in addition"));
        assert!(message(weights(&[("a.part0", &[3])])).contains("must be matrices"));
    }

    #[test]
    fn a_nan_weight_is_named() {
        let tensors = [("a".to_owned(), vec![1, 2], vec![0.0, f32::NAN])];
        let mut all = Weights::from_tensors(&Device::flex(), tensors).unwrap();
        assert!(message(all.matrix("a", [1, 2])).contains("`a`"));
    }
}
