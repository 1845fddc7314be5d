//! The little JSON that the launcher writes.

/// A JSON string.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)))
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// An object of strings; absent ones are left out.
pub fn object(fields: &[(&str, Option<&str>)]) -> String {
    let parts: Vec<String> = fields
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{}:{}", quote(name), quote(value))))
        .collect();
    format!("{{{}}}", parts.join(","))
}

/// An array of strings.
pub fn array(items: &[String]) -> String {
    let parts: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", parts.join(","))
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes() {
        assert_eq!(super::quote("a\"b\\\n"), "\"a\\\"b\\\\\\u000a\"");
        assert_eq!(super::object(&[("a", Some("b")), ("c", None)]), "{\"a\":\"b\"}");
        assert_eq!(super::array(&["x".into(), "y".into()]), "[\"x\",\"y\"]");
    }
}
