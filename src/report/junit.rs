//! JUnit XML of a `mlxplan.check/1` object: a suite for each Mac, a case for each requirement. What is uncertain counts
//! as skipped, because it neither passes nor fails.

use serde_json::Value;
use std::fmt::Write as _;

/// The object as JUnit XML; `None` when it is no check.
pub(super) fn render(check: &Value) -> Option<String> {
    if check["schema"] != "mlxplan.check/1" {
        return None;
    }
    let plan = check["plan"].as_str().unwrap_or("plan");
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut suites = String::new();
    let mut total = Counts::default();
    for mac in list(&check["macs"]) {
        let machine = mac["machine"]["id"].as_str().unwrap_or("?");
        let mut cases = String::new();
        let mut counts = Counts::default();
        if !mac["together"].is_null() {
            let changes = &mac["together_changes"];
            case(
                &mut cases,
                &mut counts,
                (plan, machine),
                "all together",
                &mac["together"],
                changes,
            );
        }
        for workload in list(&mac["workloads"]) {
            let name = workload["name"].as_str().unwrap_or("?");
            for requirement in list(&workload["requirements"]) {
                case(
                    &mut cases,
                    &mut counts,
                    (plan, machine),
                    name,
                    requirement,
                    &workload["changes"],
                );
            }
        }
        let _ = writeln!(
            suites,
            "  <testsuite name=\"{}\" {}>\n{cases}  </testsuite>",
            escape(machine),
            counts.attributes()
        );
        total.add(&counts);
    }
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" {}>\n{suites}</testsuites>",
        escape(plan),
        total.attributes()
    );
    Some(out)
}

#[derive(Default)]
struct Counts {
    tests: usize,
    failures: usize,
    skipped: usize,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.tests += other.tests;
        self.failures += other.failures;
        self.skipped += other.skipped;
    }

    fn attributes(&self) -> String {
        let Self { tests, failures, skipped } = self;
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"")
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn case(
    out: &mut String,
    counts: &mut Counts,
    (plan, machine): (&str, &str),
    workload: &str,
    requirement: &Value,
    changes: &Value,
) {
    counts.tests += 1;
    let kind = requirement["kind"].as_str().unwrap_or("?");
    let name = escape(&format!("{workload}: {kind}"));
    let class = escape(&format!("{plan}.{machine}"));
    let message = format!(
        "predicted {}, 90 % {} to {}, threshold {}, probability {:.3}",
        requirement["predicted"],
        requirement["interval_90"][0],
        requirement["interval_90"][1],
        requirement["threshold"],
        requirement["probability"].as_f64().unwrap_or(0.0)
    );
    let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{class}\" time=\"0\">");
    let message = escape(&message);
    match requirement["outcome"].as_str() {
        Some("fail") => {
            counts.failures += 1;
            let body = list(changes).first().map(ToString::to_string).unwrap_or_default();
            let _ = write!(out, "<failure message=\"{message}\">{}</failure>", escape(&body));
        }
        Some("uncertain") => {
            counts.skipped += 1;
            let _ = write!(out, "<skipped message=\"uncertain: {message}\"/>");
        }
        _ => {
            let _ = write!(out, "<system-out>{message}</system-out>");
        }
    }
    out.push_str("</testcase>\n");
}

/// Text in XML, in content and in attributes. Characters that XML 1.0 does not allow become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("a<b>&\"c'\u{1}"), "a&lt;b&gt;&amp;&quot;c&apos;\u{fffd}");
    }

    #[test]
    fn only_checks_have_it() {
        assert_eq!(render(&serde_json::json!({ "schema": "mlxplan.prediction/1" })), None);
    }
}
