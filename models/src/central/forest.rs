//! The mean of regression trees, as one flat array of nodes of eight bytes.
//!
//! A node is a feature, how far behind it its first child stands (the second one stands behind that), and a threshold;
//! a row goes to the first child where its feature is at most the threshold. A leaf looks at a slot of the row that holds
//! minus infinity and stays where it is, so that every row makes as many steps in every tree and eight trees
//! are walked side by side, without branches that depend on data. Thresholds are `f32`: for `f32` features
//! `x <= t` holds exactly where `x <= t'` does, `t'` being the largest `f32` not above `t` ([`threshold`]).

use super::OpenError;
use super::bytes::{Reader, Writer};
use super::features::{FEATURES_MAX, Row};

/// Most trees of a forest.
pub const TREES_MAX: usize = 512;
/// Most nodes of a tree.
pub const TREE_NODES_MAX: usize = 16_383;
/// Most nodes of a forest: 880 KB.
pub const NODES_MAX: usize = 110_000;
/// Deepest tree.
pub const DEPTH_MAX: u8 = 32;
/// The slot of a row that leaves look at.
const LEAF: u16 = FEATURES_MAX as u16;
/// Trees walked side by side.
const LANES: usize = 8;

/// A node of a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    feature: u16,
    /// From this node to its first child; 0 in a leaf.
    skip: u16,
    /// Threshold, or what a leaf says.
    value: f32,
}

impl Node {
    /// A leaf that says `value`.
    #[must_use]
    pub fn leaf(value: f32) -> Self {
        Self { feature: LEAF, skip: 0, value }
    }

    /// A split: rows whose `feature` is at most `threshold` go to the node `skip` behind this one, others to the next.
    #[must_use]
    pub fn split(feature: u16, threshold: f32, skip: u16) -> Self {
        Self { feature, skip, value: threshold }
    }
}

/// The `f32` that parts `f32` numbers as `t` does: the largest one not above it.
#[must_use]
pub fn threshold(t: f64) -> f32 {
    let near = t as f32;
    if f64::from(near) > t { near.next_down() } else { near }
}

/// A forest.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    nodes: Box<[Node]>,
    roots: Box<[u32]>,
    width: usize,
    depth: u8,
}

impl Forest {
    /// Checks trees, each with its root first, whose rows have `width` features.
    ///
    /// # Errors
    /// When a count is out of its bounds, a child is not in its tree, or a tree is too deep.
    pub fn new(trees: &[Vec<Node>], width: usize) -> Result<Self, OpenError> {
        let bound = |what, found, most| {
            if found > most { Err(OpenError::TooMany { what, found, most }) } else { Ok(()) }
        };
        bound("features", width, FEATURES_MAX)?;
        bound("trees", trees.len(), TREES_MAX)?;
        bound("nodes", trees.iter().map(Vec::len).sum(), NODES_MAX)?;
        if trees.is_empty() || width == 0 {
            return Err(OpenError::Value { what: "forest without trees or features" });
        }
        let mut nodes = Vec::new();
        let mut roots = Vec::new();
        let mut depth = 0;
        for tree in trees {
            bound("nodes of a tree", tree.len(), TREE_NODES_MAX)?;
            depth = depth.max(depth_of(tree, width)?);
            roots.push(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
            nodes.extend_from_slice(tree);
        }
        Ok(Self { nodes: nodes.into(), roots: roots.into(), width, depth })
    }

    /// How many features it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Trees and nodes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.roots.len(), self.nodes.len())
    }

    /// The mean of what the trees say.
    #[must_use]
    pub fn predict(&self, row: &Row) -> f64 {
        let mut row = *row;
        row[FEATURES_MAX] = f32::NEG_INFINITY;
        let mut sum = 0.0;
        for roots in self.roots.chunks(LANES) {
            let mut at = [0; LANES];
            for (at, root) in at.iter_mut().zip(roots) {
                *at = *root as usize;
            }
            if roots.len() == LANES {
                for _ in 0..self.depth {
                    for at in &mut at {
                        *at = self.step(*at, &row);
                    }
                }
            } else {
                for at in at.iter_mut().take(roots.len()) {
                    for _ in 0..self.depth {
                        *at = self.step(*at, &row);
                    }
                }
            }
            sum +=
                at.iter().take(roots.len()).map(|at| f64::from(self.nodes[*at].value)).sum::<f64>();
        }
        sum / self.roots.len() as f64
    }

    #[inline]
    fn step(&self, at: usize, row: &Row) -> usize {
        let node = self.nodes[at];
        let second = row[usize::from(node.feature) & FEATURES_MAX] > node.value;
        at + usize::from(node.skip) + usize::from(second)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.count(self.width);
        out.count(self.roots.len());
        let ends = self.roots.iter().skip(1).map(|root| *root as usize);
        let ends = ends.chain(std::iter::once(self.nodes.len()));
        for (root, end) in self.roots.iter().zip(ends) {
            let tree = self.nodes.get(*root as usize..end).unwrap_or_default();
            out.count(tree.len());
            for node in tree {
                out.u16(node.feature);
                out.u16(node.skip);
                out.f32(node.value);
            }
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, OpenError> {
        let width = from.count(FEATURES_MAX, 0, "features")?;
        let n = from.count(TREES_MAX, 2, "trees")?;
        let mut trees = Vec::with_capacity(n);
        for _ in 0..n {
            let nodes = from.count(TREE_NODES_MAX, 8, "nodes of a tree")?;
            let mut tree = Vec::with_capacity(nodes);
            for _ in 0..nodes {
                let (feature, skip) = (from.u16()?, from.u16()?);
                tree.push(Node { feature, skip, value: from.f32("threshold")? });
            }
            trees.push(tree);
        }
        Self::new(&trees, width)
    }
}

/// The steps from the root to the farthest leaf. Children stand behind their parents, so one look from the back is enough.
fn depth_of(tree: &[Node], width: usize) -> Result<u8, OpenError> {
    let mut depths = vec![0_u8; tree.len()];
    for (at, node) in tree.iter().enumerate().rev() {
        let (feature, skip) = (usize::from(node.feature), usize::from(node.skip));
        if !node.value.is_finite() {
            return Err(OpenError::Value { what: "threshold" });
        }
        if skip == 0 {
            if node.feature != LEAF {
                return Err(OpenError::Value { what: "leaf" });
            }
            continue;
        }
        let children = depths.get(at + skip).zip(depths.get(at + skip + 1));
        let (Some((first, second)), true) = (children, feature < width) else {
            return Err(OpenError::Value { what: "split" });
        };
        let deepest = first.max(second) + 1;
        if deepest > DEPTH_MAX {
            let (found, most) = (usize::from(deepest), usize::from(DEPTH_MAX));
            return Err(OpenError::TooMany { what: "levels in a tree", found, most });
        }
        depths[at] = deepest;
    }
    depths.first().copied().ok_or(OpenError::Value { what: "tree without nodes" })
}
