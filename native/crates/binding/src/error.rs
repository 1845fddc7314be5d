//! How a Rust error crosses to JavaScript: as one JSON text in the message, which `src/native/error.ts` takes apart.

use napi::{Error, Status};

/// What JavaScript gets to know about a failure.
pub struct Failure {
    /// Stable word for the kind of failure, for example `BAD_ARCHIVE`, `IO`, `CANCELLED`.
    pub code: &'static str,
    /// Name of the errno, for example `ENOSPC`.
    pub errno: Option<String>,
    /// The path that it was about, lossily decoded for display.
    pub path: Option<String>,
    /// Lower case, no final period.
    pub message: String,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let quote = |text: &str| {
            let mut quoted = String::with_capacity(text.len() + 2);
            quoted.push('"');
            for character in text.chars() {
                match character {
                    '"' => quoted.push_str("\\\""),
                    '\\' => quoted.push_str("\\\\"),
                    control if (control as u32) < 0x20 => {
                        quoted.push_str(&format!("\\u{:04x}", control as u32));
                    }
                    other => quoted.push(other),
                }
            }
            quoted.push('"');
            quoted
        };
        let optional = |value: Option<String>| value.map_or("null".to_owned(), |text| quote(&text));
        Error::new(
            Status::GenericFailure,
            format!(
                "{{\"code\":{},\"errno\":{},\"path\":{},\"message\":{}}}",
                quote(failure.code),
                optional(failure.errno),
                optional(failure.path),
                quote(&failure.message)
            ),
        )
    }
}
