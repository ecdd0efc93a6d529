//! Inboxes: buckets whose new objects become jobs by themselves. Notices come at least once, late and in no order; each
//! write of a key makes one job, because taking it and entering the job are one transaction.

use std::time::Duration;

use fleet::config::InboxConfig;
use fleet::queue::{Notices, WrittenObject};
use fleet::store::StoreError;
use fleet::store::inbox::InboxObject;
use futures_util::future::join_all;
use tokio::sync::{OnceCell, watch};

use super::Api;
use super::caller::Caller;
use super::jobs::{JobSettings, accept};
use super::problem::Problem;
use super::source::Source;
use crate::dispatch::{DispatchError, repeat};

/// How long one turn waits for notices: the longest of SQS.
const WAIT: Duration = Duration::from_secs(20);
/// A notice that could not be dealt with comes again after this long. Then the bucket's own dead-letter queue takes it.
const AGAIN: Duration = Duration::from_secs(120);
/// Objects are remembered this long: twice the longest that SQS keeps a notice.
const REMEMBERED: Duration = Duration::from_secs(28 * 86_400);

/// An inbox and its queue, which is looked up at the first turn.
#[derive(Debug)]
pub(super) struct Inbox<'a> {
    config: &'a InboxConfig,
    notices: OnceCell<Notices>,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(config: &'a InboxConfig) -> Self {
        Self { config, notices: OnceCell::new() }
    }
}

impl Api {
    /// Takes what comes to all inboxes until `stop`.
    pub(super) async fn run_inboxes(&self, stop: &watch::Receiver<bool>) {
        let inboxes: Vec<Inbox<'_>> = self.config.api.inbox.iter().map(Inbox::new).collect();
        if inboxes.is_empty() {
            return;
        }
        let forget = repeat(stop, "inbox rows", Duration::from_secs(3600), || async {
            self.store.forget_inbox(REMEMBERED).await?;
            Ok(false)
        });
        let turns = inboxes.iter().map(|inbox| {
            repeat(stop, "inbox", Duration::from_millis(100), || async {
                Ok(self.take_inbox_once(inbox, WAIT).await? > 0)
            })
        });
        let mut stopped = stop.clone();
        tokio::select! {
            // In the middle of a wait, or of a turn: what was not done comes again.
            _ = stopped.wait_for(|stopped| *stopped) => {}
            _ = async { tokio::join!(forget, join_all(turns)) } => {}
        }
    }

    /// Takes what has come to an inbox, and gives how many jobs it made.
    pub(super) async fn take_inbox_once(&self, inbox: &Inbox<'_>, wait: Duration) -> Result<usize, DispatchError> {
        let config = inbox.config;
        let open = || Notices::open(&config.queue, config.region.as_deref());
        let notices = inbox.notices.get_or_try_init(open).await?;
        let Some(organisation) = self.store.organisation_named(&config.organisation).await? else {
            return Err(DispatchError::NoOrganisation(config.organisation.clone()));
        };
        let caller = Caller::dispatcher(organisation);
        let (mut done, mut made) = (Vec::new(), 0);
        for notice in notices.receive(wait, AGAIN).await? {
            let Some(written) = notice.written else {
                // Left for the dead letters: somebody has another use of this queue in mind.
                if notice.receive_count == 1 {
                    tracing::warn!(queue = config.queue, "a message is no notice of S3");
                }
                continue;
            };
            let mut is_done = true;
            for object in written {
                match self.take_object(config, &caller, &object).await {
                    Ok(is_new) => made += usize::from(is_new),
                    Err(problem) => {
                        tracing::warn!(bucket = object.bucket, key = object.key, %problem, "no job was made of an object");
                        is_done = false;
                    }
                }
            }
            if is_done {
                done.push(notice.receipt);
            }
        }
        notices.delete(&done).await?;
        Ok(made)
    }

    /// Makes a job of an object, unless one was made or none is wanted.
    async fn take_object(
        &self,
        config: &InboxConfig,
        caller: &Caller,
        object: &WrittenObject,
    ) -> Result<bool, Problem> {
        let WrittenObject { bucket, key, size, version } = object;
        let address = format!("s3://{bucket}/{key}");
        // Consoles make folders of empty objects.
        if *size == 0 || !config.wants(key) {
            return Ok(false);
        }
        if self.config.keeps(&address) {
            tracing::warn!(
                bucket,
                key,
                "an inbox tells of the fleet's own objects; give it another bucket or a filter"
            );
            return Ok(false);
        }
        let tenant = self.tenant(caller);
        let mut tx = tenant.begin().await?;
        if !tenant.take_from_inbox(&mut tx, &InboxObject { bucket, key, version }).await? {
            return Ok(false);
        }
        let name = key.rsplit('/').next().unwrap_or(key).chars().take(500).collect();
        let source = Source { address, upload: None, name };
        let settings = JobSettings { ladder: config.ladder.clone(), ..JobSettings::default() };
        let job = accept(self, &tenant, &mut tx, caller, source, &settings).await?;
        tx.commit().await.map_err(StoreError::from)?;
        tracing::info!(job.id = %job, bucket, key, "an object came; job {job} was made");
        Ok(true)
    }
}
