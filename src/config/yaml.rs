//! What a scalar of YAML means.
//!
//! Owns: YAML's core schema as `serde_yaml` reads it, so that the walk accepts what the types accept.
//! Does not know: keys, positions.

/// What a scalar means by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    /// Nothing: empty, `~`, `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A whole number beyond 128 bits, or any other number.
    Float(f64),
    /// Anything else, and everything in quotes.
    Text,
}

/// What a scalar means; `plain`: neither quoted nor a block.
pub(super) fn meaning(text: &str, plain: bool) -> Meaning {
    if !plain {
        return Meaning::Text;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        _ => {}
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // A leading zero (`007`) makes text of what would be a number.
    let zeros = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if digits.starts_with(['+', '-']) || zeros {
        return Meaning::Text;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2), ("", 10)] {
        let Some(digits) = digits.strip_prefix(prefix) else { continue };
        if digits.starts_with(['+', '-']) {
            continue;
        }
        if let Ok(value) = i128::from_str_radix(digits, radix) {
            return Meaning::Integer(if negative { -value } else { value });
        }
    }
    float(text).map_or(Meaning::Text, Meaning::Float)
}

/// The number, where a number is wanted: also what `meaning` takes for text because of a leading zero.
pub(super) fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    match (unsigned, text) {
        (_, "-.inf" | "-.Inf" | "-.INF") => Some(f64::NEG_INFINITY),
        (".inf" | ".Inf" | ".INF", _) => Some(f64::INFINITY),
        (_, ".nan" | ".NaN" | ".NAN") => Some(f64::NAN),
        _ if text.starts_with("+-") || text.starts_with("++") => None,
        _ => unsigned.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_serde_yaml_says() {
        let samples = [
            "", "~", "null", "NULL", "true", "True", "yes", "on", "1", "+1", "-1", "--1", "+-1", "0", "00",
            "007", "-007", "0x1F", "-0x1f", "0x", "0o17", "0b101", "0b2", "1.5", "-1.5", "1e3", ".5", "5.",
            ".inf", "-.inf", "+.inf", ".nan", "inf", "nan", "1_000", "1.1.1", "15G", "0x-1", "0x+1", "-0x-1",
            "1e999", "0.5", "00.5", "-0", "+0",
        ];
        for text in samples {
            let value: serde_yaml::Value = serde_yaml::from_str(&format!("[{text}]")).unwrap();
            // `[]` has no element.
            let value = value.get(0).cloned().unwrap_or(serde_yaml::Value::Null);
            let same = match meaning(text, true) {
                Meaning::Null => value.is_null(),
                Meaning::Bool(b) => value.as_bool() == Some(b),
                Meaning::Integer(i) => {
                    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)) == Some(i)
                        || (value.is_f64() && u64::try_from(i).is_err())
                }
                Meaning::Float(f) => value.as_f64().is_some_and(|v| v.to_bits() == f.to_bits() || f.is_nan()),
                Meaning::Text => value.is_string(),
            };
            assert!(same, "`{text}`: {:?}, but {value:?}", meaning(text, true));
            assert_eq!(meaning(text, false), Meaning::Text);
        }
    }

    #[test]
    fn a_wanted_number_is_read_as_serde_yaml_reads_it() {
        for text in
            ["1", "+1", "007", "-007", "0x10", "1e3", ".5", "abc", "", "+-1", "++1", "1e999", "inf", "NaN"]
        {
            assert_eq!(float(text), serde_yaml::from_str::<f64>(text).ok(), "{text}");
        }
    }
}
