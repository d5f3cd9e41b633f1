//! How large a policy may be. A policy is read on edge workers and prefixed to each prompt: these bounds keep both cheap.

/// Bytes of a policy's source.
pub const MAX_FILE_BYTES: usize = 256 * 1024;
/// Values in a source once YAML aliases are expanded.
pub const MAX_NODES: usize = 20_000;
/// Levels of nesting in a source; a policy needs four.
pub const MAX_DEPTH: usize = 16;
/// Fields of one mapping; a category has seven.
pub const MAX_FIELDS: usize = 64;
/// Categories of a policy; at least one.
pub const MAX_CATEGORIES: usize = 64;
/// Characters of a category's or rule's id.
pub const MAX_ID_CHARS: usize = 64;
/// Characters of a policy's or category's name and of the version.
pub const MAX_NAME_CHARS: usize = 128;
/// Characters of a definition.
pub const MAX_DEFINITION_CHARS: usize = 4_000;
/// Characters of one example.
pub const MAX_EXAMPLE_CHARS: usize = 1_000;
/// Examples of one kind in a category.
pub const MAX_EXAMPLES: usize = 32;
/// Rules of a policy.
pub const MAX_RULES: usize = 128;
/// Characters of a rule's literal or regex.
pub const MAX_PATTERN_CHARS: usize = 512;
/// Bytes of one compiled pattern.
pub const MAX_REGEX_BYTES: usize = 256 * 1024;
/// Nesting of groups and repetitions in a regex.
pub const MAX_REGEX_NESTING: u32 = 32;

/// How much a policy's rules may cost. Matching is linear in the text, but with the size of the compiled regexes as its
/// factor: a regex whose states cross in ever new ways visits them all at each byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleLimits {
    /// Rules of a policy; at most [`MAX_RULES`] count.
    pub rules: usize,
    /// Bytes of all compiled regexes together.
    pub compiled_bytes: usize,
    /// What matching may cost, in bytes of the text times bytes of the compiled regexes that apply to it. A literal counts
    /// as [`LITERAL_COST`] bytes, whatever its length: it is found at one speed. A unit takes 0.25 ns at worst on a
    /// server's core.
    pub work: u64,
}

/// What a literal counts as, in bytes of a compiled regex.
pub const LITERAL_COST: usize = 64;

impl RuleLimits {
    /// The limits of a policy that the guard's owner wrote: a text of 32,768 tokens of English under regexes of 200 kB, or
    /// of 2,000 characters under as many as a policy may have.
    pub const OWNER: Self = Self { rules: MAX_RULES, compiled_bytes: 4 << 20, work: 30_000_000_000 };
    /// The limits of a policy that comes from somebody who only calls: a tenth of the time, and little memory.
    pub const CALLER: Self = Self { rules: 32, compiled_bytes: 256 << 10, work: 3_000_000_000 };
}

impl Default for RuleLimits {
    /// [`RuleLimits::OWNER`].
    fn default() -> Self {
        Self::OWNER
    }
}
