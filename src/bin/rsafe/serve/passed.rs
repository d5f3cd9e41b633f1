//! What was judged and found harmless, so that a growing chat costs only what is new in it. Texts are not kept, only
//! digests of them.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rsafe::Conversation;
use sha2::{Digest, Sha256};

type Key = [u8; 32];

/// A bounded set of digests; who was not asked for longest is forgotten first.
pub struct Passed(Option<Mutex<LruCache<Key, ()>>>);

impl Passed {
    /// At most so many; 0: none.
    pub fn new(most: usize) -> Self {
        Self(NonZeroUsize::new(most).map(|most| Mutex::new(LruCache::new(most))))
    }

    pub fn has(&self, key: &Key) -> bool {
        self.digests().is_some_and(|mut digests| digests.get(key).is_some())
    }

    pub fn add(&self, key: Key) {
        if let Some(mut digests) = self.digests() {
            digests.put(key, ());
        }
    }

    fn digests(&self) -> Option<MutexGuard<'_, LruCache<Key, ()>>> {
        // Nothing that could panic happens under the lock.
        self.0.as_ref().map(|digests| digests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a conversation is remembered by under the server's own policy, or a built-in one by its name.
pub fn key_of(conversation: &Conversation, under: Option<&str>) -> Key {
    let mut digest = Sha256::new();
    digest.update(format!("{under:?} {:?}", conversation.target));
    for message in &conversation.messages {
        digest.update(format!("{:?} {} ", message.role, message.content.len()));
        digest.update(&message.content);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use rsafe::{Message, Role};

    use super::*;

    #[test]
    fn who_was_not_asked_for_longest_is_forgotten_first() {
        let passed = Passed::new(2);
        passed.add([1; 32]);
        passed.add([2; 32]);
        assert!(passed.has(&[1; 32]));
        passed.add([3; 32]);
        assert_eq!([1, 2, 3].map(|key| passed.has(&[key; 32])), [true, false, true]);
        let none = Passed::new(0);
        none.add([1; 32]);
        assert!(!none.has(&[1; 32]));
    }

    #[test]
    fn no_two_conversations_are_remembered_by_the_same() {
        let of = |texts: &[(Role, &str)]| {
            key_of(&Conversation::of(texts.iter().map(|(role, text)| Message::new(*role, *text)).collect()), None)
        };
        let keys = [
            of(&[(Role::User, "ab")]),
            of(&[(Role::Assistant, "ab")]),
            of(&[(Role::User, "a"), (Role::User, "b")]),
            of(&[(Role::User, "a"), (Role::Assistant, "b")]),
            of(&[(Role::User, "a User 1 b")]),
            key_of(&Conversation::prompt("ab"), Some("agents")),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
    }
}
