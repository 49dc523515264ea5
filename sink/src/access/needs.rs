//! Needs: which role a request needs. The one table of it.
//!
//! In: a method and the route that it was matched to. Out: a role. Promises: queries need `read`; what is not in the
//! table and is no query needs `admin`, so that a route that is forgotten here is closed, not open. (A test holds
//! the table against the description of the API.)

use axum::http::Method;

use super::Role;

/// Method, route as the router has it, and the least role.
const NEEDS: &[(&str, &str, Role)] = &[
    // A query in PromQL may come as a form; what it asks changes nothing.
    ("POST", "/api/v1/query", Role::Read),
    ("POST", "/api/v1/query_range", Role::Read),
    ("POST", "/api/v1/labels", Role::Read),
    ("POST", "/api/v1/series", Role::Read),
    ("PUT", "/v1/devices/{site}/{device}", Role::Devices),
    ("PATCH", "/v1/devices/{site}/{device}", Role::Devices),
    ("DELETE", "/v1/devices/{site}/{device}", Role::Devices),
    ("POST", "/v1/devices/import", Role::Devices),
    ("POST", "/v1/alerts/{id}/feedback", Role::Devices),
];

/// The least role that may ask this.
pub(crate) fn need(method: &Method, route: &str) -> Role {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Role::Read;
    }
    let is_meant = |&&(named, path, _): &&(&str, &str, Role)| *method == named && route == path;
    NEEDS.iter().find(is_meant).map_or(Role::Admin, |(_, _, role)| *role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_needs_the_highest_role_unless_it_only_reads() {
        let device = "/v1/devices/{site}/{device}";
        for (method, route, expected) in [
            (Method::GET, device, Role::Read),
            (Method::HEAD, "/v1/anything", Role::Read),
            (Method::POST, "/api/v1/query", Role::Read),
            (Method::PUT, device, Role::Devices),
            (Method::PATCH, device, Role::Devices),
            (Method::DELETE, device, Role::Devices),
            (Method::POST, "/v1/devices/import", Role::Devices),
            (Method::POST, "/v1/alerts/{id}/feedback", Role::Devices),
            (Method::POST, device, Role::Admin),
            (Method::POST, "/api/v1/series", Role::Read),
            (Method::POST, "/api/v1/new", Role::Admin),
            (Method::PUT, "/api/v1/query", Role::Admin),
            (Method::POST, "/v1/new", Role::Admin),
            (Method::DELETE, "", Role::Admin),
        ] {
            assert_eq!(need(&method, route), expected, "{method} {route}");
        }
    }
}
