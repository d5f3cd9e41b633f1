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
/// Bytes of one compiled pattern; matching is linear in the text with this as its factor.
pub const MAX_REGEX_BYTES: usize = 256 * 1024;
/// Nesting of groups and repetitions in a regex.
pub const MAX_REGEX_NESTING: u32 = 32;
