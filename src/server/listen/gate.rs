//! Who may do its handshake now: when all nodes come back at once, those that came last.
//!
//! A node gives a connection up after two seconds. Served in the order in which they came, those who wait longest
//! would be served when they have just left, all of them; served from the newest, each that is begun is finished. Those
//! that have left meanwhile cost nothing but the look that tells.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Lets so many through at once, the newest first.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    free: usize,
    /// In the order in which they came.
    waiting: Vec<oneshot::Sender<Place>>,
}

/// A place behind the gate; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Option<Gate>,
}

impl Gate {
    pub(super) fn new(places: usize) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { free: places, waiting: Vec::new() })) }
    }

    /// Waits for a place.
    pub(super) async fn pass(&self) -> Place {
        let (sender, receiver) = oneshot::channel();
        {
            let mut inner = self.inner();
            if inner.free > 0 {
                inner.free -= 1;
                return Place { gate: Some(self.clone()) };
            }
            inner.waiting.push(sender);
        }
        receiver.await.expect("a gate that somebody waits at is there")
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a free place to the newest who waits.
    fn give(self) {
        let mut place = Place { gate: Some(self.clone()) };
        loop {
            let newest = {
                let mut inner = self.inner();
                let newest = inner.waiting.pop();
                inner.free += usize::from(newest.is_none());
                newest
            };
            let Some(newest) = newest else {
                place.gate = None;
                return;
            };
            match newest.send(place) {
                Ok(()) => return,
                // Who waited has gone.
                Err(back) => place = back,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_who_still_waits_passes_first() {
        let (gate, passed) = (Gate::new(1), Arc::new(Mutex::new(Vec::new())));
        let first = gate.pass().await;
        let waiting: Vec<_> = (0..4)
            .map(|number| {
                let (gate, passed) = (gate.clone(), passed.clone());
                tokio::spawn(async move {
                    let _place = gate.pass().await;
                    passed.lock().unwrap().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        waiting[2].abort();
        tokio::task::yield_now().await;
        assert!(passed.lock().unwrap().is_empty());
        drop(first);
        for task in waiting {
            let _ = task.await;
        }
        assert_eq!(*passed.lock().unwrap(), [3, 1, 0]);
        assert_eq!(gate.inner().free, 1);
    }
}
