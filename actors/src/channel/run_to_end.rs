//! Work that must not stay half done because nobody waits for it any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

/// Runs a future in its caller's task. If the caller is dropped before it is done, as a request is whose client hangs up,
/// a task of its own runs the rest.
pub(crate) fn run_to_end<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> RunToEnd<T> {
    RunToEnd { future: Some(Box::pin(future)), is_begun: false }
}

pub(crate) struct RunToEnd<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    is_begun: bool,
}

impl<T: Send + 'static> Future for RunToEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.is_begun = true;
        // A future that panics is not put back, as it cannot be polled again.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let outcome = future.as_mut().poll(context);
        if outcome.is_pending() {
            self.future = Some(future);
        }
        outcome
    }
}

impl<T: Send + 'static> Drop for RunToEnd<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take().filter(|_| self.is_begun)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(future);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_future_that_began_runs_to_its_end_although_its_caller_is_gone() {
        let (done, was_done) = oneshot::channel();
        let work = run_to_end(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = done.send(());
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        was_done.await.unwrap();
        assert_eq!(run_to_end(async { 1 }).await, 1);
    }
}
