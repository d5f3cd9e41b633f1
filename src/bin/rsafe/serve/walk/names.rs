//! The allow-list: which names of OpenAI-shaped requests and answers are no text of anybody, and which values may pass
//! unread under them. Both directions share it. What stands in neither list is judged. It is the list of the worker at the
//! edge, which a test holds.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Names that the APIs give to fields. Any other name is the sender's own word, and judged.
const NAMES: &str = "\
    messages role content name text refusal reasoning reasoning_content reasoning_details thinking thinking_blocks \
    tool_calls tool_call_id tool_choice tools function function_call functions arguments parameters input output index \
    choices message delta finish_reason native_finish_reason stop_reason matched_stop logprobs top_logprobs token \
    logprob bytes id object created model system_fingerprint service_tier provider usage citations annotations \
    search_results summary signature data url_citation url title start_index end_index prompt_tokens completion_tokens \
    total_tokens input_tokens output_tokens prompt_tokens_details completion_tokens_details cached_tokens \
    reasoning_tokens audio_tokens text_tokens image_tokens accepted_prediction_tokens rejected_prediction_tokens \
    prompt_cache_hit_tokens prompt_cache_miss_tokens cache_creation_input_tokens cache_read_input_tokens cache_discount \
    cost cost_details is_byok prompt_time completion_time total_time queue_time x_groq timings content_filter_results \
    prompt_filter_results content_filter_result prompt_index hate self_harm sexual violence jailbreak profanity \
    indirect_attack protected_material_text protected_material_code custom_blocklists filtered detected severity \
    temperature top_p top_k min_p n stream stream_options include_usage include_obfuscation obfuscation max_tokens \
    max_completion_tokens presence_penalty frequency_penalty repetition_penalty seed stop stop_token_ids user logit_bias \
    response_format json_schema schema strict parallel_tool_calls reasoning_effort effort verbosity modalities audio \
    prediction documents chat_template chat_template_kwargs enable_thinking prompt store metadata safety_identifier \
    prompt_cache_key prompt_cache_retention web_search_options search_context_size exclude enabled budget_tokens prefix \
    add_generation_prompt continue_final_message ignore_eos cache_control ttl type format custom grammar syntax \
    definition properties required description items enum const default additionalProperties anyOf oneOf allOf not $ref \
    $defs minimum maximum minLength maxLength minItems maxItems pattern nullable response item call_id item_id \
    output_index content_index summary_index sequence_number instructions previous_response_id conversation variables \
    max_output_tokens max_tool_calls truncation include background status incomplete_details reason error code param \
    created_at completed_at output_text encrypted_content generate_summary input_tokens_details output_tokens_details \
    billing payer require_approval allowed_tools server_label server_url";

/// Names whose values are pictures, sounds or files, which the guard cannot see into.
const MEDIA: &str = "\
    audio input_audio image images image_url input_image image_file video video_url file input_file file_data b64_json";

/// Names under which no model writes in OpenAI's Responses: marks, and what only machines read. The names there are the API's.
const OPAQUE: &str = "\
    type id role index status signature data encrypted_content encrypted_index call_id item_id tool_use_id output_index \
    content_index summary_index sequence_number finish_reason native_finish_reason stop_reason stop_sequence \
    matched_stop logprobs token_ids content_filter_results obfuscation";
/// A picture of theirs on its way.
const PARTIAL: &str = "partial_image_b64";

const FINISH: &str = "stop length tool_calls function_call content_filter end_turn max_tokens stop_sequence tool_use \
    pause_turn refusal eos eos_token abort error insufficient_system_resource STOP MAX_TOKENS SAFETY \
    RECITATION";
const EFFORT: &str = "none minimal low medium high xhigh";
const LEVEL: &str = "safe low medium high";

/// The words that pass unread under a name.
const WORDS: [(&str, &str); 25] = [
    ("role", "system developer user assistant tool function"),
    ("object", "chat.completion chat.completion.chunk response"),
    ("status", "in_progress completed incomplete failed queued cancelled searching"),
    ("truncation", "auto disabled"),
    ("summary", "auto concise detailed"),
    ("reason", "max_output_tokens content_filter"),
    ("payer", "developer openai"),
    ("include", "reasoning.encrypted_content"),
    (
        "type",
        "text input_text output_text refusal function tool custom object string number integer boolean array \
         null json_schema json_object reasoning.text reasoning.summary reasoning.encrypted thinking \
         redacted_thinking url_citation content enabled disabled adaptive approximate ephemeral grammar \
         message function_call function_call_output custom_tool_call custom_tool_call_output reasoning \
         reasoning_text summary_text item_reference",
    ),
    ("service_tier", "auto default flex scale priority standard on_demand"),
    ("tool_choice", "none auto required any"),
    ("function_call", "none auto"),
    ("modalities", "text"),
    (
        "format",
        "unknown openai-responses-v1 anthropic-claude-v1 google-gemini-v1 json date-time date time email uri \
         uuid",
    ),
    ("syntax", "lark regex"),
    ("ttl", "5m 1h 24h"),
    ("prompt_cache_retention", "24h in_memory in-memory"),
    ("finish_reason", FINISH),
    ("native_finish_reason", FINISH),
    ("stop_reason", FINISH),
    ("reasoning_effort", EFFORT),
    ("effort", EFFORT),
    ("verbosity", LEVEL),
    ("severity", LEVEL),
    ("search_context_size", LEVEL),
];

/// Names whose values name a thing: see [`is_identifier`].
const IDENTIFIERS: &str = "id tool_call_id call_id item_id previous_response_id system_fingerprint safety_identifier \
                           prompt_cache_key user";

fn set(words: &'static str) -> HashSet<&'static str> {
    words.split_whitespace().collect()
}

static KNOWN: LazyLock<HashSet<&str>> = LazyLock::new(|| set(NAMES));
static UNSEEN: LazyLock<HashSet<&str>> = LazyLock::new(|| set(MEDIA));
static SILENT: LazyLock<HashSet<&str>> = LazyLock::new(|| set(OPAQUE));
static IDS: LazyLock<HashSet<&str>> = LazyLock::new(|| set(IDENTIFIERS));
static SETS: LazyLock<HashMap<&str, HashSet<&str>>> =
    LazyLock::new(|| WORDS.into_iter().map(|(name, words)| (name, set(words))).collect());

/// Whether a name is an API's own, under the name of the field that holds it. A token bias names tokens by number.
pub fn knows(name: &str, under: &str) -> bool {
    let is_token = || (1..=9).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_digit());
    KNOWN.contains(name) || is_media(name) || (under == "logit_bias" && is_token())
}

pub fn is_media(name: &str) -> bool {
    UNSEEN.contains(name)
}

/// Whether no model writes under a name of Responses.
pub fn is_opaque(name: &str) -> bool {
    SILENT.contains(name)
}

pub fn is_partial_picture(name: &str) -> bool {
    name == PARTIAL
}

/// Whether a string is of the shape that its name asks for, or empty.
pub fn passes(name: &str, value: &str) -> bool {
    value.is_empty()
        || (IDS.contains(name) && is_identifier(value))
        || (name == "model" && is_model(value))
        || (name == "required" && KNOWN.contains(value))
        || SETS.get(name).is_some_and(|words| words.contains(value))
}

/// The lists of words of a known set. Of other lists each item is judged: what names a thing is no list.
pub fn may_list(name: &str) -> bool {
    ["modalities", "required", "include"].contains(&name)
}

/// The lists of numbers that are none of text: token ids to stop at.
pub fn may_list_numbers(name: &str) -> bool {
    name == "stop_token_ids"
}

/// Letters and digits without a blank that name a thing; at most two words in it, or it may be a sentence.
pub fn is_identifier(id: &str) -> bool {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:+/=-".contains(&byte));
    let words = id.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() >= 3).count();
    plain && id.len() <= 96 && words <= 2
}

fn is_model(name: &str) -> bool {
    name.len() <= 96 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:/@+-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;

    use super::*;

    #[test]
    fn what_names_a_call_is_no_sentence() {
        for name in ["c1", "call_8aZ", "toolu_01A09q90qw90lq917835lq9", "fc:1/2=3"] {
            assert!(is_identifier(name), "{name}");
        }
        for sentence in ["pick a lock", "pick-that-lock", "späher", "a\nb", &"a".repeat(97)] {
            assert!(!is_identifier(sentence), "{sentence}");
        }
    }

    #[test]
    fn a_value_passes_only_under_its_own_name() {
        for (name, value) in [("role", "user"), ("model", "org/gpt-4o"), ("id", "call_1"), ("content", "")] {
            assert!(passes(name, value), "{name}");
        }
        for (name, value) in [("content", "user"), ("role", "burglar"), ("model", "a b"), ("", "call_1")] {
            assert!(!passes(name, value), "{name}");
        }
        assert!(knows("50256", "logit_bias") && !knows("50256", "metadata") && !knows("pick a lock", "logit_bias"));
    }

    #[test]
    fn it_is_the_list_of_the_worker_at_the_edge() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/www/src/walk/fields.ts");
        let edge = std::fs::read_to_string(path).unwrap();
        let quoted = |pattern: &str| -> Vec<(String, BTreeSet<String>)> {
            let found = Regex::new(pattern).unwrap();
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            found.captures_iter(&edge).map(|found| (found[1].to_owned(), words(&found[2]))).collect()
        };
        let ours = |words: &str| words.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();

        let sets = quoted(r"(?s)const (NAMES|MEDIA) = setOf\(`(.*?)`\)");
        assert_eq!(sets, [("NAMES".to_owned(), ours(NAMES)), ("MEDIA".to_owned(), ours(MEDIA))]);
        let common: HashMap<_, _> = quoted(r"(?s)const (\w+) = enumOf\(['`](.*?)['`]\)").into_iter().collect();
        let mut words = quoted(r"(?s)\n  (\w+): enumOf\(\s*['`](.*?)['`],?\s*\)");
        for (name, set) in quoted(r"\n  (\w+): (FINISH|EFFORT|LEVEL),") {
            words.push((name, common[set.first().unwrap()].clone()));
        }
        let listed = |pattern: &str| -> BTreeSet<String> {
            Regex::new(pattern).unwrap().captures_iter(&edge).map(|found| found[1].to_owned()).collect()
        };
        assert_eq!(
            words.into_iter().collect::<HashMap<_, _>>(),
            WORDS.map(|(name, set)| (name.to_owned(), ours(set))).into()
        );
        assert_eq!(listed(r"\n  (\w+): isId,"), ours(IDENTIFIERS));
        assert_eq!(listed(r"name === '(modalities|required|include)'").len(), 3);
    }

    #[test]
    fn under_the_same_names_as_at_the_edge_no_model_writes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/www/src/api/shape.ts");
        let edge = std::fs::read_to_string(path).unwrap();
        let words = |name: &str| -> BTreeSet<String> {
            let found = Regex::new(&format!(r"(?s)const {name} = words\(`(.*?)`\)")).unwrap();
            found.captures(&edge).unwrap()[1].split_whitespace().map(str::to_owned).collect()
        };
        let ours = |words: &str| words.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(words("OPAQUE"), ours(OPAQUE));
        assert_eq!(words("MEDIA"), ours(&format!("{MEDIA} {PARTIAL}")));
    }
}
