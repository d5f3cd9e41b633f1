/** What a call of `fetch` sends, looked at before it is sent. */

import { type Fields, isFields } from '../api/fields.ts';
import { GuardError } from '../errors.ts';

export interface Asked {
  url: string;
  /** The body of a POST, where it is a JSON object. */
  body: Fields | null;
  signal: AbortSignal | undefined;
  /** What `fetch` is to be called with: a body can be read once only, so it may be given anew. */
  input: RequestInfo | URL;
  init: RequestInit | undefined;
}

/** @throws GuardError `bad_input` for a body that is packed, into which nobody can look. */
export async function readRequest(input: RequestInfo | URL, init: RequestInit | undefined): Promise<Asked> {
  const request = typeof input === 'string' || input instanceof URL ? null : input;
  const url = request?.url ?? String(input);
  const signal = init?.signal ?? request?.signal;
  const untouched: Asked = { url, body: null, signal, input, init };
  if ((init?.method ?? request?.method ?? 'GET').toUpperCase() !== 'POST') return untouched;
  const headers = new Headers(init?.headers ?? request?.headers);
  if (headers.has('content-encoding')) {
    throw new GuardError('bad_input', 'expected a plain body but got one with a content-encoding: it cannot be judged');
  }
  const given = init?.body ?? null;
  // Forms bring files to an API, and no chat.
  if (given instanceof FormData || given instanceof URLSearchParams) return untouched;
  if (given === null && !request?.body) return untouched;
  // A body can be read once only, save a request's, which can be had twice.
  const isPlain = typeof given === 'string' || given === null;
  const bytes = isPlain ? given : await new Response(given).arrayBuffer();
  const body = parse(await (bytes === null ? request!.clone() : new Response(bytes)).text());
  if (body === null) return isPlain ? untouched : { ...untouched, init: { ...init, body: bytes } };
  // What is sent is what was judged: another parser might read the same bytes (a key given twice, say) another way.
  const written = JSON.stringify(body);
  return { ...untouched, body, init: written === given ? init : { ...init, body: written } };
}

function parse(text: string): Fields | null {
  try {
    const json: unknown = JSON.parse(text);
    return isFields(json) ? json : null;
  } catch {
    return null;
  }
}
