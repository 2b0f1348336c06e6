//! A conversation with an agent of the Life CEO: its answers stream to the user word by word, whichever node they come from.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::door::Door;
use super::shared::Shared;
use super::sockets::{Place, come_back, may_come_again};
use crate::deploy::Socket;

/// Without a word for so long, a client asks what was said: the actor that spoke may be gone with its node.
const SILENCE: Duration = Duration::from_secs(3);
/// How long an answer may take until it counts as lost.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between an answer and what is said next.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a client looks whether it has become silent.
const LOOK: Duration = Duration::from_millis(250);

/// What came of a conversation.
pub(super) struct Conversation {
    /// Answers that came whole.
    pub(super) answers: usize,
}

/// A user who talks.
struct Talk<'a> {
    shared: &'a Shared,
    token: &'a str,
    door: Door,
    id: String,
    place: Place,
    socket: Option<Socket>,
    /// The words of the answer, as they were streamed.
    heard: String,
    /// The answer that is said.
    said: Option<Value>,
}

/// Talks until the load ends.
pub(super) fn talk(shared: &Shared, token: &str, number: usize) -> Conversation {
    let door = Door::new(&shared.url);
    let mut talk = Talk {
        shared,
        token,
        door,
        id: String::new(),
        place: Place::default(),
        socket: None,
        heard: String::new(),
        said: None,
    };
    let mut answers = 0;
    while shared.goes_on() {
        let key = format!("{}-talk-{number}-{answers}", shared.prefix);
        match talk.turn(&key) {
            Ok(()) => {
                answers += 1;
                thread::sleep(PAUSE);
            }
            Err(error) => {
                shared.failed(format!("a conversation: {error:#}"));
                break;
            }
        }
    }
    Conversation { answers }
}

impl Talk<'_> {
    /// Says something and hears the whole answer, each word once.
    fn turn(&mut self, key: &str) -> anyhow::Result<()> {
        self.heard.clear();
        self.said = None;
        let begins = self.id.is_empty();
        // Of the first answer nobody knows the channel yet, so that one is waited for whole.
        let mut message = json!({ "message": key, "stream": !begins });
        if !begins {
            message["conversationId"] = json!(self.id);
        }
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
        let say = || self.door.post("/api/life-ceo/chat", &headers, &message);
        let answer = self.shared.asked("saying something", say, &[200, 202]);
        let answer = answer.ok_or_else(|| anyhow::anyhow!("nothing was said"))?;
        if begins {
            answer["conversationId"].as_str().unwrap_or_default().clone_into(&mut self.id);
            anyhow::ensure!(answer["finished"] == true, "the first answer is not whole: {answer}");
            while self.socket.is_none() {
                self.listen()?;
            }
            return Ok(());
        }
        let start = Instant::now();
        let mut heard_at = start;
        while self.said.is_none() {
            anyhow::ensure!(
                start.elapsed() < PATIENCE,
                "no whole answer within {PATIENCE:?}: {:?}",
                self.heard
            );
            if self.listen()? {
                heard_at = Instant::now();
            } else if heard_at.elapsed() > SILENCE {
                self.catch_up();
                heard_at = Instant::now();
            }
        }
        let content = self.said.take().unwrap_or_default();
        anyhow::ensure!(
            content.as_str().is_some_and(|content| content == self.heard && content.contains(key)),
            "{:?} was streamed of {content}",
            self.heard
        );
        Ok(())
    }

    /// Listens for a moment; whether something came.
    fn listen(&mut self) -> anyhow::Result<bool> {
        let channel = format!("agent:{}", self.id);
        let mut heard = Vec::new();
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => match self.place.connect(&self.shared.url, self.token, &channel) {
                Ok((socket, missed)) => {
                    heard = missed;
                    socket
                }
                Err(error) if may_come_again(&error) => {
                    come_back(0);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            },
        };
        if let Ok(push) = socket.push_within(LOOK) {
            self.socket = Some(socket);
            heard.extend(
                push.filter(|push| push["channel"] == channel.as_str()).map(|mut push| push["pub"].take()),
            );
        }
        heard.retain(Value::is_object);
        for publication in &heard {
            self.place.next(publication).map_err(|problem| anyhow::anyhow!("{channel}: {problem}"))?;
            self.take(&publication["data"])?;
        }
        Ok(!heard.is_empty())
    }

    fn take(&mut self, message: &Value) -> anyhow::Result<()> {
        let turn = &message["turn"];
        if message["type"] == "agent.delta" {
            let from = message["from"].as_u64().unwrap_or_default();
            let text = message["text"].as_str().unwrap_or_default();
            let has = u64::try_from(self.heard.len())?;
            anyhow::ensure!(from == has, "words from {from} on came after {has} bytes");
            self.heard.push_str(text);
        } else if turn["speaker"] == "agent" && turn["finished"] == true {
            self.said = Some(turn["content"].clone());
        } else if turn["speaker"] == "agent" {
            turn["content"].as_str().unwrap_or_default().clone_into(&mut self.heard);
        }
        Ok(())
    }

    /// Asks for what was said, to the end, which also wakes whoever owns the conversation now.
    fn catch_up(&self) {
        let mut path = format!("/api/life-ceo/conversations/{}/turns?limit=100", self.id);
        loop {
            let turns = || self.door.get(&path, Some(self.token));
            let page = self.shared.asked("the turns of a conversation", turns, &[200]);
            let Some(next) = page.as_ref().and_then(|page| page["nextCursor"].as_str()) else { break };
            path = format!("/api/life-ceo/conversations/{}/turns?limit=100&cursor={next}", self.id);
        }
        thread::sleep(LOOK);
    }
}
