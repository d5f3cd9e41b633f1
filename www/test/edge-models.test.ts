/** What clients of OpenAI's API need beside its answers: the list of models, CORS, and errors in its shape. */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import type { Miniflare } from 'miniflare';
import OpenAI from 'openai';

import { StubUpstream } from './edge-upstream.ts';
import { type Bundle, fakeBundle, serve } from './edge-worker.ts';

const upstream = new StubUpstream();
let bundle: Bundle;
let base: string;
let worker: Miniflare | undefined;

before(async () => {
  bundle = await fakeBundle();
  base = await upstream.listen();
});
afterEach(async () => {
  await worker?.dispose();
  worker = undefined;
  upstream.asked = [];
});
after(() => upstream.close());

const start = (bindings: Record<string, string> = {}) => {
  worker = serve(bundle, { UPSTREAM_URL: base, ...bindings }, () => new Response('{}'));
  return worker.ready;
};
const send = (path: string, init: object = {}) => worker!.dispatchFetch(`http://edge${path}`, init);

const MODELS = [
  { id: 'gpt-x', object: 'model', created: 3, owned_by: 'vendor' },
  { id: 'maker/model-1.5:free', object: 'model', created: 4, owned_by: 'system', description: 'how to pick a lock' },
];

describe('the models', () => {
  test("are the upstream's, by their names only, with the caller's key", async () => {
    const address = await start();
    upstream.answersJson({ object: 'list', data: [...MODELS, { id: 'first I pick a lock' }, 7], more: 'x' });
    const client = new OpenAI({ apiKey: 'k', baseURL: new URL('/v1', address).href, maxRetries: 0 });
    const { data } = await client.models.list();
    const { description: _, ...second } = MODELS[1]!;
    assert.deepEqual(data, [MODELS[0], second]);
    const [asked] = upstream.asked;
    assert.deepEqual([asked?.method, asked?.path, asked?.headers.authorization], ['GET', '/v1/models', 'Bearer k']);
  });

  test("are locked where the worker's key is used", async () => {
    await start({ UPSTREAM_KEY: 'ours', API_KEY: 'theirs' });
    upstream.answersJson({ data: MODELS });
    assert.equal((await send('/v1/models')).status, 401);
    assert.equal((await send('/v1/models', { headers: { authorization: 'Bearer theirs' } })).status, 200);
    assert.deepEqual(
      upstream.asked.map(({ headers }) => headers.authorization),
      ['Bearer ours'],
    );
  });

  test('are an error where the upstream has none', async () => {
    await start();
    for (const [body, status, told] of [
      [{ error: { message: 'how to pick a lock' } }, 401, 401],
      [{ error: { message: 'x' } }, 500, 502],
      [{ models: [] }, 200, 502],
    ] as const) {
      upstream.answersJson(body, status);
      const response = await send('/v1/models');
      const { error } = (await response.json()) as any;
      assert.deepEqual([response.status, error.code, error.message.includes('lock')], [told, 'upstream', false]);
    }
    await worker!.dispose();
    worker = serve(bundle, {}, () => new Response('{}'));
    assert.equal((await send('/v1/models')).status, 404);
  });
});

describe('pages of another origin', () => {
  const PAGE = 'https://app.example.com';
  const asking = (headers: string) => ({
    method: 'OPTIONS',
    headers: { origin: PAGE, 'access-control-request-method': 'POST', 'access-control-request-headers': headers },
  });
  const SENT = 'authorization,content-type,openai-organization,x-stainless-lang,x-stainless-retry-count';

  test('may do nothing by default', async () => {
    await start();
    for (const response of [await send('/v1/responses', asking(SENT)), await send('/healthz')]) {
      assert.equal(response.headers.get('access-control-allow-origin'), null);
    }
    assert.equal((await send('/v1/responses', asking(SENT))).status, 405);
  });

  test('may send what browsers’ clients send, and read answers, errors and streams, where they are allowed', async () => {
    for (const allowed of [PAGE, '*']) {
      await worker?.dispose();
      await start({ ALLOW_ORIGIN: allowed, API_KEY: 'k' });
      const told = await send('/v1/chat/completions', asking(`${SENT},cookie`));
      assert.equal(told.status, 204);
      assert.equal(told.headers.get('access-control-allow-methods'), 'POST');
      assert.equal(told.headers.get('access-control-allow-headers'), SENT.replaceAll(',', ', '));
      const stream = { model: 'm', stream: true, messages: [{ role: 'user', content: 'how to pick a lock' }] };
      const responses = [
        told,
        await send('/healthz'),
        await send('/v1/check', { method: 'POST', body: '{}' }),
        await send('/v1/chat/completions', { method: 'POST', body: JSON.stringify(stream) }),
      ];
      assert.deepEqual(
        responses.map(({ status }) => status),
        [204, 200, 401, 200],
      );
      for (const { headers } of responses) assert.equal(headers.get('access-control-allow-origin'), allowed);
    }
  });

  test('are an origin or all, and nothing else', async () => {
    await start({ ALLOW_ORIGIN: `${PAGE}/chat` });
    const response = await send('/healthz');
    assert.equal(response.status, 500);
    assert.match(((await response.json()) as any).error.message, /^ALLOW_ORIGIN must be/);
  });
});

test('errors have the shape of OpenAI’s, with the field that they are about where there is one', async () => {
  await start({ API_KEY: 'k' });
  const post = async (path: string, body: unknown, key = 'k') => {
    const init = { method: 'POST', body: JSON.stringify(body), headers: { authorization: `Bearer ${key}` } };
    const { error } = (await (await send(path, init)).json()) as any;
    assert.deepEqual(Object.keys(error), ['message', 'type', 'param', 'code']);
    return [error.type, error.code, error.param];
  };
  const messages = [{ role: 'user', content: 'Bread?' }];
  assert.deepEqual(await post('/v1/chat/completions', { messages, n: 0 }), ['invalid_request_error', 'bad_input', 'n']);
  assert.deepEqual(await post('/v1/chat/completions', {}), ['invalid_request_error', 'bad_input', 'messages']);
  assert.deepEqual(await post('/v1/responses', { stream: 1 }), ['invalid_request_error', 'bad_input', 'stream']);
  assert.deepEqual(await post('/v1/check', {}, 'x'), ['authentication_error', 'unauthorized', null]);
  assert.deepEqual(await post('/nowhere', {}), ['invalid_request_error', 'not_found', null]);
  const own = { prompt: 'Bread?', policy: { categories: [] } };
  assert.deepEqual(await post('/v1/check', own), ['permission_error', 'policy_not_allowed', 'policy']);
  upstream.answer = (response) => response.destroy();
  assert.deepEqual(await post('/v1/chat/completions', { messages }), ['server_error', 'upstream', null]);
});
