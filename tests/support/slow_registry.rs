//! A registry that holds back the end of an image's last layer until it is told to go on.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use super::image::{Blobs, digest_of};

/// It serves one image, under any name, until the test's process ends.
pub struct SlowRegistry {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// Content and media type by digest; the manifest also under its tag.
    content: BTreeMap<String, (Vec<u8>, &'static str)>,
    /// The blob whose second half is held back.
    slow: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often the slow blob was asked for.
    asked: u32,
    released: bool,
}

impl SlowRegistry {
    /// Serves `blobs` as tag `1`.
    pub fn start(blobs: &Blobs) -> Self {
        let mut content = BTreeMap::new();
        for blob in blobs.layers.iter().chain([&blobs.config]) {
            content.insert(digest_of(blob), (blob.clone(), "application/octet-stream"));
        }
        let manifest = (blobs.manifest.clone(), "application/vnd.oci.image.manifest.v1+json");
        content.insert(digest_of(&blobs.manifest), manifest.clone());
        content.insert("1".into(), manifest);
        let slow = digest_of(blobs.layers.last().expect("an image has layers"));
        let shared = Arc::new(Shared { content, slow, state: Mutex::default(), changed: Condvar::new() });
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("bound").to_string();
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = serving.clone();
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        Self { address, shared }
    }

    /// Reference of the image.
    pub fn reference(&self) -> String {
        format!("{}/slow/image:1", self.address)
    }

    /// How often the held layer was asked for.
    pub fn asked(&self) -> u32 {
        self.shared.state.lock().expect("whole").asked
    }

    /// Lets the layer go.
    pub fn release(&self) {
        self.shared.state.lock().expect("whole").released = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// One request a connection.
    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next()?.ok()?;
        let mut from = 0;
        for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
            if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                from = range.split('-').next()?.parse().ok()?;
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or_default();
        let Some((bytes, media_type)) = self.content.get(name) else {
            let status = if name.is_empty() { "200 OK" } else { "404 Not Found" };
            return write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                .ok();
        };
        let rest = bytes.get(from..)?;
        let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
        let range = format!("bytes {from}-{}/{}", bytes.len().saturating_sub(1), bytes.len());
        write!(
            stream,
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
             content-range: {range}\r\ndocker-content-digest: {}\r\n\r\n",
            rest.len(),
            digest_of(bytes)
        )
        .ok()?;
        if method == "HEAD" {
            return Some(());
        }
        let half = if name == self.slow { rest.len() / 2 } else { rest.len() };
        stream.write_all(&rest[..half]).ok()?;
        if half < rest.len() {
            let mut state = self.state.lock().expect("whole");
            state.asked += 1;
            drop(self.changed.wait_while(state, |state| !state.released));
        }
        stream.write_all(&rest[half..]).ok()
    }
}
