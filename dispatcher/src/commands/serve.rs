//! `dispatcher serve`: the loops, and the HTTP interface beside them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fleet::config::Config;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{CommandError, stop_signal};
use crate::api::{self, Api};
use crate::cli::FleetArgs;
use crate::dispatch::Dispatcher;
use crate::http;

/// Serves until it is told to end.
pub(super) async fn serve(args: &FleetArgs) -> Result<(), CommandError> {
    let path = args
        .config
        .as_ref()
        .ok_or_else(|| CommandError::Usage("give --config FILE; for one machine use `dispatcher local`".to_owned()))?;
    let config = Config::load(&path.to_string_lossy()).await?;
    let dispatcher = Arc::new(Dispatcher::new(&config).await?);
    dispatcher.store.ping().await?;
    let stop = stop_signal();
    let interface = match config.api.listen {
        None => None,
        Some(address) => Some(listen(&config, &dispatcher, address, &stop).await?),
    };
    tracing::info!(regions = config.regions.len(), output = config.output, "dispatcher is running");
    dispatcher.run(stop).await;
    if let Some(interface) = interface {
        interface
            .await
            .map_err(io::Error::other)
            .and_then(|outcome| outcome)
            .map_err(|source| CommandError::Io { what: "the HTTP interface ended".to_owned(), source })?;
    }
    Ok(())
}

/// Serves the HTTP interface beside the dispatcher's loops.
async fn listen(
    config: &Config,
    dispatcher: &Dispatcher,
    address: SocketAddr,
    stop: &watch::Receiver<bool>,
) -> Result<JoinHandle<io::Result<()>>, CommandError> {
    let api = Api::new(config, dispatcher.store.clone(), dispatcher.objects.clone())?;
    let failed = |source| CommandError::Io { what: format!("{address} cannot be listened on"), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!(%address, "the HTTP interface is open");
    let (routes, stop) = (api::routes(api.clone()), stop.clone());
    Ok(tokio::spawn(async move {
        let (served, ()) = tokio::join!(http::serve(listener, routes, stop.clone()), api.run(stop));
        served
    }))
}
