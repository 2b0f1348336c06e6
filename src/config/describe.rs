//! What each option is, in the words of its documentation, and which option somebody meant who misspelt one.

use std::ffi::OsString;

use documented::DocumentedFields;
use mundotango_actors::{ChannelsOptions, NamespaceOptions, SessionOptions};
use mundotango_gateway::{HttpOptions, TlsOptions, TokenOptions};
use mundotango_ops::LogOptions;
use mundotango_ops::traces::TracesOptions;
use mundotango_push::{ApnsOptions, FcmOptions, PushOptions};
use mundotango_storage::TlsFiles;
use mundotango_storage::embedded::EmbeddedOptions;
use mundotango_storage::scylla::ScyllaOptions;

use super::layers::{ENV_PREFIX, Source, Tree, variable};
use super::read::Unknown;
use super::{
    AuthOptions, ClusterOptions, Config, DrainOptions, JobsOptions, LinkPreviewOptions, PaymentsOptions,
    RateOptions, SearchOptions,
};
use crate::email::{MailOptions, SendgridOptions, SesOptions, SmtpOptions};

/// The section of all namespaces, which have names of the operator's own.
const NAMESPACES: &str = "channels.namespaces";
/// What the name of any namespace is in the list of sections.
const ANY: &str = "*";
/// What a variable begins with whose second underscore was forgotten.
const MISSPELT_PREFIX: &str = "MUNDOTANGO_";

/// A section of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    /// Its place, with dots between the parts.
    pub(super) path: &'static str,
    names: &'static [&'static str],
    docs: &'static [&'static str],
}

impl Section {
    const fn of<T: DocumentedFields>(path: &'static str) -> Self {
        Self { path, names: T::FIELD_NAMES, docs: T::FIELD_DOCS }
    }

    /// The options and the sections within, in order, with what they are in one line.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'static str, String)> {
        self.names.iter().copied().zip(self.docs.iter().map(|docs| one_line(docs)))
    }
}

/// All sections.
pub(super) const SECTIONS: &[Section] = &[
    Section::of::<Config>(""),
    Section::of::<AuthOptions>("auth"),
    Section::of::<TokenOptions>("auth.token"),
    Section::of::<RateOptions>("auth.rates"),
    Section::of::<SessionOptions>("session"),
    Section::of::<ChannelsOptions>("channels"),
    Section::of::<NamespaceOptions>("channels.without_namespace"),
    Section::of::<NamespaceOptions>("channels.namespaces.*"),
    Section::of::<HttpOptions>("http"),
    Section::of::<TlsOptions>("http.tls"),
    Section::of::<EmbeddedOptions>("store"),
    Section::of::<ClusterOptions>("cluster"),
    Section::of::<TlsFiles>("cluster.nats_tls"),
    Section::of::<TlsFiles>("cluster.redis_tls"),
    Section::of::<ScyllaOptions>("cluster.cql"),
    Section::of::<TlsFiles>("cluster.cql.tls"),
    Section::of::<JobsOptions>("jobs"),
    Section::of::<MailOptions>("mail"),
    Section::of::<SmtpOptions>("mail.smtp"),
    Section::of::<SesOptions>("mail.ses"),
    Section::of::<SendgridOptions>("mail.sendgrid"),
    Section::of::<PushOptions>("push"),
    Section::of::<FcmOptions>("push.fcm"),
    Section::of::<ApnsOptions>("push.apns"),
    Section::of::<PaymentsOptions>("payments"),
    Section::of::<SearchOptions>("search"),
    Section::of::<LinkPreviewOptions>("link_previews"),
    Section::of::<DrainOptions>("drain"),
    Section::of::<LogOptions>("log"),
    Section::of::<TracesOptions>("traces"),
];

/// The section at a place.
pub(super) fn section(path: &str) -> Option<Section> {
    let path = general(path);
    SECTIONS.iter().copied().find(|section| section.path == path)
}

/// A path with the name of a namespace replaced by that of any.
fn general(path: &str) -> String {
    let Some(rest) = path.strip_prefix(NAMESPACES).and_then(|rest| rest.strip_prefix('.')) else {
        return path.to_owned();
    };
    let rest = rest.split_once('.').map(|(_, option)| format!(".{option}")).unwrap_or_default();
    format!("{NAMESPACES}.{ANY}{rest}")
}

/// The first paragraph of a documentation as one line.
fn one_line(docs: &str) -> String {
    docs.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The paths of all options and sections.
fn paths() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|section| section.names.iter().map(|name| joined(section.path, name)))
}

/// A path with one more part.
pub(super) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Says of a key that no option has which one may be meant.
pub(super) fn unknown(unknown: &Unknown, tree: &Tree) -> String {
    let path = unknown.path.join(".");
    let source = tree.at(&unknown.path).map_or(Source::Default, Tree::source);
    let hint = match meant(&unknown.path) {
        Some(meant) if source == Source::Environment => format!("did you mean {}?", variable(&meant)),
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("the keys there are {}", unknown.known.join(", ")),
    };
    format!("{}: there is no such option; {hint}", source.spell(&path))
}

/// The option that is meant by a misspelt path: the nearest one, or the only one with that name elsewhere.
fn meant(path: &[String]) -> Option<String> {
    let written = path.join(".");
    // A section's name with one letter wrong, a dot for an underscore and a key in the wrong section are all near.
    let plain = |path: &str| path.replace(['.', '_', '-'], " ");
    let wanted = plain(&general(&written));
    let distance = |known: &str| strsim::damerau_levenshtein(&plain(known), &wanted);
    let nearest = paths().map(|known| (distance(&known), known)).min();
    let allowed = (path.last().map_or(0, String::len) / 3).max(1);
    let near = nearest.filter(|(distance, _)| *distance <= allowed).map(|(_, known)| known);
    let found = near.or_else(|| {
        let last = path.last()?;
        let mut same = paths().filter(|known| known.rsplit('.').next() == Some(last));
        same.next().filter(|_| same.next().is_none())
    })?;
    // The operator's own name of the namespace is the right one.
    let namespace = path.get(2).filter(|_| written.starts_with(NAMESPACES));
    Some(match namespace {
        Some(namespace) => found.replace(ANY, namespace),
        None => found,
    })
}

/// The variables that name an option but for an underscore: nothing reads them, and somebody thinks that they count.
pub(super) fn misspelt_variables<'a>(names: impl Iterator<Item = &'a OsString>) -> Vec<String> {
    let mut problems = Vec::new();
    for name in names.filter_map(|name| name.to_str()).filter(|name| !name.starts_with(ENV_PREFIX)) {
        let Some(rest) = name.strip_prefix(MISSPELT_PREFIX) else { continue };
        let written = rest.to_lowercase().replace("__", "_");
        if let Some(meant) = paths().find(|known| known.replace('.', "_") == written) {
            problems.push(format!("{name}: there is no such variable; did you mean {}?", variable(&meant)));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_option_is_meant() {
        let meant = |path: &str| meant(&path.split('.').map(str::to_owned).collect::<Vec<_>>());
        for (written, wanted) in [
            ("session.ping_intervall", Some("session.ping_interval")),
            ("sesion", Some("session")),
            ("http_api_key", Some("http.api_key")),
            ("http.apikey", Some("http.api_key")),
            ("max_connections", Some("http.max_connections")),
            ("channels.namespaces.room.pressence", Some("channels.namespaces.room.presence")),
            ("channels.without_namespace.history_szie", Some("channels.without_namespace.history_size")),
            ("cluster.cql.tls.cert", None),
            ("colour", None),
        ] {
            assert_eq!(meant(written).as_deref(), wanted, "{written}");
        }
    }

    #[test]
    fn a_variable_with_one_underscore_is_noticed_and_others_are_not() {
        let names =
            ["MUNDOTANGO_LISTEN", "MUNDOTANGO_HTTP_API_KEY", "MUNDOTANGO_PASSWORD", "MUNDOTANGO_SECRET"];
        let names: Vec<OsString> = names.into_iter().map(OsString::from).collect();
        let problems = misspelt_variables(names.iter());
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("MUNDOTANGO__HTTP__API_KEY")), "{problems:?}");
    }
}
