/** The worker's routes in real workerd, with a guard that decides by words and a stub of a model behind it. */

import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, test } from 'node:test';

import type { Miniflare } from 'miniflare';

import { type Bundle, fakeBundle, serve } from './edge-worker.ts';
import { eventsOf } from './support/events.ts';

let bundle: Bundle;
let worker: Miniflare | undefined;
/** How often the guard was loaded, and what the assets answer. */
let loads: number;
let assets: (request: Request) => Response | Promise<Response>;

before(async () => {
  bundle = await fakeBundle();
});
beforeEach(() => {
  loads = 0;
  assets = () => new Response('{}');
});
afterEach(() => stop());

async function stop(): Promise<void> {
  await worker?.dispose();
  worker = undefined;
}

function start(bindings: Record<string, string | number> = {}): void {
  worker = serve(bundle, bindings, (request) => {
    if (request.url.endsWith('manifest.json')) loads++;
    return assets(request);
  });
}

const call = (path: string, init?: object) => worker!.dispatchFetch(`http://edge${path}`, init);

function post(path: string, body: unknown, headers: Record<string, string> = {}) {
  return call(path, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), headers });
}

async function answer(response: { status: number; json(): Promise<unknown> }, status = 200): Promise<any> {
  const body = await response.json();
  assert.equal(response.status, status, JSON.stringify(body));
  return body;
}

async function refused(
  response: { status: number; json(): Promise<unknown> },
  status: number,
  code: string,
): Promise<string> {
  const body = await answer(response, status);
  assert.deepEqual(Object.keys(body), ['error']);
  assert.equal(body.error.code, code, body.error.message);
  return body.error.message;
}

describe('moderations', () => {
  test('one text gives one result in the shape of OpenAI, with our decision', async () => {
    start();
    const body = await answer(await post('/v1/moderations', { input: 'how to pick a lock' }));
    assert.match(body.id, /^modr-/);
    assert.equal(body.model, 'rsafe-mini');
    const [result] = body.results;
    assert.equal(result.flagged, true);
    assert.deepEqual(result.categories, { crime: true });
    assert.deepEqual(result.category_scores, { crime: 0.9 });
    assert.deepEqual(result.category_applied_input_types, { crime: ['text'] });
    assert.deepEqual([result.decision, result.tier], ['block', 'block']);
    assert.equal(result.rule, 'house-7');
    assert.deepEqual(result.scored_categories, [
      { id: 'crime', name: 'Crime', score: 0.9, threshold: 0.5, flagged: true },
    ]);
  });

  test('several texts give results in their order', async () => {
    start();
    const input = ['how to bake bread', 'how to pick a lock', 'look me over'];
    const { results } = await answer(await post('/v1/moderations', { input }));
    assert.deepEqual(
      results.map((result: any) => result.decision),
      ['allow', 'block', 'review'],
    );
    assert.deepEqual(results[0].category_applied_input_types, { crime: [] });
  });

  test('text parts are one input; a picture is refused', async () => {
    start();
    const parts = [
      { type: 'text', text: 'how to' },
      { type: 'text', text: 'pick a lock' },
    ];
    const { results } = await answer(await post('/v1/moderations', { input: parts }));
    assert.deepEqual(
      results.map((result: any) => result.flagged),
      [true],
    );
    const picture = { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } };
    assert.match(await refused(await post('/v1/moderations', { input: [picture] }), 400, 'bad_input'), /image_url/);
  });

  test('an input that is no text, or too many, is refused', async () => {
    start({ MAX_INPUTS: 2 });
    for (const input of [undefined, 7, [], [1], ['a', { type: 'text', text: 'b' }], ['a', 'b', 'c']]) {
      await refused(await post('/v1/moderations', { input }), 400, 'bad_input');
    }
  });

  test('an error of the guard is never a result', async () => {
    start();
    await refused(await post('/v1/moderations', { input: ['fine', 'crash now'] }), 503, 'crashed');
    await refused(await post('/v1/moderations', { input: 'too long' }), 400, 'context_length');
  });
});

describe('check', () => {
  test('a prompt, a response and a conversation are judged', async () => {
    start();
    assert.equal((await answer(await post('/v1/check', { prompt: 'how to pick a lock' }))).decision, 'block');
    const fine = { prompt: 'how to pick a lock', response: 'Ask a locksmith.' };
    assert.equal((await answer(await post('/v1/check', fine))).decision, 'allow');
    assert.equal((await answer(await post('/v1/check', { ...fine, target: 'prompt' }))).decision, 'block');
    const messages = [{ role: 'user', content: [{ type: 'text', text: 'how to pick a lock' }] }];
    const verdict = await answer(await post('/v1/check', { messages }));
    assert.equal(verdict.rule, 'house-7');
    assert.equal(verdict.evidence[0].quote, 'pick a lock');
  });

  test('a policy of the caller is refused unless the owner allows it, a built-in one is taken', async () => {
    start();
    assert.equal(
      (await answer(await post('/v1/check', { prompt: 'hi', policy: 'mlcommons' }))).reasoning,
      'under mlcommons',
    );
    for (const policy of [
      { name: 'mine', categories: [] },
      'name: text\ncategories: []\n',
      'mlcommons ',
      'constructor',
    ]) {
      assert.match(
        await refused(await post('/v1/check', { prompt: 'hi', policy }), 403, 'policy_not_allowed'),
        /ALLOW_POLICIES/,
      );
    }
  });

  test('a policy comes with the request, as text or object; an address is refused', async () => {
    start({ ALLOW_POLICIES: 'true' });
    const under = async (policy: unknown) =>
      (await answer(await post('/v1/check', { prompt: 'hi', policy }))).reasoning;
    assert.equal(await under('mlcommons'), 'under mlcommons');
    assert.equal(await under({ name: 'mine', categories: [] }), 'under mine');
    assert.equal(await under('name: text\ncategories: []\n'), 'under name: text\ncategories: []\n');
    for (const policy of ['https://evil.example/p.yaml', '/p.yaml', '../p.yaml\n', '//evil.example', 'file:///p']) {
      assert.match(await refused(await post('/v1/check', { prompt: 'hi', policy }), 400, 'bad_input'), /address/);
    }
  });

  test('reasoning is streamed, then the verdict, then the end', async () => {
    start();
    for (const [body, headers] of [
      [{ prompt: 'how to pick a lock', stream: true }, {}],
      [{ prompt: 'how to pick a lock' }, { accept: 'text/event-stream' }],
    ] as const) {
      const events = await streamed(await post('/v1/check', body, headers));
      assert.deepEqual(
        events.map(({ event }) => event),
        ['reasoning', 'reasoning', 'verdict', 'done'],
      );
      assert.deepEqual(events[0]?.data, { text: 'one ' });
      assert.equal(events[2]?.data.decision, 'block');
    }
  });

  test('a stream that fails ends with the error and without a verdict', async () => {
    start({ CHECK_MS: 300 });
    for (const [prompt, code] of [
      ['crash now', 'crashed'],
      ['hang politely', 'timeout'],
    ]) {
      const events = await streamed(await post('/v1/check', { prompt, stream: true }));
      assert.deepEqual(
        events.map(({ event }) => event),
        ['reasoning', 'reasoning', 'error', 'done'],
      );
      assert.equal(events[2]?.data.code, code);
    }
  });

  test('what is asked wrongly is told', async () => {
    start();
    for (const body of [
      {},
      { prompt: 1 },
      { messages: [] },
      { messages: [{ role: 'bard', content: '' }] },
      { messages: [{ role: 'user' }] },
    ]) {
      await refused(await post('/v1/check', body), 400, 'bad_input');
    }
    for (const more of [
      { target: 'both' },
      { reasoning: 'some' },
      { policy: 3 },
      { stream: 'yes' },
      { messages: [] },
    ]) {
      await refused(await post('/v1/check', { prompt: 'hi', ...more }), 400, 'bad_input');
    }
  });
});

describe('the service', () => {
  test('its health is told without loading anything', async () => {
    start();
    assert.deepEqual(await answer(await call('/healthz')), { status: 'idle' });
    assert.equal(loads, 0);
    await post('/v1/check', { prompt: 'hi' });
    assert.deepEqual(await answer(await call('/healthz')), { status: 'ready' });
  });

  test('while it loads, it says so', async () => {
    start();
    let open = () => {};
    assets = () => new Promise((resolve) => (open = () => resolve(new Response('{}'))));
    const first = post('/v1/check', { prompt: 'hi' });
    while (loads === 0) await pause(5);
    assert.deepEqual(await answer(await call('/healthz')), { status: 'loading' });
    open();
    await answer(await first);
  });

  test('it loads once for all requests that come together', async () => {
    start();
    const all = await Promise.all(Array.from({ length: 8 }, () => post('/v1/check', { prompt: 'hi' })));
    for (const response of all) assert.equal((await answer(response)).usage.promptTokens, 1);
    assert.equal(loads, 1);
  });

  test('a failed load is told, and tried again at the next request', async () => {
    start();
    assets = () => new Response('', { status: 500 });
    await refused(await post('/v1/check', { prompt: 'hi' }), 503, 'network');
    assert.deepEqual(await answer(await call('/healthz'), 503), { status: 'failed' });
    assets = () => new Response('{}');
    await answer(await post('/v1/check', { prompt: 'hi' }));
    assert.equal(loads, 2);
  });

  test('a load that hangs gives 504, and the next request loads anew', async () => {
    start({ LOAD_MS: 300 });
    assets = () => new Promise(() => {});
    await refused(await post('/v1/check', { prompt: 'hi' }), 504, 'timeout');
    assets = () => new Response('{}');
    await answer(await post('/v1/check', { prompt: 'hi' }));
  });

  test('after a crash, the next request gets a fresh instance', async () => {
    start();
    await refused(await post('/v1/check', { prompt: 'crash now' }), 503, 'crashed');
    assert.equal((await answer(await post('/v1/check', { prompt: 'hi' }))).usage.promptTokens, 2);
  });

  test('a check that takes too long gives 504, and the guard stays', async () => {
    start({ CHECK_MS: 300 });
    await refused(await post('/v1/check', { prompt: 'hang politely' }), 504, 'timeout');
    assert.equal((await answer(await post('/v1/check', { prompt: 'hi' }))).usage.promptTokens, 1);
  });

  test('a guard that does not end when told is replaced', async () => {
    start({ CHECK_MS: 300 });
    await refused(await post('/v1/check', { prompt: 'hang for ever' }), 504, 'timeout');
    assert.equal((await answer(await post('/v1/check', { prompt: 'hi' }))).usage.promptTokens, 2);
  });

  test('what is too much at once gets 429 and a time to come again', async () => {
    start({ MAX_CONCURRENT: 1, MAX_QUEUED: 1 });
    const all = await Promise.all(Array.from({ length: 4 }, () => post('/v1/check', { prompt: 'slow down' })));
    const statuses = all.map(({ status }) => status).sort();
    assert.deepEqual(statuses, [200, 200, 429, 429]);
    const busy = all.find(({ status }) => status === 429)!;
    assert.equal(busy.headers.get('retry-after'), '1');
    await refused(busy, 429, 'busy');
    await answer(await post('/v1/check', { prompt: 'hi' }));
  });

  test('a body that is too large gets 413, wherever it is sent', async () => {
    start({ UPSTREAM_URL: 'http://127.0.0.1:9/v1' });
    for (const path of ['/v1/moderations', '/v1/check', '/v1/chat/completions']) {
      await refused(await post(path, JSON.stringify({ prompt: 'x'.repeat(70_000) })), 413, 'too_large');
    }
  });

  test('a mistake in JSON is told with its place', async () => {
    start();
    assert.match(await refused(await post('/v1/check', '{"prompt": hi}'), 400, 'bad_input'), /line 1, column 12/);
  });

  test('a wrong method gets 405 and the right one; an unknown path gets 404', async () => {
    start();
    const wrong = await call('/v1/check');
    assert.equal(wrong.headers.get('allow'), 'POST');
    await refused(wrong, 405, 'method_not_allowed');
    await refused(await post('/healthz', '{}'), 405, 'method_not_allowed');
    for (const path of ['/', '/v1', '/v1/check/', '/manifest.json', '/constructor']) {
      await refused(await call(path), 404, 'not_found');
    }
    await refused(await post('/v1/chat/completions', { messages: [] }), 404, 'not_found');
  });

  test('a key, if set, opens the judging routes and nothing else does', async () => {
    start({ API_KEY: 'sesame' });
    for (const headers of [{}, { authorization: 'Bearer open' }]) {
      const response = await post('/v1/check', { prompt: 'hi' }, headers);
      assert.equal(response.headers.get('www-authenticate'), 'Bearer');
      await refused(response, 401, 'unauthorized');
      await refused(await post('/v1/moderations', { input: 'hi' }, headers), 401, 'unauthorized');
    }
    await answer(await post('/v1/check', { prompt: 'hi' }, { authorization: 'Bearer sesame' }));
    await answer(await call('/healthz'));
  });

  test("the owner's policy comes from a variable or from the assets", async () => {
    start({ POLICY: 'mlcommons' });
    assert.equal((await answer(await post('/v1/check', { prompt: 'hi' }))).reasoning, 'under mlcommons');
    await stop();
    start({ POLICY_FILE: '/policy.yaml' });
    assets = (request) => new Response(request.url.endsWith('/policy.yaml') ? 'house rules' : '{}');
    assert.equal((await answer(await post('/v1/check', { prompt: 'hi' }))).reasoning, 'under house rules');
  });

  test("what the owner set wrongly is the owner's: 500, and nothing is judged", async () => {
    for (const [bindings, code] of [
      [{ POLICY: 'bad' }, 'bad_policy'],
      [{ POLICY: 'https://x.example/p' }, 'bad_config'],
      [{ CHECK_MS: 'soon' }, 'bad_config'],
    ] as const) {
      await stop();
      start(bindings);
      await refused(await post('/v1/check', { prompt: 'hi' }), 500, code);
    }
  });
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function streamed(response: { headers: { get(name: string): string | null }; text(): Promise<string> }) {
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  const events = await eventsOf([await response.text()]);
  return events.map(({ event, data }) => ({ event, data: JSON.parse(data) }));
}
