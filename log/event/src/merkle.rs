//! The audit tree over events: RFC 6962 with SHA-256.

use crate::digest::Digest;
use crate::id::{KeyId, ProjectId};
use crate::time::Timestamp;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

/// A SHA-256 hash of the tree.
pub type Node = [u8; 32];

/// What a leaf hashes. All but `body` is computed by the fold, nothing of it is stored twice.
#[derive(Debug)]
pub struct Leaf<'a> {
    /// 1.
    pub version: u8,
    pub project: Option<ProjectId>,
    /// The project's own gap-free sequence, from 1; 0 without a project.
    pub project_seq: u64,
    /// The project's previous leaf; zeros for its first, and without a project.
    pub project_prev: Node,
    pub time: Timestamp,
    pub key: Option<KeyId>,
    /// BLAKE3 keyed by the turn's salt, over the ordinal: hides neighbours' low-entropy leaves.
    pub salt: [u8; 32],
    /// The event's canonical bytes.
    pub body: &'a [u8],
}

/// Blocks of SHA-256 in which a leaf of usual size and its padding have room.
const ROOM_BYTES: usize = 4 * BLOCK_BYTES;
const BLOCK_BYTES: usize = 64;
/// 0x80 and the length.
const PADDING_BYTES: usize = 9;

impl Leaf<'_> {
    /// RFC 6962 §2.1: SHA-256(0x00 ‖ preimage). The preimage is the fields' postcard bytes, `body` as it stands.
    pub fn hash(&self) -> Node {
        let mut head = Piece { room: [0; ROOM_BYTES], filled: 1 };
        head.put_byte(self.version);
        head.put_option(self.project.map(|p| p.0));
        head.put_number(self.project_seq);
        head.put(&self.project_prev);
        head.put_number(self.time.0);
        head.put_option(self.key.map(|k| k.0));
        head.put(&self.salt);
        if head.filled + self.body.len() + PADDING_BYTES <= ROOM_BYTES {
            head.put(self.body);
            return head.hash();
        }
        let mut hasher = Sha256::new();
        hasher.update(&head.room[..head.filled]);
        hasher.update(self.body);
        hasher.finalize().into()
    }
}

/// What is hashed in one piece: a hasher that is fed field by field costs as much again as the two or three blocks.
struct Piece<const N: usize> {
    room: [u8; N],
    filled: usize,
}

impl<const N: usize> Piece<N> {
    fn put(&mut self, bytes: &[u8]) {
        self.room[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    #[inline]
    fn put_byte(&mut self, byte: u8) {
        self.room[self.filled] = byte;
        self.filled += 1;
    }

    /// As postcard writes integers.
    #[inline]
    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put_byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.put_byte(number as u8);
    }

    fn put_option(&mut self, number: Option<u64>) {
        self.put_byte(u8::from(number.is_some()));
        if let Some(number) = number {
            self.put_number(number);
        }
    }

    /// SHA-256 of what was put. Source: FIPS 180-4 §5.1.1, §6.2.
    fn hash(&mut self) -> Node {
        let bits = self.filled as u64 * 8;
        self.put_byte(0x80);
        // Behind what was put the room is zero.
        self.filled = (self.filled + 8).next_multiple_of(BLOCK_BYTES) - 8;
        self.put(&bits.to_be_bytes());
        let mut state = START;
        compress256(&mut state, self.room[..self.filled].as_chunks().0);
        let mut node = Node::default();
        for (bytes, word) in node.as_chunks_mut().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
        node
    }
}

/// SHA-256 before the first block. Source: FIPS 180-4 §5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The salt of a turn's event with this ordinal, from 0.
pub fn salt(turn_salt: &[u8; 32], ordinal: u64) -> [u8; 32] {
    *blake3::keyed_hash(turn_salt, &ordinal.to_le_bytes()).as_bytes()
}

/// The tree as far as it must be kept to go on: the roots of its perfect subtrees.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct Frontier {
    pub size: u64,
    /// Largest subtree first; one for each set bit of `size`.
    nodes: Vec<Node>,
}

impl Frontier {
    /// Adds a leaf.
    pub fn push(&mut self, leaf: Node) {
        let mut node = leaf;
        let mut size = self.size;
        while size & 1 == 1 {
            let left = self.nodes.pop().expect("a subtree for each set bit");
            node = parent(&left, &node);
            size >>= 1;
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// Root of the tree; SHA-256 of nothing for the empty one.
    pub fn root(&self) -> Node {
        let mut nodes = self.nodes.iter().rev();
        match nodes.next() {
            None => Sha256::digest([]).into(),
            Some(last) => nodes.fold(*last, |right, left| parent(left, &right)),
        }
    }
}

/// RFC 6962 §2.1: SHA-256(0x01 ‖ left ‖ right).
pub fn parent(left: &Node, right: &Node) -> Node {
    let mut both = Piece { room: [0; 2 * BLOCK_BYTES], filled: 0 };
    both.put_byte(1);
    both.put(left);
    both.put(right);
    both.hash()
}

/// The digest form of a tree node, for places that show BLAKE3 and SHA-256 side by side.
pub fn as_digest(node: Node) -> Digest {
    Digest(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;
    use crate::event::Event;
    use crate::{NodeId, NodeLost};

    /// RFC 6962's own definition, by recursion.
    fn tree(leaves: &[Node]) -> Node {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                parent(&tree(&leaves[..k]), &tree(&leaves[k..]))
            }
        }
    }

    #[test]
    fn the_frontier_gives_the_root_of_rfc_6962() {
        let leaves: Vec<Node> = (0..70u8).map(|i| Sha256::digest([0, i]).into()).collect();
        let mut frontier = Frontier::default();
        for n in 0..=leaves.len() {
            assert_eq!(frontier.root(), tree(&leaves[..n]), "size {n}");
            if let Some(leaf) = leaves.get(n) {
                frontier.push(*leaf);
            }
        }
    }

    /// Known answers of the Certificate Transparency reference implementation (merkle_tree_test).
    #[test]
    fn known_answers_of_certificate_transparency_hold() {
        assert_eq!(
            hex(&Frontier::default().root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let mut frontier = Frontier::default();
        for input in inputs {
            let mut hasher = Sha256::new_with_prefix([0]);
            hasher.update(input);
            frontier.push(hasher.finalize().into());
        }
        assert_eq!(hex(&frontier.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn a_leaf_hashes_the_canonical_bytes_of_its_fields() {
        let event = Event::from(NodeLost { node: NodeId(3), term: 700 });
        let event = postcard::to_allocvec(&event).expect("it can be written");
        // Also at every length around the ends of blocks, and past the room that a usual leaf takes.
        let bodies = (0..300).map(|length| alloc::vec![length as u8; length]).chain([event]);
        let (project, key) = (Some(ProjectId(300)), Some(KeyId(u64::MAX)));
        for (body, key) in bodies.flat_map(|body| [(body.clone(), None), (body, key)]) {
            let leaf = Leaf {
                version: 1,
                project,
                project_seq: 5000,
                project_prev: [7; 32],
                time: Timestamp(1 << 40),
                key,
                salt: [9; 32],
                body: &body,
            };
            let head = (1u8, project, 5000u64, [7u8; 32], Timestamp(1 << 40), key, [9u8; 32]);
            let head = postcard::to_allocvec(&head).expect("it can be written");
            let whole: Node = Sha256::new_with_prefix([0]).chain_update(head).chain_update(&body).finalize().into();
            assert_eq!(leaf.hash(), whole);
        }
    }
}
