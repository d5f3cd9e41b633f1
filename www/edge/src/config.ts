/** What the owner of the worker sets: bindings and variables, read once and checked. */

import { HttpError } from './http.ts';

/** A binding that answers requests: static assets, or another worker. */
export interface Fetcher {
  fetch(input: Request | string | URL, init?: RequestInit): Promise<Response>;
}

export interface ExecutionContext {
  waitUntil(promise: Promise<unknown>): void;
}

/** The bindings as wrangler.toml gives them. */
export interface Env {
  /** The static assets: the model's files, and a policy file if there is one. */
  ASSETS: Fetcher;
  /** The API behind the worker: a base (`https://api.example.com/v1`) or the address of its chat completions. Without it,
   * its routes answer 404. */
  UPSTREAM_URL?: string;
  /** Sent upstream as the bearer token instead of the caller's own `Authorization`. */
  UPSTREAM_KEY?: string;
  /** What callers must show as their bearer token. */
  API_KEY?: string;
  /** A built-in policy's name, or the text of a policy. */
  POLICY?: string;
  /** The path of a policy file among the assets, e.g. `/policy.yaml`. */
  POLICY_FILE?: string;
  /** The path of the model's folder among the assets. Default `/`. */
  MODEL?: string;
  /** `never` (default), `auto` or `always`. */
  REASONING?: string;
  /** The origin whose pages may use the worker, or `*` for those of all; default none. */
  ALLOW_ORIGIN?: string;
  MAX_BODY_BYTES?: string | number;
  MAX_ANSWER_BYTES?: string | number;
  MAX_INPUTS?: string | number;
  MAX_CHOICES?: string | number;
  MAX_CONCURRENT?: string | number;
  MAX_WORK?: string | number;
  /** Whether callers may bring policies of their own: `true` or `false` (default). */
  ALLOW_POLICIES?: string | boolean;
  MAX_QUEUED?: string | number;
  MAX_CHATS?: string | number;
  LOAD_MS?: string | number;
  CHECK_MS?: string | number;
  UPSTREAM_MS?: string | number;
  MAX_REMEMBERED?: string | number;
  /** Roles whose messages go up unread, e.g. `system, developer`; default none. */
  TRUSTED_ROLES?: string;
  /** Names of fields whose contents pass unread, up and down; default none. */
  PASS_FIELDS?: string;
}

export interface Config {
  /** The base of the upstream's API. */
  upstream: URL | null;
  upstreamKey: string | null;
  apiKey: string | null;
  policy: string | null;
  policyFile: string | null;
  model: string;
  reasoning: 'never' | 'auto' | 'always';
  allowOrigin: string | null;
  /** Bytes of a request's body. */
  maxBodyBytes: number;
  /** Bytes of an upstream's answer that is not streamed, and of one event of a stream. */
  maxAnswerBytes: number;
  /** Texts in one moderation request. */
  maxInputs: number;
  /** Choices in one chat completion. */
  maxChoices: number;
  /** Requests that are worked on at once. */
  maxConcurrent: number;
  /** Tokens that one check may read. */
  maxWork: number;
  /** Whether a caller's request may bring a policy that is not built in. */
  allowPolicies: boolean;
  /** Requests that wait for a place. */
  maxQueued: number;
  /** Chat completions that are being relayed. */
  maxChats: number;
  /** Milliseconds for loading the model. */
  loadMs: number;
  /** Milliseconds for one check, or for one piece of a stream. */
  checkMs: number;
  /** Milliseconds that an upstream may be silent. */
  upstreamMs: number;
  /** Digests of texts that passed. */
  maxRemembered: number;
  trustedRoles: ReadonlySet<string>;
  passFields: ReadonlySet<string>;
}

export function readConfig(env: Env): Config {
  return {
    upstream: upstream(env.UPSTREAM_URL),
    upstreamKey: env.UPSTREAM_KEY || null,
    apiKey: env.API_KEY || null,
    policy: env.POLICY || null,
    policyFile: env.POLICY_FILE || null,
    model: env.MODEL || '/',
    reasoning: reasoning(env.REASONING),
    allowOrigin: origin(env.ALLOW_ORIGIN),
    maxBodyBytes: count(env, 'MAX_BODY_BYTES', 64 * 1024),
    maxAnswerBytes: count(env, 'MAX_ANSWER_BYTES', 1024 * 1024),
    maxInputs: count(env, 'MAX_INPUTS', 32),
    maxChoices: count(env, 'MAX_CHOICES', 4),
    maxConcurrent: count(env, 'MAX_CONCURRENT', 4),
    maxWork: count(env, 'MAX_WORK', 16_384),
    allowPolicies: flag(env, 'ALLOW_POLICIES', false),
    maxQueued: count(env, 'MAX_QUEUED', 16, 0),
    maxChats: count(env, 'MAX_CHATS', 32),
    loadMs: count(env, 'LOAD_MS', 20_000),
    checkMs: count(env, 'CHECK_MS', 10_000),
    upstreamMs: count(env, 'UPSTREAM_MS', 30_000),
    maxRemembered: count(env, 'MAX_REMEMBERED', 4_096, 0),
    trustedRoles: names(env.TRUSTED_ROLES, 'TRUSTED_ROLES', /^(?:system|developer|tool|function)$/),
    passFields: names(env.PASS_FIELDS, 'PASS_FIELDS', /^[\w.-]+$/),
  };
}

type Numbers = { [Key in keyof Env]: Env[Key] extends string | number | undefined ? Key : never }[keyof Env];

function count(env: Env, name: NonNullable<Numbers>, fallback: number, least = 1): number {
  const value = env[name];
  if (value === undefined || value === '') return fallback;
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < least) {
    throw misconfigured(`${name} must be a whole number from ${least}, not ${JSON.stringify(value)}`);
  }
  return number;
}

/** Names between commas or blanks. */
function names(value: string | undefined, variable: string, pattern: RegExp): ReadonlySet<string> {
  const all = (value ?? '').split(/[\s,]+/).filter((name) => name !== '');
  const odd = all.find((name) => !pattern.test(name));
  if (odd !== undefined)
    throw misconfigured(`${variable} must hold names that match ${pattern.source}, not ${JSON.stringify(odd)}`);
  return new Set(all);
}

function flag(env: Env, name: 'ALLOW_POLICIES', fallback: boolean): boolean {
  const value = env[name];
  if (value === undefined || value === '') return fallback;
  if (String(value) !== 'true' && String(value) !== 'false') {
    throw misconfigured(`${name} must be true or false, not ${JSON.stringify(value)}`);
  }
  return String(value) === 'true';
}

function reasoning(value: string | undefined): Config['reasoning'] {
  if (value === undefined || value === '') return 'never';
  if (value === 'never' || value === 'auto' || value === 'always') return value;
  throw misconfigured(`REASONING must be never, auto or always, not ${JSON.stringify(value)}`);
}

function origin(value: string | undefined): string | null {
  if (value === undefined || value === '') return null;
  if (value === '*' || (URL.canParse(value) && new URL(value).origin === value)) return value;
  throw misconfigured(
    `ALLOW_ORIGIN must be * or an origin such as https://app.example.com, not ${JSON.stringify(value)}`,
  );
}

/** The base of the API below which its routes lie, with a slash at its end; from a base, or from the address of its chat
 * completions. */
function upstream(value: string | undefined): URL | null {
  if (!value) return null;
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol)) {
    throw misconfigured(`UPSTREAM_URL must be an http(s) address, not ${JSON.stringify(value)}`);
  }
  const url = new URL(value);
  const path = url.pathname.replace(/\/+$/, '') || '/v1';
  url.pathname = `${path.replace(/\/chat\/completions$/, '')}/`;
  return url;
}

export function misconfigured(message: string): HttpError {
  return new HttpError(500, 'bad_config', `${message}; correct the worker's variables and deploy it again`);
}
