//! An ordered map in copy-on-write chunks: cloning costs the chunk list, writing costs one chunk.
//!
//! Head, committed and a snapshot share memory through it. Chunk boundaries are part of the value:
//! they follow from the history of operations alone and survive serialisation, so that replicas
//! with equal histories have equal roots.

use alloc::sync::Arc;
use alloc::vec::Vec;
use forge_event::Digest;
use forge_event::codec::Buffered;
use serde::{Deserialize, Serialize};

/// Items a chunk holds at the most.
const CHUNK_ITEMS_MAX: usize = 64;
/// Two neighbours that hold no more than this together become one.
const CHUNK_ITEMS_MERGE: usize = 24;

#[derive(Clone, Debug)]
struct Chunk<K: Clone, V: Clone> {
    /// Invariant: not empty, ascending.
    items: Arc<Vec<(K, V)>>,
    /// Of the items' bytes; `None` since the last write.
    digest: Option<Digest>,
}

impl<K: Clone, V: Clone> Chunk<K, V> {
    fn of(items: Vec<(K, V)>) -> Self {
        Chunk { items: Arc::new(items), digest: None }
    }
}

/// An ordered map. Invariant: chunks ascend, none is empty.
#[derive(Clone, Serialize, Deserialize, Debug)]
#[serde(from = "Stored<K, V>", into = "Stored<K, V>")]
pub struct CowMap<K: Clone, V: Clone> {
    /// The first key of each chunk, side by side: that is what a search goes through.
    firsts: Vec<K>,
    chunks: Vec<Chunk<K, V>>,
    len: u64,
}

/// A map as snapshots hold it.
#[derive(Clone, Serialize, Deserialize)]
struct Stored<K, V> {
    chunks: Vec<StoredChunk<K, V>>,
    len: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredChunk<K, V> {
    first: K,
    items: Arc<Vec<(K, V)>>,
}

impl<K: Clone, V: Clone> From<CowMap<K, V>> for Stored<K, V> {
    fn from(map: CowMap<K, V>) -> Self {
        let chunks = map.firsts.into_iter().zip(map.chunks);
        let chunks = chunks.map(|(first, chunk)| StoredChunk { first, items: chunk.items }).collect();
        Stored { chunks, len: map.len }
    }
}

impl<K: Clone, V: Clone> From<Stored<K, V>> for CowMap<K, V> {
    fn from(stored: Stored<K, V>) -> Self {
        let chunks = stored.chunks.into_iter().map(|c| (c.first, Chunk { items: c.items, digest: None }));
        let (firsts, chunks) = chunks.unzip();
        CowMap { firsts, chunks, len: stored.len }
    }
}

impl<K: Clone, V: Clone> Default for CowMap<K, V> {
    fn default() -> Self {
        CowMap { firsts: Vec::new(), chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> CowMap<K, V> {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunk that holds `key`, or would.
    fn chunk_of(&self, key: &K) -> usize {
        // Queues are read at their front and grown at their back: look there first.
        match self.firsts.last() {
            None => 0,
            Some(last) if last <= key => self.firsts.len() - 1,
            Some(_) => self.firsts.partition_point(|first| first <= key).saturating_sub(1),
        }
    }

    fn find(&self, key: &K) -> Option<(usize, usize)> {
        let chunk = self.chunk_of(key);
        let items = &self.chunks.get(chunk)?.items;
        items.binary_search_by(|(k, _)| k.cmp(key)).ok().map(|item| (chunk, item))
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).map(|(chunk, item)| &self.chunks[chunk].items[item].1)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.find(key).is_some()
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (chunk, item) = self.find(key)?;
        let chunk = &mut self.chunks[chunk];
        chunk.digest = None;
        Some(&mut Arc::make_mut(&mut chunk.items)[item].1)
    }

    /// Puts `value` at `key`; gives what stood there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.chunks.is_empty() {
            self.firsts.push(key.clone());
            self.chunks.push(Chunk::of(alloc::vec![(key, value)]));
            self.len = 1;
            return None;
        }
        let at = self.chunk_of(&key);
        let is_last = at + 1 == self.chunks.len();
        let chunk = &mut self.chunks[at];
        match chunk.items.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(item) => {
                chunk.digest = None;
                Some(core::mem::replace(&mut Arc::make_mut(&mut chunk.items)[item].1, value))
            }
            Err(item) => {
                self.len += 1;
                if chunk.items.len() == CHUNK_ITEMS_MAX {
                    if is_last && item == CHUNK_ITEMS_MAX {
                        self.firsts.push(key.clone());
                        self.chunks.push(Chunk::of(alloc::vec![(key, value)]));
                        return None;
                    }
                    self.split(at);
                    return self.insert_into_half(at, key, value);
                }
                let items = Arc::make_mut(&mut chunk.items);
                if item == 0 {
                    self.firsts[at] = key.clone();
                }
                items.insert(item, (key, value));
                chunk.digest = None;
                None
            }
        }
    }

    fn split(&mut self, at: usize) {
        let chunk = &mut self.chunks[at];
        let upper = Arc::make_mut(&mut chunk.items).split_off(CHUNK_ITEMS_MAX / 2);
        chunk.digest = None;
        self.firsts.insert(at + 1, upper[0].0.clone());
        self.chunks.insert(at + 1, Chunk::of(upper));
    }

    fn insert_into_half(&mut self, at: usize, key: K, value: V) -> Option<V> {
        let at = if self.firsts[at + 1] <= key { at + 1 } else { at };
        let chunk = &mut self.chunks[at];
        let items = Arc::make_mut(&mut chunk.items);
        let item = items.partition_point(|(k, _)| *k < key);
        if item == 0 {
            self.firsts[at] = key.clone();
        }
        items.insert(item, (key, value));
        None
    }

    /// Takes `key` out; gives what stood there.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (at, item) = self.find(key)?;
        self.len -= 1;
        let chunk = &mut self.chunks[at];
        chunk.digest = None;
        let items = Arc::make_mut(&mut chunk.items);
        let (_, value) = items.remove(item);
        if items.is_empty() {
            self.firsts.remove(at);
            self.chunks.remove(at);
        } else {
            if item == 0 {
                self.firsts[at] = items[0].0.clone();
            }
            self.merge(at);
        }
        Some(value)
    }

    fn merge(&mut self, at: usize) {
        let Some(next) = self.chunks.get(at + 1) else { return };
        if self.chunks[at].items.len() + next.items.len() > CHUNK_ITEMS_MERGE {
            return;
        }
        self.firsts.remove(at + 1);
        let next = self.chunks.remove(at + 1);
        Arc::make_mut(&mut self.chunks[at].items).extend(next.items.iter().cloned());
    }

    pub fn first(&self) -> Option<(&K, &V)> {
        self.chunks.first().map(|c| (&c.items[0].0, &c.items[0].1))
    }

    pub fn last(&self) -> Option<(&K, &V)> {
        self.chunks.last().and_then(|c| c.items.last()).map(|(k, v)| (k, v))
    }

    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let key = self.first()?.0.clone();
        self.remove(&key).map(|v| (key, v))
    }

    /// All items, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|c| c.items.iter().map(|(k, v)| (k, v)))
    }

    /// The items from `key` on, ascending.
    pub fn range_from<'a>(&'a self, key: &K) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let at = self.chunk_of(key);
        let skip = self.chunks.get(at).map_or(0, |c| c.items.partition_point(|(k, _)| k < key));
        let (head, tail) = self.chunks[at.min(self.chunks.len())..].split_at(usize::from(!self.chunks.is_empty()));
        let head = head.iter().flat_map(move |c| c.items[skip..].iter());
        head.chain(tail.iter().flat_map(|c| c.items.iter())).map(|(k, v)| (k, v))
    }
}

impl<K: Ord + Clone + Serialize, V: Clone + Serialize> CowMap<K, V> {
    /// Digest of the whole; costs the chunks written since the last call.
    pub fn root(&mut self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for chunk in &mut self.chunks {
            let items = &chunk.items;
            let digest = chunk.digest.get_or_insert_with(|| digest_of(items));
            hasher.update(&digest.0);
        }
        hasher.update(&self.len.to_le_bytes());
        Digest(*hasher.finalize().as_bytes())
    }
}

/// Digest of a value's canonical bytes.
pub fn digest_of<T: Serialize + ?Sized>(value: &T) -> Digest {
    let update = |hasher: &mut blake3::Hasher, bytes: &[u8]| {
        hasher.update(bytes);
    };
    let hasher = postcard::serialize_with_flavor(value, Buffered::new(blake3::Hasher::new(), update));
    Digest(*hasher.expect("state can always be written").finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    /// A small generator: the test needs variety, not quality.
    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        core::iter::successors(Some(seed), |x| {
            Some(x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407))
        })
        .map(|x| x >> 33)
    }

    #[test]
    fn it_behaves_as_an_ordered_map() {
        let (mut map, mut model) = (CowMap::default(), BTreeMap::new());
        for (step, n) in numbers(7).take(20_000).enumerate() {
            let key = n % 700;
            if n % 5 < 3 {
                assert_eq!(map.insert(key, step), model.insert(key, step));
            } else {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
            assert_eq!(map.len(), model.len() as u64);
            assert_eq!(map.get(&key), model.get(&key));
            if step % 97 == 0 {
                assert!(map.iter().eq(model.iter()));
                assert!(map.range_from(&key).eq(model.range(key..)));
                assert_eq!(map.first(), model.first_key_value());
                assert_eq!(map.last(), model.last_key_value());
            }
        }
    }

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut map: CowMap<u64, u64> = CowMap::default();
        for n in 0..1000 {
            map.insert(n, n);
        }
        let mut before = map.clone();
        let root = before.root();
        for n in 0..1000 {
            map.insert(n, n + 1);
        }
        assert!(before.iter().all(|(k, v)| k == v));
        assert_eq!(before.root(), root);
        assert_ne!(map.root(), root);
    }

    #[test]
    fn the_root_survives_a_snapshot() {
        let mut map: CowMap<u64, u64> = CowMap::default();
        for n in numbers(3).take(3000) {
            if n % 3 == 0 {
                map.remove(&(n % 512));
            } else {
                map.insert(n % 512, n);
            }
        }
        let bytes = postcard::to_allocvec(&map).expect("writes");
        let mut back: CowMap<u64, u64> = postcard::from_bytes(&bytes).expect("reads");
        assert_eq!(back.root(), map.root());
    }
}
