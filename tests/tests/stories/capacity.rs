//! Machines: stacks are deployed with `CloudFormation`, pools go from zero to what is needed and back, and what a provider
//! refuses is had elsewhere. On moto, with groups that fail as real ones do; workers are rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capacity::pools::{Fleet, InstanceId, PoolId};
use dispatcher::scaling::Scaler;
use dispatcher::scaling::aws::AwsCapacity;
use dispatcher::scaling::conformance::conformance;
use dispatcher::scaling::events::Event;
use dispatcher::scaling::provider::Capacity;
use fleet::queue::EventQueue;
use fleet::store::jobs::NewJob;
use fleet::store::workers::{NewWorker, WorkerBeat};
use fleet::store::{Store, StoreOptions};
use stories::fleet_processes::new_job;
use stories::moto::{ACCOUNT, Moto};
use stories::services::Postgres;
use uuid::Uuid;

const REGION: &str = "eu-west-1";
const SPOT: &str = "eu-west-1/g4dn.xlarge/spot";
const ON_DEMAND: &str = "eu-west-1/g4dn.xlarge/on_demand";
/// Where work goes that [`REGION`] cannot do.
const NEXT_REGION: &str = "us-east-1";

/// One region with quotas for two spot instances and one on-demand, which is taken when spot fails.
fn fleet_toml(policy: &str) -> String {
    format!(
        r#"
        [policy]
        name = "{policy}"
        idle_after_s = 0
        [[region]]
        name = "{REGION}"
        quota = [
            {{ family = "g_and_vt", option = "spot", vcpu = 8 }},
            {{ family = "g_and_vt", option = "on_demand", vcpu = 4 }},
        ]
        [[pool]]
        region = "{REGION}"
        instance_type = "g4dn.xlarge"
        option = "spot"
        [[pool]]
        region = "{REGION}"
        instance_type = "g5.xlarge"
        option = "spot"
        [[pool]]
        region = "{REGION}"
        instance_type = "g4dn.xlarge"
        option = "on_demand"
        "#
    )
}

/// Two regions with quotas for one on-demand instance each.
fn two_regions() -> String {
    let mut text = "[policy]\nname = \"on_demand_only\"\n".to_owned();
    for region in [REGION, NEXT_REGION] {
        text.push_str(&format!(
            "[[region]]\nname = \"{region}\"\nquota = [{{ family = \"g_and_vt\", option = \"on_demand\", vcpu = 4 }}]\n"
        ));
        for kind in ["g4dn.xlarge", "g5.xlarge"] {
            text.push_str(&format!(
                "[[pool]]\nregion = \"{region}\"\ninstance_type = \"{kind}\"\noption = \"on_demand\"\n"
            ));
        }
    }
    text
}

/// A fleet whose stacks are deployed, with a database of its own.
struct Deployed {
    name: String,
    moto: &'static Moto,
    fleet: Fleet,
    capacity: Arc<AwsCapacity>,
    store: Store,
    scaler: Scaler,
    _folder: tempfile::TempDir,
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

impl Deployed {
    async fn new(name: &str) -> Self {
        Self::of(name, &fleet_toml("spot_then_on_demand:wait_s=0")).await
    }

    async fn of(name: &str, text: &str) -> Self {
        let (moto, folder) = (Moto::shared(), tempfile::tempdir().unwrap());
        let fleet_file = write(folder.path(), "fleet.toml", text);
        let settings = format!("fleet = '{name}'\nhome = '{REGION}'\nweb_origins = ['https://matches.example.org']\n");
        let deployment = write(folder.path(), "deployment.toml", &settings);
        let output = moto.deploy(&fleet_file, &deployment, &[]);
        assert!(output.status.success(), "infra/deploy: {}", String::from_utf8_lossy(&output.stderr));

        let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
        store.migrate().await.unwrap();
        let fleet = Fleet::parse(text).unwrap();
        let capacity = Arc::new(AwsCapacity::with_config(name, moto.config(REGION)));
        let scaler = Scaler::new(store.clone(), fleet.clone(), capacity.clone());
        Self { name: name.to_owned(), moto, fleet, capacity, store, scaler, _folder: folder }
    }

    fn group(&self, pool: &str) -> String {
        let mut parts = pool.split('/').skip(1);
        format!("{}-{}-{}", self.name, parts.next().unwrap(), parts.next().unwrap())
    }

    /// Instances of a pool that are there, and how many the provider is asked for.
    async fn pool(&self, pool: &str) -> (Vec<String>, u32) {
        let pool = self.fleet.pool(&PoolId::from(pool)).unwrap().clone();
        let shown = self.capacity.look(&pool.region.clone(), &[pool]).await.unwrap().remove(0);
        (shown.instances.iter().filter(|i| !i.ending).map(|i| i.id.to_string()).collect(), shown.wanted)
    }

    async fn round(&self) -> Vec<String> {
        let decision = self.scaler.scale_once().await.unwrap().expect("nobody else has the turn");
        for region in &self.fleet.regions {
            for quota in &region.quotas {
                let mut vcpu = 0;
                for pool in self.fleet.pools.iter().filter(|p| p.region == region.name && p.option == quota.option) {
                    let (instances, wanted) = self.pool(pool.id.as_str()).await;
                    vcpu += pool.vcpu * u32::try_from(instances.len()).unwrap().max(wanted);
                }
                let (name, option) = (&region.name, quota.option);
                assert!(vcpu <= quota.vcpu, "{vcpu} vCPU of {option} in {name}, the quota is {}", quota.vcpu);
            }
        }
        decision.reasons.iter().map(ToString::to_string).collect()
    }

    /// Hands in a match.
    async fn submit(&self) -> Uuid {
        let organisation = self.store.ensure_organisation("club", 1).await.unwrap();
        let job = NewJob {
            title: "match".to_owned(),
            source: "s3://matches/final.mp4".to_owned(),
            home_region: REGION.to_owned(),
            ..new_job(organisation)
        };
        self.store.submit(&job).await.unwrap()
    }

    /// A worker reports from an instance.
    async fn worker(&self, pool: &str, instance: &str) -> Uuid {
        let worker = NewWorker {
            id: Uuid::now_v7(),
            region: REGION.to_owned(),
            pool: pool.to_owned(),
            instance: instance.to_owned(),
            host: "story".to_owned(),
            device: "story".to_owned(),
            version: "1".to_owned(),
            backends: vec!["nvenc".to_owned()],
            slots: 1,
        };
        self.store.register_worker(&worker).await.unwrap();
        worker.id
    }

    /// What waits for a worker at its next heartbeat.
    async fn command(&self, worker: Uuid) -> Option<String> {
        let beat = WorkerBeat { busy: 0, draining: false, gpu: None };
        self.store.worker_beat(worker, &beat).await.unwrap()
    }

    /// The worker has a chunk.
    async fn give_chunk(&self, job: Uuid, worker: Uuid) {
        let sql =
            "update touchline.chunks set state = 'running', worker_id = $2, lease_until = now() + interval '1 hour'
            where job_id = $1";
        let done = sqlx::query(sql).bind(job).bind(worker).execute(self.store.pool()).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }
}

#[tokio::test]
async fn groups_of_aws_keep_what_providers_promise() {
    let fleet = Deployed::new("conformance").await;
    conformance(fleet.capacity.as_ref(), &fleet.fleet.pools[0]).await;
    assert_eq!(fleet.moto.peak(REGION, &fleet.group(SPOT)).await, 2);
}

#[tokio::test]
async fn a_match_starts_one_spot_instance_from_zero_and_leaves_none_behind() {
    let fleet = Deployed::new("from-zero").await;
    assert!(fleet.round().await.is_empty(), "nothing is to do");
    assert_eq!(fleet.pool(SPOT).await, (Vec::new(), 0));

    let job = fleet.submit().await;
    fleet.round().await;
    let (instances, wanted) = fleet.pool(SPOT).await;
    assert_eq!((instances.len(), wanted), (1, 1), "one instance is enough to plan it");
    assert_eq!(fleet.pool(ON_DEMAND).await.1, 0, "spot is there, so on-demand is not needed");
    fleet.round().await;
    assert_eq!(fleet.pool(SPOT).await.0, instances, "what boots counts as capacity");

    let worker = fleet.worker(SPOT, &instances[0]).await;
    fleet.give_chunk(job, worker).await;
    fleet.round().await;
    assert_eq!(fleet.command(worker).await, None, "a busy worker is left alone");

    fleet.store.cancel(job).await.unwrap();
    fleet.round().await;
    assert_eq!(fleet.command(worker).await.as_deref(), Some("drain"), "an idle one is asked to end");
    assert_eq!(fleet.pool(SPOT).await.0.len(), 1, "and keeps its machine until it has said goodbye");
    let again = fleet.worker(SPOT, &instances[0]).await;
    assert_eq!(fleet.command(again).await.as_deref(), Some("drain"), "so is one that is started there again");
    for one in [worker, again] {
        fleet.store.worker_gone(one).await.unwrap();
    }
    fleet.round().await;
    assert_eq!(fleet.pool(SPOT).await, (Vec::new(), 0), "back to zero, and not replaced");
    fleet.round().await;
    assert!(fleet.store.instances().await.unwrap().is_empty());
}

#[tokio::test]
async fn each_class_of_failed_spot_launch_falls_back_to_on_demand() {
    let fleet = Deployed::new("fallback").await;
    // As AWS words them; each is remembered for a time, so each gets a database of its own.
    let cases = [
        (
            "spot_quota",
            "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded.",
        ),
        (
            "no_capacity",
            "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration.",
        ),
        (
            "not_offered",
            "Could not launch Spot Instances. InvalidFleetConfiguration - Your requested instance type is not supported in your requested Availability Zone.",
        ),
        ("configuration", "There are not enough free addresses in subnet 'subnet-1'."),
        ("throttled", "RequestLimitExceeded - Request limit exceeded."),
    ];
    for (kind, message) in cases {
        let store = Store::open(&StoreOptions::new(Postgres::shared().create_database(), "story")).unwrap();
        store.migrate().await.unwrap();
        let scaler = Scaler::new(store.clone(), fleet.fleet.clone(), fleet.capacity.clone());
        let fleet = Deployed { scaler, store, _folder: tempfile::tempdir().unwrap(), ..fleet_parts(&fleet) };
        for pool in fleet.fleet.pools.iter().filter(|p| p.option.as_str() == "spot") {
            fleet.moto.fail(REGION, &fleet.group(pool.id.as_str()), Some(message)).await;
        }
        let job = fleet.submit().await;
        // Each round may learn of one pool more.
        for _ in 0..4 {
            fleet.round().await;
        }
        let failures = fleet.store.launch_failures(Duration::from_secs(600)).await.unwrap();
        assert!(failures.iter().any(|f| f.kind == kind && f.message == message), "{kind}: {failures:?}");
        let (instances, _) = fleet.pool(ON_DEMAND).await;
        assert_eq!(instances.len(), 1, "{kind}: on-demand takes over");
        for pool in fleet.fleet.pools.iter().filter(|p| p.option.as_str() == "spot") {
            assert_eq!(
                fleet.pool(pool.id.as_str()).await,
                (Vec::new(), 0),
                "{kind}: {} is not asked any more",
                pool.id
            );
            fleet.moto.fail(REGION, &fleet.group(pool.id.as_str()), None).await;
        }
        let said: Vec<String> = fleet.round().await;
        let decisions = fleet.store.decisions(10).await.unwrap();
        let reasons: Vec<&str> = decisions.iter().flat_map(|d| d.sentences()).collect();
        assert!(reasons.iter().any(|r| r.starts_with("nothing in")), "{kind}: {said:?} {reasons:?}");

        fleet.store.cancel(job).await.unwrap();
        let worker = fleet.worker(ON_DEMAND, &instances[0]).await;
        fleet.round().await;
        fleet.store.worker_gone(worker).await.unwrap();
        fleet.round().await;
        assert_eq!(fleet.pool(ON_DEMAND).await, (Vec::new(), 0), "{kind}: back to zero");
    }
}

#[tokio::test]
async fn an_on_demand_quota_that_is_used_up_sends_work_to_the_next_region_until_it_is_forgotten() {
    let fleet = Deployed::of("quota-refused", &two_regions()).await;
    let other = "eu-west-1/g5.xlarge/on_demand";
    let next = "us-east-1/g4dn.xlarge/on_demand";
    // As AWS words it when somebody else in the account has the vCPUs: the ledger could not know.
    let message = "You have requested more vCPU capacity than your current vCPU limit of 4 allows for the instance bucket \
        that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to \
        request an adjustment to this limit. Launching EC2 instance failed.";
    fleet.moto.fail(REGION, &fleet.group(ON_DEMAND), Some(message)).await;
    fleet.submit().await;
    fleet.round().await;
    assert_eq!(fleet.pool(ON_DEMAND).await, (Vec::new(), 1), "asked for, and not there");

    let said = fleet.round().await;
    let failures = fleet.store.launch_failures(Duration::from_secs(600)).await.unwrap();
    let known: Vec<(&str, &str, &str)> =
        failures.iter().map(|f| (f.pool.as_str(), f.kind.as_str(), f.message.as_str())).collect();
    assert_eq!(known, [(ON_DEMAND, "on_demand_quota", message)]);
    assert_eq!(fleet.pool(ON_DEMAND).await, (Vec::new(), 0), "the count is taken back");
    assert_eq!(fleet.pool(other).await, (Vec::new(), 0), "the same quota counts for its sibling, which is not tried");
    assert!(said.iter().any(|s| s.starts_with("eu-west-1 can start nothing")), "{said:?}");
    assert_eq!(fleet.pool(next).await.0.len(), 1, "the next region takes over");

    // Three minutes later, not sooner, it is tried again.
    fleet.moto.fail(REGION, &fleet.group(ON_DEMAND), None).await;
    for (seconds, wanted) in [(170.0, 0), (11.0, 1)] {
        let age = "update touchline.launch_failures set at = at - make_interval(secs => $1)";
        sqlx::query(age).bind(seconds).execute(fleet.store.pool()).await.unwrap();
        fleet.round().await;
        assert_eq!(fleet.pool(ON_DEMAND).await.1, wanted, "{seconds} s later");
    }
}

/// The same deployment, for a story that goes on with another database.
fn fleet_parts(fleet: &Deployed) -> Deployed {
    let scaler = Scaler::new(fleet.store.clone(), fleet.fleet.clone(), fleet.capacity.clone());
    Deployed {
        name: fleet.name.clone(),
        moto: fleet.moto,
        fleet: fleet.fleet.clone(),
        capacity: fleet.capacity.clone(),
        store: fleet.store.clone(),
        scaler,
        _folder: tempfile::tempdir().unwrap(),
    }
}

#[tokio::test]
async fn many_matches_never_exceed_the_quotas() {
    let fleet = Deployed::new("quotas").await;
    for _ in 0..40 {
        fleet.submit().await;
    }
    for _ in 0..5 {
        // Each round asserts it.
        fleet.round().await;
    }
    let mut spot = 0;
    for pool in fleet.fleet.pools.iter().filter(|p| p.option.as_str() == "spot") {
        spot += fleet.pool(pool.id.as_str()).await.0.len();
    }
    assert_eq!((spot, fleet.pool(ON_DEMAND).await.0.len()), (2, 1), "all that the quotas admit is at work");
}

#[tokio::test]
async fn a_spot_notice_drains_the_worker_and_another_instance_takes_over() {
    let fleet = Deployed::new("notice").await;
    let job = fleet.submit().await;
    fleet.round().await;
    let (instances, _) = fleet.pool(SPOT).await;
    let worker = fleet.worker(SPOT, &instances[0]).await;
    fleet.give_chunk(job, worker).await;
    fleet.round().await;

    // As EventBridge brings it, through the queue that the region's stack has made.
    let url = format!("{}/{ACCOUNT}/notice-events", fleet.moto.endpoint());
    let config = aws_sdk_sqs::Config::from(&fleet.moto.config(REGION));
    let sender = aws_sdk_sqs::Client::from_conf(config.clone());
    let event = |instance: &str| {
        serde_json::json!({ "detail-type": "EC2 Spot Instance Interruption Warning", "source": "aws.ec2",
            "detail": { "instance-id": instance, "instance-action": "terminate" } })
    };
    for body in [event(&instances[0]).to_string(), event("i-somebodyelses").to_string(), "no event".to_owned()] {
        sender.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    }
    let queue = EventQueue::with_config(&config, &url);
    let mut taken = 0;
    while taken < 3 {
        taken += fleet.scaler.take_events_once(&queue).await.unwrap();
    }
    assert_eq!(fleet.command(worker).await.as_deref(), Some("drain"), "also while it is busy");
    let rows = fleet.store.instances().await.unwrap();
    assert_eq!(rows[0].reason.as_deref(), Some("interruption"));

    // It hands its chunk back; its machine is ended and another one started.
    let back = "update touchline.chunks set state = 'waiting', worker_id = null, lease_until = null where job_id = $1";
    sqlx::query(back).bind(job).execute(fleet.store.pool()).await.unwrap();
    fleet.store.worker_gone(worker).await.unwrap();
    fleet.round().await;
    fleet.round().await;
    let (after, wanted) = fleet.pool(SPOT).await;
    assert!(!after.contains(&instances[0]), "the one that is taken back is ended");
    assert_eq!((after.len(), wanted), (1, 1), "and work goes on elsewhere");
}

#[tokio::test]
async fn a_notice_after_a_recommendation_is_noted_though_the_instance_drains_already() {
    let fleet = Deployed::new("recommended").await;
    fleet.submit().await;
    fleet.round().await;
    let (instances, _) = fleet.pool(SPOT).await;
    fleet.round().await;
    let noticed = || async {
        let notices = fleet.store.unsettled_instances(None).await.unwrap();
        notices.iter().find(|i| i.id == instances[0]).unwrap().noticed_at
    };
    fleet.scaler.heed(&Event::Rebalance(instances[0].clone())).await.unwrap();
    assert_eq!(noticed().await, None, "it may stay");
    fleet.scaler.heed(&Event::Interruption(instances[0].clone())).await.unwrap();
    let first = noticed().await;
    assert!(first.is_some(), "from here on its time is lost");
    fleet.scaler.heed(&Event::Interruption(instances[0].clone())).await.unwrap();
    assert_eq!(noticed().await, first, "told of twice");
    let rows = fleet.store.instances().await.unwrap();
    assert_eq!(rows[0].reason.as_deref(), Some("rebalance"), "why it drains does not change");
}

#[tokio::test]
async fn ecs_starts_no_worker_again_on_an_instance_that_is_retired() {
    let fleet = Deployed::new("retired").await;
    let pool = &fleet.fleet.pools[0];
    fleet.capacity.ask_for(pool, 2).await.unwrap();
    let (instances, _) = fleet.pool(SPOT).await;
    let ecs = aws_sdk_ecs::Client::new(&fleet.moto.config(REGION));
    for instance in &instances {
        // What the agent of a booting machine does.
        let document = serde_json::json!({ "instanceId": instance }).to_string();
        let request = ecs.register_container_instance().cluster("retired").instance_identity_document(document);
        request.send().await.unwrap();
    }
    fleet.capacity.retire(pool, &InstanceId::from(instances[1].as_str())).await.unwrap();
    let arns = ecs.list_container_instances().cluster("retired").send().await.unwrap();
    let request = ecs.describe_container_instances().cluster("retired");
    let found = request.set_container_instances(arns.container_instance_arns).send().await.unwrap();
    for (instance, status) in instances.iter().zip(["ACTIVE", "DRAINING"]) {
        let ours = found.container_instances().iter().find(|c| c.ec2_instance_id() == Some(instance)).unwrap();
        assert_eq!(ours.status(), Some(status));
    }
}

#[tokio::test]
async fn one_dispatcher_at_a_time_decides() {
    let fleet = Deployed::new("turns").await;
    let other = Scaler::new(fleet.store.clone(), fleet.fleet.clone(), fleet.capacity.clone());
    fleet.round().await;
    assert!(other.scale_once().await.unwrap().is_none(), "it is not its turn");
    let (stop, stopped) = tokio::sync::watch::channel(true);
    fleet.scaler.run(stopped).await;
    drop(stop);
    assert!(other.scale_once().await.unwrap().is_some(), "the first has given its turn back");
}
