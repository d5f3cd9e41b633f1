/** The model behind the worker: how it is asked, and how long it may be silent. */

import type { App } from './app.ts';
import { codeOf, type Fields, HttpError, isFields, readBytes } from './http.ts';
import type { ChatJudge } from './judge.ts';
import { within } from './limits.ts';

/** Headers of the caller that the upstream may want. */
const PASSED = ['openai-organization', 'openai-project'];
/** Characters of an upstream's own error message that are told, if they pass. */
const MOST_OF_MESSAGE = 300;

export interface Upstream {
  status: number;
  /** Whether the body is a stream of events. */
  streams: boolean;
  /** The next bytes, or null at the end. */
  next: () => Promise<Uint8Array | null>;
  /** The whole body as an object. */
  whole: () => Promise<Fields>;
}

/** @throws HttpError `not_found` (404) where there is no upstream */
export function upstreamOf({ config }: App): URL {
  if (config.upstream) return config.upstream;
  throw new HttpError(404, 'not_found', 'no upstream is set; set UPSTREAM_URL to relay what models are asked');
}

/** Asks the upstream at a path below its base, by GET where there is no body. What is sent is what was judged, written anew: another parser might read the caller's bytes (a
 * key given twice, say) another way.
 * @throws HttpError `timeout` (504), `upstream` (its own 4xx, else 502) */
export async function ask(
  app: App,
  path: string,
  body: Fields | null,
  signal: AbortSignal,
  judge: ChatJudge | null,
): Promise<Upstream> {
  const { upstreamMs, maxAnswerBytes } = app.config;
  const url = new URL(upstreamOf(app));
  url.pathname += path;
  const sent = body === null ? { method: 'GET' } : { method: 'POST', body: JSON.stringify(body) };
  const request = { ...sent, headers: headers(app), signal, redirect: 'manual' as const };
  // A stream may last; only silence is limited.
  const timed = <T>(work: () => Promise<T>) => within(upstreamMs, 'the upstream', work, signal).catch(told);
  const response = await timed(() => fetch(url, request));
  const reader = response.body?.getReader();
  const rest = async () => {
    reader?.releaseLock();
    const tooLarge = () =>
      new HttpError(502, 'upstream', `the upstream's answer has more than ${maxAnswerBytes} bytes`);
    return new TextDecoder().decode(await readBytes(response.body, maxAnswerBytes, tooLarge));
  };
  const whole = async () => fieldsOf(await timed(rest));
  if (!response.ok) throw await refusal(response, whole, judge);
  return {
    status: response.status,
    streams: /^text\/event-stream\b/i.test(response.headers.get('content-type') ?? ''),
    next: () => timed(async () => (await reader?.read())?.value ?? null),
    whole,
  };
}

function headers({ request, config }: App): Headers {
  const sent = new Headers({ 'content-type': 'application/json' });
  for (const name of PASSED) {
    const value = request.headers.get(name);
    if (value !== null) sent.set(name, value);
  }
  const authorization =
    config.upstreamKey === null ? request.headers.get('authorization') : `Bearer ${config.upstreamKey}`;
  if (authorization !== null) sent.set('authorization', authorization);
  return sent;
}

/** Network errors in our words; their own may name hosts. */
function told(error: unknown): never {
  if (error instanceof HttpError || codeOf(error)) throw error;
  throw new HttpError(502, 'upstream', 'the upstream could not be reached, or broke off');
}

function fieldsOf(text: string): Fields {
  try {
    const value: unknown = JSON.parse(text);
    if (isFields(value)) return value;
  } catch {
    // Told below.
  }
  throw new HttpError(502, 'upstream', 'the upstream answered with something that is not a JSON object');
}

/** The upstream's refusal: the caller's mistakes keep their status, its own become 502. */
async function refusal(response: Response, whole: () => Promise<Fields>, judge: ChatJudge | null): Promise<HttpError> {
  const { status } = response;
  const body: Fields = await whole().catch(() => ({}));
  const said = judge ? await messageOf(body, judge) : '';
  const retry = timeOf(response.headers.get('retry-after'));
  return new HttpError(
    status >= 400 && status < 500 ? status : 502,
    'upstream',
    `the upstream answered ${status}${said}`,
    retry === null ? {} : { headers: { 'retry-after': retry } },
  );
}

/** When to come again, if it is a time and nothing else. */
function timeOf(header: string | null): string | null {
  return header !== null && /^(?:\d{1,6}|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT)$/.test(header)
    ? header
    : null;
}

/** What an error object of an upstream says, shortened; nothing where that does not pass, or cannot be judged. */
export async function messageOf(body: Fields, judge: ChatJudge): Promise<string> {
  const message = isFields(body.error) ? body.error.message : body.error;
  if (typeof message !== 'string') return '';
  const told = message.slice(0, MOST_OF_MESSAGE);
  const passed = await judge.answered('response', [], told).then(
    () => true,
    () => false,
  );
  return passed ? `: ${told}` : '';
}
