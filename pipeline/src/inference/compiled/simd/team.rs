//! A team of threads that share the items of one loop, with a hand-over of well under a microsecond.
//!
//! rayon's joins cost some microseconds, a network has dozens of layers, and one image takes about a millisecond: a
//! layer cannot afford them. Here the helpers spin for as long as one forward pass lasts. The driver publishes a
//! closure with a number of items; whoever is free claims the next item. A helper that never arrives, or that the
//! system puts to sleep, only leaves more items to the driver, so nothing depends on how many there are.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// `run`'s closure: called once with every item's index.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// Turns of a waiting loop before it offers the core to others.
const SPINS: u32 = 20_000;

/// Bits of `claims` that count items.
const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;

/// Calls `drive` on this thread with `threads - 1` helpers from the current rayon pool, as far as it has idle ones.
pub(in crate::inference::compiled) fn with_team<R>(
    threads: usize,
    drive: impl FnOnce(&mut Driver<'_>) -> R,
) -> R {
    /// Sends the helpers home, even if `drive` panics: rayon's scope waits for them.
    struct Stop<'a>(&'a Team);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.stop.store(true, Ordering::Release);
        }
    }
    if threads <= 1 {
        return drive(&mut Driver::alone());
    }
    let team = Team::new();
    rayon::in_place_scope(|scope| {
        (1..threads).for_each(|_| scope.spawn(|_| team.help()));
        let _stop = Stop(&team);
        drive(&mut Driver { team: Some(&team), threads })
    })
}

/// Hands out loops, one at a time (`&mut`), to itself and to the helpers of its team.
#[derive(Debug)]
pub(in crate::inference::compiled) struct Driver<'a> {
    team: Option<&'a Team>,
    threads: usize,
}

impl Driver<'_> {
    /// A driver without helpers.
    pub(in crate::inference::compiled) fn alone() -> Self {
        Self { team: None, threads: 1 }
    }

    /// Threads that may work, this one included.
    pub(in crate::inference::compiled) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` once for every item in `0..items`, on whichever threads are there; returns when all are done.
    pub(in crate::inference::compiled) fn run(&mut self, items: usize, work: &(dyn Fn(usize) + Sync)) {
        match self.team {
            Some(team) if items > 1 && (items as u64) < MASK => team.share(items, work),
            _ => (0..items).for_each(work),
        }
    }
}

/// The shared state of a driver and its helpers.
#[derive(Debug)]
struct Team {
    /// `generation << 40 | total << 20 | next`: one word, so that a claim is for exactly one generation of work.
    claims: AtomicU64,
    /// Items of this generation that are done.
    done: AtomicUsize,
    /// The closure of this generation; meaningful while `next < total` or an item is unfinished.
    work: UnsafeCell<Option<*const Work<'static>>>,
    stop: AtomicBool,
}

// SAFETY: `work` is written by the driver alone, in `share`, while every item of the generation before is done and
// before the new generation is published (release); others read it only after claiming an item (acquire), which the
// driver then waits for. The closure behind it is `Sync`.
unsafe impl Sync for Team {}
// SAFETY: as above; the pointer is not used outside `share`.
unsafe impl Send for Team {}

impl Team {
    fn new() -> Self {
        Self {
            claims: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            stop: AtomicBool::new(false),
        }
    }

    /// Runs one loop. Called by the one [`Driver`] of this team, through `&mut`, and so never by two at once.
    fn share(&self, items: usize, work: &Work<'_>) {
        /// Waits for what others have claimed, even while a panic unwinds: they borrow from this call's frame.
        struct Wait<'a>(&'a Team);
        impl Drop for Wait<'_> {
            fn drop(&mut self) {
                // Nothing more to claim: what has been claimed so far is what there is to wait for.
                let team = self.0;
                let closed =
                    team.claims.fetch_update(Ordering::AcqRel, Ordering::Acquire, |c| Some(c | MASK));
                let (Ok(c) | Err(c)) = closed;
                let claimed = ((c & MASK).min((c >> BITS) & MASK)) as usize;
                wait_until(|| team.done.load(Ordering::Acquire) >= claimed);
            }
        }
        // SAFETY: only the lifetime is changed. The pointer is used for items of this generation only, and `Wait`
        // does not let this function end, not even by a panic, before all of them are done.
        let pointer = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        // SAFETY: no item of an earlier generation is unfinished and none of this one is published, so that no one
        // reads the cell; `&mut self` in `Driver::run` makes this the only writer.
        unsafe { *self.work.get() = Some(pointer) };
        self.done.store(0, Ordering::Relaxed);
        let generation = (self.claims.load(Ordering::Relaxed) >> (2 * BITS)) + 1;
        self.claims.store((generation << (2 * BITS)) | ((items as u64) << BITS), Ordering::Release);
        let wait = Wait(self);
        while self.step() {}
        drop(wait);
    }

    /// Works for this team until it is told to stop.
    fn help(&self) {
        while !self.stop.load(Ordering::Acquire) {
            wait_until(|| self.open().is_some() || self.stop.load(Ordering::Acquire));
            while self.step() {}
        }
    }

    /// The word of claims if an item is left.
    fn open(&self) -> Option<u64> {
        let claims = self.claims.load(Ordering::Acquire);
        (claims & MASK < (claims >> BITS) & MASK).then_some(claims)
    }

    /// Claims and runs one item; false when none is left.
    fn step(&self) -> bool {
        /// Counts the item as done, even if it panics.
        struct Done<'a>(&'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::AcqRel);
            }
        }
        let Some(claims) = self.open() else { return false };
        let next = claims + 1;
        if self.claims.compare_exchange_weak(claims, next, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return true;
        }
        let _done = Done(&self.done);
        // SAFETY: this thread has claimed an item of the current generation and has not finished it, so the driver
        // is inside `share` and neither the cell nor the closure changes or goes away.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        if let Some(work) = work {
            work((claims & MASK) as usize);
        }
        true
    }
}

fn wait_until(ready: impl Fn() -> bool) {
    let mut turns = 0;
    while !ready() {
        turns += 1;
        if turns < SPINS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_runs_once_whoever_helps() {
        for threads in 1..4 {
            let counts: Vec<AtomicUsize> = (0..37).map(|_| AtomicUsize::new(0)).collect();
            let rounds = if cfg!(miri) { 5 } else { 2_000 };
            with_team(threads, |driver| {
                for round in 0..rounds {
                    driver.run(1 + round % 37, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            let expected = |i| (0..rounds).filter(|round| 1 + round % 37 > i).count();
            for (i, count) in counts.iter().enumerate() {
                assert_eq!(count.load(Ordering::Relaxed), expected(i), "item {i} with {threads} threads");
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_driver() {
        let result = std::panic::catch_unwind(|| {
            with_team(2, |driver| driver.run(8, &|i| assert!(i != 5, "item 5")));
        });
        assert!(result.is_err());
    }
}
