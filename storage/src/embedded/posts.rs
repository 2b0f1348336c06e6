//! Posts in the embedded store.
//!
//! posts: id → post · public_posts: id → nothing · own_posts: author id, id → nothing, for posts that are not public ·
//! reactions: post id, user id → reaction

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;

use super::tables::{Table, Tables};
use super::{Shared, decode, keys};
use crate::posts::{Post, PostStore, Reacted, ReactionType, Visibility};
use crate::{Page, PageRequest, PageStart, StoreError};

/// Ids of an index below a prefix, newest first, from before a given one on.
fn newest_ids<'a>(
    tables: &'a Tables,
    table: Table,
    prefix: &[u8],
    before: Option<&str>,
) -> impl Iterator<Item = Result<String, StoreError>> + use<'a> {
    let end = match before {
        Some(id) => {
            let mut key = prefix.to_vec();
            key.extend(id.as_bytes());
            Bound::Excluded(key)
        }
        None if prefix.is_empty() => Bound::Unbounded,
        // Below a prefix that ends in the separator everything sorts before the prefix that ends one higher.
        None => {
            let mut key = prefix.to_vec();
            if let Some(last) = key.last_mut() {
                *last += 1;
            }
            Bound::Excluded(key)
        }
    };
    let range = tables.get(table).range::<Vec<u8>, _>((Bound::Included(prefix.to_vec()), end));
    range.rev().map(|item| {
        let key = item.key()?;
        let id = keys::last_part(&key).ok_or_else(|| StoreError::Damaged("key of a post".to_owned()))?;
        Ok(id.to_owned())
    })
}

fn feed(tables: &Tables, user_id: &str, page: &PageRequest) -> Result<Page<Post>, StoreError> {
    let (before, skip) = match &page.start {
        PageStart::First => (None, 0),
        PageStart::After(id) => (Some(id.as_str()), 0),
        PageStart::Skip(items) => (None, *items),
    };
    let mut public = newest_ids(tables, Table::PublicPosts, &[], before).peekable();
    let mut own = newest_ids(tables, Table::OwnPosts, &keys::below(&[user_id]), before).peekable();
    let mut ids = std::iter::from_fn(|| match (public.peek(), own.peek()) {
        (Some(Ok(a)), Some(Ok(b))) if b > a => own.next(),
        (None, _) => own.next(),
        _ => public.next(),
    })
    .skip(skip);
    let mut items = Vec::with_capacity(page.limit);
    while items.len() < page.limit
        && let Some(id) = ids.next().transpose()?
    {
        // A post that is gone while its index is read is left out.
        if let Some(row) = tables.get(Table::Posts).get(&id)? {
            items.push(decode::<Post>(&row)?);
        }
    }
    let more = ids.next().transpose()?.is_some();
    let next = items.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Page { items, next })
}

#[async_trait]
impl PostStore for std::sync::Arc<Shared> {
    async fn create_post(&self, post: Post) -> Result<(), StoreError> {
        self.write(Table::Posts, move |tx| {
            match post.visibility {
                Visibility::Public => tx.put_key(Table::PublicPosts, post.id.clone().into_bytes()),
                Visibility::Friends | Visibility::Private => {
                    tx.put_key(Table::OwnPosts, keys::join(&[&post.author_id, &post.id]));
                }
            }
            tx.put(Table::Posts, post.id.clone().into_bytes(), &post)
        })
        .await
    }

    async fn post(&self, id: &str) -> Result<Option<Post>, StoreError> {
        self.read(Table::Posts, id.as_bytes())
    }

    async fn feed(&self, user_id: &str, page: PageRequest) -> Result<Page<Post>, StoreError> {
        let user_id = user_id.to_owned();
        self.scan(Table::Posts, move |tables| feed(tables, &user_id, &page)).await
    }

    async fn react(
        &self,
        post_id: &str,
        user_id: &str,
        reaction: Option<ReactionType>,
    ) -> Result<Option<Reacted>, StoreError> {
        let (post_key, key) = (post_id.as_bytes().to_vec(), keys::join(&[post_id, user_id]));
        self.write(Table::Reactions, move |tx| {
            let Some(mut post) = tx.get::<Post>(Table::Posts, &post_key)? else { return Ok(None) };
            let previous = tx.get::<ReactionType>(Table::Reactions, &key)?;
            if previous != reaction {
                if let Some(previous) = previous
                    && let Some(count) = post.reactions.get_mut(&previous)
                {
                    *count = count.saturating_sub(1);
                }
                match reaction {
                    Some(reaction) => {
                        *post.reactions.entry(reaction).or_default() += 1;
                        tx.put(Table::Reactions, key, &reaction)?;
                    }
                    None => tx.remove(Table::Reactions, key),
                }
                post.reactions.retain(|_, count| *count > 0);
                tx.put(Table::Posts, post_key, &post)?;
            }
            Ok(Some(Reacted { post, previous }))
        })
        .await
    }

    async fn reactions_of(
        &self,
        user_id: &str,
        post_ids: &[String],
    ) -> Result<BTreeMap<String, ReactionType>, StoreError> {
        let mut reactions = BTreeMap::new();
        for id in post_ids {
            if let Some(reaction) = self.read(Table::Reactions, &keys::join(&[id, user_id]))? {
                reactions.insert(id.clone(), reaction);
            }
        }
        Ok(reactions)
    }
}
