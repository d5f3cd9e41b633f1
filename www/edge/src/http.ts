/** HTTP as all routes speak it: bodies in, answers and errors out, the caller's key. */

import { mistakeAt, placeOf } from './json.ts';

interface More {
  headers?: Record<string, string>;
  param?: string | null;
}

/** An error that the caller is told, with its status. `code` is stable; the message says what to do. */
export class HttpError extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Record<string, string>;
  /** The field of the request that it is about, where there is one. */
  readonly param: string | null;

  constructor(status: number, code: string, message: string, { headers = {}, param = null }: More = {}) {
    super(message);
    this.name = 'HttpError';
    this.status = status;
    this.code = code;
    this.headers = headers;
    this.param = param;
  }
}

export const badInput = (message: string, param: string | null = null): HttpError =>
  new HttpError(400, 'bad_input', message, { param });

interface Coded {
  code: string;
  message: string;
}

/** An error as clients of OpenAI know it. */
export interface Told extends Coded {
  type: string;
  param: string | null;
}

/** The code of a guard's error, wherever its class comes from. */
export function codeOf(error: unknown): Coded | null {
  if (!(error instanceof Error) || error.name !== 'GuardError') return null;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? { code, message: error.message } : null;
}

/** Guard errors that are the caller's to mend; all others say that the text could not be judged here and now. */
const CALLERS: Record<string, number> = { bad_input: 400, bad_policy: 400, context_length: 400 };

/** Any error as the caller is told it. What is not ours stays unsaid: it may hold anything. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const coded = codeOf(error);
  if (!coded) return new HttpError(500, 'internal', 'the worker failed; the text was not judged');
  const status = CALLERS[coded.code] ?? 503;
  return new HttpError(status, coded.code, coded.message, status === 503 ? { headers: { 'retry-after': '1' } } : {});
}

/** That an answer cannot be judged is never the caller's mistake. */
export function unavailable(error: unknown): never {
  const known = toHttpError(error);
  throw known.status === 400 ? new HttpError(503, known.code, known.message) : known;
}

/** OpenAI's names for kinds of errors, by their status. */
const TYPES: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
};

export function errorBody(error: unknown): { error: Told } {
  const { status, code, message, param } = toHttpError(error);
  const type = TYPES[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error');
  return { error: { message, type, param, code } };
}

export function errorResponse(error: unknown): Response {
  const known = toHttpError(error);
  return json(errorBody(known), known.status, known.headers);
}

export function json(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(value), {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store', ...headers },
  });
}

export type Fields = Record<string, unknown>;

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The body of a request as a JSON object of at most `limit` bytes. */
export async function readBody(request: Request, limit: number): Promise<Fields> {
  const bytes = await readBytes(request.body, limit, () => {
    return new HttpError(413, 'too_large', `the body has more than ${limit} bytes; send less at once`);
  });
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw badInput('the body is not UTF-8');
  }
  const body = parseJson(text);
  if (!isFields(body)) throw badInput('the body must be a JSON object');
  return body;
}

function parseJson(text: string): unknown {
  if (text.trim() === '') throw badInput('the body is empty; it must be a JSON object');
  try {
    return JSON.parse(text);
  } catch {
    const at = mistakeAt(text);
    throw badInput(`the body is not JSON: ${at < text.length ? 'a mistake' : 'it ends'} at ${placeOf(text, at)}`);
  }
}

/** All bytes of a stream, counted as they come: a declared length is only a claim. */
export async function readBytes(
  stream: ReadableStream<Uint8Array> | null,
  limit: number,
  tooLarge: () => Error,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const reader = stream?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > limit) {
      const error = tooLarge();
      await reader.cancel(error).catch(() => undefined);
      throw error;
    }
    pieces.push(value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Throws unless the caller shows the key. */
export async function authorise(request: Request, key: string | null): Promise<void> {
  if (key === null) return;
  const shown = /^Bearer\s+(.+)$/i.exec(request.headers.get('authorization') ?? '')?.[1] ?? '';
  if (!(await equal(shown.trim(), key))) {
    throw new HttpError(401, 'unauthorized', 'send the key as `Authorization: Bearer …`', {
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
}

/** Compares digests, all bytes of them, so that the time taken tells nothing about the key. */
async function equal(left: string, right: string): Promise<boolean> {
  const digest = async (text: string) =>
    new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  const [a, b] = [await digest(left), await digest(right)];
  return a.reduce((difference, byte, index) => difference | (byte ^ (b[index] ?? 0)), 0) === 0;
}
