//! Who asked for which job, so that one user neither sees nor ends the jobs of another.
//!
//! ```text
//!  door: Owners::submitting(caller, call) ──▶ Ballista's server ──▶ next_id() ── the job's id and its caller are noted
//! ```
//!
//! Ballista tells the id of a job late: with the first change of its state, or with its result. But it takes the id from a
//! generator while the call that submits the job is under way, so the generator is where both are known. The owner of a
//! job is known for longer than the job: a client may still fetch its result. Whose owner is not known, such as a job of an earlier scheduler, is for admins alone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ballista_core::ids::new_instance_id;
use ballista_scheduler::scheduler_server::JobIdGenerator;
use firesteel_common::access::{Caller, Refusal, Role};

/// The most jobs whose owners are kept. A scheduler that remembers more jobs than this shows the oldest to admins alone.
const MOST: usize = 100_000;

tokio::task_local! {
    /// The user on whose behalf the current task submits a job.
    static SUBMITTER: String;
}

/// The owners of the jobs that this scheduler knows.
#[derive(Debug, Default)]
pub(in crate::cluster::scheduler) struct Owners(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_job: HashMap<String, String>,
    /// The jobs, the oldest first; those that are forgotten among them.
    order: VecDeque<String>,
}

impl Owners {
    /// Runs `call`, and notes `caller` as the owner of the job that it submits.
    pub(super) async fn submitting<T>(caller: &Caller, call: impl Future<Output = T>) -> T {
        match caller.user() {
            Some(user) => SUBMITTER.scope(user.to_owned(), call).await,
            None => call.await,
        }
    }

    /// Whether `caller` may see the names and plans of all jobs.
    pub(super) fn sees_all(caller: &Caller) -> bool {
        caller.needs(Role::Admin).is_ok()
    }

    /// Whether `caller` may see, fetch and end a job: its owner may, and who administers.
    pub(super) fn owns(&self, caller: &Caller, job: &str) -> bool {
        let by_user = |user| self.known(|known| known.by_job.get(job).is_some_and(|owner| owner == user));
        Self::sees_all(caller) || caller.user().is_some_and(by_user)
    }

    /// Checks that `caller` may see, fetch and end a job. A job that does not exist is refused like one of somebody else.
    pub(super) fn check(&self, caller: &Caller, job: &str) -> Result<(), Refusal> {
        if self.owns(caller, job) {
            return Ok(());
        }
        let user = caller.user().unwrap_or_default();
        Err(Refusal::Denied(format!(
            "this is no job of {user}; jobs of others take the role {}",
            Role::Admin
        )))
    }

    fn note(&self, job: &str, owner: String) {
        self.known(|known| {
            known.by_job.insert(job.to_owned(), owner);
            known.order.push_back(job.to_owned());
            while known.order.len() > MOST {
                if let Some(oldest) = known.order.pop_front() {
                    known.by_job.remove(&oldest);
                }
            }
        });
    }

    fn known<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl JobIdGenerator for Owners {
    /// A random id, which cannot be guessed from another.
    async fn next_id(&self) -> String {
        let job = new_instance_id();
        if let Ok(owner) = SUBMITTER.try_with(Clone::clone) {
            self.note(&job, owner);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use firesteel_common::access::Principal;

    use super::*;

    fn user(name: &str, role: Role) -> Caller {
        Caller::User(Principal { name: name.to_owned(), role })
    }

    #[tokio::test]
    async fn a_job_belongs_to_whoever_submits_it() {
        let owners = Owners::default();
        let ada = user("ada", Role::Reader);
        let job = Owners::submitting(&ada, owners.next_id()).await;
        for (caller, owns) in [
            (ada.clone(), true),
            // The name counts: a role may change while a job runs.
            (user("ada", Role::Writer), true),
            (user("bob", Role::Writer), false),
            (user("root", Role::Admin), true),
            (Caller::Member, true),
            (Caller::Open, true),
        ] {
            assert_eq!(owners.owns(&caller, &job), owns, "{caller:?}");
        }
        let unowned = owners.next_id().await;
        for job in [unowned.as_str(), "nothing"] {
            let refusal = owners.check(&ada, job).unwrap_err();
            assert!(refusal.to_string().contains("admin"), "{refusal}");
        }
        assert_ne!(job, unowned);
    }

    #[test]
    fn the_oldest_jobs_are_forgotten_first() {
        let owners = Owners::default();
        for job in 0..=MOST {
            owners.note(&job.to_string(), "ada".to_owned());
        }
        let ada = user("ada", Role::Reader);
        assert!(!owners.owns(&ada, "0") && owners.owns(&ada, "1"));
        owners.known(|known| assert_eq!(known.by_job.len(), MOST));
    }
}
