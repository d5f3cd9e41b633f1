/** The model behind the worker: how it is asked, and how long it may be silent. */

import type { App } from './app.ts';
import { codeOf, type Fields, HttpError, isFields, readBytes } from './http.ts';
import type { Judge } from './judge.ts';
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

/** Asks the upstream. What is sent is what was judged, written anew: another parser might read the caller's bytes (a
 * key given twice, say) another way.
 * @throws HttpError `timeout` (504), `upstream` (its own 4xx, else 502) */
export async function ask(app: App, url: URL, body: Fields, signal: AbortSignal, judge: Judge): Promise<Upstream> {
  const { config } = app;
  const { upstreamMs, maxAnswerBytes } = config;
  const request = {
    method: 'POST',
    headers: headers(app),
    body: JSON.stringify(body),
    signal,
    redirect: 'manual' as const,
  };
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
async function refusal(response: Response, whole: () => Promise<Fields>, judge: Judge): Promise<HttpError> {
  const { status } = response;
  const body: Fields = await whole().catch(() => ({}));
  const said = await messageOf(body, judge);
  const retry = timeOf(response.headers.get('retry-after'));
  return new HttpError(
    status >= 400 && status < 500 ? status : 502,
    'upstream',
    `the upstream answered ${status}${said}`,
    retry === null ? {} : { 'retry-after': retry },
  );
}

/** When to come again, if it is a time and nothing else. */
function timeOf(header: string | null): string | null {
  return header !== null && /^(?:\d{1,6}|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT)$/.test(header)
    ? header
    : null;
}

/** What an error object of an upstream says, shortened; nothing where that does not pass, or cannot be judged. */
export async function messageOf(body: Fields, judge: Judge): Promise<string> {
  const message = isFields(body.error) ? body.error.message : body.error;
  if (typeof message !== 'string') return '';
  const told = message.slice(0, MOST_OF_MESSAGE);
  const passed = await judge.response([], told).then(
    (flagged) => flagged === null,
    () => false,
  );
  return passed ? `: ${told}` : '';
}
