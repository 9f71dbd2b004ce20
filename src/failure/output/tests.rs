//! Any bytes, in any pieces.

use proptest::prelude::*;

use super::*;
use crate::failure::Failure;
use crate::failure::classify::{Case, End};

fn classify(block_bytes: usize, pieces: &[&[u8]]) -> Option<Failure> {
    let mut output = Output::in_blocks(block_bytes);
    for piece in pieces {
        output.feed(piece);
    }
    Case { kind: None, facts: &[], end: End::Status(1) }.classify(output)
}

#[test]
fn a_line_is_numbered_wherever_blocks_end() {
    let text = format!("{}a.c:3:5: error: no\n{}", "x\n".repeat(1000), "y\n".repeat(1000));
    for block_bytes in [64, 100, 1000, 100_000] {
        let failure = classify(block_bytes, &[text.as_bytes()]).unwrap();
        assert_eq!(failure.evidence.line, Some(1001), "blocks of {block_bytes}");
    }
}

#[test]
fn a_line_without_end_is_looked_at_in_pieces() {
    let mut text = vec![b'x'; 3 * BLOCK_BYTES];
    text.extend_from_slice(b" cc1: out of memory allocating 8 bytes");
    text.extend(vec![b'y'; 3 * BLOCK_BYTES]);
    text.extend_from_slice(b"\nmake: *** [a.o] Error 1\n");
    let failure = classify(BLOCK_BYTES, &[&text]).unwrap();
    assert_eq!(failure.evidence.line, Some(1));
    assert!(failure.evidence.text.len() < 5000);
}

#[test]
fn memory_does_not_grow_with_the_output() {
    let mut output = Output::default();
    for _ in 0..200_000 {
        output.feed(b"a.c:3:5: error: no\nmake: *** [a.o] Error 1\n");
    }
    assert!(output.buffer.capacity() <= 4 * BLOCK_BYTES, "{}", output.buffer.capacity());
    assert!(output.finds().len() <= 8 * FINDS_MOST);
    assert!(output.endings.len() <= ENDINGS_MOST);
}

/// Pieces of what builds print, and of what they do not.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts = [
        "a.c:3:5: error: no",
        "CMake Error at x:1 (y):\n  Could NOT find X (missing: Y)",
        "Killed",
        "\x1b[31m",
        "\x1b[",
        "\r",
        "\n",
        "\n\n",
        "‘",
        "â€˜",
        "`",
        "'",
        "make: *** [x] Error 1",
        "  ",
        "#7 1.2 ",
        "No space left on device",
        "OK",
        "Finished: SUCCESS",
        "checking for x... ",
        "ERROR: ",
        "FAILED",
        "not found",
        "\0",
    ];
    prop_oneof![
        proptest::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), block in 1_usize..300) {
        classify(block, &[&bytes]);
    }

    #[test]
    fn pieces_do_not_matter(pieces in proptest::collection::vec(piece(), 0..60)) {
        let whole = pieces.concat();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(classify(BLOCK_BYTES, &[&whole]), classify(BLOCK_BYTES, &pieces));
    }
}
