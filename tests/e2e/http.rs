//! A mirror that stops in the middle, or has the file no longer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Serves one file, one connection at a time, on a port of its own.
pub(crate) struct Mirror {
    listener: TcpListener,
    content: Vec<u8>,
}

impl Mirror {
    pub(crate) fn of(content: &[u8]) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), content: content.to_owned() }
    }

    pub(crate) fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.listener.local_addr().unwrap())
    }

    /// A request that has been read, in lower case; the connection waits for an answer.
    fn asked(&self) -> (TcpStream, String) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut head = String::new();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            match line.unwrap().to_ascii_lowercase() {
                line if line.is_empty() => return (stream, head),
                line => head = head + &line + "\n",
            }
        }
        panic!("a request ends with an empty line: {head}");
    }

    /// Answers one request with 404.
    pub(crate) fn answer_not_found(&self) {
        let (mut stream, _) = self.asked();
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
    }

    /// Answers one request with this many bytes less than it promised; the connection stays open until the
    /// returned stream is dropped. Returns also where the request wanted to begin.
    pub(crate) fn answer_but(&self, missing: usize) -> (TcpStream, usize) {
        let (mut stream, head) = self.asked();
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let from = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let total = self.content.len();
        let head = match from {
            0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n"),
            _ => format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{total}\r\n",
                total - from,
                total - 1
            ),
        };
        write!(stream, "{head}Accept-Ranges: bytes\r\nETag: \"1\"\r\nConnection: close\r\n\r\n").unwrap();
        stream.write_all(&self.content[from.min(total)..total - missing]).unwrap();
        (stream, from)
    }
}

/// Blocks until the other side has closed the connection.
pub(crate) fn wait_for_hangup(mut stream: TcpStream) {
    // A reset says the same as an end.
    let _ = stream.read(&mut [0]);
}
