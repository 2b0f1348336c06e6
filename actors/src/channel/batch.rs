//! Publications on their way into outboxes: those that wait together are encoded once for each way of writing them, and
//! every subscriber gets them in one write.

use std::cell::OnceCell;

use bytes::{Bytes, BytesMut};
use mundotango_protocol::{ChannelName, Encoding, Publication, Push, Reply, delta, is_json};

use super::messages::Delivery;
use super::subscriber::Subscriber;

/// The forms in which publications are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As they are.
    Plain,
    /// In a subscription that takes differences, but whole: there is nothing yet to differ from.
    Whole,
    /// As the difference to the one before, where that is smaller.
    Difference,
}

/// The number of ways: three forms in two encodings.
const WAYS: usize = 6;

fn way(encoding: Encoding, form: Form) -> usize {
    let encoding = match encoding {
        Encoding::Json => 0,
        Encoding::Protobuf => 3,
    };
    encoding
        + match form {
            Form::Plain => 0,
            Form::Whole => 1,
            Form::Difference => 2,
        }
}

/// One encoding of one or more messages; `None` if they cannot be written so.
type Cell = OnceCell<Option<Bytes>>;

/// Publications of one channel that are delivered together.
pub(super) struct Batch<'a> {
    channel: &'a ChannelName,
    deliveries: &'a [Delivery],
    /// The payload that the first publication may be written as a difference to.
    base: Option<Bytes>,
    exclude_publisher: bool,
    /// Each publication alone.
    single: Vec<[Cell; WAYS]>,
    /// All publications in one message, by encoding and by the form of the first; each later one is a difference to its
    /// predecessor where differences are taken.
    joined: [Cell; WAYS],
}

/// The publications as one subscriber gets them.
pub(super) enum Written {
    /// Messages for the outbox, each a frame or a part of one.
    Messages(Vec<Bytes>),
    /// All publications as one message.
    Joined(Bytes),
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        channel: &'a ChannelName,
        deliveries: &'a [Delivery],
        base: Option<Bytes>,
        exclude_publisher: bool,
    ) -> Self {
        let single = deliveries.iter().map(|_| Default::default()).collect();
        Self { channel, deliveries, base, exclude_publisher, single, joined: Default::default() }
    }

    /// Writes the publications for a subscriber, and notes if it has the base of the next difference.
    pub(super) fn for_subscriber(&self, subscriber: &mut Subscriber) -> Written {
        let encoding = subscriber.session.encoding();
        let all = subscriber.filter.is_none() && !self.leaves_out_some(subscriber);
        if all && let Some(bytes) = self.joined(encoding, subscriber.form()) {
            subscriber.flags.has_base = true;
            return Written::Joined(bytes);
        }
        let mut messages = Vec::new();
        for (index, delivery) in self.deliveries.iter().enumerate() {
            let wanted = self.wants(subscriber, delivery);
            // A payload that cannot be written in a connection's encoding is left out for that connection alone.
            let bytes = if wanted { self.single(index, encoding, subscriber.form()) } else { None };
            subscriber.flags.has_base = bytes.is_some();
            messages.extend(bytes);
        }
        Written::Messages(messages)
    }

    fn leaves_out_some(&self, subscriber: &Subscriber) -> bool {
        self.deliveries.iter().any(|delivery| self.is_excluded(subscriber, delivery))
    }

    fn is_excluded(&self, subscriber: &Subscriber, delivery: &Delivery) -> bool {
        let client = subscriber.session.client();
        let publisher = || delivery.publication.info.as_ref().is_some_and(|info| client.is(&info.client));
        delivery.exclude == Some(client) || (self.exclude_publisher && publisher())
    }

    fn wants(&self, subscriber: &Subscriber, delivery: &Delivery) -> bool {
        let fits = subscriber.filter.as_ref().is_none_or(|filter| filter.matches(&delivery.publication.tags));
        fits && !self.is_excluded(subscriber, delivery)
    }

    fn joined(&self, encoding: Encoding, form: Form) -> Option<Bytes> {
        if let [_] = self.deliveries {
            return self.single(0, encoding, form);
        }
        let join = || {
            let rest = if form == Form::Plain { Form::Plain } else { Form::Difference };
            let mut bytes = BytesMut::new();
            for index in 0..self.deliveries.len() {
                if index > 0 {
                    bytes.extend_from_slice(encoding.separator());
                }
                bytes.extend_from_slice(&self.single(
                    index,
                    encoding,
                    if index == 0 { form } else { rest },
                )?);
            }
            Some(bytes.freeze())
        };
        self.joined[way(encoding, form)].get_or_init(join).clone()
    }

    fn single(&self, index: usize, encoding: Encoding, form: Form) -> Option<Bytes> {
        let cell = &self.single[index][way(encoding, form)];
        cell.get_or_init(|| {
            let delivery = &self.deliveries[index];
            let mut publication = delivery.publication.clone();
            if form != Form::Plain {
                let base = match index.checked_sub(1) {
                    Some(before) => Some(&self.deliveries[before].publication.data),
                    None => self.base.as_ref(),
                };
                let base = base.filter(|_| form == Form::Difference && delivery.delta);
                publication = difference(publication, base, encoding)?;
            }
            encode(encoding, &Reply::push(self.channel.as_str(), Push::publication(publication)))
        })
        .clone()
    }
}

impl Subscriber {
    fn form(&self) -> Form {
        match (self.flags.delta, self.flags.has_base) {
            (false, _) => Form::Plain,
            (true, false) => Form::Whole,
            (true, true) => Form::Difference,
        }
    }
}

pub(super) fn encode(encoding: Encoding, reply: &Reply) -> Option<Bytes> {
    match encoding.encode_reply(reply) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            tracing::debug!(%error, "payload cannot be written in this encoding");
            None
        }
    }
}

/// A publication for a subscription that takes differences: to `base`, if there is one and that is smaller. JSON has
/// the payload, or the difference, as text.
fn difference(mut publication: Publication, base: Option<&Bytes>, encoding: Encoding) -> Option<Publication> {
    if encoding == Encoding::Json && !is_json(&publication.data) {
        // A client would take the difference in and then fail to parse what comes of it.
        return None;
    }
    if let Some(delta) = base.and_then(|base| delta::smaller(base, &publication.data)) {
        publication.data = Bytes::from(delta);
        publication.delta = true;
    }
    if encoding == Encoding::Json {
        let text = std::str::from_utf8(&publication.data).ok()?;
        publication.data = Bytes::from(serde_json::to_vec(text).ok()?);
    }
    Some(publication)
}

/// Writes the publications that a client missed for a subscription that takes differences: the first whole, the others as
/// the difference to the one before where the namespace publishes so. Payloads that the encoding cannot carry are left out.
pub(crate) fn recovered_deltas(
    publications: Vec<Publication>,
    encoding: Encoding,
    delta_publish: bool,
) -> Vec<Publication> {
    let mut base: Option<Bytes> = None;
    let write = |publication: Publication| {
        let data = publication.data.clone();
        let written = difference(publication, base.as_ref().filter(|_| delta_publish), encoding)?;
        base = Some(data);
        Some(written)
    };
    publications.into_iter().filter_map(write).collect()
}
