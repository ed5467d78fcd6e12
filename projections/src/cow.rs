//! An ordered map in copy-on-write chunks: cloning costs the chunk list, writing costs one chunk.
//!
//! Head, committed and a snapshot share memory through it. Chunk boundaries are part of the value:
//! they follow from the history of operations alone and survive serialisation, so that replicas
//! with equal histories have equal roots.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use forge_event::Digest;
use forge_event::codec::Buffered;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Items a chunk holds at the most.
const CHUNK_ITEMS_MAX: usize = 64;
/// Two neighbours that hold no more than this together become one.
const CHUNK_ITEMS_MERGE: usize = 24;

/// Invariant: not empty, keys ascending, as many values as keys.
///
/// Keys stand side by side: a search reads them and nothing else.
#[derive(Clone, Debug)]
struct Items<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Items<K, V> {
    fn pairs(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }
}

/// As pairs, one behind the other.
impl<K: Serialize, V: Serialize> Serialize for Items<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.pairs())
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Items<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (keys, values) = Vec::<(K, V)>::deserialize(deserializer)?.into_iter().unzip();
        Ok(Items { keys, values })
    }
}

#[derive(Clone, Debug)]
struct Chunk<K: Clone, V: Clone> {
    items: Arc<Items<K, V>>,
    /// Of the items' bytes; `None` since the last write.
    digest: Option<Digest>,
}

impl<K: Clone, V: Clone> Chunk<K, V> {
    fn of(keys: Vec<K>, values: Vec<V>) -> Self {
        Chunk { items: Arc::new(Items { keys, values }), digest: None }
    }

    /// The items to write to.
    fn write(&mut self) -> &mut Items<K, V> {
        self.digest = None;
        Arc::make_mut(&mut self.items)
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
    last_found: Place,
}

/// Where the last search ended: an event asks for the same few keys again and again.
///
/// No part of the value. It may point anywhere: what stands there is compared.
#[derive(Default, Debug)]
struct Place(AtomicU64);

impl Place {
    fn get(&self) -> (usize, usize) {
        let place = self.0.load(Ordering::Relaxed);
        ((place >> 32) as usize, (place & u64::from(u32::MAX)) as usize)
    }

    fn set(&self, chunk: usize, item: usize) {
        self.0.store((chunk as u64) << 32 | item as u64, Ordering::Relaxed);
    }
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Place::default()
    }
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
    items: Arc<Items<K, V>>,
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
        CowMap { firsts, chunks, len: stored.len, last_found: Place::default() }
    }
}

impl<K: Clone, V: Clone> Default for CowMap<K, V> {
    fn default() -> Self {
        CowMap { firsts: Vec::new(), chunks: Vec::new(), len: 0, last_found: Place::default() }
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

    /// Where the last search ended, if that is where `key` is.
    fn found_again(&self, key: &K) -> Option<(usize, usize)> {
        let (chunk, item) = self.last_found.get();
        let there = self.chunks.get(chunk)?.items.keys.get(item)?;
        (there == key).then_some((chunk, item))
    }

    fn find(&self, key: &K) -> Option<(usize, usize)> {
        if let Some(place) = self.found_again(key) {
            return Some(place);
        }
        let chunk = self.chunk_of(key);
        let items = &self.chunks.get(chunk)?.items;
        let item = items.keys.binary_search(key).ok()?;
        self.last_found.set(chunk, item);
        Some((chunk, item))
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.find(key).map(|(chunk, item)| &self.chunks[chunk].items.values[item])
    }

    pub fn contains(&self, key: &K) -> bool {
        self.find(key).is_some()
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (chunk, item) = self.find(key)?;
        Some(&mut self.chunks[chunk].write().values[item])
    }

    /// Puts `value` at `key`; gives what stood there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.chunks.is_empty() {
            self.push_chunk(key, value);
            return None;
        }
        if let Some((chunk, item)) = self.found_again(&key) {
            return Some(core::mem::replace(&mut self.chunks[chunk].write().values[item], value));
        }
        let at = self.chunk_of(&key);
        let keys = &self.chunks[at].items.keys;
        match keys.binary_search(&key) {
            Ok(item) => Some(core::mem::replace(&mut self.chunks[at].write().values[item], value)),
            Err(CHUNK_ITEMS_MAX) if at + 1 == self.chunks.len() => {
                self.push_chunk(key, value);
                None
            }
            Err(item) if keys.len() == CHUNK_ITEMS_MAX => {
                self.split(at);
                match item > CHUNK_ITEMS_MAX / 2 {
                    true => self.insert_at(at + 1, item - CHUNK_ITEMS_MAX / 2, key, value),
                    false => self.insert_at(at, item, key, value),
                }
            }
            Err(item) => self.insert_at(at, item, key, value),
        }
    }

    fn push_chunk(&mut self, key: K, value: V) {
        self.firsts.push(key.clone());
        self.chunks.push(Chunk::of(alloc::vec![key], alloc::vec![value]));
        self.len += 1;
    }

    fn split(&mut self, at: usize) {
        let items = self.chunks[at].write();
        let keys = items.keys.split_off(CHUNK_ITEMS_MAX / 2);
        let values = items.values.split_off(CHUNK_ITEMS_MAX / 2);
        self.firsts.insert(at + 1, keys[0].clone());
        self.chunks.insert(at + 1, Chunk::of(keys, values));
    }

    fn insert_at(&mut self, at: usize, item: usize, key: K, value: V) -> Option<V> {
        if item == 0 {
            self.firsts[at] = key.clone();
        }
        let items = self.chunks[at].write();
        items.keys.insert(item, key);
        items.values.insert(item, value);
        self.len += 1;
        None
    }

    /// Takes `key` out; gives what stood there.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (at, item) = self.find(key)?;
        self.len -= 1;
        let items = self.chunks[at].write();
        items.keys.remove(item);
        let value = items.values.remove(item);
        match items.keys.first() {
            None => {
                self.firsts.remove(at);
                self.chunks.remove(at);
            }
            Some(first) => {
                if item == 0 {
                    self.firsts[at] = first.clone();
                }
                self.merge(at);
            }
        }
        Some(value)
    }

    /// Moves what stands at `from`, if anything does, to `to`, which is free: as taking it out and putting it in again,
    /// to the same chunks.
    pub fn rekey(&mut self, from: &K, to: K) {
        if self.len == 1 && self.chunks[0].items.keys[0] == *from {
            // The chunk would be freed and made again.
            self.firsts[0] = to.clone();
            self.chunks[0].write().keys[0] = to;
        } else if let Some(value) = self.remove(from) {
            self.insert(to, value);
        }
    }

    fn merge(&mut self, at: usize) {
        let Some(next) = self.chunks.get(at + 1) else { return };
        if self.chunks[at].items.keys.len() + next.items.keys.len() > CHUNK_ITEMS_MERGE {
            return;
        }
        self.firsts.remove(at + 1);
        let next = self.chunks.remove(at + 1);
        let items = self.chunks[at].write();
        items.keys.extend_from_slice(&next.items.keys);
        items.values.extend_from_slice(&next.items.values);
    }

    pub fn first(&self) -> Option<(&K, &V)> {
        self.chunks.first().map(|c| (&c.items.keys[0], &c.items.values[0]))
    }

    pub fn last(&self) -> Option<(&K, &V)> {
        let items = &self.chunks.last()?.items;
        items.keys.last().zip(items.values.last())
    }

    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let key = self.first()?.0.clone();
        self.remove(&key).map(|v| (key, v))
    }

    /// All items, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|c| c.items.pairs())
    }

    /// The items from `key` on, ascending.
    pub fn range_from<'a>(&'a self, key: &K) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let at = self.chunk_of(key);
        let skip = self.chunks.get(at).map_or(0, |c| c.items.keys.partition_point(|k| k < key));
        let (head, tail) = self.chunks[at.min(self.chunks.len())..].split_at(usize::from(!self.chunks.is_empty()));
        let head = head.iter().flat_map(move |c| c.items.keys[skip..].iter().zip(&c.items.values[skip..]));
        head.chain(tail.iter().flat_map(|c| c.items.pairs()))
    }
}

impl<K: Ord + Clone + Serialize, V: Clone + Serialize> CowMap<K, V> {
    /// Digest of the whole; costs the chunks written since the last call.
    pub fn root(&mut self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for chunk in &mut self.chunks {
            let items = &chunk.items;
            let digest = chunk.digest.get_or_insert_with(|| digest_of(&**items));
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
    let mut hasher = blake3::Hasher::new();
    postcard::serialize_with_flavor(value, Buffered::new(&mut hasher, update)).expect("state can always be written");
    Digest(*hasher.finalize().as_bytes())
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
    fn what_gets_another_key_lies_in_the_chunks_it_would_be_put_in() {
        let mut keys: Vec<u64> = Vec::new();
        let (mut map, mut other) = (CowMap::default(), CowMap::default());
        for n in 0..200 {
            map.insert(n, n);
            other.insert(n, n);
            keys.push(n);
            for (step, pick) in numbers(n).take(3).enumerate() {
                let at = (pick % keys.len() as u64) as usize;
                let (from, to) = (keys[at], 1000 * (1 + pick % 999) + 3 * n + step as u64);
                if map.contains(&to) {
                    continue;
                }
                map.rekey(&from, to);
                map.rekey(&u64::MAX, 0);
                let value = other.remove(&from).expect("it is there");
                other.insert(to, value);
                keys[at] = to;
                assert_eq!(map.root(), other.root());
                assert!(map.iter().eq(other.iter()) && map.get(&from).is_none());
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
