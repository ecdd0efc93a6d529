//! What encodes here is seen to work before it gets work, now and then while it has some, and whenever a task made
//! something strange.

use std::sync::Arc;
use std::time::Duration;

use fleet::failure::FailureCode;
use fleet::store::Store;
use tokio::sync::watch;

use super::{Service, ServiceError, host, patiently};
use crate::child::Engines;
use crate::guard;
use crate::hardware::Chosen;
use crate::plan::Backend;

/// Time between looks at a device that works. What it makes between two is what a fault costs.
const EVERY: Duration = Duration::from_secs(900);

/// Chooses what works: as `chosen`, or the processors when the GPU fails or is in quarantine.
///
/// # Errors
/// The processors fail too, or the store does not answer before `stop`.
pub(super) async fn choose(
    engines: Engines,
    chosen: Chosen,
    store: &Store,
    stop: &watch::Receiver<bool>,
) -> Result<Chosen, ServiceError> {
    match try_out(chosen.equip(engines), &chosen, store, stop).await {
        Err(ServiceError::Job(error)) if uses_gpu(&chosen) => {
            tracing::error!(%error, "the GPU is not used; x264 encodes");
            let cpu = Chosen::cpu();
            try_out(cpu.equip(engines), &cpu, store, stop).await?;
            Ok(cpu)
        }
        outcome => outcome.map(|()| chosen),
    }
}

fn uses_gpu(chosen: &Chosen) -> bool {
    chosen.machine.gpu || chosen.machine.backend == Backend::Nvenc
}

async fn try_out(
    engines: Engines,
    chosen: &Chosen,
    store: &Store,
    stop: &watch::Receiver<bool>,
) -> Result<(), ServiceError> {
    let device = chosen.device(&host());
    let outcome = guard::golden(engines, chosen.machine.backend).await;
    if let Err(error) = &outcome
        && error.code == FailureCode::GuardFailed
    {
        patiently(|| store.quarantine(&device, &error.message), stop).await?;
    }
    let film = outcome?;
    tracing::info!(device, worst_db = film.worst_db, "the known film came out right");
    let trusted = std::cell::Cell::new(false);
    patiently(
        || async {
            trusted.set(store.device_checked(&device).await?);
            Ok(())
        },
        stop,
    )
    .await?;
    if trusted.get() {
        return Ok(());
    }
    let why = format!("{device} is in quarantine; `dispatcher devices --trust` ends that");
    Err(crate::failure::JobError::new(FailureCode::GuardFailed, why).into())
}

/// Looks again every quarter of an hour, and when a task is suspicious; a device that fails is quarantined, and its worker
/// ends.
pub(super) async fn watch(service: Arc<Service>, device: String, backend: Backend) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = service.suspicion.notified() => {}
        }
        let told = match guard::golden(service.stash.engines(), backend).await {
            Ok(_) => service.store.device_checked(&device).await.map(|trusted| !trusted),
            Err(error) if error.code == FailureCode::GuardFailed => {
                tracing::error!(device, %error, "the known film came out wrong; this worker ends");
                service.store.quarantine(&device, &error.message).await.map(|()| true)
            }
            Err(error) => {
                tracing::warn!(%error, "the known film could not be tried");
                continue;
            }
        };
        match told {
            Ok(true) => {
                service.draining.send_replace(true);
                return;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the device's state could not be noted");
                service.suspicion.notify_one();
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }
}
