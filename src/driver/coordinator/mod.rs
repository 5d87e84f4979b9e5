//! The coordinator role: opens the store, starts the writer, and serves the endpoint.

mod first;
mod names;
mod roles;
mod writer;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::writer::Writer;
use crate::api::kinds::KINDS;
use crate::coordinator::state::{Key, Object, State};
use crate::coordinator::{Entropy as _, Expiry};
use crate::driver::clock;
use crate::driver::entropy::SystemEntropy;
use crate::server::accounts::Accounts;
use crate::server::api::access::Access;
use crate::server::api::metrics::Metrics;
use crate::server::api::nodes::Nodes;
use crate::server::api::{Endpoint, Places};
use crate::server::commands::Commands;
use crate::server::kubeconfig::Kubeconfig;
use crate::server::listen;
use crate::server::rbac::Rbac;
use crate::server::tls::{
    ADMIN_NAME, Authority, Identity, MASTERS, PROXY_NAME, Peer, Purpose, TlsError, Verifier, Wanted,
    server_config,
};
use crate::server::tokens::Signer;
use crate::server::view::View;
use crate::store::embedded::Embedded;
use crate::store::{Entry, Loaded, OpenError, Store};

/// How a coordinator is to run.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Its directory: the store, and `pki/`. Made when it is missing.
    pub data_dir: PathBuf,
    /// Where it listens. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Further DNS names and IP addresses for its certificate.
    pub extra_names: Vec<String>,
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The cluster's certificates cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What must be there from the start cannot be written.
    #[error("cannot write the first objects: {0}")]
    First(String),
}

/// A running coordinator. Dropping it does not stop it; [`Running::stop`] does.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// The cluster's authority, to issue certificates of nodes.
    pub authority: Arc<Authority>,
    /// Made once, with the store; also the uid of the Namespace `kube-system`.
    pub cluster_uid: String,
    /// Certificate of group `system:masters`.
    pub admin: Identity,
    stop: CancellationToken,
    server: JoinHandle<()>,
    commands: Commands,
    writer: thread::JoinHandle<()>,
}

impl Running {
    /// `https://ADDRESS:PORT` for clients on this machine (loopback where it listens on all addresses).
    pub fn url(&self) -> String {
        let address = match self.local_addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        format!("https://{}", SocketAddr::new(address, self.local_addr.port()))
    }

    /// Writes the administrator's kubeconfig, 0600.
    pub fn write_admin_kubeconfig(&self, path: &Path) -> Result<(), TlsError> {
        self.write_kubeconfig(path, ADMIN_NAME, &self.admin)
    }

    /// Writes a kubeconfig for this endpoint, 0600.
    pub fn write_kubeconfig(&self, path: &Path, user: &str, identity: &Identity) -> Result<(), TlsError> {
        let ca_pem = self.authority.ca_pem();
        Kubeconfig { server: &self.url(), ca_pem, user, identity }.write(path)
    }

    /// Ends watches, lets requests in flight end, and closes the store.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.server.await;
        self.commands.stop();
        let _ = tokio::task::spawn_blocking(move || self.writer.join()).await;
    }

    /// Ends when the server has.
    pub async fn ended(&mut self) {
        let _ = (&mut self.server).await;
    }
}

/// Opens the data directory and serves the endpoint.
pub async fn start(config: CoordinatorConfig) -> Result<Running, StartError> {
    let unbound = |source| StartError::Listen { address: config.listen, source };
    let listener = listen::bind(config.listen).await.map_err(unbound)?;
    let local_addr = listener.local_addr().map_err(unbound)?;
    let names = names::of_server(local_addr.ip(), &config.extra_names);
    let opened = tokio::task::spawn_blocking(move || open(&config.data_dir, names)).await;
    let Opened { mut writer, commands, cluster_uid, pki, access, accounts } =
        opened.map_err(|e| StartError::First(e.to_string()))??;
    let stop = CancellationToken::new();
    let nodes = Nodes::new(&pki.proxy, pki.authority.ca_pem(), stop.clone())?;
    let endpoint = Arc::new(Endpoint {
        view: writer.view.clone(),
        commands: commands.clone(),
        wall: clock::wall,
        address: local_addr.to_string(),
        metrics: Metrics::default(),
        nodes,
        store_works: writer.store_works.clone(),
        stop: stop.clone(),
        places: Places::default(),
        access,
        accounts,
    });
    let verifier = Verifier::new(pki.authority.ca_pem())?;
    let tls = Arc::new(server_config(&pki.server, &verifier, &["h2", "http/1.1"])?);
    let handler = move |peer: Option<Arc<Peer>>, request| {
        let endpoint = endpoint.clone();
        async move { endpoint.answer(peer.as_deref(), request).await }
    };
    let server = tokio::spawn(listen::serve(listener, tls, verifier, handler, stop.clone()));
    let writer = thread::Builder::new().name("writer".into()).spawn(move || writer.run());
    let writer = writer.map_err(|e| StartError::First(e.to_string()))?;
    tracing::info!(address = %local_addr, cluster = %cluster_uid, "the coordinator serves");
    Ok(Running {
        local_addr,
        authority: pki.authority,
        cluster_uid,
        admin: pki.admin,
        stop,
        server,
        commands,
        writer,
    })
}

struct Opened {
    writer: Writer,
    commands: Commands,
    cluster_uid: String,
    pki: Pki,
    access: Access,
    accounts: Arc<Accounts>,
}

struct Pki {
    authority: Arc<Authority>,
    server: Identity,
    admin: Identity,
    proxy: Identity,
}

fn open(directory: &Path, names: Vec<String>) -> Result<Opened, StartError> {
    let mut store = Embedded::open(directory, &SystemEntropy.uid())?;
    let (state, Loaded { cluster_uid, .. }) = load(&mut store, directory)?;
    let pki = certificates(&directory.join("pki"), names)?;
    let now = clock::now();
    let expiry = Expiry::new(&state, now, clock::wall());
    let (commands, queue) = Commands::new();
    let (mut view, store_works) = (View::new(state), Arc::new(AtomicBool::new(true)));
    let rbac = Arc::new(Rbac::default());
    view.follow(rbac.clone());
    let mut access = Access::new(rbac);
    let view = Arc::new(view);
    let accounts = Arc::new(Accounts {
        signer: Signer::load_or_create(&directory.join("pki/sa.key"))?,
        view: view.clone(),
        wall: clock::wall,
        token_id: || SystemEntropy.uid(),
    });
    access.authenticators.tokens.push(accounts.clone());
    let mut writer = Writer { view, store: Box::new(store), queue, expiry, expire_from: now, store_works };
    first::write(&mut writer, &cluster_uid).map_err(StartError::First)?;
    roles::write(&mut writer).map_err(StartError::First)?;
    Ok(Opened { writer, commands, cluster_uid, pki, access, accounts })
}

fn load(store: &mut dyn Store, directory: &Path) -> Result<(State, Loaded), OpenError> {
    let mut state = State::default();
    let loaded = store.load(&mut |Entry { key, value, .. }| {
        let object = decode(&key, value)?;
        state.objects.insert(key, Arc::new(object));
        Ok(())
    })?;
    state.revision = loaded.revision;
    let newest = state.objects.values().map(|object| object.resource_version).max().unwrap_or(0);
    if newest > state.revision {
        let detail = format!("an object has revision {newest}, the store itself {}", state.revision);
        return Err(OpenError::Corrupt { path: directory.into(), detail });
    }
    Ok((state, loaded))
}

fn decode(key: &Key, json: Bytes) -> Result<Object, String> {
    let place = || format!("{} {}/{}", key.resource, key.namespace, key.name);
    let (group, plural) = key.resource.split_once('/').unwrap_or_default();
    let kind = KINDS
        .iter()
        .find(|kind| kind.group == group && kind.plural == plural)
        .ok_or_else(|| format!("it holds {}, which this version does not serve", place()))?;
    let object = Object::decode(kind, json).map_err(|e| format!("{} is not an object: {e}", place()))?;
    if object.key == *key { Ok(object) } else { Err(format!("{} holds another object", place())) }
}

fn certificates(directory: &Path, names: Vec<String>) -> Result<Pki, TlsError> {
    let now = clock::wall();
    let authority = Authority::load_or_create(directory, now)?;
    let client = |common_name: &str, group: Option<&str>| Wanted {
        common_name: common_name.into(),
        purpose: Purpose::Client { organizations: group.into_iter().map(str::to_owned).collect() },
    };
    let server = Wanted { common_name: "leasehold-coordinator".into(), purpose: Purpose::Server { names } };
    Ok(Pki {
        server: authority.keep("server", &server, now)?,
        admin: authority.keep("admin", &client(ADMIN_NAME, Some(MASTERS)), now)?,
        proxy: authority.keep("proxy", &client(PROXY_NAME, None), now)?,
        authority: Arc::new(authority),
    })
}
