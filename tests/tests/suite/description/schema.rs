//! The OpenAPI document, and whether a value is as one of its schemas says.

use e2e::Api;
use serde_json::{Map, Value, json};

/// The document; an object of several parts is the one object that they make.
pub(super) async fn document(api: &Api) -> Value {
    let parts = api.get("/openapi.json").send().await.expect(200);
    let mut document = parts.clone();
    join_parts(&parts, &mut document);
    document
}

/// Puts the parts of each `allOf` together: the members of all of them, and what each requires.
fn join_parts(document: &Value, schema: &mut Value) {
    if let Some(parts) = schema["allOf"].as_array() {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in parts {
            let mut part = resolve(document, part).clone();
            join_parts(document, &mut part);
            assert_eq!(part["type"], "object", "{part}");
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        *schema = json!({"type": "object", "properties": properties, "required": required});
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(|it| join_parts(document, it)),
        Value::Array(items) => items.iter_mut().for_each(|it| join_parts(document, it)),
        _ => {}
    }
}

/// Follows references inside the document.
pub(super) fn resolve<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(reference.trim_start_matches('#'));
        schema = found.unwrap_or_else(|| panic!("{reference} leads nowhere"));
    }
    schema
}

/// The types that a schema names.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What keeps `value` from being as `schema` says; an object may have no member that it does not name,
/// unless it says that it may.
pub(super) fn fault(
    document: &Value,
    schema: &Value,
    value: &Value,
    place: &str,
) -> Option<String> {
    let schema = resolve(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let mut faults = choices.iter().map(|choice| fault(document, choice, value, place));
        return faults.try_fold(String::new(), |all, fault| Some(all + &fault? + "; or "));
    }
    let (types, is) = (types(schema), type_of(value));
    if !types.contains(&is) {
        return Some(format!("{place}: {value} is no {types:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value[name.as_str().expect("a name")].is_null() {
            return Some(format!("{place}: no {name} in {value}"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][name];
        // It says of itself that what it is made of depends.
        if known.is_null() && schema["additionalProperties"] == true {
            continue;
        }
        if known.is_null() {
            return Some(format!("{place}: {name} is not described"));
        }
        let found = fault(document, known, member, &format!("{place}.{name}"));
        if found.is_some() {
            return found;
        }
    }
    if schema["format"] == "date-time" && !value.is_null() {
        e2e::answer::time(value);
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_i64(), value.as_i64())
        && number < least
    {
        return Some(format!("{place}: {number} is below {least}"));
    }
    let mut items = value.as_array().into_iter().flatten();
    items.find_map(|item| fault(document, &schema["items"], item, &format!("{place}[]")))
}
