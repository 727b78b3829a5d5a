//! Writing answers and errors.

use super::global::{Color, Global};
use super::typed::typed;
use crate::clean::clean;
use crate::files;
use crate::report::{Answer, Format, Style, png, width};
use anyhow::{Context as _, Result, bail};
use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

/// The form of an answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct AnswerStyle {
    format: Format,
    color: Color,
}

impl AnswerStyle {
    /// What the flags ask for.
    pub fn of(global: &Global) -> Self {
        let format = if global.json { Format::Json } else { global.format };
        Self { format, color: global.color }
    }

    /// The format that is asked for.
    #[cfg(feature = "explore")]
    pub const fn format(self) -> Format {
        self.format
    }

    /// When there is color.
    #[cfg(feature = "explore")]
    pub const fn color(self) -> Color {
        self.color
    }
}

/// Writes an answer to standard output or to a file.
pub(in crate::cli) fn write(
    style: AnswerStyle,
    file: Option<&Path>,
    answer: &Answer,
) -> Result<()> {
    let AnswerStyle { format, color } = style;
    let to_file = file.is_some();
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            !to_file
                && std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    let width = if to_file { 100 } else { width() };
    let text = match format {
        Format::Html => answer.page(&typed())?,
        _ => answer.render(format, Style { width, color, ascii: !to_file && !is_utf8() })?,
    };
    match file {
        Some(path) => write_file(path, text.as_bytes()),
        None => write_stdout(text.as_bytes()),
    }
}

/// Says a line on standard error, the only way in which anything is said there. Texts of others do nothing to the
/// terminal, and where nobody can be told, nothing is: the answer and the exit code matter more than talk.
pub(in crate::cli) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", clean(line));
}

/// Prints what the parser of arguments says: its help or an error. An error repeats what was typed.
pub(in crate::cli) fn say_of_arguments(error: &clap::Error) {
    let text = error.render().to_string();
    match clean(&text) {
        // Nobody can be told where this fails.
        Cow::Borrowed(_) => drop(error.print()),
        Cow::Owned(text) => say(text.trim_end()),
    }
}

/// Writes to standard output; a closed pipe ends the program quietly.
pub(in crate::cli) fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Writes a whole file or nothing; what is no regular file is written through.
pub(in crate::cli) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    files::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether the locale can show more than ASCII. Where nothing is set, as on servers and in CI, it is taken to.
pub(in crate::cli) fn is_utf8() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.is_none_or(|l| {
        let l = l.to_lowercase();
        l.contains("utf-8") || l.contains("utf8")
    })
}

/// How a plot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Picture {
    /// As it was drawn.
    Svg,
    /// As pixels.
    Png,
}

impl Picture {
    /// What the name of a file asks for; SVG without an ending.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|e| e.to_str()).map(str::to_lowercase).as_deref() {
            None | Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            Some(other) => bail!("{}: plots are .svg or .png, not .{other}", path.display()),
        }
    }

    /// The bytes of a file.
    pub fn encode(self, svg: &str) -> Result<Vec<u8>> {
        match self {
            Self::Svg => Ok(clean(svg).as_bytes().to_vec()),
            Self::Png => {
                png(&clean(svg)).map_err(anyhow::Error::msg).context("cannot draw the plot as PNG")
            }
        }
    }
}

/// Writes a plot as the name of its file says.
pub(in crate::cli) fn write_plot(path: &Path, svg: &str) -> Result<()> {
    write_file(path, &Picture::of(path)?.encode(svg)?)
}

/// Whether an error only says that nobody reads the output any more.
pub(in crate::cli) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let broken = |e: &std::io::Error| e.kind() == ErrorKind::BrokenPipe;
    error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(broken)
}

/// The text of an error with its causes, none said twice.
pub(in crate::cli) fn error_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}
