//! The server under the interface.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Requests that are at work when the server ends may finish for this long; streams of events do not end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `stop`.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, routes: Router, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        if stop.wait_for(|stopped| *stopped).await.is_err() {
            tracing::trace!("nobody stops the server any more");
        }
    };
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stopped(stop.clone()));
    tokio::select! {
        outcome = server => outcome,
        () = async { stopped(stop).await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}
