//! One session: a client on one side, a process' streams on the other.

use std::future::pending;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use super::Wants;
use super::client::{Client, Size, Told};
use super::fifos::Fifos;
use crate::api::status::Status;
use crate::logs::format::Stream;
use crate::logs::tap::Tap;
use crate::server::node::backend::{Console, Execution};

/// Longest piece of output, in bytes; as kubectl's own messages.
const CHUNK_BYTES: usize = 32 * 1024;

/// A client that gives no sign of life for so long has gone, as the kubelet's `streamingConnectionIdleTimeout`.
pub(super) const IDLE: Duration = Duration::from_hours(4);

/// How long output may still come after the process has ended: something it left behind may keep the FIFO open. Also
/// how long a client may take to close its connection.
pub(super) const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// How long a terminal's process waits to be told the size. kubectl says it at once; other clients may never.
const FIRST_SIZE: Duration = Duration::from_millis(250);

/// While the process does not read its input we do not read the client's messages, nor answer its pings; it gives
/// up after a minute without a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How a process ended, or why there is none.
pub(super) type Outcome = Result<i32, Status>;

/// What happens next in a session.
enum Event {
    Told(Told),
    /// So many bytes of input were taken.
    Fed(usize),
    /// Nobody reads the input any more.
    Unread,
    /// The input does not move.
    Stuck,
    Output(Stream, Bytes),
    Over(Outcome),
}

/// Where the process' output comes from.
enum Output {
    Fifos(Fifos),
    Tap(Tap),
}

impl Output {
    /// The next of it; an end only where nothing else tells the process'. May be cancelled.
    async fn next(&mut self) -> Event {
        match self {
            Self::Fifos(fifos) => match fifos_output(fifos).await {
                Some((stream, output)) => Event::Output(stream, output),
                None => pending().await,
            },
            Self::Tap(tap) => match tap.next().await {
                Ok(Some((stream, output))) => Event::Output(stream, output),
                Ok(None) => Event::Over(Ok(0)),
                Err(error) => Event::Over(Err(Status::internal(error))),
            },
        }
    }
}

/// The size a client begins with.
pub(super) async fn first_size(client: &mut Client) -> Option<Size> {
    timeout(FIRST_SIZE, client.first_size()).await.unwrap_or(None)
}

/// Carries an exec's streams until the process has ended or the client has gone, which ends the process.
pub(super) async fn run(client: &mut Client, execution: &impl Execution, mut fifos: Fifos, wants: Wants) {
    let stdin = fifos.stdin.take();
    let mut output = Output::Fifos(fifos);
    let outcome = carry(client, execution, &mut output, stdin, execution.wait(), wants).await;
    if let (Some(_), Output::Fifos(fifos)) = (&outcome, &mut output) {
        // What the process has written last is in the FIFOs.
        let _ = timeout(LAST_OUTPUT, rest(client, fifos)).await;
    }
    drop(output);
    if let Some(outcome) = outcome {
        client.end(&outcome).await;
    } else {
        execution.kill().await;
        let _ = timeout(LAST_OUTPUT, execution.wait()).await;
    }
}

/// Carries a container's own streams until it has ended or the client has gone, which the container does not mind.
pub(super) async fn run_attached(
    client: &mut Client,
    console: &impl Console,
    tap: Tap,
    stdin: Option<pipe::Sender>,
    wants: Wants,
) {
    let gives_input = stdin.is_some();
    let outcome = carry(client, console, &mut Output::Tap(tap), stdin, pending(), wants).await;
    if let Some(outcome) = outcome {
        client.end(&outcome).await;
    } else if gives_input {
        console.close_stdin().await;
    }
}

/// How the process ended, or none if the client has gone.
async fn carry(
    client: &mut Client,
    console: &impl Console,
    output: &mut Output,
    mut stdin: Option<pipe::Sender>,
    exit: impl Future<Output = Outcome> + Send,
    wants: Wants,
) -> Option<Outcome> {
    let mut input = Bytes::new();
    let mut input_ends = false;
    let mut exit = Box::pin(exit);
    loop {
        if input_ends && input.is_empty() && stdin.take().is_some() {
            console.close_stdin().await;
        }
        let event = tokio::select! {
            told = client.next(), if input.is_empty() => Event::Told(told),
            event = feed(stdin.as_mut(), &input), if !input.is_empty() => event,
            event = output.next() => event,
            outcome = &mut exit => Event::Over(outcome),
        };
        match event {
            Event::Told(Told::Input(bytes)) if stdin.is_some() && !input_ends => input = bytes,
            Event::Told(Told::InputEnd) => input_ends = true,
            Event::Told(Told::Size(Size { width, height })) if wants.terminal => {
                console.resize(width, height).await;
            }
            Event::Told(Told::Gone) => return None,
            Event::Told(Told::Input(_) | Told::Size(_) | Told::Nothing) => {}
            Event::Fed(count) => drop(input.split_to(count)),
            Event::Unread => {
                input.clear();
                stdin = None;
            }
            Event::Stuck => {
                if !client.sign_of_life().await {
                    return None;
                }
            }
            Event::Output(stream, bytes) => {
                if is_wanted(stream, wants) && !client.send(stream, &bytes).await {
                    return None;
                }
            }
            Event::Over(outcome) => return Some(outcome),
        }
    }
}

fn is_wanted(stream: Stream, wants: Wants) -> bool {
    match stream {
        Stream::Stdout => wants.stdout,
        Stream::Stderr => wants.stderr,
    }
}

async fn rest(client: &mut Client, fifos: &mut Fifos) {
    while let Some((stream, output)) = fifos_output(fifos).await {
        if !client.send(stream, &output).await {
            return;
        }
    }
}

/// Gives the process some of its input.
async fn feed(stdin: Option<&mut pipe::Sender>, input: &[u8]) -> Event {
    let Some(stdin) = stdin else { return Event::Unread };
    tokio::select! {
        written = stdin.write(input) => written.map_or(Event::Unread, Event::Fed),
        () = sleep(SIGN_OF_LIFE) => Event::Stuck,
    }
}

/// Some output, none when all FIFOs have ended. May be cancelled.
async fn fifos_output(fifos: &mut Fifos) -> Option<(Stream, Bytes)> {
    while fifos.stdout.is_some() || fifos.stderr.is_some() {
        let (stream, output) = tokio::select! {
            output = read(fifos.stdout.as_mut()) => (Stream::Stdout, output),
            output = read(fifos.stderr.as_mut()) => (Stream::Stderr, output),
        };
        if let Some(output) = output {
            return Some((stream, output));
        }
        match stream {
            Stream::Stdout => fifos.stdout = None,
            Stream::Stderr => fifos.stderr = None,
        }
    }
    None
}

/// Some output, none at its end, for ever without a FIFO.
async fn read(fifo: Option<&mut pipe::Receiver>) -> Option<Bytes> {
    let Some(fifo) = fifo else { return pending().await };
    let mut output = BytesMut::with_capacity(CHUNK_BYTES);
    match fifo.read_buf(&mut output).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(output.freeze()),
    }
}

/// How a process ended, as kubectl wants to be told.
pub(super) fn told_as_status(outcome: &Outcome) -> Value {
    match outcome {
        Ok(0) => json!({ "metadata": {}, "status": "Success" }),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: {code}"),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(status) => status.to_json(),
    }
}

/// The same for clients of the protocol's first versions: a success is silence.
pub(super) fn told_as_text(outcome: &Outcome) -> Option<String> {
    match outcome {
        Ok(0) => None,
        Ok(code) => Some(format!("command terminated with non-zero exit code: {code}")),
        Err(status) => Some(status.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_told_as_upstream_tells_them() {
        assert_eq!(told_as_status(&Ok(0))["status"], "Success");
        assert_eq!(told_as_text(&Ok(0)), None);
        let failure = told_as_status(&Ok(137));
        assert_eq!(failure["reason"], "NonZeroExitCode");
        assert_eq!(failure["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "137" }));
        assert_eq!(
            told_as_text(&Ok(137)).as_deref(),
            Some("command terminated with non-zero exit code: 137")
        );
    }
}
