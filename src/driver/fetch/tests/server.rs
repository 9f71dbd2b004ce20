//! A tiny HTTP server, which does what a test's closure says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first byte asked for with `Range`.
    pub(super) fn first(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let path = lines.next()?.split(' ').nth(1)?.to_owned();
        let headers = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        Some(Self { path, headers })
    }
}

pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Every connection has one request, answered by `answer` in a thread of its own, and is closed after it.
    pub(super) fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped, answer) = (Arc::clone(&requests), Arc::clone(&stop), Arc::new(answer));
        let thread = thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    if let Some(request) = Request::read(&stream) {
                        seen.lock().unwrap().push(request.clone());
                        answer(&request, &mut stream);
                    }
                });
            }
        });
        Self { address, requests, stop, thread: Some(thread) }
    }

    /// Has `content` at every path, and can continue.
    pub(super) fn of(content: &'static [u8]) -> Self {
        Self::start(move |request, stream| match request.first() {
            Some(first) => part(stream, content, first),
            None => whole(stream, content),
        })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A response. The client may have gone.
pub(super) fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
}

pub(super) fn whole(stream: &mut TcpStream, content: &[u8]) {
    respond(stream, "200 OK", &format!("ETag: \"v1\"\r\nContent-Length: {}\r\n", content.len()), content);
}

/// From `first` to the end.
pub(super) fn part(stream: &mut TcpStream, content: &[u8], first: usize) {
    let (total, last) = (content.len(), content.len() - 1);
    let range = format!("ETag: \"v1\"\r\nContent-Range: bytes {first}-{last}/{total}\r\n");
    let headers = format!("{range}Content-Length: {}\r\n", total - first);
    respond(stream, "206 Partial Content", &headers, &content[first..]);
}

/// Promises everything, and closes after `count` bytes.
pub(super) fn truncated(stream: &mut TcpStream, content: &[u8], count: usize) {
    let headers = format!("ETag: \"v1\"\r\nContent-Length: {}\r\n", content.len());
    respond(stream, "200 OK", &headers, &content[..count]);
}

/// Holds the connection until the test lets go of the sender.
pub(super) fn wait(held: &Mutex<Receiver<()>>) {
    assert!(held.lock().unwrap().recv().is_err());
}
