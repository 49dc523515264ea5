//! The ledger of messages that the broker waits to have acknowledged.
//!
//! In: packet identifiers as messages arrive, and news of them. Out: what to do. Pure. After a lost
//! connection the broker sends again, marked as a duplicate and under the same identifier, what it
//! has no acknowledgement for (MQTT 5, section 4.4). What the ledger still holds then is not taken a
//! second time, and is acknowledged only after it was sent again: an acknowledgement that crossed with
//! the second sending would make that one look like another message. An identifier leaves the ledger when its acknowledgement is written, because from
//! then on the broker may use it for another message; if that acknowledgement is lost on the way the
//! message comes twice, and never not at all.

use std::collections::HashMap;

use hashbrown::DefaultHashBuilder;

/// Tells apart messages that had the same packet identifier at different times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(u64);

/// What to do with a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Take it.
    New(Token),
    /// It was taken and is on its way into the spool: wait.
    Taken,
    /// The spool holds it: acknowledge it again.
    Safe,
}

#[derive(Debug)]
struct Entry {
    token: Token,
    is_safe: bool,
    /// The connection on which it was sent last.
    connection: u64,
}

/// Messages that are not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<u16, Entry, DefaultHashBuilder>,
    next: u64,
    connection: u64,
}

impl Ledger {
    /// The message `packet` arrived.
    pub(super) fn arrived(&mut self, packet: u16, is_duplicate: bool) -> Arrival {
        match self.entries.get_mut(&packet) {
            Some(entry) if is_duplicate => {
                entry.connection = self.connection;
                if entry.is_safe { Arrival::Safe } else { Arrival::Taken }
            }
            _ => {
                self.next += 1;
                let token = Token(self.next);
                let entry = Entry { token, is_safe: false, connection: self.connection };
                self.entries.insert(packet, entry);
                Arrival::New(token)
            }
        }
    }

    /// The spool holds the message; whether it is to be acknowledged now.
    pub(super) fn safe(&mut self, packet: u16, token: Token) -> bool {
        match self.entries.get_mut(&packet) {
            Some(entry) if entry.token == token => {
                entry.is_safe = true;
                entry.connection == self.connection
            }
            _ => false,
        }
    }

    /// The acknowledgement was written.
    pub(super) fn acknowledged(&mut self, packet: u16) {
        self.entries.remove(&packet);
    }

    /// The connection was lost: the broker will send again what is not acknowledged.
    pub(super) fn disconnected(&mut self) {
        self.connection += 1;
    }

    /// The broker has forgotten the session, and with it all identifiers.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[track_caller]
    fn new(ledger: &mut Ledger, packet: u16, is_duplicate: bool) -> Token {
        match ledger.arrived(packet, is_duplicate) {
            Arrival::New(token) => token,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_sent_again_is_taken_once() {
        let mut ledger = Ledger::default();
        let token = new(&mut ledger, 5, false);
        assert_eq!(ledger.arrived(5, true), Arrival::Taken);
        assert!(ledger.safe(5, token));
        assert_eq!(ledger.arrived(5, true), Arrival::Safe);
        ledger.acknowledged(5);
        assert!(ledger.entries.is_empty());
    }

    #[test]
    fn after_a_lost_connection_nothing_is_acknowledged_before_it_was_sent_again() {
        let mut ledger = Ledger::default();
        let (early, late) = (new(&mut ledger, 5, false), new(&mut ledger, 6, false));
        ledger.disconnected();
        assert!(!ledger.safe(5, early));
        assert_eq!(ledger.arrived(5, true), Arrival::Safe);
        assert_eq!(ledger.arrived(6, true), Arrival::Taken);
        assert!(ledger.safe(6, late));
    }

    #[test]
    fn after_the_acknowledgement_an_identifier_means_another_message() {
        let mut ledger = Ledger::default();
        let token = new(&mut ledger, 5, false);
        ledger.safe(5, token);
        ledger.acknowledged(5);
        // Its first sending was lost with the connection.
        let other = new(&mut ledger, 5, true);
        assert_ne!(token, other);
        assert!(!ledger.safe(5, token));
        assert!(ledger.safe(5, other));
    }

    #[test]
    fn a_forgotten_session_leaves_nothing_to_acknowledge() {
        let mut ledger = Ledger::default();
        let token = new(&mut ledger, 5, false);
        ledger.forget();
        assert!(!ledger.safe(5, token));
        let other = new(&mut ledger, 5, false);
        assert!(!ledger.safe(5, token));
        assert!(ledger.safe(5, other));
    }
}
