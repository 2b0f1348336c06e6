//! Tag filters: a subscription that has one gets only the publications whose tags fit.

use std::collections::BTreeMap;

use crate::json::messages;

/// Most nodes of one filter, as all of them are evaluated for every publication.
const MAX_NODES: usize = 64;
/// Most values in all lists of one filter: each is memory for as long as the subscription lasts.
const MAX_VALUES: usize = 256;
/// Most bytes of all keys and values of one filter.
const MAX_BYTES: usize = 8 * 1024;

messages! {
    /// A filter as clients send it: a comparison (`op` empty), or `and`, `or`, `not` of other nodes.
    FilterNode {
        /// Empty, `and`, `or` or `not`.
        #[prost(string, tag = "1")] op: String,
        /// The tag that is compared.
        #[prost(string, tag = "2")] key: String,
        /// `eq neq in nin ex nex sw ew ct lt lte gt gte`.
        #[prost(string, tag = "3")] cmp: String,
        /// The value that the tag is compared with.
        #[prost(string, tag = "4")] val: String,
        /// The values that the tag is looked up in, for `in` and `nin`.
        #[prost(string, repeated, tag = "5")] vals: Vec<String>,
        /// The nodes that `and`, `or` and `not` join.
        #[prost(message, repeated, tag = "6")] nodes: Vec<FilterNode>,
    }
}

/// Why a filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// An operator that does not exist.
    #[error("op must be empty, and, or or not, but is {0:?}")]
    UnknownOperator(String),
    /// A comparison that does not exist.
    #[error("cmp must be one of eq neq in nin ex nex sw ew ct lt lte gt gte, but is {0:?}")]
    UnknownComparison(String),
    /// A comparison without a tag's name.
    #[error("key is missing")]
    NoKey,
    /// `in` or `nin` without anything to look in.
    #[error("vals is missing")]
    NoValues,
    /// The value of a numeric comparison is no number.
    #[error("val must be a number, but is {0:?}")]
    NotANumber(String),
    /// `and` and `or` need a node, `not` exactly one.
    #[error("{0} has the wrong number of nodes")]
    Nodes(&'static str),
    /// The filter has too many nodes.
    #[error("more than {MAX_NODES} nodes")]
    TooManyNodes,
    /// The filter's lists have too many values.
    #[error("more than {MAX_VALUES} vals")]
    TooManyValues,
    /// The filter's texts are too long.
    #[error("keys and values have more than {MAX_BYTES} bytes")]
    TooLong,
}

/// A filter that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Leaf { key: String, test: Test },
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equal(String),
    NotEqual(String),
    In(Values),
    NotIn(Values),
    Exists,
    Absent,
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
}

/// The values of `in` and `nin`, sorted, so that a look-up does not walk through all of them.
#[derive(Clone, Debug, PartialEq)]
struct Values(Box<[Box<str>]>);

impl Values {
    fn new(values: &[String]) -> Self {
        let mut sorted: Vec<Box<str>> = values.iter().map(|value| value.as_str().into()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted.into_boxed_slice())
    }

    fn contain(&self, value: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(value)).is_ok()
    }
}

/// The room that is left in a filter while it is checked.
struct Room {
    nodes: usize,
    values: usize,
    bytes: usize,
}

impl Room {
    fn use_up(&mut self, node: &FilterNode) -> Result<(), FilterError> {
        let texts = node.vals.iter().chain([&node.key, &node.val]);
        let bytes = texts.map(String::len).sum();
        self.nodes = self.nodes.checked_sub(1).ok_or(FilterError::TooManyNodes)?;
        self.values = self.values.checked_sub(node.vals.len()).ok_or(FilterError::TooManyValues)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(FilterError::TooLong)?;
        Ok(())
    }
}

impl Filter {
    /// Checks a client's filter.
    pub fn new(node: &FilterNode) -> Result<Self, FilterError> {
        let mut room = Room { nodes: MAX_NODES, values: MAX_VALUES, bytes: MAX_BYTES };
        Node::new(node, &mut room).map(Self)
    }

    /// True if a publication with these tags is wanted.
    pub fn matches(&self, tags: &BTreeMap<String, String>) -> bool {
        self.0.matches(tags)
    }
}

impl Node {
    fn new(node: &FilterNode, room: &mut Room) -> Result<Self, FilterError> {
        room.use_up(node)?;
        let mut children =
            || node.nodes.iter().map(|node| Self::new(node, room)).collect::<Result<Vec<_>, _>>();
        match node.op.as_str() {
            "" => Ok(Self::Leaf { key: node.key.clone(), test: Test::new(node)? }),
            "and" if !node.nodes.is_empty() => Ok(Self::And(children()?)),
            "or" if !node.nodes.is_empty() => Ok(Self::Or(children()?)),
            "not" if node.nodes.len() == 1 => {
                children()?.pop().map(|node| Self::Not(Box::new(node))).ok_or(FilterError::Nodes("not"))
            }
            "and" => Err(FilterError::Nodes("and")),
            "or" => Err(FilterError::Nodes("or")),
            "not" => Err(FilterError::Nodes("not")),
            other => Err(FilterError::UnknownOperator(other.to_owned())),
        }
    }

    fn matches(&self, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(tags)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(tags)),
            Self::Not(node) => !node.matches(tags),
            Self::Leaf { key, test } => test.holds(tags.get(key).map(String::as_str)),
        }
    }
}

impl Test {
    fn new(node: &FilterNode) -> Result<Self, FilterError> {
        if node.key.is_empty() {
            return Err(FilterError::NoKey);
        }
        let text = || node.val.clone();
        let values =
            || if node.vals.is_empty() { Err(FilterError::NoValues) } else { Ok(Values::new(&node.vals)) };
        let number = || number(&node.val).ok_or_else(|| FilterError::NotANumber(node.val.clone()));
        Ok(match node.cmp.as_str() {
            "eq" => Self::Equal(text()),
            "neq" => Self::NotEqual(text()),
            "in" => Self::In(values()?),
            "nin" => Self::NotIn(values()?),
            "ex" => Self::Exists,
            "nex" => Self::Absent,
            "sw" => Self::StartsWith(text()),
            "ew" => Self::EndsWith(text()),
            "ct" => Self::Contains(text()),
            "lt" => Self::Less(number()?),
            "lte" => Self::LessOrEqual(number()?),
            "gt" => Self::Greater(number()?),
            "gte" => Self::GreaterOrEqual(number()?),
            other => return Err(FilterError::UnknownComparison(other.to_owned())),
        })
    }

    /// True if a tag's value, if there is one, passes.
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(number);
        match self {
            Self::Equal(text) => value == Some(text),
            Self::NotEqual(text) => value != Some(text),
            Self::In(values) => value.is_some_and(|value| values.contain(value)),
            Self::NotIn(values) => !value.is_some_and(|value| values.contain(value)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::StartsWith(text) => value.is_some_and(|value| value.starts_with(text)),
            Self::EndsWith(text) => value.is_some_and(|value| value.ends_with(text)),
            Self::Contains(text) => value.is_some_and(|value| value.contains(text)),
            Self::Less(than) => number().is_some_and(|number| number < *than),
            Self::LessOrEqual(than) => number().is_some_and(|number| number <= *than),
            Self::Greater(than) => number().is_some_and(|number| number > *than),
            Self::GreaterOrEqual(than) => number().is_some_and(|number| number >= *than),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(json: &str) -> Result<Filter, FilterError> {
        Filter::new(&serde_json::from_str(json).unwrap())
    }

    fn fits(json: &str, tags: &[(&str, &str)]) -> bool {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        filter(json).unwrap().matches(&tags)
    }

    #[test]
    fn compares_as_the_protocol_says() {
        let tags = [("city", "Rosario"), ("price", "12.5")];
        for (cmp, key, val, expected) in [
            ("eq", "city", "Rosario", true),
            ("eq", "city", "Lima", false),
            ("neq", "city", "Lima", true),
            ("neq", "none", "Lima", true),
            ("ex", "city", "", true),
            ("ex", "none", "", false),
            ("nex", "none", "", true),
            ("sw", "city", "Ros", true),
            ("ew", "city", "rio", true),
            ("ct", "city", "sari", true),
            ("ct", "none", "", false),
            ("lt", "price", "13", true),
            ("lte", "price", "12.5", true),
            ("gt", "price", "12.5", false),
            ("gte", "price", "12.5", true),
            ("gt", "city", "1", false),
            ("gt", "none", "1", false),
        ] {
            let json = format!(r#"{{"key":"{key}","cmp":"{cmp}","val":"{val}"}}"#);
            assert_eq!(fits(&json, &tags), expected, "{json}");
        }
        assert!(fits(r#"{"key":"city","cmp":"in","vals":["Lima","Rosario"]}"#, &tags));
        assert!(!fits(r#"{"key":"city","cmp":"nin","vals":["Lima","Rosario"]}"#, &tags));
    }

    #[test]
    fn joins_nodes() {
        let city = r#"{"key":"city","cmp":"eq","val":"Lima"}"#;
        let cheap = r#"{"key":"price","cmp":"lt","val":"10"}"#;
        let lima = [("city", "Lima"), ("price", "20")];
        assert!(!fits(&format!(r#"{{"op":"and","nodes":[{city},{cheap}]}}"#), &lima));
        assert!(fits(&format!(r#"{{"op":"or","nodes":[{city},{cheap}]}}"#), &lima));
        assert!(fits(&format!(r#"{{"op":"not","nodes":[{cheap}]}}"#), &lima));
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for (json, error) in [
            (r#"{"op":"xor"}"#, FilterError::UnknownOperator("xor".to_owned())),
            (r#"{"op":"and"}"#, FilterError::Nodes("and")),
            (r#"{"op":"not","nodes":[{},{}]}"#, FilterError::Nodes("not")),
            (r#"{"cmp":"eq"}"#, FilterError::NoKey),
            (r#"{"key":"a","cmp":"like"}"#, FilterError::UnknownComparison("like".to_owned())),
            (r#"{"key":"a","cmp":"in"}"#, FilterError::NoValues),
            (r#"{"key":"a","cmp":"lt","val":"few"}"#, FilterError::NotANumber("few".to_owned())),
        ] {
            assert_eq!(filter(json).unwrap_err(), error, "{json}");
        }
    }

    #[test]
    fn a_filter_is_bounded_in_all_that_it_keeps() {
        let leaf = FilterNode { key: "a".to_owned(), cmp: "ex".to_owned(), ..FilterNode::default() };
        let or = |nodes| FilterNode { op: "or".to_owned(), nodes, ..FilterNode::default() };
        assert!(Filter::new(&or(vec![leaf.clone(); MAX_NODES - 1])).is_ok());
        assert_eq!(Filter::new(&or(vec![leaf.clone(); MAX_NODES])), Err(FilterError::TooManyNodes));
        let mut deep = leaf;
        for _ in 0..MAX_NODES {
            deep = or(vec![deep]);
        }
        assert_eq!(Filter::new(&deep), Err(FilterError::TooManyNodes));

        let list = |values: Vec<String>| FilterNode {
            key: "a".to_owned(),
            cmp: "in".to_owned(),
            vals: values,
            ..FilterNode::default()
        };
        let numbers = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert!(Filter::new(&list(numbers(MAX_VALUES))).is_ok());
        assert_eq!(Filter::new(&list(numbers(MAX_VALUES + 1))), Err(FilterError::TooManyValues));
        let halves = or(vec![list(numbers(MAX_VALUES / 2 + 1)); 2]);
        assert_eq!(Filter::new(&halves), Err(FilterError::TooManyValues), "all lists count together");
        assert_eq!(Filter::new(&list(vec!["x".repeat(MAX_BYTES)])), Err(FilterError::TooLong));
        let long = FilterNode { val: "x".repeat(MAX_BYTES), ..list(Vec::new()) };
        assert_eq!(Filter::new(&FilterNode { cmp: "eq".to_owned(), ..long }), Err(FilterError::TooLong));
    }

    #[test]
    fn every_value_of_a_list_is_found() {
        let values: Vec<String> = (0..MAX_VALUES).rev().map(|number| number.to_string()).collect();
        let json = serde_json::json!({"key": "a", "cmp": "in", "vals": values}).to_string();
        for value in &values {
            assert!(fits(&json, &[("a", value)]), "{value}");
        }
        assert!(!fits(&json, &[("a", "256")]) && !fits(&json, &[]));
    }
}
