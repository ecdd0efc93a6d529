//! A TCP relay on the loopback interface that can be cut, slowed, or made to answer errors: a network that fails on
//! command.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A relay to another port of this machine.
#[derive(Debug)]
pub struct Cut {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    /// HTTP status that every new connection is answered with; 0 for none.
    error: Arc<AtomicU32>,
    /// New connections are accepted and never answered.
    silent: Arc<AtomicBool>,
}

impl Cut {
    /// Starts a relay to `port`.
    ///
    /// # Panics
    /// No port is free.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (is_cut, cut) = watch::channel(false);
        let error = Arc::new(AtomicU32::new(0));
        let silent = Arc::new(AtomicBool::new(false));
        let (status, quiet) = (error.clone(), silent.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *cut.borrow() {
                    continue;
                }
                tokio::spawn(relay(client, port, cut.clone(), status.clone(), quiet.clone()));
            }
        });
        Self { address, is_cut, error, silent }
    }

    /// The relay's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends all connections and refuses new ones.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
        self.error.store(0, Ordering::Relaxed);
        self.silent.store(false, Ordering::Relaxed);
    }

    /// Answers every request on a new connection with this HTTP status; open ones are ended.
    pub fn answer(&self, status: u16) {
        self.error.store(u32::from(status), Ordering::Relaxed);
        self.bounce();
    }

    /// Accepts and never answers; open connections are ended.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
        self.bounce();
    }

    fn bounce(&self) {
        self.is_cut.send_replace(true);
        self.is_cut.send_replace(false);
    }
}

async fn relay(
    mut client: TcpStream,
    port: u16,
    mut cut: watch::Receiver<bool>,
    status: Arc<AtomicU32>,
    silent: Arc<AtomicBool>,
) {
    // Any change from here on ends the connection, even one that is over before it is seen.
    cut.mark_unchanged();
    let work = async {
        if silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match status.load(Ordering::Relaxed) {
            0 => {
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let copied = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                drop(copied);
            }
            status => {
                let mut request = vec![0; 1 << 16];
                let code = if status == 503 { "SlowDown" } else { "InternalError" };
                let body = format!("<Error><Code>{code}</Code></Error>");
                let answer = format!(
                    "HTTP/1.1 {status} Sorry\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                if client.read(&mut request).await.is_ok() && client.write_all(answer.as_bytes()).await.is_ok() {
                    let ended = client.shutdown().await;
                    drop(ended);
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = cut.changed() => {}
    }
}
