//! Reading a TOML data file so that every problem in it is reported at once, with its place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::data_dir::{DataDirError, DataDirs};
use crate::hardware::provenance::Confidence;
use crate::hardware::tier::Tier;

/// A catalog that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MacsError {
    /// A data folder or file cannot be read.
    #[error("{0}")]
    Unreadable(Arc<DataDirError>),
    /// Data files have these problems.
    #[error("{}", list(.0))]
    Invalid(Arc<[Problem]>),
}

impl From<DataDirError> for MacsError {
    fn from(error: DataDirError) -> Self {
        Self::Unreadable(Arc::new(error))
    }
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// One problem in a data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The entry and key, for example `chip m4max-40: gpu_cores`.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, key, message } = self;
        write!(f, "{file}:{line}:{column}: {key}: {message}")
    }
}

/// One data file: where it is and what it says.
#[derive(Debug)]
pub(crate) struct TomlFile {
    pub name: String,
    pub text: Cow<'static, str>,
    /// Whether the file ships with mlxplan.
    pub embedded: bool,
    /// Where each line begins; counted when the first problem is placed.
    lines: OnceLock<Vec<usize>>,
}

impl TomlFile {
    /// A file by its name and text.
    pub fn new(name: String, text: Cow<'static, str>, embedded: bool) -> Self {
        Self { name, text, embedded, lines: OnceLock::new() }
    }

    /// A problem at a byte offset of the file.
    pub fn problem(
        &self,
        offset: usize,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        let lines = self.lines.get_or_init(|| {
            let breaks = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(breaks).collect()
        });
        let line = lines.partition_point(|&start| start <= offset);
        let start = lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Problem {
            file: self.name.clone(),
            line,
            column: before.chars().count() + 1,
            key: key.into(),
            message: message.into(),
        }
    }
}

/// The embedded file `name` followed by the files that override it.
pub(crate) fn sources(
    name: &str,
    embedded: Option<&'static str>,
    dirs: &DataDirs,
) -> Result<Vec<TomlFile>, DataDirError> {
    let mut sources = Vec::new();
    if let Some(text) = embedded {
        sources.push(TomlFile::new(name.to_owned(), text.into(), true));
    }
    for file in dirs.read(name)? {
        let name = file.path.display().to_string();
        sources.push(TomlFile::new(name, file.text.into(), false));
    }
    Ok(sources)
}

/// Parses a file and hands its top level to `read` as one entry.
pub(crate) fn whole(
    source: &TomlFile,
    problems: &mut Vec<Problem>,
    label: &str,
    read: impl FnOnce(&mut DataEntry<'_>),
) {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.push(source.problem(offset, "syntax", error.message().trim()));
    }
    let (table, label) = (document.get_ref(), label.to_owned());
    read(&mut DataEntry { source, problems, table, offset: 0, label });
}

/// Parses a file and hands every `[[kind]]` table to `read`. Other top-level keys are allowed if they stand in `headers`.
pub(crate) fn for_each_entry(
    source: &TomlFile,
    problems: &mut Vec<Problem>,
    kind: &str,
    headers: &[&str],
    mut read: impl FnMut(&mut DataEntry<'_>),
) {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        problems.push(source.problem(offset, "syntax", error.message().trim()));
    }
    for (key, value) in document.get_ref() {
        let name = key.get_ref().as_ref();
        if name == kind {
            for_each_table(source, problems, kind, value, &mut read);
        } else if name == "schema" {
            if value.get_ref().as_integer().is_none_or(|n| n.as_str() != "1") {
                problems.push(source.problem(value.span().start, name, "must be 1"));
            }
        } else if !headers.contains(&name) {
            let hint = closest(name, headers.iter().copied().chain([kind]));
            let message = format!("unknown key{hint}");
            problems.push(source.problem(key.span().start, name, message));
        }
    }
}

fn for_each_table(
    source: &TomlFile,
    problems: &mut Vec<Problem>,
    label: &str,
    value: &Spanned<DeValue<'_>>,
    read: &mut dyn FnMut(&mut DataEntry<'_>),
) {
    let Some(array) = value.get_ref().as_array() else {
        problems.push(source.problem(value.span().start, label, "must be a list of tables"));
        return;
    };
    for item in array.iter() {
        let offset = item.span().start;
        match item.get_ref().as_table() {
            Some(table) => {
                let label = label.to_owned();
                read(&mut DataEntry { source, problems, table, offset, label });
            }
            None => problems.push(source.problem(offset, label, "must be a table")),
        }
    }
}

/// `; did you mean "…"?` when one of the known words is close, else nothing.
pub(crate) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 4))
        .map(|(_, candidate)| format!("; did you mean \"{candidate}\"?"))
        .unwrap_or_default()
}

/// One table of a data file. Reading a key that is missing or wrong notes a problem and goes on.
pub(crate) struct DataEntry<'e> {
    source: &'e TomlFile,
    problems: &'e mut Vec<Problem>,
    table: &'e DeTable<'e>,
    offset: usize,
    label: String,
}

impl DataEntry<'_> {
    /// Whether the table ships with mlxplan.
    pub fn embedded(&self) -> bool {
        self.source.embedded
    }

    /// Whether the table has this key.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The file it stands in.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// Names the entry in the problems that follow.
    pub fn set_label(&mut self, label: impl Into<String>) {
        self.label = label.into();
    }

    /// Notes that the value of `key` is wrong.
    pub fn wrong(&mut self, key: &str, message: impl Into<String>) {
        let offset = self.table.get(key).map_or(self.offset, |value| value.span().start);
        let place = format!("{}: {key}", self.label);
        self.problems.push(self.source.problem(offset, place, message));
    }

    /// The value of a key that may be absent.
    pub fn optional<T: Field>(&mut self, key: &str) -> Option<T> {
        let value = self.table.get(key)?;
        let read = T::read(value.get_ref());
        if read.is_none() {
            self.wrong(key, format!("must be {}, found {}", T::EXPECTED, self.written(key)));
        }
        read
    }

    /// The value of a key as the file has it, cut where it is long.
    fn written(&self, key: &str) -> String {
        let span = self.table.get(key).map_or(0..0, Spanned::span);
        excerpt(self.source.text.get(span).unwrap_or_default())
    }

    /// The value of a key; `base` is the value of the entry that this one overrides.
    pub fn required<T: Field>(&mut self, key: &str, base: Option<T>) -> Option<T> {
        if self.table.contains_key(key) {
            return self.optional(key);
        }
        if base.is_none() {
            self.wrong(key, format!("is missing; it must be {}", T::EXPECTED));
        }
        base
    }

    /// The value of a key that must lie in a range.
    pub fn within<T: Field + PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        base: Option<T>,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let value = self.required(key, base)?;
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = range.into_inner();
        let found = if self.has(key) { self.written(key) } else { value.to_string() };
        self.wrong(key, format!("must be from {low} to {high}, found {found}"));
        None
    }

    /// Hands every table in the list `key` to `read`; false when there is no such key.
    pub fn tables(&mut self, key: &str, read: &mut dyn FnMut(&mut DataEntry<'_>)) -> bool {
        let Some(value) = self.table.get(key) else {
            return false;
        };
        let label = format!("{}: {key}", self.label);
        for_each_table(self.source, self.problems, &label, value, read);
        true
    }

    /// Hands the table `key`, or every table in a list of them, to `read`.
    pub fn one_or_more(&mut self, key: &str, read: &mut dyn FnMut(&mut DataEntry<'_>)) {
        let Some(value) = self.table.get(key) else { return };
        let label = format!("{}: {key}", self.label);
        match value.get_ref().as_table() {
            Some(table) => {
                let (source, problems, offset) =
                    (self.source, &mut *self.problems, value.span().start);
                read(&mut DataEntry { source, problems, table, offset, label });
            }
            None => for_each_table(self.source, self.problems, &label, value, read),
        }
    }

    /// Reports keys that are not known.
    pub fn only(&mut self, known: &[&str]) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let place = format!("{}: {name}", self.label);
                let hint = closest(name, known.iter().copied());
                let message = format!("unknown key{hint}");
                self.problems.push(self.source.problem(key.span().start, place, message));
            }
        }
    }
}

/// Longest excerpt of a value in a message, in characters.
const EXCERPT: usize = 60;

/// What a file says, on one line and cut where it is long.
fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut cut: String = line.chars().take(EXCERPT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// A type that a TOML value can be read as.
pub(crate) trait Field: Sized {
    /// What a user should write, for messages.
    const EXPECTED: &'static str;
    /// The value, if it is of this type.
    fn read(value: &DeValue<'_>) -> Option<Self>;
}

impl Field for u64 {
    const EXPECTED: &'static str = "a whole number";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        let number = value.as_integer()?;
        Self::from_str_radix(number.as_str(), number.radix()).ok()
    }
}

impl Field for u32 {
    const EXPECTED: &'static str = "a whole number";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        u64::read(value)?.try_into().ok()
    }
}

impl Field for f64 {
    const EXPECTED: &'static str = "a number";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        let number: Option<Self> = match value.as_float() {
            Some(float) => float.as_str().parse().ok(),
            None => value
                .as_integer()
                .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok())
                .map(|n| n as Self),
        };
        number.filter(|n| n.is_finite())
    }
}

impl Field for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }
}

impl Field for String {
    const EXPECTED: &'static str = "a text that is not empty";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
    }
}

fn all<T: Field>(value: &DeValue<'_>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(|item| T::read(item.get_ref())).collect()
}

impl Field for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        all(value)
    }
}

impl Field for Vec<u64> {
    const EXPECTED: &'static str = "a list of whole numbers";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        all(value)
    }
}

/// A table from whole numbers to numbers, such as `{ "16" = 153 }`.
impl Field for BTreeMap<u64, f64> {
    const EXPECTED: &'static str = "a table such as { \"16\" = 153, \"24\" = 170 }";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        let entries = value.as_table()?.iter();
        entries
            .map(|(key, value)| Some((key.get_ref().parse().ok()?, f64::read(value.get_ref())?)))
            .collect()
    }
}

/// Implements [`Field`] for a type that parses from a fixed set of words.
macro_rules! word_field {
    ($type:ty, $expected:literal) => {
        impl $crate::hardware::catalog::document::Field for $type {
            const EXPECTED: &'static str = $expected;
            fn read(value: &toml::de::DeValue<'_>) -> Option<Self> {
                value.as_str()?.parse().ok()
            }
        }
    };
}
pub(crate) use word_field;

word_field!(Confidence, "\"high\", \"medium\" or \"low\"");
word_field!(Tier, "\"base\", \"pro\", \"max\", \"ultra\" or \"phone\"");
