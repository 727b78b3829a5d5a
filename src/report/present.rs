//! Answers are typed values: what a program reads and what a person reads are made from the same type.

use super::cleaned::cleaned;
use super::{Document, Format, Page, PageError, Style, csv, markdown, terminal};
use crate::chart::Chart;
use crate::clean::{clean, clean_json};
use quick_junit::Report;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;
use thiserror::Error;

/// A value that answers a command.
///
/// Its fields are the keys of the JSON object; what only people are shown is a field with `#[serde(skip)]`.
pub trait Present: Serialize + JsonSchema {
    /// Name and version of the JSON object, its key `schema`: `mlxplan.check/1`. One name, one shape.
    const SCHEMA: &'static str;

    /// What the answer leaves out, in a few words each: the line "not modeled" and the key `not_modeled`. Empty where the
    /// answer has such a key of its own, or only repeats what is written down.
    const NOT_MODELED: &'static [&'static str] = &[];

    /// The answer for people: what terminals, Markdown and CSV show.
    fn document(&self) -> Document;

    /// What a page shows beside the text.
    fn charts(&self) -> Vec<Chart> {
        Vec::new()
    }

    /// The answer as test results, where it passes or fails.
    fn junit(&self) -> Option<Report> {
        None
    }
}

/// A value with its schema's name as the first key.
#[derive(Clone, Debug)]
pub struct Tagged<T>(pub T);

#[derive(Serialize)]
struct WithSchema<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    value: &'a T,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_modeled: &'static [&'static str],
}

impl<T: Present> Serialize for Tagged<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (schema, not_modeled) = (T::SCHEMA, T::NOT_MODELED);
        WithSchema { schema, value: &self.0, not_modeled }.serialize(serializer)
    }
}

impl<T: Present> JsonSchema for Tagged<T> {
    fn schema_name() -> Cow<'static, str> {
        T::SCHEMA.into()
    }

    fn schema_id() -> Cow<'static, str> {
        T::SCHEMA.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let object = schema.ensure_object();
        let name = json!({ "const": T::SCHEMA, "description": "Name and version of this object" });
        let left_out = (!T::NOT_MODELED.is_empty()).then(|| {
            json!({
                "type": "array", "items": { "type": "string" }, "description": "What the answer leaves out"
            })
        });
        if let Some(keys) = object.entry("required").or_insert(json!([])).as_array_mut() {
            keys.insert(0, "schema".into());
            keys.extend(left_out.as_ref().map(|_| "not_modeled".into()));
        }
        if let Some(keys) = object.entry("properties").or_insert(json!({})).as_object_mut() {
            keys.shift_insert(0, "schema".to_owned(), name);
            keys.extend(left_out.map(|key| ("not_modeled".to_owned(), key)));
        }
        schema
    }
}

/// What a command answers: any [`Present`] value, rendered only as it is asked for.
pub struct Answer(Box<dyn Render>);

/// [`Present`] without its type.
trait Render {
    fn document(&self) -> Document;
    fn charts(&self) -> Vec<Chart>;
    fn json(&self) -> Result<Value, serde_json::Error>;
    fn junit(&self) -> Option<Report>;
}

impl<T: Present> Render for Tagged<T> {
    fn document(&self) -> Document {
        let mut document = self.0.document();
        document.not_modeled(T::NOT_MODELED);
        document.say_once();
        document
    }

    fn charts(&self) -> Vec<Chart> {
        self.0.charts()
    }

    fn json(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }

    fn junit(&self) -> Option<Report> {
        self.0.junit()
    }
}

/// Why an answer cannot be written.
#[derive(Debug, Error)]
pub enum RenderError {
    /// A value that JSON does not have, such as a key that is no text.
    #[error("the answer cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The answer neither passes nor fails.
    #[error("this answer has no JUnit form; choose table, json, csv, markdown or html")]
    NoJunit,
    /// The results cannot be written as XML.
    #[error("the answer cannot be written as JUnit XML: {0}")]
    Junit(#[from] quick_junit::SerializeError),
    /// A page cannot be made.
    #[error(transparent)]
    Page(#[from] PageError),
}

impl Answer {
    /// The answer that a value is.
    #[must_use]
    pub fn of(value: impl Present + 'static) -> Self {
        Self(Box::new(Tagged(value)))
    }

    /// The answer for people.
    #[must_use]
    pub fn document(&self) -> Document {
        self.0.document()
    }

    /// The answer as a page that names the command which writes it.
    ///
    /// # Errors
    /// When a chart cannot be drawn.
    pub fn page(&self, command: &str) -> Result<String, PageError> {
        let page = Page::of(&cleaned(&self.document()), self.0.charts(), command);
        Ok(clean(&page.render()?).into_owned())
    }

    /// The answer in one of the formats, with a line break at the end; nothing in it acts on a terminal but the style.
    ///
    /// # Errors
    /// When the answer has no such form.
    pub fn render(&self, format: Format, style: Style) -> Result<String, RenderError> {
        Ok(match format {
            Format::Table => terminal::render(&cleaned(&self.document()), style),
            Format::Json => clean_json(&format!("{:#}\n", self.0.json()?)).into_owned(),
            Format::Csv => csv::render(&cleaned(&self.document())),
            Format::Markdown => markdown::render(&cleaned(&self.document())),
            Format::Html => self.page("")?,
            Format::Junit => {
                clean(&self.0.junit().ok_or(RenderError::NoJunit)?.to_string()?).into_owned()
            }
        })
    }
}

/// An answer within another one is its object.
impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.json().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl JsonSchema for Answer {
    fn schema_name() -> Cow<'static, str> {
        "Answer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "The answer of another command, by its own schema",
            "properties": { "schema": { "type": "string" } },
            "required": ["schema"],
        })
    }
}

/// The JSON schema of an answer, for `docs/schema`.
#[must_use]
pub fn schema_of<T: Present>() -> Schema {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Tagged<T>>();
    schema.insert("title".to_owned(), T::SCHEMA.into());
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Two {
        /// The first.
        a: u64,
        b: Option<f64>,
        #[serde(skip)]
        said: &'static str,
    }

    impl Present for Two {
        const SCHEMA: &'static str = "mlxplan.two/1";

        fn document(&self) -> Document {
            let mut d = Document::default();
            d.text(self.said);
            d
        }
    }

    #[derive(Serialize, JsonSchema)]
    struct Partial {
        c: u64,
    }

    impl Present for Partial {
        const SCHEMA: &'static str = "mlxplan.partial/1";
        const NOT_MODELED: &'static [&'static str] = &["heat", "other processes"];

        fn document(&self) -> Document {
            let mut d = Document::default();
            d.notes(vec!["a doubt".to_owned(), "a doubt".to_owned()]);
            d.notes(vec!["a doubt".to_owned()]);
            d.notes(vec!["another".to_owned()]);
            d
        }
    }

    #[test]
    fn what_is_left_out_is_said_and_doubts_are_said_once() {
        let answer = Answer::of(Partial { c: 3 });
        let text = answer.render(Format::Table, STYLE).expect("text");
        assert_eq!(text, "- a doubt\n\n- another\n\nnot modeled: heat; other processes\n");
        let json = answer.render(Format::Json, STYLE).expect("JSON");
        assert!(json.contains("\"not_modeled\": [\n    \"heat\""), "{json}");
        let schema = schema_of::<Partial>();
        assert_eq!(schema.get("required"), Some(&json!(["schema", "c", "not_modeled"])));
    }

    const STYLE: Style = Style { width: 80, color: false, ascii: false };

    #[test]
    fn one_type_makes_every_form() {
        let answer = Answer::of(Two { a: 1, b: None, said: "hello" });
        let json = answer.render(Format::Json, STYLE).expect("JSON");
        assert_eq!(json, "{\n  \"schema\": \"mlxplan.two/1\",\n  \"a\": 1,\n  \"b\": null\n}\n");
        assert_eq!(answer.render(Format::Table, STYLE).expect("text"), "hello\n");
        assert!(matches!(answer.render(Format::Junit, STYLE), Err(RenderError::NoJunit)));
    }

    #[test]
    fn the_schema_names_every_key_that_is_written() {
        let schema = schema_of::<Two>();
        let keys: Vec<&String> =
            schema.get("properties").and_then(Value::as_object).expect("keys").keys().collect();
        assert_eq!(keys, ["schema", "a", "b"]);
        assert_eq!(schema.get("required"), Some(&json!(["schema", "a", "b"])));
    }
}
