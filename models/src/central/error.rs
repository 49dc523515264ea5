//! Why a central model is refused. Each message says what to do.

/// A model was not taken. What ran before goes on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// More bytes than any model may have.
    #[error(
        "{found} bytes are more than the {most} of a model: train it with fewer or shallower trees"
    )]
    TooLarge {
        /// Its length.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// No envelope of ours.
    #[error("these bytes are no central model: find out what else writes to the topic of models")]
    Foreign,
    /// Of another format.
    #[error(
        "the format of the model is {found}, this program reads {expected}: update the older one of the two"
    )]
    Format {
        /// In the envelope.
        found: u16,
        /// Of this program.
        expected: u16,
    },
    /// Of a kind this program does not know.
    #[error(
        "the kind of the model is {0}, which this program does not know: update the agent, or set the model's `min_agent`"
    )]
    Kind(u16),
    /// Cut short or too long.
    #[error("the model is cut short or too long: publish it again")]
    Length,
    /// More of something than allowed.
    #[error("the model has {found} {what}, {most} are allowed: train a smaller one")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// In the model.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// A field is out of its range.
    #[error("the model holds an impossible {what}: train it again")]
    Value {
        /// Which field.
        what: &'static str,
    },
    /// Signed by nobody who is known, or changed since.
    #[error(
        "no pinned key signed these bytes: pin the key that `weir-sink keys show` prints, or find out who changed or signed the model"
    )]
    Signature,
    /// The payload is not what was signed.
    #[error("the payload is not the one that was signed: publish the model again")]
    Payload,
    /// Its inputs mean something else here.
    #[error(
        "the inputs of the model are not those that this program makes: train it with the weir-sink of the same version"
    )]
    Features,
    /// Needs a newer program.
    #[error("the model needs version {needs} or newer, this is {own}: update")]
    Program {
        /// From which version on.
        needs: super::Version,
        /// Of this program.
        own: super::Version,
    },
    /// The evaluator does not give what the trainer saw.
    #[error(
        "golden row {row} gives {found} in place of {expected}: do not use the model, and report this"
    )]
    Golden {
        /// Which row, from 0.
        row: usize,
        /// What the evaluator gives.
        found: f64,
        /// What the envelope says.
        expected: f64,
    },
    /// Not above the version that runs.
    #[error(
        "version {offered} is not above {current}, which runs: train anew, or go back with `weir-sink models rollback`"
    )]
    Older {
        /// Of the model offered.
        offered: u64,
        /// Of the model that runs.
        current: u64,
    },
}
