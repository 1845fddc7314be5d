//! PAX extended header records: `LENGTH KEY=VALUE\n` (POSIX.1-2017, pax, "pax Extended Header").

/// Appends one record. The length counts its own digits.
pub(crate) fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3; // blank, `=`, newline
    let mut length = rest + 1;
    while length != rest + decimal_digits(length) {
        length = rest + decimal_digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn decimal_digits(mut value: usize) -> usize {
    let mut digits = 1;
    while value >= 10 {
        value /= 10;
        digits += 1;
    }
    digits
}

/// Keywords and values, in their order.
type Records<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Splits the records. `Err` is the reason.
pub(crate) fn parse_records(mut rest: &[u8]) -> Result<Records<'_>, &'static str> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let blank = rest
            .iter()
            .take(MAX_LENGTH_DIGITS + 1)
            .position(|byte| *byte == b' ')
            .ok_or("a PAX record without a length")?;
        let length = parse_decimal(&rest[..blank]).ok_or("a PAX record with a bad length")?;
        let length = usize::try_from(length).map_err(|_| "a PAX record longer than its header")?;
        if length <= blank + 1 || length > rest.len() {
            return Err("a PAX record longer than its header");
        }
        let (record, next) = rest.split_at(length);
        rest = next;
        let body =
            record[blank + 1..].strip_suffix(b"\n").ok_or("a PAX record without a newline")?;
        let equals =
            body.iter().position(|byte| *byte == b'=').ok_or("a PAX record without '='")?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err("a PAX record with a bad keyword");
        }
        records.push((key, value));
    }
    Ok(records)
}

/// No record of an allowed header is longer than this says.
const MAX_LENGTH_DIGITS: usize = 10;

pub(crate) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// `[-]SECONDS[.FRACTION]`, rounded down to nanoseconds.
pub(crate) fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.');
    let seconds = i64::try_from(parse_decimal(&text[..point.unwrap_or(text.len())])?).ok()?;
    let fraction = point.map_or(&b""[..], |at| &text[at + 1..]);
    let mut nanoseconds: u32 = 0;
    for place in 0..9 {
        nanoseconds = nanoseconds * 10
            + match fraction.get(place) {
                Some(digit @ b'0'..=b'9') => u32::from(digit - b'0'),
                None => 0,
                Some(_) => return None,
            };
    }
    let finer = fraction.get(9..).unwrap_or(b"");
    if !finer.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if !negative {
        return Some((seconds, nanoseconds));
    }
    if finer.iter().any(|digit| *digit != b'0') {
        nanoseconds += 1;
    }
    Some(match nanoseconds {
        0 => (-seconds, 0),
        1_000_000_000 => (-seconds - 1, 0),
        _ => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// The inverse of [`parse_time`], without trailing zeros.
pub(crate) fn format_time(seconds: i64, nanoseconds: u32) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let (sign, whole, fraction) = if seconds < 0 {
        ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
    } else {
        ("", seconds.unsigned_abs(), nanoseconds)
    };
    format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for size in (0..130).chain(980..1010).chain(9_980..10_010) {
            let mut records = Vec::new();
            push_record(&mut records, b"k", &vec![b'v'; size]);
            let blank = records.iter().position(|byte| *byte == b' ').unwrap();
            assert_eq!(parse_decimal(&records[..blank]), Some(records.len() as u64));
            assert_eq!(
                parse_records(&records).unwrap(),
                [(&b"k"[..], vec![b'v'; size].as_slice())]
            );
        }
    }

    #[test]
    fn bad_records() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"6 a=b",
            b"99999999999999999999 a=b\n",
            b"6 ab c\n",
            b"5 =b\n",
            b"3 \n",
            b"-6 a=b\n",
            b" 6 a=b\n",
            b"2 a=b\n",
        ] {
            assert!(parse_records(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn times() {
        for (text, time) in [
            (&b"0"[..], (0, 0)),
            (b"1.5", (1, 500_000_000)),
            (b"-1", (-1, 0)),
            (b"-1.5", (-2, 500_000_000)),
            (b"-0.25", (-1, 750_000_000)),
            (b"1.9999999999", (1, 999_999_999)),
            (b"-0.9999999999", (-1, 0)),
            (b"1.", (1, 0)),
        ] {
            assert_eq!(parse_time(text), Some(time), "{text:?}");
        }
        for bad in
            [&b""[..], b"-", b"1e3", b"1.x", b"99999999999999999999", b"1.0000000000x", b"+1"]
        {
            assert_eq!(parse_time(bad), None, "{bad:?}");
        }
        for time in [(0, 1), (-1, 999_999_999), (-2, 1), (7, 120_000_000), (-9, 0)] {
            assert_eq!(parse_time(format_time(time.0, time.1).as_bytes()), Some(time));
        }
    }
}
