//! As much of PromQL's grammar as the linter asks about: what selects what, inside of which call. Whether an
//! expression is right altogether, promtool says.

use anyhow::{Context as _, bail, ensure};

/// A part of an expression.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    /// A number or a string.
    Literal,
    Selector(Selector),
    /// A function and its arguments.
    Call {
        function: String,
        arguments: Vec<Node>,
    },
    /// `sum by (…) (…)` and the like. `without (…)` counts as no labels.
    Aggregation {
        operator: String,
        by: Vec<String>,
        arguments: Vec<Node>,
    },
    /// Operands in a row, and the labels by which they are matched. Their precedence is of no interest here.
    Operation {
        matched: Vec<String>,
        operands: Vec<Node>,
    },
}

/// `name{label="…"}[range]`
#[derive(Debug, PartialEq)]
pub(super) struct Selector {
    pub(super) name: String,
    /// The labels that it matches.
    pub(super) labels: Vec<String>,
    pub(super) range: Option<String>,
    /// Byte at which another matcher can be put in.
    matchers_at: usize,
    has_braces: bool,
}

const AGGREGATIONS: [&str; 8] = ["sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile"];
const WORD_OPERATORS: [&str; 3] = ["and", "or", "unless"];
const SIGNS: [&str; 12] = ["==", "!=", ">=", "<=", ">", "<", "+", "-", "*", "/", "%", "^"];

impl Node {
    /// Calls with each part and what it stands in, from the outside to the inside.
    pub(super) fn each<'a>(&'a self, see: &mut impl FnMut(&'a Node, &[&'a Node])) {
        self.walk(&mut Vec::new(), see);
    }

    fn walk<'a>(&'a self, around: &mut Vec<&'a Node>, see: &mut impl FnMut(&'a Node, &[&'a Node])) {
        see(self, around);
        let inner: &[Node] = match self {
            Self::Literal | Self::Selector(_) => &[],
            Self::Call { arguments, .. } | Self::Aggregation { arguments, .. } => arguments,
            Self::Operation { operands, .. } => operands,
        };
        around.push(self);
        for node in inner {
            node.walk(around, see);
        }
        around.pop();
    }

    /// All selectors, as they are written.
    pub(super) fn selectors(&self) -> Vec<&Selector> {
        let mut selectors = Vec::new();
        self.each(&mut |node, _| {
            if let Self::Selector(selector) = node {
                selectors.push(selector);
            }
        });
        selectors
    }
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> anyhow::Result<Node> {
    let mut parser = Parser { text, at: 0 };
    let node = parser.expression().with_context(|| format!("in {text:?}, byte {}", parser.at))?;
    ensure!(parser.rest().is_empty(), "{:?} is too much in {text:?}", parser.rest());
    Ok(node)
}

/// Adds matchers to each selector that has none of the label `job`: some for metrics of processes, others for
/// what rules recorded.
pub(super) fn scoped(text: &str, of_processes: &str, of_rules: &str) -> anyhow::Result<String> {
    let node = parse(text)?;
    let mut scoped = text.to_owned();
    // From the end, so that the places before stay where they are.
    for selector in node.selectors().into_iter().rev() {
        let matchers = if selector.is_recorded() { of_rules } else { of_processes };
        if matchers.is_empty() || selector.labels.iter().any(|label| label == "job") {
            continue;
        }
        if selector.has_braces {
            scoped.insert_str(selector.matchers_at, &format!("{matchers},"));
        } else {
            scoped.insert_str(selector.matchers_at, &format!("{{{matchers}}}"));
        }
    }
    Ok(scoped)
}

impl Selector {
    /// Whether it selects what a rule recorded.
    pub(super) fn is_recorded(&self) -> bool {
        self.name.contains(':')
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&mut self) -> &'a str {
        self.at = self.text.len() - self.text[self.at..].trim_start().len();
        &self.text[self.at..]
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is_there = self.rest().starts_with(wanted);
        if is_there {
            self.at += wanted.len();
        }
        is_there
    }

    fn need(&mut self, wanted: &str) -> anyhow::Result<()> {
        ensure!(self.take(wanted), "{wanted:?} is missing");
        Ok(())
    }

    /// Takes what stands before a character, and the character.
    fn until(&mut self, end: char) -> anyhow::Result<&'a str> {
        let rest = self.rest();
        let length = rest.find(end).with_context(|| format!("{end:?} is missing"))?;
        self.at += length + end.len_utf8();
        Ok(&rest[..length])
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let is_other = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let word = &rest[..rest.find(is_other).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn take_word(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let before = self.at;
        let word = self.word();
        let found = words.iter().find(|wanted| **wanted == word).copied();
        if found.is_none() {
            self.at = before;
        }
        found
    }

    /// `(a, b)`
    fn labels(&mut self) -> anyhow::Result<Vec<String>> {
        self.need("(")?;
        let list = self.until(')')?;
        Ok(list.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect())
    }

    fn expression(&mut self) -> anyhow::Result<Node> {
        let mut operands = vec![self.operand()?];
        let mut matched = Vec::new();
        while self.take_word(&WORD_OPERATORS).is_some() || SIGNS.iter().any(|sign| self.take(sign)) {
            self.take_word(&["bool"]);
            while self.take_word(&["on", "ignoring", "group_left", "group_right"]).is_some() {
                matched.extend(self.labels()?);
            }
            operands.push(self.operand()?);
        }
        Ok(if operands.len() == 1 { operands.remove(0) } else { Node::Operation { matched, operands } })
    }

    fn operand(&mut self) -> anyhow::Result<Node> {
        self.take("-");
        let node = match self.rest().chars().next() {
            Some('(') => {
                self.need("(")?;
                let inner = self.expression()?;
                self.need(")")?;
                inner
            }
            Some('"') => {
                self.need("\"")?;
                self.until('"')?;
                Node::Literal
            }
            Some(c) if c.is_ascii_digit() || c == '.' => {
                let rest = self.rest();
                self.at +=
                    rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
                // 1e-9
                if self.text[..self.at].ends_with('e') && self.take("-") {
                    self.word();
                }
                Node::Literal
            }
            _ => self.named()?,
        };
        if self.take_word(&["offset"]).is_some() {
            self.word();
        }
        Ok(node)
    }

    fn named(&mut self) -> anyhow::Result<Node> {
        let name = self.word().to_owned();
        let end_of_name = self.at;
        ensure!(!name.is_empty(), "a name is missing before {:?}", self.rest());
        if AGGREGATIONS.contains(&name.as_str()) {
            let mut by = self.grouping()?;
            let arguments = self.arguments()?;
            by.extend(self.grouping()?);
            return Ok(Node::Aggregation { operator: name, by, arguments });
        }
        if self.rest().starts_with('(') {
            return Ok(Node::Call { function: name, arguments: self.arguments()? });
        }
        self.selector(name, end_of_name)
    }

    fn grouping(&mut self) -> anyhow::Result<Vec<String>> {
        Ok(match self.take_word(&["by", "without"]) {
            Some("by") => self.labels()?,
            Some(_) => self.labels().map(|_| Vec::new())?,
            None => Vec::new(),
        })
    }

    fn arguments(&mut self) -> anyhow::Result<Vec<Node>> {
        self.need("(")?;
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() {
                self.need(",")?;
            }
            arguments.push(self.expression()?);
        }
        Ok(arguments)
    }

    fn selector(&mut self, name: String, end_of_name: usize) -> anyhow::Result<Node> {
        let has_braces = self.take("{");
        let matchers_at = if has_braces { self.at } else { end_of_name };
        let mut labels = Vec::new();
        while has_braces && !self.take("}") {
            labels.push(self.word().to_owned());
            let is_matcher = ["=~", "!~", "!=", "="].iter().any(|sign| self.take(sign));
            ensure!(is_matcher, "a matcher is missing before {:?}", self.rest());
            self.need("\"")?;
            self.until('"')?;
            if !self.take(",") && !self.rest().starts_with('}') {
                bail!("a comma is missing before {:?}", self.rest());
            }
        }
        let range = if self.take("[") { Some(self.until(']')?.to_owned()) } else { None };
        Ok(Node::Selector(Selector { name, labels, range, matchers_at, has_braces }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Vec<(String, usize)> {
        let mut seen = Vec::new();
        parse(text).unwrap().each(&mut |node, around| {
            if let Node::Selector(selector) = node {
                seen.push((selector.name.clone(), around.len()));
            }
        });
        seen
    }

    #[test]
    fn selectors_are_found_in_what_they_stand_in() {
        let text = "sum by (job) (rate(a_total{x=~\"1,}|b\"}[5m])) / clamp_min(sum(b), 1e-9) > 0.5 \
            and on (job) c offset 1d";
        assert_eq!(seen(text), [("a_total".to_owned(), 3), ("b".to_owned(), 3), ("c".to_owned(), 1)]);
        assert_eq!(seen("sum(x) by (job) unless -y"), [("x".to_owned(), 2), ("y".to_owned(), 1)]);
        assert_eq!(seen("vector(1)"), []);
        assert_eq!(
            parse("max(x[$__rate_interval]) without (a)").unwrap(),
            Node::Aggregation {
                operator: "max".into(),
                by: vec![],
                arguments: vec![Node::Selector(Selector {
                    name: "x".into(),
                    labels: vec![],
                    range: Some("$__rate_interval".into()),
                    matchers_at: 5,
                    has_braces: false,
                })],
            }
        );
    }

    #[test]
    fn matchers_are_added_to_each_selector_that_does_not_name_its_job() {
        let scoped = |text| scoped(text, r#"job="a""#, r#"job="r""#).unwrap();
        assert_eq!(scoped("rate(x[5m]) / y{z=\"1\"}"), "rate(x{job=\"a\"}[5m]) / y{job=\"a\",z=\"1\"}");
        assert_eq!(scoped("job:x:rate5m > 1"), "job:x:rate5m{job=\"r\"} > 1");
        assert_eq!(scoped("absent(up{job=\"b\"})"), "absent(up{job=\"b\"})");
    }

    #[test]
    fn what_is_not_an_expression_is_refused() {
        for text in ["", "sum(", "x{a}", "x{a=\"1\" b=\"2\"}", "x y", "rate(x[5m)"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
