//! Lists: which names, labels and series there are, and who answers.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use weir_models::limit::QUERY_NODES_MAX;

use super::answer::{Fault, PrometheusAnswer, success};
use super::apart;
use super::ast::{Expr, Query};
use super::names::{LABELS, Labels, Matcher, NAME, Test, is_label, value};
use super::params::Form;
use super::parse::parse;
use super::read::{Found, find};
use crate::api::Api;
use crate::api::lists::LIST_MAX;

/// The version of Prometheus whose API is spoken: clients choose by it what they ask.
const SPEAKS: &str = "3.0.0";

/// The errors that every path may answer with.
pub(in crate::api) struct Faults;

impl IntoResponses for Faults {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        [
            ("400", "A parameter or the query cannot be used, or is not supported"),
            ("401", "A valid token is needed"),
            ("403", "The token may not do this"),
            ("422", "The query cannot be answered: rows that cannot be told apart, or too many"),
            ("500", "The store needs a person"),
            ("503", "Busy, too slow, or the store is away: try again"),
        ]
        .into_iter()
        .map(|(status, description)| {
            let schema = Ref::from_schema_name("PrometheusError");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response = ResponseBuilder::new().description(description);
            (status.to_owned(), RefOr::T(response.content("application/json", content).build()))
        })
        .collect()
    }
}

/// The matchers of selectors without range and offset. All together have no more parts than one query may have.
fn matchers_of(texts: &[String]) -> Result<Vec<Vec<Matcher>>, String> {
    let (mut sets, mut nodes) = (Vec::new(), 0);
    for text in texts {
        let query = parse(text)?;
        nodes += query.nodes;
        if nodes > QUERY_NODES_MAX {
            return Err(format!("all selectors together have more than {QUERY_NODES_MAX} parts"));
        }
        sets.push(selected(query).ok_or_else(|| format!("`{text}` is not a selector of series"))?);
    }
    Ok(sets)
}

fn selected(mut query: Query) -> Option<Vec<Matcher>> {
    let leaf = query.leaves.pop().filter(|_| matches!(query.expr, Expr::Leaf(_)))?;
    let is_plain = leaf.range_us.is_none() && leaf.selector.offset_us == 0;
    is_plain.then_some(leaf.selector.matchers)
}

async fn found(api: &Api, form: &Form, all_where_none: bool) -> Result<Found, Fault> {
    let texts = form.all("match[]").filter(|text| !text.is_empty());
    let texts: Vec<String> = texts.map(ToOwned::to_owned).collect();
    let mut sets =
        apart(api, move || matchers_of(&texts).map_err(|error| Fault::parameter("match[]", error)))
            .await?;
    if sets.is_empty() {
        if !all_where_none {
            return Err(Fault::bad_data("no match[] parameter provided"));
        }
        let any = Matcher { label: NAME.to_owned(), test: Test::NotEqual(String::new()) };
        sets.push(vec![any]);
    }
    find(&*api.store, &sets, form.span()?).await
}

fn cut<T: Serialize>(items: impl IntoIterator<Item = T>, form: &Form) -> Result<Response, Fault> {
    let limit = form.limit("limit", LIST_MAX)?;
    let mut items = items.into_iter();
    let kept: Vec<T> = items.by_ref().take(limit).collect();
    Ok(success(kept, items.next().is_some()))
}

/// The names of the labels that series have.
#[utoipa::path(
    get, path = "/api/v1/labels", operation_id = "prometheus_labels", tag = "prometheus",
    params(
        ("match[]" = Option<Vec<String>>, Query, description = "Only of series that any of these selectors chooses"),
        ("start" = Option<String>, Query, description = "Only of series that may have values from here on"),
        ("end" = Option<String>, Query, description = "Only of series that may have values up to here"),
        ("limit" = Option<usize>, Query, description = "At most so many"),
    ),
    responses((status = 200, description = "The names, sorted", body = PrometheusAnswer), Faults)
)]
pub(in crate::api) async fn labels(State(api): State<Api>, form: Form) -> Result<Response, Fault> {
    let found = found(&api, &form, true).await?;
    let seen: BTreeSet<&str> =
        found.values().flat_map(|(labels, _)| labels.keys().copied()).collect();
    cut(LABELS.into_iter().filter(|label| seen.contains(label)), &form)
}

/// The values of one label.
#[utoipa::path(
    get, path = "/api/v1/label/{name}/values", operation_id = "prometheus_label_values", tag = "prometheus",
    params(
        ("name" = String, Path, description = "The label; `__name__` for the names of metrics"),
        ("match[]" = Option<Vec<String>>, Query, description = "Only of series that any of these selectors chooses"),
        ("start" = Option<String>, Query, description = "Only of series that may have values from here on"),
        ("end" = Option<String>, Query, description = "Only of series that may have values up to here"),
        ("limit" = Option<usize>, Query, description = "At most so many"),
    ),
    responses((status = 200, description = "The values, sorted", body = PrometheusAnswer), Faults)
)]
pub(in crate::api) async fn values(
    State(api): State<Api>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Fault> {
    if !is_label(&name) {
        return Err(Fault::bad_data(format!("invalid label name: {name:?}")));
    }
    let found = found(&api, &form, true).await?;
    let values: BTreeSet<&str> = found.values().map(|(labels, _)| value(labels, &name)).collect();
    cut(values.into_iter().filter(|value| !value.is_empty()), &form)
}

/// The series that selectors choose.
#[utoipa::path(
    get, path = "/api/v1/series", operation_id = "prometheus_series", tag = "prometheus",
    params(
        ("match[]" = Vec<String>, Query, description = "Selectors; a series that any of them chooses is listed"),
        ("start" = Option<String>, Query, description = "Only series that may have values from here on"),
        ("end" = Option<String>, Query, description = "Only series that may have values up to here"),
        ("limit" = Option<usize>, Query, description = "At most so many"),
    ),
    responses((status = 200, description = "The labels of each", body = PrometheusAnswer), Faults)
)]
pub(in crate::api) async fn series(State(api): State<Api>, form: Form) -> Result<Response, Fault> {
    let found = found(&api, &form, false).await?;
    let mut all: Vec<&Labels> = found.values().map(|(labels, _)| labels).collect();
    all.sort_unstable();
    cut(all, &form)
}

/// What is known of a metric, in Prometheus' form.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Metadata {
    #[serde(rename = "type")]
    kind: &'static str,
    help: String,
    unit: String,
}

/// Unit of each metric.
#[utoipa::path(
    get, path = "/api/v1/metadata", operation_id = "prometheus_metadata", tag = "prometheus",
    params(
        ("metric" = Option<String>, Query, description = "Only this metric"),
        ("limit" = Option<usize>, Query, description = "At most so many metrics"),
        ("limit_per_metric" = Option<usize>, Query, description = "At most so many units of each"),
    ),
    responses((status = 200, description = "For each name its units; whether a metric is a counter is not known", body = PrometheusAnswer), Faults)
)]
pub(in crate::api) async fn metadata(
    State(api): State<Api>,
    form: Form,
) -> Result<Response, Fault> {
    let (limit, per_metric) =
        (form.limit("limit", LIST_MAX)?, form.limit("limit_per_metric", LIST_MAX)?);
    let mut sets = vec![Matcher { label: NAME.to_owned(), test: Test::NotEqual(String::new()) }];
    if let Some(metric) = form.get("metric") {
        sets.push(Matcher { label: NAME.to_owned(), test: Test::Equal(metric.to_owned()) });
    }
    let mut all: BTreeMap<String, BTreeSet<Metadata>> = BTreeMap::new();
    for (key, (labels, _)) in find(&*api.store, &[sets], None).await? {
        let help = format!("The readings `{}`.", key.metric);
        let known = Metadata { kind: "unknown", help, unit: value(&labels, "unit").to_owned() };
        all.entry(value(&labels, NAME).to_owned()).or_default().insert(known);
    }
    let cut = all.len() > limit;
    let some = |known: BTreeSet<Metadata>| known.into_iter().take(per_metric).collect::<Vec<_>>();
    let all: BTreeMap<_, _> =
        all.into_iter().take(limit).map(|(name, known)| (name, some(known))).collect();
    Ok(success(all, cut))
}

/// Which API is spoken, and by whom.
#[derive(Debug, Serialize)]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    application: &'static str,
}

/// Who answers.
#[utoipa::path(
    get, path = "/api/v1/status/buildinfo", operation_id = "prometheus_buildinfo", tag = "prometheus",
    responses((status = 200, description = "`version`: that of the Prometheus whose API is spoken; `revision`: that of weir", body = PrometheusAnswer), Faults)
)]
pub(in crate::api) async fn buildinfo() -> Response {
    let revision = env!("CARGO_PKG_VERSION");
    success(BuildInfo { version: SPEAKS, revision, branch: "", application: "weir" }, false)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn matchers(texts: &[&str]) -> Result<Vec<Vec<Matcher>>, String> {
        matchers_of(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_match_is_a_selector_only() {
        assert_eq!(matchers(&["a{b=\"c\"}"]).unwrap()[0].len(), 2);
        for text in ["1", "a offset 5m", "a[5m]", "rate(a[5m])", "sum(a)", "a + b"] {
            assert!(matchers(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn all_matches_together_have_the_parts_of_one_query() {
        assert_eq!(matchers(&["a"; 250]).unwrap().len(), 250);
        assert!(matchers(&["a"; 251]).unwrap_err().contains("parts"));
        assert!(matchers(&["{a=~\"b|c.+\"}"; 32]).unwrap_err().contains("parts"));
    }
}
