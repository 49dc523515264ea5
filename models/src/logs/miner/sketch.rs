//! A short look at a template, which says of most that they have nothing to do with a message.
//!
//! In: the first tokens of both. Out: in how many places both have words, and other ones. Templates of as many tokens have
//! their sketches in one piece of memory; with hundreds of them the tokens themselves would come from as many places.
//! What a sketch cannot know (masks, anything) it holds for equal: it may ask for a comparison too many, never spare one.

use crate::logs::mask::{Kind, Shape};

/// Places that are looked at.
const PLACES: usize = 8;

/// A part of the hash of each of the first words; 0 for what is no word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sketch([u16; PLACES]);

impl Sketch {
    pub(super) fn of(tokens: impl Iterator<Item = Shape>) -> Self {
        let mut places = [0; PLACES];
        for (place, shape) in places.iter_mut().zip(tokens) {
            if shape.kind() == Kind::Word {
                *place = shape.frame() as u16 | 1;
            }
        }
        Self(places)
    }

    /// Places in which both have words that differ; there may be more.
    pub(super) fn differs(&self, other: &Self) -> u32 {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| u32::from(*a != 0) & u32::from(*b != 0) & u32::from(a != b)).sum()
    }
}

/// The templates of one number of tokens.
#[derive(Debug, Default)]
pub(super) struct Row {
    slots: Vec<u32>,
    sketches: Vec<Sketch>,
}

impl Row {
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Those that differ from a sketch in at most so many words, as far as it says.
    pub(super) fn near<'a>(
        &'a self,
        sketch: &'a Sketch,
        most: u32,
    ) -> impl Iterator<Item = u32> + 'a {
        let both = self.slots.iter().zip(&self.sketches);
        both.filter(move |(_, own)| own.differs(sketch) <= most).map(|(slot, _)| *slot)
    }

    pub(super) fn push(&mut self, slot: u32, sketch: Sketch) {
        self.slots.push(slot);
        self.sketches.push(sketch);
    }

    /// A template became more general.
    pub(super) fn change(&mut self, slot: u32, sketch: Sketch) {
        if let Some(at) = self.slots.iter().position(|other| *other == slot) {
            self.sketches[at] = sketch;
        }
    }

    /// The order of the others stays: it decides between templates that are equally like a message.
    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(at) = self.slots.iter().position(|other| *other == slot) {
            self.slots.remove(at);
            self.sketches.remove(at);
        }
    }
}
