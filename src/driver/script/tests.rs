//! Outputs on a real file system.

use super::*;

#[test]
fn the_last_line_is_found_with_its_number_however_long_the_output_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut text = String::new();
    for number in 1..=20_000 {
        text.push_str(&format!("line {number}\n"));
    }
    assert!(text.len() as u64 > 2 * TAIL_BYTES);
    text.push_str(" \n\n");
    fs::write(file.path(), &text).unwrap();
    assert_eq!(last_line(file.path()).unwrap(), Some((20_000, "line 20000".to_owned())));
    fs::write(file.path(), " \n").unwrap();
    assert_eq!(last_line(file.path()).unwrap(), None);
}
