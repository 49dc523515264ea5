//! Flatten: what smartcore fitted, as our own flat models.
//!
//! In: smartcore's models. Trees and centroids are private there and come through serde, by the names of their fields; a
//! release that renames them fails here with the name, and the differential tests fail before that. Out: forests of
//! ours, whose children stand side by side behind their parents.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_models::central::{Forest, Node, OpenError, threshold};

use super::TrainError;

#[derive(Deserialize)]
struct TheirForest {
    forest_regressor: TheirTrees,
}

#[derive(Deserialize)]
struct TheirTrees {
    trees: Vec<TheirTree>,
}

#[derive(Deserialize)]
struct TheirTree {
    nodes: Vec<TheirNode>,
}

#[derive(Deserialize)]
struct TheirNode {
    output: f64,
    split_feature: usize,
    split_value: Option<f64>,
    true_child: Option<usize>,
    false_child: Option<usize>,
}

#[derive(Deserialize)]
struct TheirMeans {
    centroids: Vec<Vec<f64>>,
    size: Vec<usize>,
}

fn through_serde<T: for<'de> Deserialize<'de>>(model: &impl Serialize) -> Result<T, TrainError> {
    let read = |value: Value| serde_json::from_value(value);
    serde_json::to_value(model)
        .and_then(read)
        .map_err(|error| TrainError::Fit(format!("smartcore's model is not as expected: {error}")))
}

/// A random forest that was fitted to rows of `width` features.
///
/// # Errors
/// When it is larger or deeper than the format allows.
pub(super) fn forest(model: &impl Serialize, width: usize) -> Result<Forest, TrainError> {
    let theirs: TheirForest = through_serde(model)?;
    let trees = theirs.forest_regressor.trees.iter().map(|tree| flat_tree(&tree.nodes));
    let trees: Vec<_> = trees.collect::<Result<_, _>>()?;
    Ok(Forest::new(&trees, width)?)
}

/// Centres of k-means, and how many rows are nearest to each.
///
/// # Errors
/// When smartcore's model is not as expected.
pub(super) fn centres(model: &impl Serialize) -> Result<Vec<(Vec<f64>, usize)>, TrainError> {
    let theirs: TheirMeans = through_serde(model)?;
    Ok(theirs.centroids.into_iter().zip(theirs.size).collect())
}

/// Level by level: a node's place is drawn when its parent is written, so it lies behind it.
fn flat_tree(theirs: &[TheirNode]) -> Result<Vec<Node>, OpenError> {
    let odd = || OpenError::Value { what: "tree of smartcore" };
    let mut order = vec![0];
    let mut flat = Vec::with_capacity(theirs.len());
    while let Some(at) = order.get(flat.len()) {
        let node = theirs.get(*at).ok_or_else(odd)?;
        let split = node.split_value.zip(node.true_child.zip(node.false_child));
        let Some((value, (first, second))) = split else {
            flat.push(Node::leaf(node.output as f32));
            continue;
        };
        let skip = u16::try_from(order.len() - flat.len()).map_err(|_| odd())?;
        let feature = u16::try_from(node.split_feature).map_err(|_| odd())?;
        flat.push(Node::split(feature, threshold(value), skip));
        order.extend([first, second]);
        if order.len() > theirs.len() {
            return Err(odd());
        }
    }
    Ok(flat)
}
