//! Work that is not given up when nobody waits for it any more.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tracing::{Instrument as _, Span};

use crate::traces::{self, TraceContext};

/// A future that goes on as a task of its own when it is dropped before its end, in the span in which it was made. While
/// somebody waits for it, it costs no task. In a runtime that ends it ends as well.
#[must_use = "a future does nothing until it is awaited"]
pub struct ToTheEnd<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    future: Option<Pin<Box<F>>>,
    span: Span,
    trace: Option<TraceContext>,
}

impl<F: Future<Output: Send> + Send + 'static> ToTheEnd<F> {
    /// Carries a future to its end, once it is begun.
    pub fn new(future: F) -> Self {
        Self { future: Some(Box::pin(future)), span: Span::current(), trace: traces::current() }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToTheEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Out of its place: one that panics, or has ended, is not carried on.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let poll = future.as_mut().poll(context);
        if poll.is_pending() {
            self.future = Some(future);
        }
        poll
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToTheEnd<F> {
    fn drop(&mut self) {
        if let (Some(future), Ok(runtime)) = (self.future.take(), Handle::try_current()) {
            runtime.spawn(traces::within(self.trace, future.instrument(self.span.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_goes_on() {
        let (tell, told) = oneshot::channel();
        let (go_on, wait) = oneshot::channel::<()>();
        let work = ToTheEnd::new(async move {
            wait.await.unwrap();
            tell.send(7).unwrap();
        });
        assert!(timeout(Duration::from_millis(10), work).await.is_err());
        go_on.send(()).unwrap();
        assert_eq!(told.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_ends_in_time_is_answered_here() {
        assert_eq!(ToTheEnd::new(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn what_panics_is_not_carried_on() {
        let work = tokio::spawn(ToTheEnd::new(async { panic!("on purpose") }));
        assert!(work.await.unwrap_err().is_panic());
    }
}
