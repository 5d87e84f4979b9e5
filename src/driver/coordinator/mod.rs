//! The coordinator role: opens the store, starts the writer, and serves the endpoint.

mod first;
mod keeper;
mod names;
mod roles;
mod self_service;
mod signer;
mod writer;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::keeper::Keeper;
use self::signer::Signer;
use self::writer::Writer;
use crate::api::kinds::KINDS;
use crate::coordinator::services::{Allotments, ServiceRange};
use crate::coordinator::state::{Key, Object, State};
use crate::coordinator::{Entropy as _, Expiry};
use crate::driver::clock;
use crate::driver::entropy::SystemEntropy;
use crate::lease::shard::wire::SHARDS_DEFAULT;
use crate::server::accounts::Accounts;
use crate::server::api::access::Access;
use crate::server::api::metrics::Metrics;
use crate::server::api::nodes::Nodes;
use crate::server::api::{Endpoint, Places};
use crate::server::bootstrap::BootstrapTokens;
use crate::server::commands::Commands;
use crate::server::kubeconfig::Kubeconfig;
use crate::server::listen;
use crate::server::node_access::NodeAccess;
use crate::server::rbac::Rbac;
use crate::server::tls::{
    ADMIN_NAME, Authority, Identity, MASTERS, PROXY_NAME, Peer, Purpose, Tickets, TlsError, Verifier, Wanted,
    server_config,
};
use crate::server::tokens;
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
    /// Addresses for Services: one range, or one of each family.
    pub service_ranges: Vec<ServiceRange>,
    /// Longest life of a certificate that is signed on request.
    pub certificate_life: Duration,
    /// Over how many shards stewards spread their work, where the store is new.
    pub steward_shards: u32,
}

/// A year, as kubeadm's.
const CERTIFICATE_LIFE: Duration = Duration::from_hours(365 * 24);

impl CoordinatorConfig {
    /// What holds where nothing else is said.
    pub fn new(data_dir: PathBuf, listen: SocketAddr) -> Self {
        Self {
            data_dir,
            listen,
            extra_names: Vec::new(),
            service_ranges: Allotments::default().ranges().to_vec(),
            certificate_life: CERTIFICATE_LIFE,
            steward_shards: SHARDS_DEFAULT,
        }
    }
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
    #[error("--listen {address}: cannot listen: {source}")]
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
    let address = config.listen;
    let unbound = |source| StartError::Listen { address, source };
    let bound = listen::bind(config.listen).map_err(unbound)?;
    let local_addr = bound.local_addr().map_err(unbound)?;
    let names = names::of_server(local_addr.ip(), &config.extra_names);
    let life = config.certificate_life;
    let opened = tokio::task::spawn_blocking(move || open(&config, names, local_addr)).await;
    let Opened { writer, commands, cluster_uid, pki, access, accounts, requests } =
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
        store_works: writer.keeper.works.clone(),
        stop: stop.clone(),
        places: Places::default(),
        access,
        accounts,
    });
    let verifier = Verifier::new(pki.authority.ca_pem())?;
    let signer = Signer {
        view: writer.view.clone(),
        commands: commands.clone(),
        authority: pki.authority.clone(),
        life,
    };
    tokio::spawn(signer.run(requests));
    // Who joins looks at the authority's certificate in the handshake.
    let shown = Identity {
        certificate_pem: format!("{}\n{}", pki.server.certificate_pem, pki.authority.ca_pem()),
        key_pem: pki.server.key_pem.clone(),
    };
    let mut tls = server_config(&shown, &verifier, &["h2", "http/1.1"])?;
    tls.ticketer = pki.tickets;
    let listener = bound.listen(listen::BACKLOG).map_err(unbound)?;
    let handler = move |peer: Option<Arc<Peer>>, request| {
        let endpoint = endpoint.clone();
        async move { endpoint.answer(peer.as_deref(), request).await }
    };
    let server = tokio::spawn(listen::serve(listener, Arc::new(tls), verifier, handler, stop.clone()));
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
    /// Certificate requests, for the signer.
    requests: signer::Heard,
}

struct Pki {
    authority: Arc<Authority>,
    server: Identity,
    admin: Identity,
    proxy: Identity,
    tickets: Arc<Tickets>,
}

fn open(
    config: &CoordinatorConfig,
    names: Vec<String>,
    local_addr: SocketAddr,
) -> Result<Opened, StartError> {
    let directory = &config.data_dir;
    let mut store = Embedded::open(directory, &SystemEntropy.uid())?;
    let (state, Loaded { cluster_uid, .. }) = load(&mut store, directory, &config.service_ranges)?;
    let pki = certificates(&directory.join("pki"), names)?;
    let now = clock::now();
    let expiry = Arc::new(Mutex::new(Expiry::new(&state, now, clock::wall())));
    let (commands, queue) = Commands::new();
    let mut view = View::new(state);
    let rbac = Arc::new(Rbac::default());
    view.follow(rbac.clone());
    let nodes = Arc::new(NodeAccess::default());
    view.follow(nodes.clone());
    let (follower, requests) = signer::requests();
    view.follow(Arc::new(follower));
    let mut access = Access::new(rbac, nodes);
    let view = Arc::new(view);
    let accounts = Arc::new(Accounts {
        signer: tokens::Signer::load_or_create(&directory.join("pki/sa.key"))?,
        view: view.clone(),
        wall: clock::wall,
        token_id: || SystemEntropy.uid(),
    });
    access.authenticators.tokens.push(accounts.clone());
    let tokens = BootstrapTokens { view: view.clone(), wall: clock::wall };
    access.authenticators.tokens.push(Arc::new(tokens));
    let works = Arc::new(AtomicBool::new(true));
    let keeper = Keeper { view: view.clone(), store: Box::new(store), expiry: expiry.clone(), works };
    let mut writer = Writer::new(view, keeper, (commands.clone(), queue), expiry);
    let first = first::First { cluster_uid: &cluster_uid, ca_pem: pki.authority.ca_pem() };
    first.write(&mut writer, config.steward_shards).map_err(StartError::First)?;
    roles::write(&mut writer).map_err(StartError::First)?;
    self_service::write(&mut writer, names::reachable(local_addr));
    Ok(Opened { writer, commands, cluster_uid, pki, access, accounts, requests })
}

fn load(
    store: &mut dyn Store,
    directory: &Path,
    ranges: &[ServiceRange],
) -> Result<(State, Loaded), OpenError> {
    let mut state = State { allotments: Allotments::new(ranges.to_vec()), ..State::default() };
    let loaded = store.load(&mut |Entry { key, value, .. }| {
        let object = decode(&key, value)?;
        state.allotments.observe(None, Some(&object));
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
        tickets: Arc::new(Tickets::load(&directory.join("tickets.json"), clock::wall)),
    })
}
