//! Name-value blocks, compressed with one zlib stream per direction and the dictionary of SPDY/3.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Names and values that are common in HTTP: each with its length before it, in four bytes.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";

/// Then fragments without lengths.
const FRAGMENTS: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 \
    Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept \
    Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
    sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The Adler-32 checksum by which zlib asks for the dictionary.
#[cfg(test)]
const DICTIONARY_ID: u32 = 0xe3c6_a7c2;

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS.split(' ') {
        append(&mut dictionary, &word.replace('_', " "));
    }
    dictionary.extend_from_slice(FRAGMENTS.as_bytes());
    dictionary
});

/// Longest block after decompression, in bytes.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// A stream's headers, names in lower case; of several values the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// A header's value; empty counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn parse(mut block: &[u8]) -> Option<Self> {
        let number = |block: &mut &[u8]| {
            let (bytes, rest) = block.split_first_chunk::<4>()?;
            *block = rest;
            Some(u32::from_be_bytes(*bytes) as usize)
        };
        let text = |block: &mut &[u8]| {
            let length = number(block)?;
            let (bytes, rest) = block.split_at_checked(length)?;
            *block = rest;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        let count = u32::from_be_bytes(*block.first_chunk::<4>()?);
        block = &block[4..];
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = text(&mut block)?;
            let values = text(&mut block)?;
            headers.push((name, values.split('\0').next().unwrap_or_default().to_owned()));
        }
        Some(Self(headers))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    }
}

fn append(block: &mut Vec<u8>, text: &str) {
    block.extend_from_slice(&(text.len() as u32).to_be_bytes());
    block.extend_from_slice(text.as_bytes());
}

/// Reads the blocks of one direction, which must come in order and without a gap.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// None when it is no such block: then the connection is of no use any more.
    pub(super) fn read(&mut self, compressed: &[u8]) -> Option<Headers> {
        let mut block = Vec::with_capacity(4096);
        let start = self.0.total_in();
        loop {
            let done = (self.0.total_in() - start) as usize;
            let before = (done, block.len());
            match self.0.decompress_vec(&compressed[done..], &mut block, FlushDecompress::Sync) {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).ok()?;
                    continue;
                }
                Err(_) | Ok(Status::StreamEnd) => return None,
                Ok(Status::Ok | Status::BufError) => {}
            }
            let done = (self.0.total_in() - start) as usize;
            if done == compressed.len() && block.len() < block.capacity() {
                return Headers::parse(&block);
            }
            if block.len() == block.capacity() {
                if block.len() >= BLOCK_BYTES_MAX {
                    return None;
                }
                block.reserve(block.len());
            } else if before == (done, block.len()) {
                return None;
            }
        }
    }
}

/// Writes the blocks of the other direction.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).expect("a new stream takes a dictionary");
        Self(compress)
    }

    /// A block with these headers.
    pub(super) fn write(&mut self, headers: &Headers) -> Vec<u8> {
        let mut block = Vec::new();
        block.extend_from_slice(&(headers.0.len() as u32).to_be_bytes());
        for (name, value) in &headers.0 {
            append(&mut block, name);
            append(&mut block, value);
        }
        let mut compressed = Vec::with_capacity(block.len() + 64);
        let start = self.0.total_in();
        loop {
            let done = (self.0.total_in() - start) as usize;
            self.0
                .compress_vec(&block[done..], &mut compressed, FlushCompress::Sync)
                .expect("compressing into memory does not fail");
            if compressed.len() < compressed.capacity() {
                return compressed;
            }
            compressed.reserve(compressed.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        assert_eq!(DICTIONARY.len(), 1423);
        let mut compress = Compress::new(Compression::fast(), true);
        assert_eq!(compress.set_dictionary(&DICTIONARY).expect("takes it"), DICTIONARY_ID);
    }

    #[test]
    fn blocks_are_read_in_order_as_they_were_written() {
        let long = "x".repeat(20_000);
        let blocks = [
            Headers::from([("streamtype", "error"), ("port", "80"), ("requestid", "0")]),
            Headers::default(),
            Headers::from([("streamtype", "data"), ("long", long.as_str())]),
            Headers::from([("streamtype", "stdin")]),
        ];
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for headers in &blocks {
            assert_eq!(inflater.read(&deflater.write(headers)).as_ref(), Some(headers));
        }
        assert_eq!(blocks[0].get("streamType"), Some("error"));
        assert_eq!(blocks[0].get("absent"), None);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        assert_eq!(Inflater::new().read(b"no zlib"), None);
        let bomb = Headers::from([("x", "y".repeat(BLOCK_BYTES_MAX * 2).as_str())]);
        assert_eq!(Inflater::new().read(&Deflater::new().write(&bomb)), None);
        assert_eq!(Headers::parse(&[0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 9]), None, "cut short");
        assert_eq!(Headers::parse(&[0xff; 4]), None, "more than there is");
        assert_eq!(Headers::parse(b""), None);
    }
}
