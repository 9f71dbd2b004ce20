//! What a source is, told by its first bytes, and the reader for it.
//!
//! Owns: magic numbers and decompressors. Does not know: entries.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::Input;
use super::target::Fault;

const BUFFER_BYTES: usize = 128 * 1024;
const BLOCK: usize = 512;

pub(super) type SourceReader<'a> = BufReader<Input<'a>>;

/// A source, opened at its beginning.
pub(super) enum Content<'a> {
    /// A tar, already decompressed.
    Tar(Box<dyn Read + 'a>),
    /// A zip.
    Zip(SourceReader<'a>),
    /// Anything else, as it is.
    Plain(SourceReader<'a>),
}

/// `name` only tells what a file that is no archive should have been.
pub(super) fn open<'a>(path: &Path, name: &str, cancel: &'a AtomicBool) -> Result<Content<'a>, Fault> {
    let file = File::open(path).map_err(Fault::Read)?;
    let mut file = BufReader::with_capacity(BUFFER_BYTES, Input { file, cancel });
    let magic = file.fill_buf().map_err(Fault::Read)?;
    if magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06") {
        return Ok(Content::Zip(file));
    }
    let mut reader: Box<dyn Read + 'a> = match magic {
        [0x1f, 0x8b, 8, ..] => Box::new(Gunzip::new(file)),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))
        }
        [b'L', b'Z', b'I', b'P', 0 | 1, ..] => {
            let stream = liblzma::stream::Stream::new_lzip_decoder(u64::MAX, liblzma::stream::CONCATENATED);
            let stream = stream.map_err(|error| Fault::Read(error.into()))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(file, stream))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(Fault::Read)?;
            // `--long=31` needs a window of 2 GiB; memory is only used as far as the file is that long.
            decoder.window_log_max(31).map_err(Fault::Read)?;
            Box::new(decoder)
        }
        _ => Box::new(file),
    };
    let mut first = Vec::with_capacity(BLOCK);
    reader.by_ref().take(BLOCK as u64).read_to_end(&mut first).map_err(Fault::Read)?;
    if is_tar(&first)? {
        return Ok(Content::Tar(Box::new(Cursor::new(first).chain(reader))));
    }
    drop(reader);
    if [".tar", ".tgz", ".tbz", ".txz", ".tzst"].iter().any(|part| name.contains(part)) {
        return Err(Fault::Damaged("it is named like a tar and is none".into()));
    }
    let file = File::open(path).map_err(Fault::Read)?;
    Ok(Content::Plain(BufReader::with_capacity(BUFFER_BYTES, Input { file, cancel })))
}

/// The oldest tars have no magic, but a checksum all have.
fn is_tar(first: &[u8]) -> Result<bool, Fault> {
    let Ok(block) = <[u8; BLOCK]>::try_from(first) else { return Ok(false) };
    let header = tar::Header::from_byte_slice(&block);
    let sum = block.iter().enumerate().map(|(at, &byte)| match at {
        148..156 => u32::from(b' '),
        _ => u32::from(byte),
    });
    if header.cksum().is_ok_and(|cksum| cksum == sum.sum::<u32>()) && block[0] != 0 {
        return Ok(true);
    }
    if &block[257..262] == b"ustar" {
        return Err(Fault::Damaged("the first header's checksum is wrong".into()));
    }
    Ok(false)
}

/// All members of a gzip file. Like gzip, it ignores what follows the last one: some tarballs are padded.
struct Gunzip<R> {
    member: Option<flate2::bufread::GzDecoder<R>>,
}

impl<R: BufRead> Gunzip<R> {
    fn new(reader: R) -> Self {
        Self { member: Some(flate2::bufread::GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let more = member.get_mut().fill_buf()?.starts_with(&[0x1f, 0x8b]);
            self.member = match self.member.take() {
                Some(member) if more => Some(flate2::bufread::GzDecoder::new(member.into_inner())),
                _ => None,
            };
        }
        Ok(0)
    }
}

/// Reads a sparse file of PAX format 1.0, where the map of its data comes first: holes are read as zeros.
pub(super) struct Sparse<R> {
    reader: R,
    /// Offset and length of each piece of data, the next one last.
    pieces: Vec<(u64, u64)>,
    at: u64,
    size: u64,
}

impl<R: Read> Sparse<R> {
    pub(super) fn new(mut reader: R, size: u64) -> io::Result<Self> {
        let mut block = [0; BLOCK];
        let mut used = BLOCK;
        let mut number = || -> io::Result<u64> {
            let mut value = 0u64;
            loop {
                if used == BLOCK {
                    reader.read_exact(&mut block)?;
                    used = 0;
                }
                let byte = block[used];
                used += 1;
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        value = value
                            .checked_mul(10)
                            .and_then(|value| value.checked_add(digit))
                            .ok_or_else(bad_map)?;
                    }
                    b'\n' => return Ok(value),
                    _ => return Err(bad_map()),
                }
            }
        };
        let mut pieces = Vec::new();
        let mut end = 0;
        for _ in 0..number()? {
            let (offset, length) = (number()?, number()?);
            if offset < end {
                return Err(bad_map());
            }
            end = offset.checked_add(length).filter(|&end| end <= size).ok_or_else(bad_map)?;
            pieces.push((offset, length));
        }
        pieces.reverse();
        Ok(Self { reader, pieces, at: 0, size })
    }
}

fn bad_map() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the map of a sparse file makes no sense")
}

impl<R: Read> Read for Sparse<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.pieces.pop_if(|(_, length)| *length == 0).is_some() {}
        let (data, until) = match self.pieces.last() {
            Some(&(offset, _)) if self.at < offset => (false, offset),
            Some(&(offset, length)) => (true, offset + length),
            None => (false, self.size),
        };
        let most = usize::try_from(until - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        let count = if data {
            let count = self.reader.read(buffer)?;
            if let Some((offset, length)) = self.pieces.last_mut() {
                *offset += count as u64;
                *length -= count as u64;
            }
            count
        } else {
            buffer.fill(0);
            most
        };
        self.at += count as u64;
        Ok(count)
    }
}
