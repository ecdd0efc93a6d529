//! moto: `CloudFormation`, ECS, SQS and auto-scaling groups on this machine. Groups that fail, and keep their limits, are
//! added by `tests/moto/server.py`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use serde_json::{Value, json};

use crate::aws::KEY;
use crate::services::{Folder, assert_runs, for_ever, free_port, installed, signal, tied, wait_for};

/// Account that moto is.
pub const ACCOUNT: &str = "123456789012";

/// The emulator.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    port: u16,
    venv: PathBuf,
    // Dropped when nothing writes there any more.
    _dir: Folder,
}

impl Moto {
    /// The one of this process. Fleets get names of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(|| for_ever(Self::start))
    }

    /// Installs it on first use, starts it, and waits until it answers.
    ///
    /// # Panics
    /// It cannot be installed or does not answer.
    #[must_use]
    pub fn start() -> Self {
        let venv = installed("moto");
        let dir = Folder::new("touchline-moto");
        let port = free_port();
        let log_file = dir.path().join("log");
        let log = std::fs::File::create(&log_file).expect("a log");
        let child = tied(venv.join("bin/python"))
            .arg(root().join("tests/moto/server.py"))
            .arg(port.to_string())
            .env_clear()
            .env("HOME", dir.path())
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("setpriv of util-linux starts");
        let mut moto = Self { child, port, venv, _dir: dir };
        wait_for("moto", || {
            assert_runs("moto", &mut moto.child, &log_file);
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        moto
    }

    /// Address of all its services.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Settings of clients.
    #[must_use]
    pub fn config(&self, region: &str) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(region.to_owned()))
            .endpoint_url(self.endpoint())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(KEY, KEY, None, None, "story")))
            .build()
    }

    /// Runs `infra/deploy` with these files; one at a time, as moto's stacks are not made for threads.
    #[must_use]
    pub fn deploy(&self, fleet: &Path, deployment: &Path, arguments: &[&str]) -> Output {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Command::new(self.venv.join("bin/python"))
            .arg(root().join("infra/deploy"))
            .arg("--fleet")
            .arg(fleet)
            .arg("--deployment")
            .arg(deployment)
            .args(arguments)
            .env_clear()
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .expect("python starts")
    }

    /// Lets launches in a group fail with what AWS would say, or work again.
    pub async fn fail(&self, region: &str, group: &str, message: Option<&str>) {
        self.control("faults", Some(json!({ "region": region, "group": group, "message": message }))).await;
    }

    /// Most instances that a group had at once.
    pub async fn peak(&self, region: &str, group: &str) -> u64 {
        self.control("peaks", None).await[format!("{region}/{group}")].as_u64().unwrap_or(0)
    }

    async fn control(&self, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}/{path}", self.endpoint());
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = match body {
            Some(body) => client.post(url).body(body.to_string()),
            None => client.get(url),
        };
        let answer = request.send().await.and_then(reqwest::Response::error_for_status).expect("moto answers");
        serde_json::from_str(&answer.text().await.expect("an answer")).expect("JSON")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        signal(self.child.id(), "KILL");
        let ended = self.child.wait();
        println!("moto ended: {ended:?}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
