//! The way from a node to the coordinator, which can be cut: then nothing passes and nobody is told.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often a quiet connection looks whether the way is cut.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
struct State {
    cut: AtomicBool,
    ended: AtomicBool,
    /// Grows with each cut: what was open then is closed when the way is there again.
    cuts: AtomicU64,
}

/// Listens on loopback until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    pub fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let own = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if own.ended.load(Ordering::Relaxed) {
                    return;
                }
                let state = own.clone();
                std::thread::spawn(move || serve(client, to, &state));
            }
        });
        Self { address, state }
    }

    pub fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::Relaxed);
        self.state.cut.store(true, Ordering::Relaxed);
    }

    pub fn heal(&self) {
        self.state.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(client: TcpStream, to: SocketAddr, state: &Arc<State>) {
    let cuts = state.cuts.load(Ordering::Relaxed);
    if !may_pass(state, cuts) {
        return;
    }
    let Ok(server) = TcpStream::connect(to) else { return };
    let ends = (client.try_clone(), server.try_clone());
    let (Ok(back_to), Ok(back_from)) = ends else { return };
    let there = state.clone();
    let thread = std::thread::spawn(move || carry(client, server, &there, cuts));
    carry(back_from, back_to, state, cuts);
    let _ = thread.join();
}

/// Waits while the way is cut. False when the connection is to be closed.
fn may_pass(state: &State, cuts: u64) -> bool {
    while state.cut.load(Ordering::Relaxed) && !state.ended.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
    }
    !state.ended.load(Ordering::Relaxed) && state.cuts.load(Ordering::Relaxed) == cuts
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: &State, cuts: u64) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer);
        if !may_pass(state, cuts) {
            break;
        }
        match read {
            Ok(0) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
