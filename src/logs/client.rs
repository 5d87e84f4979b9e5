//! The agent's side of the log process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::control::{Counts, Entry, MAX_MESSAGE_BYTES, Open, Reply, Request};
use super::files::absent_is_fine;
use super::tap::Tap;
use super::writer::{READY, diary, directory, socket};
use super::{Rotation, pipe};

/// How long a log process may take to say that it is there, and to answer one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the shim may take to pass on what a container wrote before it ended; it takes milliseconds. Something that
/// outlived its container may hold its output for ever.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// Wait before a log process that could not be started is started again; doubled up to [`MAX_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// Longest such wait.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Tries to reach a log process that should be there.
const TRIES: u32 = 20;

/// Requests waiting for their turn.
const QUEUE: usize = 64;

/// How the log process comes to run.
#[derive(Clone, Debug)]
pub enum Launch {
    /// The agent starts it, detached.
    Detached {
        /// This program: `PROGRAM log-writer --runtime-dir R --detach` is run.
        program: PathBuf,
    },
    /// Somebody else does: it has a systemd unit of its own.
    External,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log process cannot be reached or started. It is tried again and again; so may the caller.
    #[error("log process of {}: {why}", runtime_dir.display())]
    Unavailable {
        /// Whose log process.
        runtime_dir: PathBuf,
        /// What failed.
        why: String,
    },
    /// It refused.
    #[error("log process: {why}")]
    Refused {
        /// Its reason.
        why: String,
    },
    /// A FIFO cannot be made or removed.
    #[error("FIFO {}: {source}", path.display())]
    Fifo {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A log to be written.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Unique on this node: the containerd container id.
    pub id: String,
    /// With a terminal all output is one stream.
    pub terminal: bool,
    /// The container takes input from those who are attached to it.
    pub input: bool,
    /// `/var/log/pods/NS_NAME_UID/CONTAINER/N.log`
    pub log: PathBuf,
    /// `/var/log/containers/NAME_NS_CONTAINER-ID.log`
    pub link: Option<PathBuf>,
    /// When to begin a new file.
    pub rotation: Rotation,
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fifos {
    /// Standard output.
    pub stdout: PathBuf,
    /// Standard error; none with a terminal.
    pub stderr: Option<PathBuf>,
    /// Standard input; none where the container takes none.
    pub stdin: Option<PathBuf>,
}

impl Fifos {
    fn of(runtime_dir: &Path, id: &str, terminal: bool, input: bool) -> Self {
        let fifo = |stream: &str| directory(runtime_dir).join("fifo").join(format!("{id}.{stream}"));
        Self {
            stdout: fifo("stdout"),
            stderr: (!terminal).then(|| fifo("stderr")),
            stdin: input.then(|| fifo("stdin")),
        }
    }

    fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.stdout).chain(&self.stderr)
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.outputs().chain(&self.stdin)
    }
}

/// A handle on the log process of one runtime directory. When the process ends, it is started again at once, whether
/// or not anyone asks for anything.
#[derive(Clone, Debug)]
pub struct Client {
    runtime_dir: PathBuf,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    /// Ask the log process.
    Ask(Request, oneshot::Sender<Result<Reply, String>>),
    /// A log has been closed.
    Forget(String),
}

impl Client {
    /// Connects; starts the process if none runs.
    pub async fn ensure(runtime_dir: &Path, launch: Launch) -> Result<Self, Error> {
        let unavailable = |why| Error::Unavailable { runtime_dir: runtime_dir.to_owned(), why };
        let mut connection = Connection {
            runtime_dir: runtime_dir.to_owned(),
            launch,
            stream: None,
            held: BTreeMap::new(),
            stopped: false,
        };
        connection.connect().await.map_err(unavailable)?;
        let (orders, queue) = mpsc::channel(QUEUE);
        tokio::spawn(connection.run(queue));
        Ok(Self { runtime_dir: runtime_dir.to_owned(), orders })
    }

    /// Makes a container's FIFOs and has them written to its log. Doing so again, also by a later agent, is fine.
    pub async fn open(&self, wanted: Wanted) -> Result<Fifos, Error> {
        let fifos = Fifos::of(&self.runtime_dir, &wanted.id, wanted.terminal, wanted.input);
        for path in fifos.all() {
            pipe::make(path).map_err(|source| Error::Fifo { path: path.clone(), source })?;
        }
        let open = Open {
            id: wanted.id,
            stdout: fifos.stdout.clone(),
            stderr: fifos.stderr.clone(),
            log: wanted.log,
            link: wanted.link,
            rotation: wanted.rotation,
        };
        self.call(Request::Open(open)).await.map(|_| fifos)
    }

    /// Has everything written that the container has put out, then removes its FIFOs. To be called when the container
    /// has ended: this waits until the shim has passed on all output. None if no such log was open.
    pub async fn close(&self, id: &str) -> Result<Option<Counts>, Error> {
        let reply = if let Ok(reply) = timeout(LAST_OUTPUT, self.close_at_end(id)).await {
            reply?
        } else {
            tracing::warn!(id, "something still holds the output of a container that has ended");
            self.call(Request::Close { id: id.to_owned(), now: true }).await?
        };
        for path in Fifos::of(&self.runtime_dir, id, false, true).all() {
            let removed = absent_is_fine(std::fs::remove_file(path));
            removed.map_err(|source| Error::Fifo { path: path.clone(), source })?;
        }
        let _ = self.orders.send(Order::Forget(id.to_owned())).await;
        match reply {
            Reply::Closed(counts) => Ok(counts),
            Reply::Refused { why } => Err(Error::Refused { why }),
            Reply::Done | Reply::List(_) => Err(unexpected(&reply)),
        }
    }

    /// Waits for a log's end on a connection of its own, since others want to ask other things meanwhile.
    async fn close_at_end(&self, id: &str) -> Result<Reply, Error> {
        let request = Request::Close { id: id.to_owned(), now: false };
        loop {
            if let Ok(stream) = UnixStream::connect(socket(&self.runtime_dir)).await
                && let Ok(reply) = exchange(&mut BufReader::new(stream), &request).await
            {
                return Ok(reply);
            }
            // It has ended: this has it started again.
            self.list().await?;
            sleep(FIRST_DELAY).await;
        }
    }

    /// What a container puts out from now on, and the beginning of a line that it has not ended; `id` as opened.
    pub async fn attach(&self, id: &str) -> Result<Tap, Error> {
        let unavailable = |error: io::Error| Error::Unavailable {
            runtime_dir: self.runtime_dir.clone(),
            why: error.to_string(),
        };
        // Has the log process started if it has just ended.
        self.list().await?;
        let stream = UnixStream::connect(socket(&self.runtime_dir)).await.map_err(unavailable)?;
        // The answer is read byte by byte: what follows it is the tap's.
        let mut stream = BufReader::with_capacity(1, stream);
        match exchange(&mut stream, &Request::Attach { id: id.to_owned() }).await.map_err(unavailable)? {
            Reply::Done => Ok(Tap::new(stream.into_inner())),
            Reply::Refused { why } => Err(Error::Refused { why }),
            reply @ (Reply::Closed(_) | Reply::List(_)) => Err(unexpected(&reply)),
        }
    }

    /// The input of a container that takes some; `id` as opened.
    pub fn input(&self, id: &str) -> PathBuf {
        directory(&self.runtime_dir).join("fifo").join(format!("{id}.stdin"))
    }

    /// All open logs.
    pub async fn list(&self) -> Result<Vec<Entry>, Error> {
        match self.call(Request::List).await? {
            Reply::List(entries) => Ok(entries),
            reply @ (Reply::Done | Reply::Closed(_) | Reply::Refused { .. }) => Err(unexpected(&reply)),
        }
    }

    /// Ends the log process; it is not started again until something else is asked of it.
    pub async fn stop(&self) -> Result<(), Error> {
        self.call(Request::Stop).await.map(drop)
    }

    async fn call(&self, request: Request) -> Result<Reply, Error> {
        let unavailable = |why: String| Error::Unavailable { runtime_dir: self.runtime_dir.clone(), why };
        let (reply, answer) = oneshot::channel();
        let ended = || unavailable("the runtime is shutting down".into());
        self.orders.send(Order::Ask(request, reply)).await.map_err(|_| ended())?;
        match answer.await.map_err(|_| ended())?.map_err(unavailable)? {
            Reply::Refused { why } => Err(Error::Refused { why }),
            reply @ (Reply::Done | Reply::Closed(_) | Reply::List(_)) => Ok(reply),
        }
    }
}

fn unexpected(reply: &Reply) -> Error {
    Error::Refused { why: format!("unexpected reply {reply:?}") }
}

/// Owned by the one task that speaks to the log process.
struct Connection {
    runtime_dir: PathBuf,
    launch: Launch,
    stream: Option<BufReader<UnixStream>>,
    /// A pipe that nobody holds open loses what is in it. While we hold the FIFOs as well, a container may end
    /// between the end of one log process and the start of the next.
    held: BTreeMap<String, Vec<File>>,
    /// By request.
    stopped: bool,
}

impl Connection {
    async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut delay = FIRST_DELAY;
        loop {
            tokio::select! {
                order = queue.recv() => match order {
                    Some(Order::Ask(request, asker)) => {
                        let reply = self.ask_twice(&request).await;
                        // Nobody waits for it any more: fine.
                        let _ = asker.send(reply);
                    }
                    Some(Order::Forget(id)) => drop(self.held.remove(&id)),
                    None => return,
                },
                () = gone(self.stream.as_mut()) => {
                    tracing::warn!("the log process has ended; it is started again");
                    self.stream = None;
                    delay = FIRST_DELAY;
                    self.reconnect().await;
                }
                () = sleep(delay), if self.stream.is_none() && !self.stopped => {
                    delay = (delay * 2).min(MAX_DELAY);
                    self.reconnect().await;
                }
            }
        }
    }

    async fn reconnect(&mut self) {
        if let Err(error) = self.connect().await {
            tracing::error!(error, "the log process cannot be started");
        }
    }

    /// A process that dies over a request is started again and asked again: all requests bear repetition.
    async fn ask_twice(&mut self, request: &Request) -> Result<Reply, String> {
        let mut reply = self.ask(request).await;
        if reply.is_err() {
            self.stream = None;
            reply = self.ask(request).await;
        }
        if reply.is_err() {
            self.stream = None;
        }
        if let Ok(reply) = &reply {
            self.note(request, reply);
        }
        reply
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply, String> {
        if self.stream.is_none() {
            self.connect().await?;
        }
        let stream = self.stream.as_mut().ok_or("not connected")?;
        let exchange = timeout(PATIENCE, exchange(stream, request)).await;
        exchange.map_err(|_| format!("no answer within {PATIENCE:?}"))?.map_err(|error| error.to_string())
    }

    /// What a done request means for us.
    fn note(&mut self, request: &Request, reply: &Reply) {
        match (request, reply) {
            (Request::Open(open), Reply::Done) => self.hold(&open.id),
            (Request::Stop, Reply::Done) => {
                self.stopped = true;
                self.stream = None;
            }
            (
                Request::Open(_)
                | Request::Close { .. }
                | Request::Attach { .. }
                | Request::List
                | Request::Stop,
                _,
            ) => {}
        }
    }

    fn hold(&mut self, id: &str) {
        let fifos = Fifos::of(&self.runtime_dir, id, false, false);
        self.held
            .insert(id.to_owned(), fifos.outputs().filter_map(|path| pipe::open_reader(path).ok()).collect());
    }

    /// Connects, starting the process if need be. One that ends, or is not quite there, is tried again.
    async fn connect(&mut self) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..TRIES {
            match self.find_or_start().await {
                Ok(mut stream) => match timeout(PATIENCE, exchange(&mut stream, &Request::List)).await {
                    Ok(Ok(reply)) => {
                        self.adopt(stream, &reply);
                        return Ok(());
                    }
                    Ok(Err(error)) => why = error.to_string(),
                    Err(_) => return Err(format!("no answer within {PATIENCE:?}")),
                },
                Err(Absence::Unreachable(error)) => why = error,
                Err(Absence::Unstartable(error)) => return Err(error),
            }
            sleep(FIRST_DELAY).await;
        }
        Err(why)
    }

    fn adopt(&mut self, stream: BufReader<UnixStream>, list: &Reply) {
        if let Reply::List(entries) = list {
            for entry in entries {
                self.hold(&entry.id);
            }
        }
        self.stream = Some(stream);
        self.stopped = false;
    }

    async fn find_or_start(&self) -> Result<BufReader<UnixStream>, Absence> {
        let path = socket(&self.runtime_dir);
        let unreachable = |error| Absence::Unreachable(format!("{}: {error}", path.display()));
        if let Ok(stream) = UnixStream::connect(&path).await {
            return Ok(BufReader::new(stream));
        }
        match &self.launch {
            Launch::Detached { program } => {
                start(program, &self.runtime_dir).await.map_err(Absence::Unstartable)?;
                // Another client may have started it, and it may not listen yet.
                UnixStream::connect(&path).await.map(BufReader::new).map_err(unreachable)
            }
            Launch::External => appear(&path).await.map(BufReader::new).map_err(Absence::Unstartable),
        }
    }
}

/// Why there is no log process to speak to.
enum Absence {
    /// It should be there.
    Unreachable(String),
    /// It cannot be started.
    Unstartable(String),
}

/// Ends when the other side has; never without a connection. Nothing is ever said on it unasked.
async fn gone(stream: Option<&mut BufReader<UnixStream>>) {
    match stream {
        Some(stream) => {
            let _ = stream.fill_buf().await;
        }
        None => std::future::pending().await,
    }
}

pub(super) async fn exchange(stream: &mut BufReader<UnixStream>, request: &Request) -> io::Result<Reply> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.take(MAX_MESSAGE_BYTES as u64).read_until(b'\n', &mut answer).await?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// Starts the log process and waits until it says that it is there.
async fn start(program: &Path, runtime_dir: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("starting {}: {error}", program.display());
    let mut launcher = Command::new(program)
        .arg("log-writer")
        .arg("--runtime-dir")
        .arg(runtime_dir)
        .arg("--detach")
        // It speaks to systemd only as a unit of its own.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = String::new();
    let stdout = launcher.stdout.take().ok_or("its output is not piped")?;
    let heard = timeout(PATIENCE, BufReader::new(stdout).read_line(&mut said)).await;
    let status = launcher.wait().await.map_err(failed)?;
    heard.map_err(|_| format!("it did not say that it is ready within {PATIENCE:?}"))?.map_err(failed)?;
    if said.trim_end() == READY {
        return Ok(());
    }
    Err(format!("it could not be started ({status}); see {}", diary(runtime_dir).display()))
}

/// Waits for a log process that somebody else starts.
async fn appear(path: &Path) -> Result<UnixStream, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= deadline => return Err(format!("{}: {error}", path.display())),
            Err(_) => sleep(FIRST_DELAY).await,
        }
    }
}
