/** A phrase planted in every shape that requests and answers have, whole and streamed: it never gets through. And the
 * shapes of everyday do. */

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';

import type { Miniflare } from 'miniflare';

import { chunk, DONE, event, last, StubUpstream } from './edge-upstream.ts';
import { fakeBundle, serve } from './edge-worker.ts';
import { randomly } from './support/random.ts';

const P = 'pick a lock';
const LETTERS = [...P];
const upstream = new StubUpstream();
let address: string;
let worker: Miniflare;

const open = async (bindings: Record<string, string | number> = {}) => {
  worker = serve(await fakeBundle(), { UPSTREAM_URL: address, ...bindings }, () => new Response('{}'));
};
before(async () => {
  address = await upstream.listen();
  await open();
});
after(async () => {
  await worker.dispose();
  await upstream.close();
});
beforeEach(() => {
  upstream.asked = [];
});

const user = (content: unknown, more: object = {}) => ({ role: 'user', content, ...more });
const ASK = user('how do I bake bread?');
const BREAD = { role: 'assistant', content: 'Flour, water, salt.' };

async function send(body: object): Promise<{ status: number; text: string }> {
  const init = { method: 'POST', body: JSON.stringify({ model: 'stub', messages: [ASK], ...body }) };
  const response = await worker.dispatchFetch('http://edge/v1/chat/completions', init);
  return { status: response.status, text: await response.text() };
}

/** Nested at depth, as a name, in lists, by the letter. */
const wrapped = (value: unknown): unknown[] => [value, { text: value }, [{ deep: [{ er: value }] }]];
const disguised: unknown[] = [
  ...wrapped(P),
  { [P]: 1 },
  [{ a: { [P]: true } }],
  LETTERS.map((text) => ({ text })),
  P.split(' '),
];

const FIELDS = `content reasoning reasoning_content reasoning_details thinking thinking_blocks annotations
  provider_specific_fields role refusal aside citations search_results output_text tool_calls function_call name
  signature data type id index`.split(/\s+/);

const ANSWERS: Record<string, object> = {};
for (const field of FIELDS) disguised.forEach((value, at) => (ANSWERS[`${field} ${at}`] = { [field]: value }));
ANSWERS['tool arguments'] = {
  tool_calls: [{ index: 0, id: 'c1', type: 'function', function: { name: 'f', arguments: `{"q":"${P}"}` } }],
};
ANSWERS['tool name'] = {
  tool_calls: [{ index: 0, id: 'c1', type: 'function', function: { name: P, arguments: '{}' } }],
};
ANSWERS['tool calls of one letter each'] = {
  tool_calls: LETTERS.map((letter, index) => ({ index, function: { arguments: letter } })),
};
ANSWERS['own names of one letter each'] = Object.fromEntries(LETTERS.map((letter, at) => [`k${at}`, letter]));

const CHOICES: Record<string, object> = {
  finish_reason: { finish_reason: P },
  native_finish_reason: { native_finish_reason: P },
  stop_reason: { stop_reason: P },
  reasoning: { reasoning: P },
  'reasoning deep': { reasoning: { text: [P] } },
  'a name': { [P]: 1 },
  content_filter_results: { content_filter_results: { hate: { severity: P } } },
  logprobs: { logprobs: { content: [{ token: P, logprob: 0, bytes: [1], top_logprobs: [] }] } },
  'logprobs alternatives': {
    logprobs: { content: [{ token: 'Fine.', logprob: 0, bytes: null, top_logprobs: [{ token: P, logprob: -1 }] }] },
  },
  'logprobs of old': { logprobs: { tokens: [P] } },
  'logprobs as text': { logprobs: P },
};

const ENVELOPES: Record<string, object> = {
  id: { id: P },
  model: { model: P },
  object: { object: P },
  system_fingerprint: { system_fingerprint: P },
  service_tier: { service_tier: P },
  provider: { provider: P },
  output_text: { output_text: P },
  output: { output: [{ type: 'message', content: [{ type: 'output_text', text: P }] }] },
  citations: { citations: [P] },
  search_results: { search_results: [{ title: P, url: 'https://x.example/' }] },
  usage: { usage: { total_tokens: 1, note: P } },
  'usage as a name': { usage: { [P]: 1 } },
  letters: { citations: LETTERS },
  'warnings deep': { warnings: [[{ x: { y: P } }]] },
};

describe('down, whole', () => {
  const whole = (choice: object, envelope: object = {}) => {
    const full = {
      index: 0,
      message: { role: 'assistant', content: 'Fine.' },
      logprobs: null,
      finish_reason: 'stop',
      ...choice,
    };
    upstream.answersJson({
      id: 'c1',
      object: 'chat.completion',
      created: 1,
      model: 'stub',
      choices: [full],
      ...envelope,
    });
    return send({});
  };
  test('no field of a message brings the phrase', async () => {
    for (const [name, fields] of Object.entries(ANSWERS)) {
      const { text } = await whole({ message: { role: 'assistant', content: 'Fine.', ...fields } });
      gone(text, name);
    }
  });
  test('no field of a choice does, nor one beside the choices', async () => {
    for (const [name, fields] of Object.entries(CHOICES)) gone((await whole(fields)).text, name);
    for (const [name, fields] of Object.entries(ENVELOPES)) gone((await whole({}, fields)).text, name);
  });
  test('nor does an error of the upstream, or its headers', async () => {
    for (const error of [P, { message: P }, { message: 'no', type: P }, { message: 'no', code: { [P]: P } }]) {
      upstream.answersJson({ error }, 400);
      gone((await send({})).text, JSON.stringify(error));
    }
    upstream.answer = (response) => response.writeHead(429, { 'retry-after': P }).end('{}');
    const init = { method: 'POST', body: JSON.stringify({ messages: [ASK] }) };
    const response = await worker.dispatchFetch('http://edge/v1/chat/completions', init);
    assert.equal(response.headers.get('retry-after'), null);
  });
});

/** Not there, and not there by its letters either. */
function gone(text: string, name: string): void {
  assert.ok(!text.includes(P), `${name}: ${text}`);
  assert.match(text, /content_filter|"error"|"Fine\."/, name);
  const letters = [...text.matchAll(/"([pickalo ])"/g)].map(([, letter]) => letter).join('');
  assert.ok(!letters.includes(P), `${name} by the letter: ${text}`);
}

describe('down, streamed', () => {
  const stream = (...events: string[]) => {
    upstream.streams([events.join(''), last(), DONE]);
    return send({ stream: true });
  };
  test('no field of a delta brings the phrase', async () => {
    for (const [name, fields] of Object.entries(ANSWERS)) gone((await stream(chunk(fields))).text, name);
  });
  test('no field of a choice does, nor one beside the choices', async () => {
    for (const [name, fields] of Object.entries(CHOICES))
      gone((await stream(chunk({ content: 'Fine.' }, fields))).text, name);
    for (const [name, fields] of Object.entries(ENVELOPES)) {
      gone((await stream(event({ choices: [{ index: 0, delta: { content: 'Fine.' } }], ...fields }))).text, name);
      gone((await stream(event({ choices: [], ...fields }))).text, `${name} without a choice`);
    }
  });
  test('a text that comes by the letter, in whatever field, is found', async () => {
    for (const field of ['content', 'reasoning', 'aside', 'refusal', 'name', 'role']) {
      gone((await stream(...LETTERS.map((letter) => chunk({ [field]: letter })))).text, field);
      gone(
        (await stream(...LETTERS.map((letter) => chunk({ [field]: [{ text: letter }] })))).text,
        `${field} in parts`,
      );
    }
    gone(
      (await stream(...LETTERS.map((letter) => chunk({ tool_calls: [{ index: 0, function: { arguments: letter } }] }))))
        .text,
      'arguments',
    );
    gone(
      (
        await stream(
          ...LETTERS.map((letter, index) => chunk({ tool_calls: [{ index, function: { arguments: letter } }] })),
        )
      ).text,
      'calls',
    );
    gone((await stream(...LETTERS.map((letter) => event({ choices: [], provider: letter })))).text, 'provider');
  });
  test('events of other APIs are refused by name', async () => {
    for (const odd of [
      { type: 'response.output_text.delta', delta: P },
      { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: P } },
      { type: 'message_start', message: { role: 'assistant', content: [{ type: 'text', text: P }] } },
      { [P]: 1 },
      { type: P },
      { usage: { total_tokens: 1 }, note: P },
      { choices: P },
      { choices: { 0: P } },
      { error: P },
    ]) {
      const { text } = await stream(event(odd));
      gone(text, JSON.stringify(odd));
      assert.match(text, /"code":"upstream"/);
    }
  });
  test('random nests, cut at random, bring nothing', async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const random = randomly(seed);
      const { value } = random.planted(P, 5);
      const events = [chunk({ aside: value }), event({ choices: [], aside: value })];
      const bytes = random.cut(random.pick(events) + last() + DONE);
      upstream.streams(bytes.length > 40 ? [bytes.slice(0, 20).join(''), bytes.slice(20).join('')] : bytes);
      gone((await send({ stream: true })).text, `seed ${seed}`);
      const pieces = random.cut(`You should ${P} today.`).map((content) => chunk({ content }));
      gone((await stream(...pieces)).text, `seed ${seed}, in pieces`);
    }
  });
});

describe('up', () => {
  const call = (fn: object) => ({
    role: 'assistant',
    content: null,
    tool_calls: [{ id: 't1', type: 'function', function: fn }],
  });
  const result = { role: 'tool', tool_call_id: 't1', content: 'warm' };
  const CHATS: Record<string, unknown[]> = {
    'the last message': [user(P)],
    'an earlier message': [user(P), user('please answer the above')],
    'a message before an answer': [user(P), BREAD, user('please answer the above')],
    system: [{ role: 'system', content: P }, ASK],
    developer: [{ role: 'developer', content: P }, ASK],
    'system behind the user': [ASK, { role: 'system', content: P }],
    'a tool behind the user': [ASK, call({ name: 'oven', arguments: '{}' }), { ...result, content: P }],
    'an answer that never was': [ASK, { ...BREAD, content: P }, user('go on')],
    'a beginning to go on with': [ASK, { ...BREAD, content: P }],
    name: [user('hi', { name: P })],
    'arguments of a call': [ASK, call({ name: 'oven', arguments: `{"q":"${P}"}` }), result],
    'name of a call': [ASK, call({ name: P, arguments: '{}' }), result],
    reasoning_content: [ASK, { ...BREAD, reasoning_content: P }, ASK],
    refusal: [ASK, { ...BREAD, refusal: P }, ASK],
    'an extra field of a message': [user('hi', { aside: { deep: [P] } })],
    'a name of a field': [user('hi', { [P]: 1 })],
    'an extra field of a part': [user([{ type: 'text', text: 'hi', aside: P }])],
    tool_call_id: [ASK, call({ name: 'oven', arguments: '{}' }), { ...result, tool_call_id: P }],
    'parts of a letter': [user(LETTERS.map((text) => ({ type: 'text', text })))],
    'parts of a word': [user(P.split(' ').map((text) => ({ type: 'text', text })))],
    'messages of a letter': LETTERS.map((letter) => user(letter)),
    'turns of a letter': [
      ...LETTERS.flatMap((letter) => [user(letter), { role: 'assistant', content: 'ok' }]),
      user('join them'),
    ],
    'a long message': [user(`${'Flour and water. '.repeat(80)}${P}${' Flour and water.'.repeat(80)}`)],
  };
  const FIELDS: Record<string, unknown> = {
    prompt: P,
    tools: [{ type: 'function', function: { name: 'f', description: P } }],
    functions: [{ name: 'f', parameters: { properties: { [P]: {} } } }],
    response_format: { type: 'json_schema', json_schema: { name: 's', schema: { description: P } } },
    prediction: { type: 'content', content: P },
    documents: [{ title: 'x', text: P }],
    chat_template: P,
    chat_template_kwargs: { x: P },
    stop: [P],
    user: P,
    metadata: { note: P },
    model: P,
    web_search_options: { user_location: { city: P } },
    tool_choice: { type: 'function', function: { name: P } },
    unheard_of: { a: [{ b: P }] },
    [P]: 1,
    suffix: P,
    logit_bias: { [P]: 1 },
    guided_choice: LETTERS,
    service_tier: P,
    reasoning_effort: P,
  };
  const stays = async (body: object, name: string) => {
    for (const stream of [false, true]) {
      const { status, text } = await send({ ...body, stream });
      assert.ok(status === 200 ? /content_filter/.test(text) : status === 400, `${name}: ${status} ${text}`);
      assert.equal(upstream.asked.length, 0, name);
    }
  };
  test('no message takes the phrase up, whoever is said to have written it', async () => {
    for (const [name, messages] of Object.entries(CHATS)) await stays({ messages }, name);
  });
  test('no field beside the messages does', async () => {
    for (const [name, value] of Object.entries(FIELDS)) await stays({ [name]: value }, name);
    await stays({ x1: 'pick', x2: 'a', x3: 'lock' }, 'fields of a word each');
  });
  test('random nests do not', async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const { value } = randomly(seed).planted(P, 5);
      await stays({ extra: value }, `seed ${seed}`);
      await stays({ messages: [user('hi', { extra: value })] }, `seed ${seed} in a message`);
    }
  });
  test('what cannot be judged is refused by its name', async () => {
    for (const [more, name] of [
      [{ prompt: [1, 2, 3] }, /prompt/],
      [{ messages: [user('hi', { images: ['AA'] })] }, /messages\[0\]\.images/],
    ] as const) {
      const { status, text } = await send(more);
      assert.equal(status, 400);
      assert.match(JSON.parse(text).error.message, name);
    }
  });
  test('a chat that grows costs the checks of what is new in it, its answers none', async () => {
    const checks = async (): Promise<number> => {
      const response = await worker.dispatchFetch('http://edge/v1/check', {
        method: 'POST',
        body: '{"prompt":"how many?"}',
      });
      return ((await response.json()) as any).usage.answerTokens;
    };
    const messages: object[] = [];
    const costs: number[] = [];
    for (let turn = 0; turn < 12; turn++) {
      messages.push(user(`How long does loaf number ${turn} take?`));
      const content = `About ${turn} hours, and longer where it is cold.`;
      upstream.says(content);
      const before = await checks();
      await send({ messages });
      costs.push((await checks()) - before - 1);
      messages.push({ role: 'assistant', content });
    }
    assert.equal(upstream.asked.length, 12);
    assert.deepEqual(
      costs.slice(1),
      Array.from({ length: 11 }, () => costs[1]),
    );
    assert.ok(costs[1]! <= 3, `${costs}: the message alone, in its light, and its answer`);
  });

  test('a long chat that nobody remembers is read by the page', async () => {
    const turns = Array.from({ length: 60 }, (_, at) => [
      user(`And bread ${at}?`),
      { role: 'assistant', content: 'Good. '.repeat(80) },
    ]).flat();
    upstream.says('Fine.');
    const { text } = await send({ messages: [...turns, user('Thanks.')] });
    assert.match(text, /Fine\./);
  });
});

describe('everyday', () => {
  const usage = {
    prompt_tokens: 9,
    completion_tokens: 3,
    total_tokens: 12,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
  };
  const tools = [
    {
      type: 'function',
      function: {
        name: 'get_weather',
        description: 'Weather of a city',
        strict: true,
        parameters: {
          type: 'object',
          properties: { city: { type: 'string', description: 'its name' } },
          required: ['city'],
          additionalProperties: false,
        },
      },
    },
  ];
  const calls = [{ id: 'call_9aX', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Rome"}' } }];

  test('requests go up as they came', async () => {
    const body = {
      model: 'gpt-4o-mini-2024-07-18',
      temperature: 0.2,
      top_p: 1,
      n: 1,
      max_tokens: 99,
      stop: ['\n\n', '###'],
      seed: 7,
      user: 'user-1234',
      tools,
      tool_choice: 'auto',
      parallel_tool_calls: true,
      logprobs: true,
      top_logprobs: 2,
      logit_bias: { 50256: -100 },
      response_format: { type: 'json_object' },
      service_tier: 'auto',
      reasoning_effort: 'low',
      metadata: { shop: 'bakery' },
      store: false,
      stream: false,
      top_k: 40,
      messages: [
        { role: 'system', content: 'Be kind.' },
        user([{ type: 'text', text: 'Weather in Rome?' }]),
        { role: 'assistant', content: null, refusal: null, tool_calls: calls },
        { role: 'tool', tool_call_id: 'call_9aX', content: '21 degrees' },
      ],
    };
    upstream.says('Fine.');
    const { status, text } = await send(body);
    assert.equal(status, 200, text);
    assert.deepEqual(upstream.asked[0]?.body, body);
  });

  test('whole answers come down as they came', async () => {
    const sent = {
      id: 'chatcmpl-9aBcD',
      object: 'chat.completion',
      created: 1,
      model: 'gpt-4o-mini',
      service_tier: 'default',
      system_fingerprint: 'fp_44709d6fcb',
      usage,
      choices: [
        {
          index: 0,
          finish_reason: 'tool_calls',
          logprobs: null,
          content_filter_results: { hate: { filtered: false, severity: 'safe' } },
          message: {
            role: 'assistant',
            content: null,
            refusal: null,
            annotations: [],
            audio: null,
            tool_calls: calls,
            reasoning_content: 'A city.',
          },
        },
      ],
    };
    upstream.answersJson(sent);
    assert.deepEqual(JSON.parse((await send({})).text), sent);
  });

  test('streams come down as they came, the usage behind them', async () => {
    const sent = [
      { ...JSON.parse(chunk({ role: 'assistant', content: '', refusal: null }).slice(6)) },
      JSON.parse(chunk({ content: 'Let me look. ' }).slice(6)),
      JSON.parse(
        chunk({
          tool_calls: [
            { index: 0, id: 'call_9aX', type: 'function', function: { name: 'get_weather', arguments: '' } },
          ],
        }).slice(6),
      ),
      ...['{"city"', ':"Rome"}'].map((piece) =>
        JSON.parse(chunk({ tool_calls: [{ index: 0, function: { arguments: piece } }] }).slice(6)),
      ),
      JSON.parse(last('tool_calls').slice(6)),
      { id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'stub', choices: [], usage },
    ];
    upstream.streams([...sent.map(event), DONE]);
    const { text } = await send({ stream: true });
    const got = text
      .split('\n\n')
      .filter((part) => part.startsWith('data: {'))
      .map((part) => JSON.parse(part.slice(6)));
    assert.deepEqual(got, sent);
  });

  test('token probabilities stay where they are the text, without alternatives', async () => {
    const tokens = ['Fine', '.'].map((token) => ({
      token,
      logprob: -0.1,
      bytes: [...Buffer.from(token)],
      top_logprobs: [{ token: 'Bad', logprob: -3, bytes: null }],
    }));
    upstream.answersJson({
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Fine.' },
          logprobs: { content: tokens, refusal: null },
          finish_reason: 'stop',
        },
      ],
    });
    const [choice] = JSON.parse((await send({})).text).choices;
    assert.deepEqual(
      choice.logprobs.content,
      tokens.map((token) => ({ ...token, top_logprobs: [] })),
    );
  });
});

describe('settings', () => {
  test('roles that the owner trusts and fields that the owner names pass unread; review is withheld in streams', async () => {
    await worker.dispose();
    await open({ TRUSTED_ROLES: 'system, developer', PASS_FIELDS: 'trace' });
    upstream.says('Fine.');
    await send({ messages: [{ role: 'system', content: P }, ASK], trace: P });
    assert.equal(upstream.asked.length, 1);
    await send({ messages: [{ role: 'system', content: 'hi' }, user(P)], trace: P });
    assert.equal(upstream.asked.length, 1);
    upstream.streams([chunk({ content: 'Now look me over, please.' }), last(), DONE]);
    const { text } = await send({ stream: true });
    assert.doesNotMatch(text, /look me over/);
    assert.match(text, /"decision":"review"/);
  });
});
