//! Which versions of which requests both sides speak.

use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::Request;

use super::connection::CallError;
use super::frame;

/// What a broker speaks: API key, lowest and highest version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    pub(super) fn new(response: &ApiVersionsResponse) -> Self {
        let apis = response.api_keys.iter();
        Self(apis.map(|api| (api.api_key, api.min_version, api.max_version)).collect())
    }

    /// The newest version of a request that both sides speak and that is not above `at_most`, for
    /// which the caller was written.
    ///
    /// # Errors
    /// [`CallError::Version`] when there is none.
    pub(super) fn newest<R: Request>(&self, at_most: i16) -> Result<i16, CallError> {
        let broker = self.0.iter().find(|(key, ..)| *key == R::KEY);
        let (low, high) = broker.map_or((0, -1), |(_, low, high)| (*low, *high));
        let low = low.max(R::VERSIONS.min);
        let high = high.min(R::VERSIONS.max).min(at_most);
        let is_usable = high >= low && frame::is_flexible::<R>(high);
        is_usable.then_some(high).ok_or_else(|| {
            let flexible = (0..=at_most).find(|version| frame::is_flexible::<R>(*version));
            CallError::Version { key: R::KEY, needed: flexible.unwrap_or(at_most) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{MetadataRequest, ProduceRequest};

    #[test]
    fn the_newest_version_is_one_of_both_sides() {
        #[track_caller]
        fn check(low: i16, high: i16, at_most: i16, expected: Result<i16, i16>) {
            let versions = Versions(vec![(0, low, high), (3, 0, 13)]);
            let found = versions.newest::<ProduceRequest>(at_most);
            let expected = expected.map_err(|needed| CallError::Version { key: 0, needed });
            assert_eq!(found, expected);
        }
        check(3, 12, 9, Ok(9));
        check(3, 10, 12, Ok(10));
        // Not flexible, and so not for us.
        check(3, 8, 9, Err(9));
        check(10, 12, 9, Err(9));
        // A broker that says nothing of it.
        let none = Versions::default().newest::<MetadataRequest>(9);
        assert_eq!(none, Err(CallError::Version { key: 3, needed: 9 }));
    }
}
