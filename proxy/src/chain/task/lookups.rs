//! A chain's share in the resolver. In: the questions it has. Out: what becomes known of each, as one stream.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, AbortHandle, BoxStream, SelectAll};

use crate::resolve::{Clamp, Lookup, Question, Resolver};

/// The questions of one chain.
pub(super) struct Lookups {
    resolver: Resolver,
    asked: HashMap<Question, (Clamp, AbortHandle)>,
    news: SelectAll<BoxStream<'static, (Question, Arc<Lookup>)>>,
}

impl Lookups {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            asked: HashMap::new(),
            news: SelectAll::new(),
        }
    }

    /// Asks these questions from now on, and no others.
    pub(super) fn ask(&mut self, questions: &BTreeSet<Question>, clamp: Clamp) {
        for question in questions {
            if self
                .asked
                .get(question)
                .is_some_and(|(before, _)| *before == clamp)
            {
                continue;
            }
            // a changed clamp subscribes anew before the old subscription goes, so the answer is never forgotten
            let subscription = self.resolver.subscribe(question.clone(), clamp);
            let news = stream::unfold(subscription, |mut subscription| async move {
                let lookup = subscription.next().await;
                Some(((subscription.question().clone(), lookup), subscription))
            });
            let (news, end) = stream::abortable(news);
            self.news.push(news.boxed());
            if let Some((_, before)) = self.asked.insert(question.clone(), (clamp, end)) {
                before.abort();
            }
        }
        self.asked.retain(|question, (_, end)| {
            let keep = questions.contains(question);
            if !keep {
                end.abort();
            }
            keep
        });
    }

    /// The next thing that becomes known; pending for ever while nothing is asked.
    pub(super) async fn next(&mut self) -> (Question, Arc<Lookup>) {
        match self.news.next().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}
