//! `post:{id}`: what happens to one post, for those who look at it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use mundotango_actors::{ChannelGate, Engine, EngineError, Pace, Publish, TopicHandler};
use mundotango_protocol::{ChannelName, Publication};
use mundotango_storage::StoreError;
use mundotango_storage::hot::Version;
use serde::Serialize;
use utoipa::ToSchema;

use super::bodies::PostMessage;
use super::comments::store::CommentStore;
use super::post::Visibility;
use super::readers::readable;
use super::rules::ReactionType;
use super::store::PostStore;
use crate::community::coalescer::Coalescer;
use crate::community::graph::store::Circles;

/// The namespace of the posts' channels.
const NAMESPACE: &str = "post";
/// On what nodes tell each other which post's reactions changed, and the name of the task that publishes them.
const REACTIONS: &str = "post reactions";

/// Stands before the id of a post whose votes changed, where that of one alone is of a post whose reactions did.
const VOTES: &str = "votes:";

/// What `post:{id}` publishes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
pub(in crate::community) enum ReactionsMessage {
    /// The reactions to the post changed, or how many comments there are. Only of a public post.
    #[serde(rename = "post.reacted")]
    Reacted {
        #[serde(rename = "postId")]
        post_id: String,
        /// How many reactions of each kind.
        #[schema(value_type = BTreeMap<String, u64>)]
        reactions: BTreeMap<ReactionType, u64>,
        /// How many comments.
        #[serde(rename = "commentCount")]
        comment_count: u64,
    },
    /// Somebody voted. Only of a public post; whoever may see the results asks for them.
    #[serde(rename = "post.polled")]
    Polled {
        #[serde(rename = "postId")]
        post_id: String,
        /// How many have voted.
        voters: u64,
    },
}

/// Hears of each post to which reactions or comments changed.
pub(in crate::community) type ChangedPosts = Arc<Coalescer>;

/// The channel of a post.
pub(super) fn channel_of(post_id: &str) -> String {
    format!("{NAMESPACE}:{post_id}")
}

/// Lets into a post's channel who may read the post.
struct Readers(PostStore, Circles);

#[async_trait]
impl ChannelGate for Readers {
    async fn may_subscribe(&self, user: &str, channel: &ChannelName) -> Result<bool, String> {
        let Some(id) = channel.as_str().strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix(':'))
        else {
            return Ok(false);
        };
        let post = self.0.post(id).await.map_err(|error| error.to_string())?;
        let post = readable(&self.1, user, post).await.map_err(|error| error.to_string())?;
        Ok(post.is_some())
    }
}

/// Publishes the reactions to posts, a few times a second each. Of all nodes one publishes those of a post, so that its
/// subscribers do not get as many publications as there are nodes.
struct Reactions {
    posts: PostStore,
    comments: CommentStore,
    engine: Weak<Engine>,
    changed: Arc<Coalescer>,
}

/// Another node's word that a post's reactions changed.
struct Hearing(Arc<Coalescer>);

#[async_trait]
impl TopicHandler for Hearing {
    async fn handle(&self, data: Bytes) -> Result<Bytes, String> {
        let id = std::str::from_utf8(&data).map_err(|error| error.to_string())?;
        self.0.changed(id);
        Ok(Bytes::new())
    }
}

impl Reactions {
    /// Publishes the reactions to a post, or has the node do it that publishes them; whether there is nothing left to do.
    async fn tell(&self, post_id: String) -> bool {
        let Some(engine) = self.engine.upgrade() else { return true };
        let place = engine.place_of(REACTIONS, &post_id);
        // A node that cannot be asked, or does not know of it, is made up for.
        if place != engine.node_id()
            && engine.ask_topic(&place, REACTIONS, post_id.clone().into()).await.is_ok()
        {
            return true;
        }
        match self.publish(&engine, &post_id).await {
            Ok(is_done) => is_done,
            Err(error) => {
                tracing::error!(post_id, %error, "reactions not published");
                true
            }
        }
    }

    /// What there is to say of a public post, and its number, where that tells older from newer.
    async fn news(
        &self,
        post_id: &str,
        of_votes: bool,
    ) -> Result<(ReactionsMessage, Option<u64>), StoreError> {
        let id = post_id.to_owned();
        if of_votes {
            let voters = self.posts.votes_now(post_id).await?.voters;
            return Ok((ReactionsMessage::Polled { post_id: id, voters }, None));
        }
        let ((reactions, reacted), (comment_count, commented)) =
            tokio::try_join!(self.posts.reactions_now(post_id), self.comments.count(post_id))?;
        let message = ReactionsMessage::Reacted { post_id: id, reactions, comment_count };
        Ok((message, Some(reacted + commented)))
    }

    /// Whether they are published; not, if a part of the node does not answer now.
    async fn publish(&self, engine: &Engine, changed: &str) -> anyhow::Result<bool> {
        let (post_id, of_votes) = changed.strip_prefix(VOTES).map_or((changed, false), |id| (id, true));
        let Ok(post) = self.posts.post_now(post_id).await else { return Ok(false) };
        let Some(post) = post else { return Ok(true) };
        let Ok((message, number)) = self.news(post_id, of_votes).await else { return Ok(false) };
        let data = match post.visibility {
            Visibility::Public => serde_json::to_vec(&message)?,
            Visibility::Friends | Visibility::Private => {
                serde_json::to_vec(&PostMessage::Changed { post_id: post_id.to_owned() })?
            }
        };
        let publish = Publish {
            // Where two nodes publish for a moment, nobody sees older counts after newer ones.
            version: number.map(|number| Version { number, epoch: REACTIONS.to_owned() }),
            ..Publish::new(Publication { data: Bytes::from(data), ..Publication::default() })
        };
        let channel = ChannelName::parse(&channel_of(post_id))?;
        match engine.publish(&channel, publish).await {
            Ok(_) => Ok(true),
            Err(EngineError::Unavailable) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens the posts' channels, and publishes what changes there from now on.
pub(in crate::community) fn start(
    posts: &PostStore,
    comments: &CommentStore,
    circles: &Circles,
    engine: &Arc<Engine>,
) -> ChangedPosts {
    let changed = Arc::new(Coalescer::default());
    posts.on_reactions({
        let changed = Arc::clone(&changed);
        move |post_id| changed.changed(post_id)
    });
    posts.on_votes({
        let changed = Arc::clone(&changed);
        move |post_id| changed.changed(&format!("{VOTES}{post_id}"))
    });
    engine.set_gate(NAMESPACE, Arc::new(Readers(posts.clone(), circles.clone())));
    engine.set_topic(REACTIONS, Arc::new(Hearing(Arc::clone(&changed))));
    let reactions = Arc::new(Reactions {
        posts: posts.clone(),
        comments: comments.clone(),
        engine: Arc::downgrade(engine),
        changed: Arc::clone(&changed),
    });
    engine.keep_running(REACTIONS, Pace::Timed, move |vitals| {
        let reactions = Arc::clone(&reactions);
        Box::pin(async move { reactions.changed.run(&vitals, |post_id| reactions.tell(post_id)).await })
    });
    changed
}
