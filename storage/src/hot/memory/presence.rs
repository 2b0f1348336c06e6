//! The sessions in one channel, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use mundotango_protocol::ClientInfo;
use tokio::time::Instant;

use crate::hot::Present;

#[derive(Default)]
pub(super) struct Presence {
    sessions: HashMap<String, Session>,
    /// Sessions a user, so that counting needs no walk.
    users: HashMap<String, u32>,
}

struct Session {
    /// Shared with who reads, so that the copies are made without the lock.
    present: Arc<Present>,
    expires_at: Instant,
}

impl Presence {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(super) fn clients(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    pub(super) fn add(&mut self, present: &Present, expires_at: Instant) {
        if let Some(session) = self.sessions.get_mut(&present.client)
            && *session.present == *present
        {
            session.expires_at = expires_at;
            return;
        }
        let session = Session { present: Arc::new(present.clone()), expires_at };
        if let Some(before) = self.sessions.insert(present.client.clone(), session) {
            self.count_down(&before.present.info);
        }
        *self.users.entry(present.info.user.clone()).or_default() += 1;
    }

    pub(super) fn remove(&mut self, client: &str) {
        if let Some(gone) = self.sessions.remove(client) {
            self.count_down(&gone.present.info);
        }
    }

    fn count_down(&mut self, info: &ClientInfo) {
        if let Some(sessions) = self.users.get_mut(&info.user) {
            *sessions -= 1;
            if *sessions == 0 {
                self.users.remove(&info.user);
            }
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let expired = self.sessions.values().filter(|session| session.expires_at <= now);
        for gone in expired.map(|session| Arc::clone(&session.present)).collect::<Vec<_>>() {
            self.remove(&gone.client);
        }
    }

    pub(super) fn list(&self, now: Instant) -> Vec<Arc<Present>> {
        let present = self.sessions.values().filter(|session| session.expires_at > now);
        present.map(|session| Arc::clone(&session.present)).collect()
    }
}
