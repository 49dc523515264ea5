//! Exact: what the types of the handlers cannot say of the API. Pure.
//!
//! In: the description as it is made of the handlers. Out: the same with the bounds of names, times and places, with
//! the queries of Prometheus' API that come as forms, and ([`guarded`]) with what needs a token of this sink.
//! Promises: a request that this describes is not refused for its form, and one that it does not describe is; what
//! no schema says (a range whose end is before its begin, two parameters that go together) is in the words.

use axum::http::Method;
use serde_json::json;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ArrayBuilder, ArrayItems};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    Array, Content, ContentBuilder, KnownFormat, Object, ObjectBuilder, OpenApi, Ref, RefOr,
    Required, ResponseBuilder, Schema, SchemaFormat, Type,
};
use weir_models::limit::{META_ENTRIES_MAX, METRICS_MAX, NAME_BYTES_MAX, NOTE_BYTES_MAX};

use crate::access::{Access, Role, need};
use crate::api::params::WHEN_US_MAX;
use crate::registry::{ALIASES_MAX, META_VALUE_BYTES_MAX};

/// Text without control characters. How long it may be is counted in bytes, which a schema cannot say.
const PLAIN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// The same without a slash.
const PLAIN_SITE: &str = r"^[^\u0000-\u001f\u007f-\u009f/]*$";
/// Where a list goes on.
const CURSOR: &str = "^[A-Za-z0-9_-]+$";
/// Time, stream and number of a line.
const PLACE: &str = "^-?[0-9]{1,18},[0-9a-fA-F]{1,16},[0-9]{1,19}$";
/// Kinds of live records.
const KINDS: &str = "^(reading|log|loss|alert)(,(reading|log|loss|alert))*$";
/// Versions of a record as `ETag` tells them, or any.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#;
/// Text of several lines.
const LINES: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";
/// The name of a label in Prometheus.
const LABEL: &str = "^[a-zA-Z_][a-zA-Z0-9_]*$";

const FORM: &str = "application/x-www-form-urlencoded";

/// Says what the derived description does not.
pub(super) struct Exact;

impl Modify for Exact {
    fn modify(&self, doc: &mut OpenApi) {
        for (path, item) in &mut doc.paths.paths {
            let own = path.starts_with("/v1/");
            for (_, operation) in operations(item) {
                for parameter in operation.parameters.iter_mut().flatten() {
                    let RefOr::T(parameter) = parameter else { continue };
                    let schema = if own { of_ours(path, parameter) } else { of_theirs(parameter) };
                    if let Some(schema) = schema {
                        parameter.schema = Some(schema);
                    }
                }
            }
            let has_form = need(&Method::POST, path) == Role::Read;
            if has_form && let Some(get) = &item.get {
                item.post = Some(as_form(get));
            }
        }
        let schemas = &mut doc.components.get_or_insert_default().schemas;
        for (name, is_patch) in [("DeviceBody", false), ("DevicePatch", true)] {
            if let Some(RefOr::T(Schema::Object(body))) = schemas.get_mut(name) {
                bound_body(body, is_patch);
            }
        }
        if let Some(RefOr::T(Schema::Object(body))) = schemas.get_mut("FeedbackBody") {
            for (name, bytes) in [("note", NOTE_BYTES_MAX), ("by", NAME_BYTES_MAX)] {
                if let Some(RefOr::T(Schema::Object(text))) = body.properties.get_mut(name) {
                    (text.max_length, text.pattern) = (Some(bytes), Some(LINES.into()));
                }
            }
        }
    }
}

/// The operations of a path that it has, with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn text(min: usize, max: usize, pattern: &str) -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    text.min_length(Some(min)).max_length(Some(max)).build()
}

fn one_of<const N: usize>(texts: [&str; N]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts)).build()
}

fn plain(object: Object) -> RefOr<Schema> {
    RefOr::T(Schema::Object(object))
}

/// RFC 3339 text, or a number since the Unix epoch.
fn time(number: Object) -> AnyOfBuilder {
    let written = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    AnyOfBuilder::new().item(written).item(number)
}

/// That, or an empty text where the parameter may be left out: in Prometheus' API the two are one.
fn or_empty(known: AnyOfBuilder, parameter: &Parameter) -> RefOr<Schema> {
    if parameter.required == Required::True {
        return known.into();
    }
    known.item(ObjectBuilder::new().schema_type(Type::String).max_length(Some(0))).into()
}

/// A parameter under `/v1`.
fn of_ours(path: &str, parameter: &Parameter) -> Option<RefOr<Schema>> {
    let in_path = path.contains("{site}");
    Some(match &*parameter.name {
        "site" if in_path => plain(text(1, NAME_BYTES_MAX, PLAIN_SITE)),
        "site" | "device" | "metric" | "agent" | "host" | "app" | "template" | "id" => {
            plain(text(1, NAME_BYTES_MAX, PLAIN))
        }
        "from" | "to" | "fired_us" => {
            let number = ObjectBuilder::new().schema_type(Type::Integer);
            let max = WHEN_US_MAX as isize;
            time(number.minimum(Some(-max)).maximum(Some(max)).build()).into()
        }
        "cursor" => plain(text(1, 16_384, CURSOR)),
        "before" => plain(text(1, 64, PLACE)),
        "kind" => plain(text(1, 64, KINDS)),
        "If-Match" => plain(text(1, 4_096, TAGS)),
        "If-None-Match" => plain(one_of(["*"])),
        "step" => plain(one_of(["1m", "5m", "15m", "1h", "6h", "1d"])),
        _ => return None,
    })
}

/// A parameter of Prometheus' API.
fn of_theirs(parameter: &Parameter) -> Option<RefOr<Schema>> {
    Some(match &*parameter.name {
        "start" | "end" | "time" => {
            let number = ObjectBuilder::new().schema_type(Type::Number);
            let max = (WHEN_US_MAX / 1_000_000) as isize;
            or_empty(time(number.minimum(Some(-max)).maximum(Some(max)).build()), parameter)
        }
        "name" => plain(text(1, 4_096, LABEL)),
        // Zero and less is as many as there are.
        "limit" | "limit_per_metric" => {
            let number = ObjectBuilder::new().schema_type(Type::Integer);
            let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
            or_empty(AnyOfBuilder::new().item(number.format(Some(format))), parameter)
        }
        _ => return None,
    })
}

/// The same query as a POST of a form.
fn as_form(get: &Operation) -> Operation {
    let mut post = get.clone();
    post.operation_id = get.operation_id.as_ref().map(|id| format!("{id}_form"));
    let mut form = ObjectBuilder::new().schema_type(Type::Object);
    for parameter in post.parameters.take().into_iter().flatten() {
        let RefOr::T(Parameter { name, description, required, schema, .. }) = parameter else {
            continue;
        };
        if required == Required::True {
            form = form.required(&name);
        }
        let mut schema = schema.unwrap_or_else(|| plain(Object::new()));
        if let RefOr::T(schema) = &mut schema {
            describe(schema, description);
        }
        form = form.property(name, schema);
    }
    let content: Content = ContentBuilder::new().schema(Some(form)).build();
    let required = matches!(post.operation_id.as_deref(), Some("prometheus_labels_form"));
    let required = if required { Required::False } else { Required::True };
    let body = RequestBodyBuilder::new().content(FORM, content).required(Some(required)).build();
    post.request_body = Some(RefOr::T(body));
    let fault = Ref::from_schema_name("PrometheusError");
    let fault = ContentBuilder::new().schema(Some(fault)).build();
    let large = ResponseBuilder::new().description("The form is too large");
    let large = large.content("application/json", fault).build();
    post.responses.responses.insert("413".into(), RefOr::T(large));
    post
}

fn describe(schema: &mut Schema, text: Option<String>) {
    match schema {
        Schema::Object(object) => object.description = text,
        Schema::Array(array) => array.description = text,
        Schema::AnyOf(any_of) => any_of.description = text,
        _ => {}
    }
}

/// What is known of a device, within its bounds; of a patch each part and each value may be null.
fn bound_body(body: &mut Object, is_patch: bool) {
    let kind = |kind: Type| -> utoipa::openapi::schema::SchemaType {
        if is_patch { [kind, Type::Null].into_iter().collect() } else { kind.into() }
    };
    let map = |old: Option<RefOr<Schema>>, entries: usize, bytes: usize| {
        let mut value = text(0, bytes, PLAIN);
        value.schema_type = kind(Type::String);
        let mut map = match old {
            Some(RefOr::T(Schema::Object(map))) => map,
            _ => Object::new(),
        };
        map.schema_type = kind(Type::Object);
        map.max_properties = Some(entries);
        map.property_names = Some(Box::new(Schema::Object(text(1, NAME_BYTES_MAX, PLAIN))));
        map.additional_properties = Some(Box::new(AdditionalProperties::RefOr(plain(value))));
        plain(map)
    };
    let aliases = body.properties.get("aliases").and_then(|old| match old {
        RefOr::T(Schema::Array(Array { description, .. })) => description.clone(),
        _ => None,
    });
    let name = ArrayItems::RefOrSchema(Box::new(plain(text(1, NAME_BYTES_MAX, PLAIN))));
    let list = ArrayBuilder::new().schema_type(kind(Type::Array)).items(name);
    let list = list.max_items(Some(ALIASES_MAX)).unique_items(true).description(aliases).build();
    body.properties.insert("aliases".into(), RefOr::T(Schema::Array(list)));
    let parts =
        [("meta", META_ENTRIES_MAX, META_VALUE_BYTES_MAX), ("units", METRICS_MAX, NAME_BYTES_MAX)];
    for (part, entries, bytes) in parts {
        let old = body.properties.remove(part);
        body.properties.insert(part.into(), map(old, entries, bytes));
    }
    body.example =
        Some(json!({"aliases": ["10.0.0.7"], "meta": {"hall": "B"}, "units": {"temp": "°C"}}));
}

/// The description of a sink with this access: each operation says whether it needs a token. Without tokens, and in the
/// copy of the documents, that is open.
pub(super) fn guarded(mut doc: OpenApi, access: &Access) -> OpenApi {
    if access.is_open() {
        return doc;
    }
    let token = || SecurityRequirement::new("token", Vec::<String>::new());
    doc.security = Some(vec![token()]);
    for (path, item) in &mut doc.paths.paths {
        for (method, operation) in operations(item) {
            // What needs none ever says so itself.
            let asks = operation.security.is_none();
            if asks && access.opens(need(&method, path)) {
                operation.security = Some(vec![SecurityRequirement::default(), token()]);
            }
        }
    }
    doc
}
