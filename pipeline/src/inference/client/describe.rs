//! What a client knows of the server's models: their classes, and the other names that true labels may bear.
//!
//! The name of a model ties an answer to its description, so several servers behind one address, with other models or of other
//! versions, do no harm: a model that is not known yet is asked about, once for all who wait, and what was told of others stays
//! known. A server from before `Describe`, or one that does not know this model, tells nothing of it; it is asked again after a
//! while, because it may have been replaced.

use super::{ClientError, Shared, is_transport};
use crate::inference::Vocabulary;
use firesteel_common::error::root_cause;
use firesteel_proto::Label;
use firesteel_proto::inference::{DescribeRequest, ModelDescription};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::Code;

/// How long it stands that a server tells nothing of a model.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Models that are remembered; beyond them it begins anew.
const MODELS: usize = 1_000;

/// The models that were asked about.
#[derive(Debug, Default)]
pub(super) struct Described {
    models: Mutex<HashMap<String, Known>>,
    /// Held by who asks; the last failure, for those who have waited for it.
    asking: tokio::sync::Mutex<Option<(ClientError, Instant)>>,
}

#[derive(Debug, Clone)]
enum Known {
    Told(Arc<Vocabulary>),
    /// Nothing was told, at that time.
    Untold(Instant),
}

impl Described {
    /// What is known of `model`; `None` where it has to be asked for.
    fn find(&self, model: &str) -> Option<Option<Arc<Vocabulary>>> {
        match self.models.lock().unwrap_or_else(PoisonError::into_inner).get(model)? {
            Known::Told(vocabulary) => Some(Some(Arc::clone(vocabulary))),
            Known::Untold(at) => (at.elapsed() < ASK_AGAIN_AFTER).then_some(None),
        }
    }

    /// Takes down what a server told when it was asked about `model`.
    fn learn(&self, model: &str, told: Vec<ModelDescription>) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.len() > MODELS {
            models.clear();
        }
        for description in told {
            let vocabulary = Known::Told(Arc::new(read(description.classes, description.aliases)));
            models.insert(description.name, vocabulary);
        }
        models.entry(model.to_owned()).and_modify(Known::renew).or_insert_with(Known::untold);
    }
}

impl Known {
    fn untold() -> Self {
        Self::Untold(Instant::now())
    }

    fn renew(&mut self) {
        if let Self::Untold(at) = self {
            *at = Instant::now();
        }
    }
}

/// A description as a vocabulary. A name that is no label is that of no true label either.
fn read(classes: Vec<String>, aliases: HashMap<String, String>) -> Vocabulary {
    let label = |name: &str| Label::parse("classes", name).ok();
    let aliases = aliases.iter().filter_map(|(alias, class)| Some((label(alias)?, label(class)?)));
    Vocabulary::new(classes.iter().filter_map(|name| label(name)), aliases.collect())
}

impl Shared {
    /// What the server tells of `model`; `None` where it tells nothing.
    ///
    /// # Errors
    /// A [`ClientError`], transient or not.
    pub(super) async fn vocabulary(&self, model: &str) -> Result<Option<Arc<Vocabulary>>, ClientError> {
        let began = Instant::now();
        if let Some(found) = self.described.find(model) {
            return Ok(found);
        }
        let mut failure = self.described.asking.lock().await;
        if let Some(found) = self.described.find(model) {
            return Ok(found);
        }
        if let Some((failure, _)) = failure.as_ref().filter(|(_, at)| *at > began) {
            return Err(failure.clone());
        }
        match self.describe().await {
            Ok(told) => self.described.learn(model, told),
            Err(error) => {
                *failure = Some((error.clone(), Instant::now()));
                return Err(error);
            }
        }
        *failure = None;
        let found = self.described.find(model).flatten();
        if found.is_none() {
            tracing::info!(url = %self.url, model, "the inference server does not tell which classes this model has");
        }
        Ok(found)
    }

    /// Asks for the models of the server; none where it does not tell.
    pub(super) async fn describe(&self) -> Result<Vec<ModelDescription>, ClientError> {
        let (mut rpc, url) = (self.rpc.clone(), || self.url.clone());
        let timeout = self.options.connect_timeout;
        match tokio::time::timeout(timeout, rpc.describe(DescribeRequest {})).await {
            Ok(Ok(response)) => Ok(response.into_inner().models),
            Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(Vec::new()),
            Ok(Err(status)) if is_transport(&status) => {
                Err(ClientError::Unreachable { url: url(), reason: root_cause(&status) })
            }
            Ok(Err(status)) => Err(self.status(status)),
            Err(_) => {
                let reason = format!("no answer within {} s", timeout.as_secs_f32());
                Err(ClientError::Unreachable { url: url(), reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(name: &str, classes: &[&str], aliases: &[(&str, &str)]) -> ModelDescription {
        ModelDescription {
            name: name.to_owned(),
            classes: classes.iter().map(ToString::to_string).collect(),
            aliases: aliases.iter().map(|(alias, class)| (alias.to_string(), class.to_string())).collect(),
            share: 0,
        }
    }

    #[test]
    fn what_was_told_of_a_model_stays_and_what_was_not_told_is_remembered_for_a_while() {
        let label = |name| Label::parse("label", name).expect("a label");
        let described = Described::default();
        assert_eq!(described.find("m"), None);
        described.learn("m", Vec::new());
        assert_eq!(described.find("m"), Some(None));
        described
            .learn("n", vec![description("m", &["airplane", "\n"], &[("plane", "airplane"), ("", "x")])]);
        assert_eq!(described.find("n"), Some(None));
        let told = described.find("m").flatten().expect("told");
        assert_eq!(told.class(&label("plane")), Some((0, &label("airplane"))));
        // Another server behind the same address.
        described.learn("n", vec![description("n", &["plane"], &[])]);
        assert_eq!(described.find("m").flatten(), Some(told));
        let other = described.find("n").flatten().expect("told");
        assert_eq!(other.class(&label("plane")), Some((0, &label("plane"))));
        assert_eq!(other.class(&label("airplane")), None);

        let past = Instant::now().checked_sub(ASK_AGAIN_AFTER).map(Known::Untold).expect("the machine runs");
        described.models.lock().unwrap_or_else(PoisonError::into_inner).insert("old".to_owned(), past);
        assert_eq!(described.find("old"), None);
    }
}
