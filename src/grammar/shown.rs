//! The reasoning as people read it while it streams.

/// Trims the reasoning while it streams: no whitespace at the start, and none is let go before text follows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    started: bool,
    space: String,
}

impl Shown {
    pub(super) fn push(&mut self, text: &str) -> String {
        let text = if self.started { text } else { text.trim_start() };
        let body = text.trim_end();
        if body.is_empty() {
            self.space.push_str(text);
            return String::new();
        }
        self.started = true;
        let mut piece = std::mem::replace(&mut self.space, text[body.len()..].to_owned());
        piece.push_str(body);
        piece
    }
}
