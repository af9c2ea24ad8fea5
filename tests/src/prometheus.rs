//! Metrics as Prometheus text, and the expressions that ask for them, read as far as the tests need it.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of each metric, by its name.
pub type Names = BTreeMap<String, BTreeSet<String>>;

/// What an expression says that is neither a metric nor a label.
const WORDS: [&str; 18] = [
    "sum",
    "max",
    "min",
    "avg",
    "count",
    "by",
    "without",
    "rate",
    "increase",
    "absent",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "histogram_quantile",
    "time",
    "and",
    "or",
];

/// The metrics of the process whose monitor is at this address.
pub async fn scrape(monitor: &str) -> String {
    let answer = reqwest::get(format!("{monitor}/metrics")).await.expect("the monitor answers");
    assert_eq!(answer.status().as_u16(), 200);
    answer.text().await.expect("metrics are text")
}

/// One sample: its value, where it has this name and at least these labels.
pub fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    };
    let found: Vec<f64> = text
        .lines()
        .filter(fits)
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!found.is_empty()).then(|| found.iter().sum())
}

/// Every metric in `text`, with the labels it has there.
pub fn names(text: &str) -> Names {
    let mut names = Names::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let labels = names.entry(name.to_owned()).or_default();
        if let Some(inner) = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')) {
            labels.extend(tokens(inner.0));
        }
    }
    names
}

/// Every metric that `expression` asks for, with the labels it names for it: those in braces belong to
/// the metric before them, those of `by` to every metric of the expression.
pub fn asked(expression: &str) -> Names {
    let mut names = Names::new();
    let mut grouped = BTreeSet::new();
    let (mut rest, mut last, mut word) = (expression, String::new(), String::new());
    while let Some(next) = rest.chars().next() {
        let tail = rest.split_at(next.len_utf8()).1;
        if next == '{' {
            let (inner, after) = tail.split_once('}').expect("a selector ends");
            names.entry(last.clone()).or_default().extend(tokens(inner));
            rest = after;
        } else if next == '[' {
            rest = tail.split_once(']').expect("a range ends").1;
        } else if next == '(' && ["by", "without", "on", "ignoring"].contains(&word.as_str()) {
            let (inner, after) = tail.split_once(')').expect("a list ends");
            grouped.extend(tokens(inner));
            (rest, word) = (after, String::new());
        } else if next.is_ascii_alphabetic() || next == '_' {
            let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            word = name.to_owned();
            if !WORDS.contains(&word.as_str()) {
                last.clone_from(&word);
                names.entry(word.clone()).or_default();
            }
            rest = after;
        } else if next.is_ascii_digit() {
            // With its unit: `5m`.
            rest = tail.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else {
            rest = tail;
        }
    }
    for labels in names.values_mut() {
        labels.extend(grouped.iter().cloned());
    }
    names
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The names in `a="x",b=~"y"` and in `a, b`, without what stands in quotes.
fn tokens(text: &str) -> BTreeSet<String> {
    let outside: String = text.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split(|c: char| !is_of_name(c)).filter(|word| !word.is_empty());
    words.map(ToOwned::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(names: &Names) -> String {
        let show = |(name, labels): (&String, &BTreeSet<String>)| format!("{name}{labels:?}");
        names.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_text_and_an_expression_give_their_metrics_and_labels() {
        let text = "# HELP a_total x\na_total{k=\"v{1}\",l=\"le\"} 3\nb 1\na_total{m=\"\"} 4\n";
        assert_eq!(shown(&names(text)), r#"a_total{"k", "l", "m"} b{}"#);
        assert_eq!(value(text, "a_total", &[]), Some(7.0));
        assert_eq!(value(text, "a_total", &[("l", "le")]), Some(3.0));
        assert_eq!(value(text, "a", &[]), None);
        let expression =
            r#"histogram_quantile(0.99, sum by (le) (rate(a_bucket{r=~"/x.*"}[5m]))) > 0.5 / b"#;
        assert_eq!(shown(&asked(expression)), r#"a_bucket{"le", "r"} b{"le"}"#);
    }
}
