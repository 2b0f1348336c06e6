//! Pages of what is left of a list when what the reader does not see is taken out.

use futures_util::future::BoxFuture;
use mundotango_storage::{Page, PageRequest, PageStart};

/// How often a list is read for one page.
const MOST_READS: usize = 10;

/// Reads on until a page is full, or the list was read ten times: the page ends early then, with a cursor to go on. `read` leaves
/// out what is not shown. Who counts pages skips what is shown alone.
pub async fn filled<'a, T, E>(
    page: PageRequest,
    read: impl Fn(PageRequest) -> BoxFuture<'a, Result<Page<T>, E>>,
) -> Result<Page<T>, E> {
    let PageRequest { mut start, limit } = page;
    let mut skip = 0;
    if let PageStart::Skip(items) = start {
        (start, skip) = (PageStart::First, items);
    }
    let mut filled = Page { items: Vec::new(), next: None };
    for _ in 0..MOST_READS {
        let missing = skip.saturating_add(limit - filled.items.len());
        let found = read(PageRequest { start, limit: missing }).await?;
        let left_out = skip.min(found.items.len());
        skip -= left_out;
        filled.items.extend(found.items.into_iter().skip(left_out));
        filled.next = found.next;
        match &filled.next {
            Some(next) if filled.items.len() < limit => start = PageStart::After(next.clone()),
            _ => break,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    /// A page of the numbers below 100, those left out that `hides` names.
    fn numbers(page: &PageRequest, hides: impl Fn(usize) -> bool) -> Page<usize> {
        let (from, skip) = match &page.start {
            PageStart::First => (0, 0),
            PageStart::After(last) => (last.parse::<usize>().unwrap() + 1, 0),
            PageStart::Skip(items) => (0, *items),
        };
        let read: Vec<_> = (from..100).skip(skip).take(page.limit).collect();
        let next = read.last().filter(|last| **last < 99).map(ToString::to_string);
        Page { items: read.into_iter().filter(|number| !hides(*number)).collect(), next }
    }

    #[tokio::test]
    async fn a_page_is_filled_with_what_is_shown_and_none_is_lost_or_comes_twice() {
        let shows = |number: usize| number.is_multiple_of(3);
        let read = |page: PageRequest| {
            async move { Ok::<_, Infallible>(numbers(&page, |number| !shows(number))) }.boxed()
        };
        let expected: Vec<_> = (0..100).filter(|number| shows(*number)).collect();
        let (mut start, mut seen) = (PageStart::First, Vec::new());
        loop {
            let page = filled(PageRequest { start, limit: 5 }, read).await.unwrap();
            assert!(page.items.len() == 5 || page.next.is_none());
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            start = PageStart::After(next);
        }
        assert_eq!(seen, expected);
        let third = filled(PageRequest { start: PageStart::Skip(10), limit: 5 }, read).await.unwrap();
        assert_eq!(third.items, expected[10..15]);
    }

    #[tokio::test]
    async fn a_list_of_which_nothing_is_shown_is_read_a_bounded_number_of_times() {
        let reads = AtomicUsize::new(0);
        let read = |page: PageRequest| {
            reads.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, Infallible>(numbers(&page, |_| true)) }.boxed()
        };
        let page = filled(PageRequest { start: PageStart::First, limit: 2 }, read).await.unwrap();
        assert_eq!((page.items.len(), page.next.as_deref(), reads.into_inner()), (0, Some("19"), MOST_READS));
    }
}
