/** The allow-list: which names of OpenAI-shaped requests and answers are no text of anybody, and which values may pass
 * unread under them. Both directions share it. What stands in neither list is judged. */

import { type Piece, walkBy, type WalkRules } from './walk.ts';

const words = (text: string): string[] => text.trim().split(/\s+/);
const setOf = (text: string): ReadonlySet<string> => new Set(words(text));

/** Names that the APIs give to fields. Any other name is the sender's own word, and judged. */
const NAMES = setOf(`
  messages role content name text refusal reasoning reasoning_content reasoning_details thinking thinking_blocks
  tool_calls tool_call_id tool_choice tools function function_call functions arguments parameters input output index
  choices message delta finish_reason native_finish_reason stop_reason matched_stop logprobs top_logprobs token logprob
  bytes id object created model system_fingerprint service_tier provider usage citations annotations search_results
  summary signature data url_citation url title start_index end_index prompt_tokens completion_tokens total_tokens
  input_tokens output_tokens prompt_tokens_details completion_tokens_details cached_tokens reasoning_tokens audio_tokens
  text_tokens image_tokens accepted_prediction_tokens rejected_prediction_tokens prompt_cache_hit_tokens
  prompt_cache_miss_tokens cache_creation_input_tokens cache_read_input_tokens cache_discount cost cost_details is_byok
  prompt_time completion_time total_time queue_time x_groq timings
  content_filter_results prompt_filter_results content_filter_result prompt_index hate self_harm sexual violence
  jailbreak profanity indirect_attack protected_material_text protected_material_code custom_blocklists filtered
  detected severity
  temperature top_p top_k min_p n stream stream_options include_usage include_obfuscation obfuscation max_tokens
  max_completion_tokens
  presence_penalty frequency_penalty repetition_penalty seed stop stop_token_ids user logit_bias response_format
  json_schema schema strict parallel_tool_calls reasoning_effort effort verbosity modalities audio prediction documents
  chat_template chat_template_kwargs enable_thinking prompt store metadata safety_identifier prompt_cache_key
  prompt_cache_retention web_search_options search_context_size exclude enabled budget_tokens prefix
  add_generation_prompt continue_final_message ignore_eos cache_control ttl type format custom grammar syntax definition
  properties required description items enum const default additionalProperties anyOf oneOf allOf not $ref $defs minimum
  maximum minLength maxLength minItems maxItems pattern nullable
  response item call_id item_id output_index content_index summary_index sequence_number instructions
  previous_response_id conversation variables max_output_tokens max_tool_calls truncation include background status
  incomplete_details reason error code param created_at completed_at output_text encrypted_content generate_summary
  input_tokens_details output_tokens_details billing payer require_approval allowed_tools server_label server_url`);

/** Names whose values are pictures, sounds or files, which the guard cannot see into. */
const MEDIA = setOf(`audio input_audio image images image_url input_image image_file video video_url file input_file
  file_data b64_json`);

/** Letters and digits without space that name a thing; at most two words in it, or it may be a sentence. */
const isId = (value: string): boolean =>
  /^[\w.:+/=-]{1,96}$/.test(value) && (value.match(/[A-Za-z]{3,}/g) ?? []).length <= 2;

const isModel = (value: string): boolean => /^[\w.:/@+-]{1,96}$/.test(value);

const enumOf = (text: string) => {
  const values = setOf(text);
  return (value: string): boolean => values.has(value);
};

const FINISH = enumOf(`stop length tool_calls function_call content_filter end_turn max_tokens stop_sequence tool_use
  pause_turn refusal eos eos_token abort error insufficient_system_resource STOP MAX_TOKENS SAFETY RECITATION`);
const EFFORT = enumOf('none minimal low medium high xhigh');
const LEVEL = enumOf('safe low medium high');

/** What a string under a name must be to pass unread. */
const SHAPES: Record<string, (value: string) => boolean> = {
  id: isId,
  tool_call_id: isId,
  call_id: isId,
  item_id: isId,
  previous_response_id: isId,
  system_fingerprint: isId,
  safety_identifier: isId,
  prompt_cache_key: isId,
  user: isId,
  model: isModel,
  role: enumOf('system developer user assistant tool function'),
  object: enumOf('chat.completion chat.completion.chunk response'),
  status: enumOf('in_progress completed incomplete failed queued cancelled searching'),
  truncation: enumOf('auto disabled'),
  summary: enumOf('auto concise detailed'),
  reason: enumOf('max_output_tokens content_filter'),
  payer: enumOf('developer openai'),
  include: enumOf('reasoning.encrypted_content'),
  type: enumOf(`text input_text output_text refusal function tool custom object string number integer boolean array null
    json_schema json_object reasoning.text reasoning.summary reasoning.encrypted thinking redacted_thinking url_citation
    content enabled disabled adaptive approximate ephemeral grammar message function_call function_call_output
    custom_tool_call custom_tool_call_output reasoning reasoning_text summary_text item_reference`),
  finish_reason: FINISH,
  native_finish_reason: FINISH,
  stop_reason: FINISH,
  service_tier: enumOf('auto default flex scale priority standard on_demand'),
  reasoning_effort: EFFORT,
  effort: EFFORT,
  verbosity: LEVEL,
  severity: LEVEL,
  search_context_size: LEVEL,
  tool_choice: enumOf('none auto required any'),
  function_call: enumOf('none auto'),
  modalities: enumOf('text'),
  format: enumOf(
    `unknown openai-responses-v1 anthropic-claude-v1 google-gemini-v1 json date-time date time email uri uuid`,
  ),
  syntax: enumOf('lark regex'),
  ttl: enumOf('5m 1h 24h'),
  prompt_cache_retention: enumOf('24h in_memory in-memory'),
  required: (value) => /^\w{1,64}$/.test(value) && NAMES.has(value),
};

const RULES: Omit<WalkRules, 'skips'> = {
  // A token bias names tokens by number.
  knows: (name, under) => NAMES.has(name) || MEDIA.has(name) || (under === 'logit_bias' && /^\d{1,9}$/.test(name)),
  isMedia: (name) => MEDIA.has(name),
  // What is of the shape that the name asks for, or empty.
  passes: (name, value) => value === '' || (Object.hasOwn(SHAPES, name) && SHAPES[name]!(value)),
  // The lists of words of a known set. Of other lists each item is judged: what names a thing is no list.
  mayList: (name) => name === 'modalities' || name === 'required' || name === 'include',
  // The lists of numbers that are none of text: token ids to stop at.
  mayListNumbers: (name) => name === 'stop_token_ids',
};

export interface WalkOptions {
  /** Names of fields whose contents are not looked at. */
  pass?: ReadonlySet<string>;
  /** Where the value stands: a name such as `message`. */
  at?: string;
}

/** The pieces of a value, in its order, save what the allow-list lets pass.
 * @throws Unreadable for pictures, sounds and files, lists of numbers, and what is too deep or too much. */
export const walk = (value: unknown, { pass, at }: WalkOptions = {}): Piece[] =>
  walkBy({ ...RULES, skips: (name) => pass?.has(name) ?? false }, value, at);
