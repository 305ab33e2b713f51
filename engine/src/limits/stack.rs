//! A stack that is large enough for the deepest plan that the limits allow, on whatever thread.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Below this much stack a new one is made. It is the half of what the engine's own threads have.
const ENOUGH: usize = 16 << 20;

/// The size of a new stack, of which only what is used takes memory.
const STACK: usize = 32 << 20;

/// Runs something on a large stack.
pub(super) fn deep<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(ENOUGH, STACK, work)
}

/// A future that is polled on a large stack: a program may run queries on a thread with a small one.
pub(crate) struct Deep<F>(Pin<Box<F>>);

impl<F: Future> Deep<F> {
    pub(crate) fn new(work: F) -> Self {
        Self(Box::pin(work))
    }
}

impl<F: Future> Future for Deep<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        deep(|| self.0.as_mut().poll(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_thread_recurses_deeply() {
        fn deep(levels: usize) -> usize {
            let frame = std::hint::black_box([levels; 64]);
            if levels == 0 { 0 } else { 1 + deep(levels - 1) + frame[0] - levels }
        }
        let small = std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(|| futures::executor::block_on(Deep::new(async { deep(10_000) })));
        assert_eq!(small.unwrap().join().unwrap(), 10_000);
    }
}
