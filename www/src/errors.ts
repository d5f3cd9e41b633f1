/** The one error that this package throws, its codes, and its form on the way across a worker's border. */

import type { Finding, Verdict } from './types.ts';

/** Each code, and whether the same call may succeed if it is made again. */
const RETRYABLE = {
  /** This browser, build or model cannot do what was asked. */
  unsupported: false,
  /** A file could not be fetched. */
  network: true,
  /** A file is not the one that the manifest promises. */
  integrity: true,
  /** There is no room to store a file. */
  quota: false,
  /** A bundle that rsafe cannot run. */
  bad_model: false,
  /** A policy that cannot be read; `findings` has line and column. */
  bad_policy: false,
  /** A conversation or an option that makes no sense. */
  bad_input: false,
  /** The model and its conversation need more memory than there is. */
  out_of_memory: false,
  /** The GPU went away; the next call starts it again. */
  device_lost: true,
  /** The model does not give the answers that it gave when it was made. */
  self_test: false,
  /** Conversation and policy are longer than the model's context, or than the guard's `maxWork` allows. */
  context_length: false,
  /** The caller's signal, or the end of a loop over a stream. */
  aborted: false,
  /** The guard was disposed of. */
  disposed: false,
  /** The compiled guard or its worker stopped; the next call starts it again. */
  crashed: true,
  /** A stream's text was flagged; `verdict` says why. */
  blocked: false,
} as const;

/** What kind of failure it is: stable names, the same as in Rust and the command line's JSON. */
export type ErrorCode = keyof typeof RETRYABLE;

export interface GuardErrorDetails {
  /** Where this one differs from others of its code. */
  retryable?: boolean | undefined;
  findings?: readonly Finding[] | undefined;
  verdict?: Verdict | undefined;
  cause?: unknown;
}

/** Everything that this package rejects with. */
export class GuardError extends Error {
  override readonly name = 'GuardError';
  readonly code: ErrorCode;
  /** Whether the same call may succeed if it is made again. */
  readonly retryable: boolean;
  /** What is wrong with the policy, where the code is `bad_policy`. */
  declare readonly findings?: readonly Finding[];
  /** The verdict that ended the stream, where the code is `blocked`. */
  declare readonly verdict?: Verdict;

  /** By its name: `rsafe/fetch`, and other copies of the package, have the class again. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && value.name === 'GuardError';
  }

  constructor(code: ErrorCode, message: string, details: GuardErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryable = details.retryable ?? RETRYABLE[code];
    if (details.findings) this.findings = details.findings;
    if (details.verdict) this.verdict = details.verdict;
  }
}

/** A `GuardError` as a message between page and worker. */
export interface WireError {
  name: 'GuardError';
  code: ErrorCode;
  message: string;
  retryable: boolean;
  findings?: readonly Finding[];
  verdict?: Verdict;
}

export function toWire(error: GuardError): WireError {
  const { code, message, retryable } = error;
  const wire: WireError = { name: 'GuardError', code, message, retryable };
  if (error.findings) wire.findings = error.findings;
  if (error.verdict) wire.verdict = error.verdict;
  return wire;
}

export function fromWire(wire: WireError): GuardError {
  return new GuardError(isCode(wire.code) ? wire.code : 'crashed', wire.message, wire);
}

/** The `GuardError` for whatever was thrown. What nobody gave a code counts as a crash, because then nothing is known
 * about the state that it left behind. */
export function toGuardError(thrown: unknown): GuardError {
  if (thrown instanceof GuardError) return thrown;
  const { name, message, code, findings, verdict } = describe(thrown);
  if (isCode(code)) return new GuardError(code, message, { findings, verdict, cause: thrown });
  if (code === 'io') return new GuardError('bad_model', message, { cause: thrown });
  if (name === 'AbortError') return new GuardError('aborted', message, { cause: thrown });
  if (name === 'QuotaExceededError') return new GuardError('quota', message, { cause: thrown });
  if (thrown instanceof WebAssembly.CompileError || thrown instanceof WebAssembly.LinkError) {
    return new GuardError('unsupported', `the compiled guard does not run here: ${message}`, { cause: thrown });
  }
  if (thrown instanceof RangeError && /memory|allocat|array buffer|array length/i.test(message)) {
    return new GuardError('out_of_memory', `${message}; use a smaller model or close other pages`, { cause: thrown });
  }
  const what = `the compiled guard stopped (${message}); this call has no verdict, the next one starts it again`;
  return new GuardError('crashed', what, { cause: thrown });
}

/** What a call that a signal ended rejects with: the signal's reason if it is a `GuardError`, else `aborted`. */
export function abortError(signal: AbortSignal | undefined): GuardError {
  const reason: unknown = signal?.reason;
  if (reason instanceof GuardError) return reason;
  return new GuardError('aborted', 'the call was aborted', reason === undefined ? {} : { cause: reason });
}

function isCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(RETRYABLE, code);
}

interface Described extends Pick<GuardErrorDetails, 'findings' | 'verdict'> {
  name: string;
  message: string;
  code: unknown;
}

function describe(thrown: unknown): Described {
  if (typeof thrown !== 'object' || thrown === null) return { name: '', message: String(thrown), code: undefined };
  const { name, message, code, findings, verdict } = thrown as Record<string, unknown>;
  return {
    name: String(name ?? ''),
    message: String(message ?? thrown),
    code,
    ...(Array.isArray(findings) ? { findings: findings as Finding[] } : {}),
    ...(verdict === undefined ? {} : { verdict: verdict as Verdict }),
  };
}
