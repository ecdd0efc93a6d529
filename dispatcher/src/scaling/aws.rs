//! AWS: one auto-scaling group a pool, whose desired count is ours alone, and one ECS cluster a region.
//!
//! Groups and clusters are made by `infra/`: a group is called `NAME-TYPE-OPTION`, a cluster `NAME`.

mod failures;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleState, ScalingActivityStatusCode};
use aws_sdk_ecs::types::ContainerInstanceStatus;
use capacity::pools::{InstanceId, Pool, RegionName};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::provider::{Capacity, CapacityError, LaunchFailure, Shown, ShownInstance};

/// Longest call, and longest with all its tries.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(25));
/// Activities that are looked at: a failing group adds about one a minute.
const ACTIVITIES: i32 = 20;
/// Container instances that one call describes at most.
const ECS_BATCH: usize = 100;

/// Clients of one region.
#[derive(Clone, Debug)]
struct Clients {
    groups: aws_sdk_autoscaling::Client,
    ecs: aws_sdk_ecs::Client,
}

/// Groups and clusters of a fleet in any region.
#[derive(Debug)]
pub struct AwsCapacity {
    /// Begins the names of groups, and is that of clusters.
    name: String,
    shared: SdkConfig,
    clients: Mutex<HashMap<String, Clients>>,
}

impl AwsCapacity {
    /// The fleet of this name, with the credentials of the AWS default chain. Nothing is asked of AWS yet.
    pub async fn open(name: &str) -> Self {
        Self::with_config(name, aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await)
    }

    /// As [`open`](Self::open), with credentials and endpoint of the caller's.
    #[must_use]
    pub fn with_config(name: &str, shared: SdkConfig) -> Self {
        let limits = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(PATIENCE.0)
            .operation_timeout(PATIENCE.1)
            .build();
        let retries = RetryConfig::standard().with_max_attempts(3);
        let shared = shared.into_builder().retry_config(retries).timeout_config(limits).build();
        Self { name: name.to_owned(), shared, clients: Mutex::default() }
    }

    async fn clients(&self, region: &RegionName) -> Clients {
        let mut clients = self.clients.lock().await;
        let made = clients.entry(region.as_str().to_owned()).or_insert_with(|| {
            let place = Region::new(region.as_str().to_owned());
            let groups = aws_sdk_autoscaling::config::Builder::from(&self.shared).region(place.clone());
            let ecs = aws_sdk_ecs::config::Builder::from(&self.shared).region(place);
            Clients {
                groups: aws_sdk_autoscaling::Client::from_conf(groups.build()),
                ecs: aws_sdk_ecs::Client::from_conf(ecs.build()),
            }
        });
        made.clone()
    }

    fn group(&self, pool: &Pool) -> String {
        format!("{}-{}-{}", self.name, pool.instance_type, pool.option.as_str())
    }

    /// ARN of an instance in the cluster, if it has joined.
    async fn container_instance(
        &self,
        ecs: &aws_sdk_ecs::Client,
        instance: &InstanceId,
    ) -> Result<Option<String>, CapacityError> {
        let failed = |reason| CapacityError::Unavailable { what: format!("cluster {}", self.name), reason };
        let mut pages = ecs.list_container_instances().cluster(&self.name).into_paginator().items().send();
        let mut arns = Vec::new();
        while let Some(arn) = pages.next().await {
            arns.push(arn.map_err(|e| failed(said(&e)))?);
        }
        for batch in arns.chunks(ECS_BATCH) {
            let request = ecs.describe_container_instances().cluster(&self.name);
            let found = request.set_container_instances(Some(batch.to_vec())).send();
            let found = found.await.map_err(|e| failed(said(&e)))?;
            let ours = found.container_instances().iter().find(|c| c.ec2_instance_id() == Some(instance.as_str()));
            if let Some(arn) = ours.and_then(|c| c.container_instance_arn()) {
                return Ok(Some(arn.to_owned()));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Capacity for AwsCapacity {
    async fn look(&self, region: &RegionName, pools: &[Arc<Pool>]) -> Result<Vec<Shown>, CapacityError> {
        let what = || format!("groups in {region}");
        let names: Vec<String> = pools.iter().map(|pool| self.group(pool)).collect();
        let request = self.clients(region).await.groups.describe_auto_scaling_groups();
        let mut pages = request.set_auto_scaling_group_names(Some(names.clone())).into_paginator().items().send();
        let mut groups = HashMap::new();
        while let Some(group) = pages.next().await {
            let group = group.map_err(|e| error(what(), &e))?;
            groups.insert(group.auto_scaling_group_name().unwrap_or_default().to_owned(), group);
        }
        let shown = pools.iter().zip(names).map(|(pool, name)| {
            match groups.get(&name) {
                Some(group) => Ok(shown(pool, group)),
                // A pool that is being given up: its stack may be gone.
                None if pool.max_instances == 0 => {
                    Ok(Shown { pool: pool.id.clone(), wanted: 0, instances: Vec::new() })
                }
                None => {
                    let reason = format!("there is no group {name}; deploy it with infra/deploy");
                    Err(CapacityError::Refused { what: what(), reason })
                }
            }
        });
        shown.collect()
    }

    async fn ask_for(&self, pool: &Pool, total: u32) -> Result<(), CapacityError> {
        let name = self.group(pool);
        let request = self.clients(&pool.region).await.groups.set_desired_capacity().auto_scaling_group_name(&name);
        let request = request.desired_capacity(i32::try_from(total).unwrap_or(i32::MAX)).honor_cooldown(false);
        let what = || format!("{total} instances of {}", pool.id);
        request.send().await.map_err(|e| error(what(), &e))?;
        Ok(())
    }

    async fn retire(&self, pool: &Pool, instance: &InstanceId) -> Result<(), CapacityError> {
        let ecs = self.clients(&pool.region).await.ecs;
        let Some(arn) = self.container_instance(&ecs, instance).await? else { return Ok(()) };
        let request = ecs.update_container_instances_state().cluster(&self.name).container_instances(arn);
        let what = || format!("draining {instance} in cluster {}", self.name);
        let sent = request.status(ContainerInstanceStatus::Draining).send().await;
        sent.map_err(|e| CapacityError::Unavailable { what: what(), reason: said(&e) })?;
        Ok(())
    }

    async fn end(&self, pool: &Pool, instance: &InstanceId) -> Result<(), CapacityError> {
        let groups = self.clients(&pool.region).await.groups;
        let request = groups.terminate_instance_in_auto_scaling_group().instance_id(instance.as_str());
        let says = |e: &SdkError<_, HttpResponse>, part: &str| {
            ProvideErrorMetadata::message(e).is_some_and(|m| m.to_ascii_lowercase().contains(part))
        };
        let mut sent = request.clone().should_decrement_desired_capacity(true).send().await;
        if sent.as_ref().is_err_and(|e| says(e, "min size constraint")) {
            // It came after its request had been taken back: the count is right already.
            sent = request.should_decrement_desired_capacity(false).send().await;
        }
        match sent {
            // Somebody was faster.
            Err(e) if says(&e, "not found") => Ok(()),
            Err(e) => Err(error(format!("ending {instance} of {}", pool.id), &e)),
            Ok(_) => Ok(()),
        }
    }

    async fn failures(&self, pool: &Pool) -> Result<Vec<LaunchFailure>, CapacityError> {
        let groups = self.clients(&pool.region).await.groups;
        let request = groups.describe_scaling_activities().auto_scaling_group_name(self.group(pool));
        let found = request.max_records(ACTIVITIES).send().await;
        let found = found.map_err(|e| error(format!("activities of {}", pool.id), &e))?;
        let failed = found.activities().iter().filter(|a| a.status_code() == Some(&ScalingActivityStatusCode::Failed));
        Ok(failed
            .map(|activity| {
                let message = activity.status_message().unwrap_or_default().to_owned();
                let at = activity.end_time().or_else(|| activity.start_time());
                LaunchFailure {
                    try_id: activity.activity_id().unwrap_or_default().to_owned(),
                    kind: failures::classify(&message),
                    at: at
                        .and_then(|t| OffsetDateTime::from_unix_timestamp(t.secs()).ok())
                        .unwrap_or_else(OffsetDateTime::now_utc),
                    message,
                }
            })
            .collect())
    }
}

fn shown(pool: &Pool, group: &AutoScalingGroup) -> Shown {
    let instances = group.instances().iter().filter_map(|instance| {
        let state = instance.lifecycle_state();
        let gone = matches!(state, Some(LifecycleState::Terminated | LifecycleState::Detached));
        let staying = matches!(
            state,
            Some(
                LifecycleState::Pending
                    | LifecycleState::PendingWait
                    | LifecycleState::PendingProceed
                    | LifecycleState::InService
            )
        );
        let id = InstanceId::from(instance.instance_id()?);
        (!gone).then_some(ShownInstance { id, ending: !staying })
    });
    let wanted = group.desired_capacity().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    Shown { pool: pool.id.clone(), wanted, instances: instances.collect() }
}

fn error<E>(what: String, error: &SdkError<E, HttpResponse>) -> CapacityError
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    // A limit of the group, a group that is not there, a right that is missing; all else may pass.
    const LASTING: [&str; 3] = ["ValidationError", "AccessDenied", "UnauthorizedOperation"];
    let reason = said(error);
    if error.code().is_some_and(|code| LASTING.iter().any(|lasting| code.contains(lasting))) {
        CapacityError::Refused { what, reason }
    } else {
        CapacityError::Unavailable { what, reason }
    }
}

/// What a service says; of a call that did not come through only which kind of failure it was.
fn said<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(_) => {
            format!("{}: {}", error.code().unwrap_or("error"), error.message().unwrap_or("no message"))
        }
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => "no connection".to_owned(),
        SdkError::DispatchFailure(_) => "the request could not be signed: no credentials?".to_owned(),
        _ => "the request or its answer could not be made sense of".to_owned(),
    }
}
