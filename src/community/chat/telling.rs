//! What a member is told of by a notification: each message is judged by its own author. Pure.

use std::collections::BTreeMap;

use super::kinds::Numbered;
use super::rules::Spans;
use crate::community::graph::relations::Relations;

/// A message that members may be told of.
#[derive(Debug)]
struct Said {
    seq: u64,
    author: String,
    mentions: Vec<String>,
}

/// Messages that members may be told of, in order, and the names of those who wrote them.
#[derive(Debug)]
pub(super) struct News {
    said: Vec<Said>,
    names: BTreeMap<String, String>,
    /// Whether members are told only of what mentions them.
    only_mentions: bool,
}

/// A member as one hears of messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hearer<'a> {
    /// Who it is.
    pub user_id: &'a str,
    /// The messages that the member sees.
    pub spans: &'a Spans,
    /// How the member stands to others.
    pub circle: &'a Relations,
}

/// What a member is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// How many messages there are.
    pub count: u32,
    /// Who wrote the last one of them.
    pub author: String,
    /// What that one is called, if it is known.
    pub name: Option<String>,
}

impl News {
    /// Of messages, in any order; those that are deleted say nothing.
    pub(super) fn new(messages: Vec<Numbered>, only_mentions: bool) -> Self {
        let said = messages.into_iter().filter(|(_, message)| message.deleted_at.is_none());
        let said = said.map(|(seq, one)| Said { seq, author: one.author, mentions: one.mentions });
        let mut said: Vec<_> = said.collect();
        said.sort_unstable_by_key(|one| one.seq);
        Self { said, names: BTreeMap::new(), only_mentions }
    }

    /// Who wrote the messages.
    pub(super) fn authors(&self) -> Vec<String> {
        self.said.iter().map(|one| one.author.clone()).collect()
    }

    /// The same with the names of those who wrote the messages.
    #[must_use]
    pub(super) fn named(self, names: BTreeMap<String, String>) -> Self {
        Self { names, ..self }
    }

    /// Whether there may be something to tell a member.
    pub(super) fn may_concern(&self, user_id: &str) -> bool {
        self.said.iter().any(|one| self.is_for(one, user_id))
    }

    fn is_for(&self, one: &Said, user_id: &str) -> bool {
        let is_mentioned = || one.mentions.iter().any(|user| user == user_id);
        one.author != user_id && (!self.only_mentions || is_mentioned())
    }

    /// What a member is told of what was said after a message: nothing of those who are muted or kept apart.
    pub(super) fn heard_by(&self, hearer: Hearer<'_>, after: u64) -> Option<Heard> {
        let Hearer { user_id, spans, circle } = hearer;
        let is_silent = |author: &str| circle.has_muted(author) || circle.keeps_apart(author);
        let seen = self.said.iter().filter(|one| one.seq > after && spans.sees(one.seq));
        let heard: Vec<_> = seen.filter(|one| self.is_for(one, user_id) && !is_silent(&one.author)).collect();
        let author = heard.last()?.author.clone();
        let count = u32::try_from(heard.len()).unwrap_or(u32::MAX);
        Some(Heard { count, name: self.names.get(&author).cloned(), author })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::community::chat::kinds::Message;
    use crate::community::graph::relations::Sorts;

    fn message(seq: u64, author: &str, mentions: &[&str]) -> Numbered {
        let message = Message {
            id: seq.to_string(),
            author: author.to_owned(),
            at: Timestamp::UNIX_EPOCH,
            text: Some("Hola".to_owned()),
            attachments: Vec::new(),
            reply_to: None,
            mentions: mentions.iter().map(|user| (*user).to_owned()).collect(),
            rev: 0,
            edited_at: None,
            deleted_at: None,
            reactions: BTreeMap::new(),
            version: 1,
            hidden_by: crate::community::taken_away::TakenAway::default(),
        };
        (seq, message)
    }

    fn circle() -> Relations {
        let sorts = [("mute", Sorts::MUTED), ("out", Sorts::BLOCKED), ("by", Sorts::BLOCKED_BY)];
        Relations::new(1, sorts.map(|(user, sorts)| (user.to_owned(), sorts)).to_vec())
    }

    fn heard(news: &News, from: u64, after: u64) -> Option<(u32, String, Option<String>)> {
        let (spans, circle) = (Spans::from(from), circle());
        let hearer = Hearer { user_id: "ben", spans: &spans, circle: &circle };
        news.heard_by(hearer, after).map(|heard| (heard.count, heard.author, heard.name))
    }

    #[test]
    fn what_is_said_before_a_muted_or_blocked_author_is_told_of_under_its_own_name() {
        let said = vec![
            message(4, "mute", &[]),
            message(2, "ana", &[]),
            message(1, "ana", &[]),
            message(3, "ben", &[]),
            message(5, "out", &[]),
            message(6, "by", &[]),
        ];
        let news = News::new(said, false).named(BTreeMap::from([("ana".to_owned(), "Ana".to_owned())]));
        let ana = |count| Some((count, "ana".to_owned(), Some("Ana".to_owned())));
        assert_eq!(heard(&news, 1, 0), ana(2));
        assert_eq!(heard(&news, 1, 1), ana(1), "what was told of is not told of again");
        assert_eq!(heard(&news, 2, 0), ana(1), "what was said before joining is not told of");
        assert_eq!(heard(&news, 1, 2), None, "nobody else is heard");
    }

    #[test]
    fn a_mention_by_somebody_who_is_kept_out_is_no_mention() {
        let said = vec![
            message(1, "ana", &["ben"]),
            message(2, "out", &["ben"]),
            message(3, "mute", &["ben"]),
            message(4, "ana", &["cam"]),
        ];
        let news = News::new(said, true);
        assert_eq!(heard(&news, 1, 0), Some((1, "ana".to_owned(), None)));
        assert_eq!(heard(&news, 1, 1), None, "a later message of another one does not make it one");
        assert!(news.may_concern("cam") && !news.may_concern("dan"));
    }

    #[test]
    fn what_is_deleted_is_told_to_nobody() {
        let mut gone = message(1, "ana", &[]);
        gone.1.deleted_at = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(heard(&News::new(vec![gone], false), 1, 0), None);
    }
}
