//! `GET /v1/archive`: what lies in the archive, how far it is behind Kafka, and what audits found.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::Problems;
use super::{Api, Problem};
use crate::store::Audit;
use crate::survey::Surveyed;

/// Audits that are told.
const AUDITS_MAX: usize = 20;

/// The archive.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArchiveStatus {
    /// What lies there.
    #[serde(flatten)]
    pub surveyed: Surveyed,
    /// The last results of `weir-sink audit`, newest first.
    pub audits: Vec<Audit>,
}

/// What lies in the archive. Listed at most every half minute and a tenth of the time; an answer, also an error, may be
/// twice as old as that.
#[utoipa::path(
    get, path = "/v1/archive", operation_id = "describe_archive", tag = "data",
    responses(
        (status = 200, description = "By topic and day, and by partition", body = ArchiveStatus),
        (status = 404, description = "This sink writes no archive", body = Problem, content_type = "application/problem+json"),
        Problems,
    )
)]
pub(super) async fn get(State(api): State<Api>) -> Result<Json<ArchiveStatus>, Problem> {
    let survey = api.survey.as_ref().ok_or_else(|| {
        Problem::not_found("this sink has no archive", "ask the sink that writes it")
    })?;
    let surveyed = survey.look().await.map_err(Problem::archive)?;
    let audits = api.store.audits(AUDITS_MAX).await?;
    Ok(Json(ArchiveStatus { surveyed: Surveyed::clone(&surveyed), audits }))
}
