/** The public types of rsafe: what goes into a guard and what comes out of it. */

/** What to do with a text, from harmless to severe. */
export type Decision = 'allow' | 'review' | 'block';

/** What a verdict comes to. `block` and `attention` are the decisions `block` and `review`; an allowed text is `care` where a
 * score came near its threshold, a tenth of the text is unreadable, or the verdict has a note other than `empty`, else
 * `clear`. */
export type Tier = 'clear' | 'care' | 'attention' | 'block';

/** What a policy does about a category that applies. */
export type Action = Decision;

/** Which side of a conversation is judged. */
export type Target = 'prompt' | 'response';

/** One turn, in OpenAI's shape. Parts other than text are refused: the guard cannot see into them. */
export interface Message {
  role: 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'function';
  content: string | readonly { type: string; text?: string }[] | null;
}

/** A message as chat APIs and their clients have it: OpenAI's chat completions, an item of the Responses API, the AI SDK's
 * `UIMessage` or `ModelMessage`. Its texts are read, calls of tools and what they gave among them; pictures, sounds and files
 * are refused. */
export interface ChatMessage {
  role?: string;
  type?: string | null;
  content?: string | readonly { type: string }[] | null;
  parts?: readonly { type: string }[];
}

/** Turns, one after the other. */
export type Conversation = readonly (Message | ChatMessage)[];

/** What is judged: a lone user prompt, or a conversation: its last message of the side on trial. */
export type Input = string | Conversation;

/** A category of a policy written as an object; the fields are those of a policy file. */
export interface PolicyCategory {
  id: string;
  name?: string;
  definition?: string;
  examples?: { safe?: string[]; unsafe?: string[] };
  action?: Action;
  /** Score in [0, 1] from which the category applies; without it, the model's own. */
  threshold?: number;
}

/** A rule of a policy, decided by the text alone, before the model: `literal` or `regex`. */
export interface PolicyRule {
  id: string;
  literal?: string;
  regex?: string;
  action?: 'block' | 'allow';
  applies_to?: Target | 'both';
  case?: 'sensitive' | 'insensitive';
}

/** What is done where at least `share` of the judged text is unreadable, or it is in a language that the model does not read. */
export interface PolicyUnreadable {
  /** Default `'review'`. */
  action?: 'block' | 'review';
  /** Above 0, at most 1. Default 0.5. */
  share?: number;
}

/** A policy as an object; the fields are those of a policy file. */
export interface PolicyObject {
  name: string;
  version?: string;
  categories: PolicyCategory[];
  rules?: PolicyRule[];
  /** What is done about text that cannot be read; without it, nothing. */
  unreadable?: PolicyUnreadable;
}

/** A policy: an object, a built-in name, the text of a policy file (YAML, JSON or Markdown), or its address. A string is
 * an address if it is one line and starts with `/`, `./`, `../` or a scheme, blanks around it aside; a built-in name if it is
 * one of `builtinPolicies`; a file's text otherwise. */
export type PolicySource = string | URL | PolicyObject;

/** A mistake in a policy, or something that looks like one. */
export interface Finding {
  severity: 'error' | 'warning';
  /** 1-based; absent where the mistake has no place. */
  line?: number;
  column?: number;
  /** Field path, e.g. `categories[2].threshold`. */
  path: string;
  expected: string;
  found: string;
  help?: string;
  /** All of it as one sentence. */
  message: string;
}

/** When to write reasoning before the verdict: never, in doubt or under a policy other than the model's own, always. */
export type Reasoning = 'never' | 'auto' | 'always';

export interface CategoryScore {
  id: string;
  name: string;
  /** In [0, 1]. */
  score: number;
  threshold: number;
  flagged: boolean;
}

/** A verbatim quote of the input. */
export interface Evidence {
  /** Index of the message quoted. */
  message: number;
  /** Range in that message's text (of parts, as they were read, joined by line breaks), in UTF-16 units, as `slice` takes it. */
  start: number;
  end: number;
  quote: string;
  /** The category it speaks for, if the answer says so. */
  category: string | null;
  /** The category's score, in [0, 1], were the message without these words; absent where nobody measured it, as with decoders. */
  effect?: number;
}

export interface Usage {
  promptTokens: number;
  /** Tokens of the prompt that came from a cache. */
  cachedTokens: number;
  answerTokens: number;
  /** Milliseconds from the request to the first streamed token; 0 without reasoning. */
  firstTokenMs: number;
  /** Milliseconds from the request to the verdict. */
  verdictMs: number;
}

/** What a `Note` speaks of; more may come. `language`: the text is in a language that the model does not read. `empty`: there
 * is no text on trial, or white space alone, and nothing was judged. `unfinished`: the reasoning went in a circle or was too
 * long and was given up; the score is that without it. `unnamed`: no category was named, and the severest of the policy's
 * actions holds. */
export type NoteCode = 'language' | 'empty' | 'unfinished' | 'unnamed';

/** Something that a reader of a verdict should know. */
export interface Note {
  code: NoteCode;
  /** Of `language` the primary subtag of BCP 47, e.g. `de`, or `und` where it is sure only that the language is another; of
   * `unfinished` `circle` or `limit`; of `unnamed` that action; of `empty` nothing. */
  found: string;
  /** The same in a sentence. */
  message: string;
}

export interface Verdict {
  decision: Decision;
  tier: Tier;
  /** Whether the decision is anything but `allow`. */
  flagged: boolean;
  /** P(unsafe) in [0, 1] under the active policy. */
  score: number;
  categories: CategoryScore[];
  evidence: Evidence[];
  reasoning: string | null;
  /** The share of the judged text, in [0, 1], that is unreadable (ciphers, codes that could not be decoded) and so was not
   * judged; a policy's `unreadable` says what is done about it. */
  unreadable: number;
  /** What else should be known of the text; empty for most. */
  notes: Note[];
  /** The id of the policy's rule that decided, if one did. */
  rule: string | null;
  /** Why the text could not be judged; a verdict with a failure is no statement about the text. */
  failure?: string;
  usage: Usage;
}

/** What a stream yields: pieces of reasoning, then the verdict. */
export type GuardEvent = { type: 'reasoning'; text: string } | { type: 'verdict'; verdict: Verdict };

/** Whose policy it is: the guard's owner's, or that of somebody who only calls and whose rules get lower limits. */
export type PolicyLimits = 'owner' | 'caller';

export interface CheckOptions {
  /** Instead of the guard's. */
  policy?: PolicySource;
  /** How much the rules of `policy` may cost. Set `'caller'` where others than the guard's owner write it. Default
   * `'owner'`. */
  policyLimits?: PolicyLimits;
  /** Default: the side that spoke last. */
  target?: Target;
  /** Default: the guard's. */
  reasoning?: Reasoning;
  /** From 0 (flags least) to 1 (flags most). Default: the guard's. */
  strictness?: number;
  signal?: AbortSignal;
}

/** How much of what was checked stays back; see `TransformOptions`. */
export type Pace = 'steady' | 'adaptive';

/** How a growing response is checked and released. */
export interface TransformOptions {
  policy?: PolicySource;
  /** As for a check. */
  policyLimits?: PolicyLimits;
  /** The conversation that the text answers. Default: none. */
  messages?: Conversation;
  /** Checks fall where sentences end, and after so many new characters at the latest (Unicode characters, default 160). The first
   * ones are small, so that the text begins soon; later ones have half of it or more to read. */
  checkEvery?: number;
  /** So many of the last checked characters stay back until more is known (default 24); beyond that whole sentences come out. */
  holdBack?: number;
  /** Whether `holdBack` follows the risk curve: less where the last checks found little, up to eight times as much where one
   * of them came near its limit (`'adaptive'`, the default), or always as much (`'steady'`). */
  pace?: Pace;
  /** Text that has waited so many milliseconds is checked even if its sentence has not ended, where the upstream is slow
   * (default 2000; 0: never). */
  maxWait?: number;
  /** Whether text on which the decision is `review` is let through, and told to `onCheck` only (default true). `false`
   * withholds it as `block` does: what is flagged then never comes out. */
  releaseOnReview?: boolean;
  /** What becomes of a stream that begins like the frames of a chat API, server-sent events or JSON, in which words come in pieces
   * that nobody could judge: it fails with `bad_input`, by default, or is taken for the text. */
  frames?: 'refuse' | 'text';
  /** From 0 (flags least) to 1 (flags most). Default: the guard's. */
  strictness?: number;
  signal?: AbortSignal;
  /** Called after each check: how much of the text was seen, and its score. */
  onCheck?: (seen: number, verdict: Verdict) => void;
}

/** A stage of loading. */
export type Stage = 'wasm' | 'model' | 'self-test' | 'ready';

/** Progress of loading. `loaded` never falls, `total` never changes once it is above 0, and the last event is
 * `{stage: 'ready', loaded: total}`. */
export interface Progress {
  stage: Stage;
  /** Bytes of the model's files. */
  loaded: number;
  /** Bytes of all of the model's files, from its manifest; 0 before that is read. */
  total: number;
  /** The file that is being read. */
  file?: string;
  /** Whether it comes from the cache. */
  cached?: boolean;
}

export type DeviceChoice = 'auto' | 'webgpu' | 'cpu';

/** The build for WebGPU, as `rsafe/webgpu` exports it. */
export interface WebgpuBuild {
  /** The absolute addresses of its script and of its compiled code. */
  readonly glue: string;
  readonly code: string;
}

/** A model as a package has it, such as the default export of `rsafe-mini`. */
export interface ModelPackage {
  /** What it is kept under on this machine. */
  readonly name: string;
  /** The text of its manifest. */
  readonly manifest: string;
  /** The absolute addresses of the files that the manifest lists. */
  readonly files: { readonly [name: string]: string };
}

/** The model: `'rsafe-mini'` (the package of that name), what such a package exports, the address of a bundle's folder or of
 * its `manifest.json`, or the bundle's files. */
export type ModelSource = string | URL | ModelPackage | readonly File[];

/** Where a browser finds the package's files. */
export interface Assets {
  /** The address of a copy of the package's `dist` folder, e.g. `'/rsafe/'`, with the folder `model` of `rsafe-mini` in it as
   * `rsafe-mini/`. Default: beside the code, where a bundler that follows `new URL('…', import.meta.url)` (Vite, webpack 5) puts
   * them, and where they lie without a bundler. */
  assets?: string | URL;
}

export interface GuardOptions extends Assets {
  /** Default: the model's own policy. */
  policy?: PolicySource;
  /** Default: `'rsafe-mini'`. */
  model?: ModelSource;
  /** Default `'auto'`: WebGPU if its build is there (`webgpu`, or `assets`), an adapter has the limits and the model passes its
   * self-test on it, else the CPU. */
  device?: DeviceChoice;
  /** The build for WebGPU: `import webgpu from 'rsafe/webgpu'`. Default: the one in `assets`, or none. */
  webgpu?: WebgpuBuild;
  /** Default `'auto'`. */
  reasoning?: Reasoning;
  /** How readily texts are flagged, from 0 (least) to 1 (most), along what was measured of the model: about 0.1 % of
   * harmless texts at 0, half of them at 1. Default 0.5, the model's own balance. What is flagged at one strictness is
   * flagged at every higher one. A threshold that the policy sets for a category does not move. */
  strictness?: number;
  /** What an answer that cannot be read counts as. Default `'block'`. */
  onError?: 'block' | 'review';
  /** The most that one check may cost, in tokens that the model reads: those of the text in its windows (256 tokens, 192 apart,
   * and some around them), one for each category in each window and in each of its passages (64 tokens, 24 apart), and the
   * policy's words where it is new. A check that needs more rejects with `context_length` before
   * anything is read; the message has both numbers. On one core of a server, 1,000 tokens take about a second. Default: as
   * much as any text that the model takes; for servers that judge what strangers send, some thousand are plenty. */
  maxWork?: number;
  /** Whether the model runs in a thread of its own: a Web Worker, or one of Node's worker threads, which keeps no process
   * alive that has nothing else to do. `false`: on the calling thread, which every check then occupies for some 50 ms at a
   * time. In browsers also how to start one: a function that returns a new `Worker` each time, whose script imports
   * `rsafe/worker`. Default: true where there are workers. */
  worker?: boolean | (() => Worker);
  /** Whether a model from an address is kept on this machine. Default true. */
  cache?: boolean;
  /** Never touch the network for the model: what is not cached is an error. Default false. */
  offline?: boolean;
  /** Whether a model is loaded whose bundle has no self-test, or one that says too little: nothing then tells a broken model
   * from a whole one, and `guard.info.selfTest` is null. A self-test that counts must be passed all the same. Else such a
   * bundle is refused with `bad_model`. Default false. */
  allowUntested?: boolean;
  /** Instead of the global `fetch`. A guard with its own `fetch` runs on the calling thread. */
  fetch?: typeof fetch;
  onProgress?: (progress: Progress) => void;
  /** Ends the loading; a loaded guard lives on. */
  signal?: AbortSignal;
}

/** A self-test that was passed: numbers of the network, raw, against those that the whole model gave when its bundle was made. */
export interface SelfTest {
  /** How many numbers were compared. */
  values: number;
  /** The largest difference, in logits. */
  difference: number;
  /** The largest difference that passes. */
  tolerance: number;
}

export interface GuardInfo {
  device: 'webgpu' | 'cpu';
  /** Why this device, in a sentence. */
  reason: string;
  /** The GPU as the browser names it. */
  adapter?: string;
  /** The model's name, from its manifest. */
  model: string;
  /** Bytes of the model's files. */
  bytes: number;
  /** Where the files came from: the network (or the package), a cache, or the caller. */
  source: 'network' | 'cache' | 'files';
  /** How the model did in its bundle's self-test; null for one that was loaded without, by `allowUntested`. */
  selfTest: SelfTest | null;
}

export interface Support {
  /** Whether a guard can run here at all: WebAssembly with SIMD. */
  supported: boolean;
  cpu: boolean;
  /** Whether there is a WebGPU adapter with the needed limits. */
  webgpu: boolean;
  /** Why not, for what is missing. */
  reasons: string[];
}

export interface CacheEntry {
  /** The bundle's address. */
  model: string;
  bytes: number;
  /** Whether every file is there. */
  complete: boolean;
}

/** What a guard writes while it judges. Nothing runs before the first `next` or the first look at `verdict`; leaving the
 * loop ends the judging. */
export interface GuardStream extends AsyncIterableIterator<GuardEvent>, AsyncDisposable {
  /** The verdict. Asking for it judges to the end, whether or not the events are read.
   * Rejects with a `GuardError`: `aborted` if the loop was left early. */
  readonly verdict: Promise<Verdict>;
  [Symbol.asyncIterator](): GuardStream;
}

/** A loaded model behind a policy. One call computes at a time; a long one pauses about every 50 ms and lets short ones
 * pass. Each may be aborted, also while it waits. Everything that fails rejects with a
 * `GuardError`, which is never a statement about the text: treat it as not allowed. */
export interface Guard extends AsyncDisposable {
  /** Where the model runs and where it came from. */
  readonly info: GuardInfo;
  /** The policy of checks that bring none. */
  readonly policy: PolicyObject;
  /** Judges a prompt, or a conversation's last message. */
  check(input: Input, options?: CheckOptions): Promise<Verdict>;
  /** Judges, and gives the reasoning as it is written. */
  stream(input: Input, options?: CheckOptions): GuardStream;
  /** Holds a growing response back until it is checked: text in, text out; bytes (UTF-8) in, bytes out. The stream fails
   * with a `GuardError` of code `blocked` and its `verdict` where the text is blocked (on `review` only if
   * `releaseOnReview` is false), and with another code where it cannot be judged; nothing that was not checked ever comes
   * out. */
  transform<T extends string | Uint8Array = string | Uint8Array>(options?: TransformOptions): TransformStream<T, T>;
  /** Changes the policy of later calls; resolves to it as an object. An address is read anew. */
  setPolicy(policy: PolicySource): Promise<PolicyObject>;
  /** Ends what runs (its callers get `disposed`) and frees the model. A second call does nothing. */
  dispose(): Promise<void>;
}
