//! How the jobs of a session are named.

use crate::jobs::NAME_PREFIX;

/// Names for the jobs of a session, by which the scheduler tells them apart.
#[derive(Debug)]
pub(super) struct JobNames {
    pub(super) prefix: String,
    next: std::sync::atomic::AtomicU64,
}

impl JobNames {
    /// `session` is an id that no other session has.
    pub(super) fn new(session: &str) -> Self {
        Self { prefix: format!("{NAME_PREFIX}{session}/"), next: std::sync::atomic::AtomicU64::new(1) }
    }

    /// The name of jobs that are started by other means than [`Session::start`](crate::Session::start).
    pub(super) fn common(&self) -> String {
        format!("{}0", self.prefix)
    }

    /// The start of the next job's name. No other job's name starts with it.
    pub(super) fn next(&self) -> String {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{}{number} ", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_the_start_of_another() {
        let names = JobNames::new("s");
        let drawn: Vec<String> = (0..12).map(|_| names.next()).chain([names.common()]).collect();
        for (index, name) in drawn.iter().enumerate() {
            assert!(name.starts_with("firesteel/s/"));
            for (other, longer) in drawn.iter().enumerate() {
                assert!(index == other || !longer.starts_with(name.as_str()), "{name} {longer}");
            }
        }
    }
}
