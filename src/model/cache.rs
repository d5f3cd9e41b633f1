//! Keys and values of what was read: preallocated, extended in place, truncated, forked.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::{Error, Result};

/// The shape of a cache, the same for each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

/// Keys and values for each layer, `[batch, kv_heads, capacity, head_dim]`, of which the first `len` positions are
/// filled. All rows are of one length.
///
/// Cloning is forking: both share the memory until one of them writes.
#[derive(Debug, Clone)]
pub struct KvCache {
    shape: CacheShape,
    batch: usize,
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// An empty cache of one row for `capacity` positions.
    pub fn new(shape: CacheShape, capacity: usize, device: &Device) -> Self {
        Self::rows(shape, 1, capacity, device)
    }

    /// An empty cache of `batch` rows.
    pub fn rows(shape: CacheShape, batch: usize, capacity: usize, device: &Device) -> Self {
        let zeros = || Tensor::zeros([batch, shape.kv_heads, capacity, shape.head_dim], device);
        Self { shape, batch, layers: (0..shape.layers).map(|_| (zeros(), zeros())).collect(), len: 0, capacity }
    }

    /// Writes the rows of another cache, of no more capacity, over those from `at` on. What is shorter than the longest is
    /// followed by zeros.
    pub fn put_rows(&mut self, at: usize, rows: &Self) {
        let CacheShape { kv_heads, head_dim, .. } = self.shape;
        let place = [at..at + rows.batch, 0..kv_heads, 0..rows.len, 0..head_dim];
        for (layer, (keys, values)) in rows.layers.iter().enumerate() {
            let filled = |tensor: &Tensor<4>| tensor.clone().narrow(2, 0, rows.len);
            let (k, v) = std::mem::replace(&mut self.layers[layer], (keys.clone(), values.clone()));
            self.layers[layer] =
                (k.slice_assign(place.clone(), filled(keys)), v.slice_assign(place.clone(), filled(values)));
        }
        self.len = self.len.max(rows.len);
    }

    /// A layer's keys and values, `[batch, kv_heads, len, head_dim]`.
    pub fn layer(&self, layer: usize) -> (Tensor<4>, Tensor<4>) {
        let whole = self.len == self.capacity;
        let filled = |tensor: &Tensor<4>| if whole { tensor.clone() } else { tensor.clone().narrow(2, 0, self.len) };
        (filled(&self.layers[layer].0), filled(&self.layers[layer].1))
    }

    /// A fork with room for another number of positions: what is filled is copied, so that a prefix can be kept in
    /// a cache of its own length and each request continue it in one of the length it needs.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if what is filled does not fit.
    pub fn fork(&self, capacity: usize) -> Result<Self> {
        self.repeat(1, capacity)
    }

    /// A [`fork`](Self::fork) that holds each row so many times, one behind the other, so that several answers can
    /// continue one prompt side by side.
    ///
    /// # Errors
    /// As [`fork`](Self::fork).
    pub fn repeat(&self, times: usize, capacity: usize) -> Result<Self> {
        if self.len > capacity {
            return Err(Error::ContextLength { needed: self.len, limit: capacity });
        }
        let CacheShape { kv_heads, head_dim, .. } = self.shape;
        let batch = self.batch * times;
        let filled = |batch: usize| [0..batch, 0..kv_heads, 0..self.len, 0..head_dim];
        let copy = |tensor: &Tensor<4>| {
            let room = Tensor::zeros([batch, kv_heads, capacity, head_dim], &tensor.device());
            if self.len == 0 {
                return room;
            }
            let rows = tensor.clone().slice(filled(self.batch));
            room.slice_assign(filled(batch), if times == 1 { rows } else { rows.repeat_dim(0, times) })
        };
        let layers = self.layers.iter().map(|(keys, values)| (copy(keys), copy(values))).collect();
        Ok(Self { shape: self.shape, batch, layers, len: self.len, capacity })
    }

    pub fn shape(&self) -> CacheShape {
        self.shape
    }

    /// How many rows there are.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// How many positions are filled.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Checks that `time` more positions fit.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if they do not.
    pub fn reserve(&self, time: usize) -> Result<()> {
        let needed = self.len.saturating_add(time);
        if needed > self.capacity {
            return Err(Error::ContextLength { needed, limit: self.capacity });
        }
        Ok(())
    }

    /// Writes a layer's keys and values, `[batch, kv_heads, time, head_dim]`, behind the filled positions and
    /// gives all of them back, `[batch, kv_heads, len + time, head_dim]`. The positions count as filled only
    /// after [`advance`](Self::advance), so that every layer of one pass writes at the same place.
    pub fn write(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [batch, heads, time, head_dim] = keys.dims();
        let filled = [0..batch, 0..heads, 0..self.len + time, 0..head_dim];
        let whole = self.len + time == self.capacity;
        self.put(layer, keys, values);
        let (k, v) = self.layers[layer].clone();
        if whole { (k, v) } else { (k.slice(filled.clone()), v.slice(filled)) }
    }

    fn put(&mut self, layer: usize, keys: Tensor<4>, values: Tensor<4>) {
        let [batch, heads, time, head_dim] = keys.dims();
        if time == self.capacity {
            // All that it will ever hold: no copy.
            debug_assert_eq!(
                [self.len, batch, heads, head_dim],
                [0, self.batch, self.shape.kv_heads, self.shape.head_dim]
            );
            self.layers[layer] = (keys, values);
            return;
        }
        let place = [0..batch, 0..heads, self.len..self.len + time, 0..head_dim];
        // `slice_assign` works in place only on a tensor that nobody else holds: move it out and back.
        let (k, v) = std::mem::replace(&mut self.layers[layer], (keys.clone(), values.clone()));
        self.layers[layer] = (k.slice_assign(place.clone(), keys), v.slice_assign(place, values));
    }

    /// A cache of these rows of this one, in their order.
    pub fn pick(&self, rows: &[usize]) -> Self {
        let places: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let of = |tensor: &Tensor<4>| {
            tensor.clone().select(0, Tensor::<1, Int>::from_data(places.as_slice(), &tensor.device()))
        };
        let layers = self.layers.iter().map(|(keys, values)| (of(keys), of(values))).collect();
        Self { layers, batch: rows.len(), ..self.clone() }
    }

    /// Adds the first `lengths[i]` positions of each row `i` of `other`, one row behind the other, to the only row here.
    ///
    /// # Errors
    /// [`Error::ContextLength`] if they do not fit.
    pub fn append(&mut self, other: &Self, lengths: &[usize]) -> Result<()> {
        let time = lengths.iter().sum();
        if time == 0 {
            return Ok(());
        }
        self.reserve(time)?;
        let CacheShape { kv_heads, head_dim, .. } = self.shape;
        let row = |tensor: &Tensor<4>, at: usize, len: usize| {
            tensor.clone().slice([at..at + 1, 0..kv_heads, 0..len, 0..head_dim])
        };
        for (layer, (keys, values)) in other.layers.iter().enumerate() {
            let rows = |tensor| {
                let filled = lengths.iter().enumerate().filter(|&(_, &len)| len > 0);
                Tensor::cat(filled.map(|(at, &len)| row(tensor, at, len)).collect(), 2)
            };
            self.put(layer, rows(keys), rows(values));
        }
        self.advance(time);
        Ok(())
    }

    /// Counts the positions that every layer has just written as filled.
    pub fn advance(&mut self, time: usize) {
        self.len += time;
        debug_assert!(self.len <= self.capacity);
    }

    /// Keys and values summed up for each layer, the keys' number first, `[2 · layers]`: the mean over the filled positions,
    /// each of its `kv_heads · head_dim` numbers with a sign of its own, which `seed` draws. Every number moves the sum,
    /// and none of a size like the others' drowns it. The cache must hold one row, and a position.
    pub fn digest(&self, seed: u32) -> Tensor<1> {
        let CacheShape { kv_heads, head_dim, .. } = self.shape;
        let signs: Vec<f32> = (0..(kv_heads * head_dim) as u32).map(|at| sign(seed, at)).collect();
        let sum = |tensor: &Tensor<4>| {
            let filled = tensor.clone().slice([0..1, 0..kv_heads, 0..self.len, 0..head_dim]);
            let signs = TensorData::new(signs.clone(), [1, kv_heads, 1, head_dim]);
            (filled.mean_dim(2) * Tensor::from_data(signs, &tensor.device())).sum()
        };
        Tensor::cat(self.layers.iter().flat_map(|(keys, values)| [sum(keys), sum(values)]).collect(), 0)
    }

    /// Forgets everything behind the first `len` positions.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

/// 1 or -1, as a hash of both numbers says (the finaliser of MurmurHash3).
fn sign(seed: u32, at: u32) -> f32 {
    let mut hash = seed.wrapping_mul(0x9e37_79b9).wrapping_add(at);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    if (hash ^ (hash >> 16)) & 1 == 0 { 1.0 } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape { layers: 1, kv_heads: 2, head_dim: 3 };

    fn write(cache: &mut KvCache, time: usize, value: f32) -> Vec<f32> {
        let new = || Tensor::full([1, 2, time, 3], value, &Device::flex());
        let (keys, values) = cache.write(0, new(), new());
        cache.advance(time);
        assert_eq!(keys.dims(), [1, 2, cache.len(), 3]);
        assert_eq!(keys.to_data(), values.to_data());
        // One head, one dimension: the positions in order.
        keys.narrow(1, 1, 1).narrow(3, 0, 1).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn a_fork_and_its_origin_do_not_see_each_other() {
        let mut origin = KvCache::new(SHAPE, 8, &Device::flex());
        write(&mut origin, 2, 1.0);
        let mut clone = origin.clone();
        let mut longer = origin.fork(16).unwrap();
        assert_eq!(write(&mut clone, 1, 2.0), [1.0, 1.0, 2.0]);
        assert_eq!(write(&mut longer, 1, 3.0), [1.0, 1.0, 3.0]);
        assert_eq!(write(&mut origin, 1, 4.0), [1.0, 1.0, 4.0]);
        assert_eq!((longer.capacity(), longer.len()), (16, 3));
        assert_eq!(origin.fork(2).unwrap_err().code(), "context_length");
    }

    #[test]
    fn rows_that_were_one_go_their_own_ways() {
        let mut prompt = KvCache::new(SHAPE, 2, &Device::flex());
        write(&mut prompt, 2, 1.0);
        let mut rows = prompt.repeat(3, 4).unwrap();
        let new: Tensor<4> = Tensor::from_data([[[[5.0]]], [[[6.0]]], [[[7.0]]]], &Device::flex());
        let new = new.expand([3, 2, 1, 3]);
        let (keys, values) = rows.write(0, new.clone(), new);
        rows.advance(1);
        assert_eq!((rows.batch(), rows.len(), prompt.len()), (3, 3, 2));
        assert_eq!(keys.to_data(), values.to_data());
        let one_head: Vec<f32> = keys.narrow(1, 1, 1).narrow(3, 2, 1).into_data().try_to_vec().unwrap();
        assert_eq!(one_head, [1.0, 1.0, 5.0, 1.0, 1.0, 6.0, 1.0, 1.0, 7.0]);
        assert_eq!(prompt.repeat(2, 1).unwrap_err().code(), "context_length");
    }

    #[test]
    fn what_was_truncated_is_overwritten() {
        let mut cache = KvCache::new(SHAPE, 8, &Device::flex());
        write(&mut cache, 5, 1.0);
        cache.truncate(2);
        assert_eq!(write(&mut cache, 1, 2.0), [1.0, 1.0, 2.0]);
        cache.truncate(7);
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn what_fills_a_cache_at_once_is_kept_like_anything_else() {
        let mut whole = KvCache::new(SHAPE, 3, &Device::flex());
        assert_eq!(write(&mut whole, 3, 1.0), [1.0; 3]);
        let mut longer = whole.fork(4).unwrap();
        whole.truncate(1);
        assert_eq!(write(&mut whole, 2, 2.0), [1.0, 2.0, 2.0]);
        assert_eq!(write(&mut longer, 1, 3.0), [1.0, 1.0, 1.0, 3.0]);
    }

    #[test]
    fn more_than_the_capacity_is_refused() {
        let mut cache = KvCache::new(SHAPE, 4, &Device::flex());
        write(&mut cache, 3, 1.0);
        assert!(cache.reserve(1).is_ok());
        assert_eq!(cache.reserve(2).unwrap_err().code(), "context_length");
        assert_eq!(cache.reserve(usize::MAX).unwrap_err().code(), "context_length");
    }

    #[test]
    fn rows_that_are_appended_lie_one_behind_the_other() {
        let mut one = KvCache::new(SHAPE, 8, &Device::flex());
        write(&mut one, 2, 1.0);
        let mut rows = KvCache::rows(SHAPE, 2, 4, &Device::flex());
        for (at, value) in [2.0, 3.0].into_iter().enumerate() {
            let mut row = KvCache::new(SHAPE, 4, &Device::flex());
            write(&mut row, 3, value);
            rows.put_rows(at, &row);
        }
        assert_eq!((rows.batch(), rows.len()), (2, 3));
        one.append(&rows, &[1, 3]).unwrap();
        one.append(&rows, &[0, 0]).unwrap();
        assert_eq!(write(&mut one, 1, 4.0), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0]);
        let mut full = KvCache::new(SHAPE, 2, &Device::flex());
        assert_eq!(full.append(&rows, &[3, 0]).unwrap_err().code(), "context_length");
    }

    #[test]
    fn the_memory_is_written_in_place() {
        let mut cache = KvCache::new(SHAPE, 8, &Device::flex());
        write(&mut cache, 2, 1.0);
        assert!(cache.layers[0].0.can_mut() && cache.layers[0].1.can_mut());
    }
}
