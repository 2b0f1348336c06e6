//! Channels that got publications which their history does not hold, because hot state did not take them.
//!
//! Such a history must not be recovered from: who was away would be told that nothing is missing. So the channel is
//! marked, on all nodes, before the publication is acknowledged. As soon as hot state takes writes again the node renews
//! the history (another epoch), by which every subscriber learns that something is missing, and takes the mark back.
//! A node tells the others of its marks again and again, as long as they stand: marks of a node that falls silent expire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mundotango_protocol::{ChannelName, new_id};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most channels that are marked; publications into further ones are refused.
const MOST: usize = 100_000;
/// How long another node's mark stands unless that node tells of it again.
const TOLD_FOR: Duration = Duration::from_secs(10);
/// After this time the others are told of a mark again.
pub(crate) const TELL_AGAIN: Duration = Duration::from_secs(3);
/// Past this time since the others were told, a publication waits until they are told again.
const TOLD_ENOUGH: Duration = Duration::from_secs(7);

/// The node's marks, and those that other nodes told of.
#[derive(Default)]
pub(crate) struct Unrecorded {
    marks: Mutex<HashMap<ChannelName, Mark>>,
    count: AtomicUsize,
    changed: Notify,
}

#[derive(Default)]
struct Mark {
    own: Option<Own>,
    /// Other nodes' marks.
    others: HashMap<String, Heard>,
    /// The epoch of a mark whose node fell silent, so that the renewal is left to the others.
    orphan: Option<String>,
}

struct Heard {
    epoch: String,
    until: Instant,
}

struct Own {
    /// The epoch under which the history goes on.
    epoch: String,
    /// Grows with each publication, so that a renewal that ran meanwhile does not take the mark back.
    publications: u64,
    told_at: Option<Instant>,
}

/// A channel whose history lacks a publication, as nodes tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkedChannel {
    pub(crate) channel: String,
    pub(crate) epoch: String,
}

/// The next step for a marked channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another node sees to it.
    Wait,
    /// The history was renewed by others.
    Done,
    /// This node renews the history.
    Renew(Renewal),
}

/// A history that this node renews.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    pub(crate) epoch: String,
    publications: u64,
}

impl Unrecorded {
    /// True if any channel is marked: asked for every publication.
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// True if nobody may recover in a channel now.
    pub(crate) fn holds(&self, channel: &ChannelName) -> bool {
        !self.is_empty() && self.marks.lock().contains_key(channel)
    }

    /// Marks a channel; whether the other nodes have to be told before the publication is acknowledged. `None` if there
    /// are too many marks.
    pub(crate) fn mark(&self, channel: &ChannelName) -> Option<(MarkedChannel, bool)> {
        let mut marks = self.marks.lock();
        if marks.len() >= MOST && !marks.contains_key(channel) {
            return None;
        }
        let mark = marks.entry(channel.clone()).or_default();
        let own = mark.own.get_or_insert_with(|| Own { epoch: new_id(), publications: 0, told_at: None });
        own.publications += 1;
        let told = own.told_at.is_some_and(|at| at.elapsed() < TOLD_ENOUGH);
        let marked = MarkedChannel { channel: channel.as_str().to_owned(), epoch: own.epoch.clone() };
        self.count.store(marks.len(), Ordering::Relaxed);
        drop(marks);
        self.changed.notify_one();
        Some((marked, !told))
    }

    /// The other nodes know of marks of this node.
    pub(crate) fn told(&self, channels: &[MarkedChannel]) {
        let mut marks = self.marks.lock();
        for marked in channels {
            let Ok(channel) = ChannelName::parse(&marked.channel) else { continue };
            if let Some(own) = marks.get_mut(&channel).and_then(|mark| mark.own.as_mut()) {
                own.told_at = Some(Instant::now());
            }
        }
    }

    /// Another node's marks stand, or are taken back.
    pub(crate) fn hear(&self, node: &str, channels: &[MarkedChannel], stand: bool) {
        let mut marks = self.marks.lock();
        for marked in channels {
            let Ok(channel) = ChannelName::parse(&marked.channel) else { continue };
            if !stand {
                if let Some(mark) = marks.get_mut(&channel)
                    && mark.others.get(node).is_some_and(|heard| heard.epoch == marked.epoch)
                {
                    mark.others.remove(node);
                }
                continue;
            }
            if marks.len() >= MOST && !marks.contains_key(&channel) {
                tracing::warn!("too many channels without history; some are not marked here");
                break;
            }
            let heard = Heard { epoch: marked.epoch.clone(), until: Instant::now() + TOLD_FOR };
            marks.entry(channel).or_default().others.insert(node.to_owned(), heard);
        }
        self.count.store(marks.len(), Ordering::Relaxed);
        drop(marks);
        self.changed.notify_one();
    }

    /// The next step of this node for a channel, if the channel is marked.
    pub(crate) fn next(&self, channel: &ChannelName) -> Next {
        let now = Instant::now();
        let mut marks = self.marks.lock();
        let Some(mark) = marks.get_mut(channel) else { return Next::Done };
        let Mark { own, others, orphan } = mark;
        others.retain(|_, heard| {
            let stands = heard.until > now;
            if !stands {
                *orphan = Some(heard.epoch.clone());
            }
            stands
        });
        if let Some(own) = own {
            return Next::Renew(Renewal { epoch: own.epoch.clone(), publications: own.publications });
        }
        if !others.is_empty() {
            return Next::Wait;
        }
        if let Some(epoch) = orphan {
            return Next::Renew(Renewal { epoch: epoch.clone(), publications: 0 });
        }
        marks.remove(channel);
        self.count.store(marks.len(), Ordering::Relaxed);
        Next::Done
    }

    /// A history was renewed; the node's own mark, if it is taken back by that.
    pub(crate) fn renewed(&self, channel: &ChannelName, renewal: &Renewal) -> Option<MarkedChannel> {
        let mut marks = self.marks.lock();
        let mark = marks.get_mut(channel)?;
        mark.orphan = None;
        let mut taken_back = None;
        if let Some(own) = &mut mark.own {
            if own.epoch != renewal.epoch {
                return None;
            }
            if own.publications != renewal.publications {
                // A publication came meanwhile: the history is renewed once more, under yet another epoch.
                own.epoch = new_id();
                own.told_at = None;
                return None;
            }
            let epoch = std::mem::take(&mut own.epoch);
            taken_back = Some(MarkedChannel { channel: channel.as_str().to_owned(), epoch });
            mark.own = None;
        }
        if mark.others.is_empty() {
            marks.remove(channel);
        }
        self.count.store(marks.len(), Ordering::Relaxed);
        taken_back
    }

    /// All marked channels.
    pub(crate) fn channels(&self) -> Vec<ChannelName> {
        if self.is_empty() { Vec::new() } else { self.marks.lock().keys().cloned().collect() }
    }

    /// This node's marks that the others have to be told of again.
    pub(crate) fn to_tell(&self) -> Vec<MarkedChannel> {
        let marks = self.marks.lock();
        let own = marks.iter().filter_map(|(channel, mark)| Some((channel, mark.own.as_ref()?)));
        let again = own.filter(|(_, own)| own.told_at.is_none_or(|at| at.elapsed() >= TELL_AGAIN));
        again
            .map(|(channel, own)| MarkedChannel {
                channel: channel.as_str().to_owned(),
                epoch: own.epoch.clone(),
            })
            .collect()
    }

    /// Waits until a channel is marked.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> ChannelName {
        ChannelName::parse("a:1").unwrap()
    }

    fn renewal(marks: &Unrecorded) -> Renewal {
        match marks.next(&channel()) {
            Next::Renew(renewal) => renewal,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_stands_until_no_publication_came_during_its_renewal() {
        let marks = Unrecorded::default();
        assert_eq!(marks.next(&channel()), Next::Done);
        let (told, has_to_be_told) = marks.mark(&channel()).unwrap();
        assert!(has_to_be_told && marks.holds(&channel()));
        marks.told(std::slice::from_ref(&told));
        let first = renewal(&marks);
        assert_eq!(first.epoch, told.epoch);
        assert!(!marks.mark(&channel()).unwrap().1, "the others know already");
        assert_eq!(marks.renewed(&channel(), &first), None);
        let second = renewal(&marks);
        assert_ne!(second.epoch, first.epoch, "the history has the first one already");
        assert!(marks.renewed(&channel(), &second).is_some());
        assert!(!marks.holds(&channel()));
    }

    #[tokio::test(start_paused = true)]
    async fn another_nodes_mark_stands_until_it_is_taken_back_or_the_node_falls_silent() {
        let marks = Unrecorded::default();
        let marked = |epoch: &str| [MarkedChannel { channel: "a:1".to_owned(), epoch: epoch.to_owned() }];
        marks.hear("b", &marked("e1"), true);
        assert_eq!(marks.next(&channel()), Next::Wait);
        marks.hear("b", &marked("another"), false);
        assert_eq!(marks.next(&channel()), Next::Wait, "a late word of an earlier mark");
        marks.hear("b", &marked("e1"), false);
        assert_eq!(marks.next(&channel()), Next::Done);
        assert!(!marks.holds(&channel()));
        marks.hear("b", &marked("e2"), true);
        tokio::time::sleep(TOLD_FOR).await;
        let orphan = renewal(&marks);
        assert_eq!(orphan.epoch, "e2", "the epoch that the silent node would have begun");
        assert_eq!(marks.renewed(&channel(), &orphan), None);
        assert!(!marks.holds(&channel()));
    }
}
