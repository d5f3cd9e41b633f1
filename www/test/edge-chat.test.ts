/** Chats through the worker in real workerd: nothing unjudged goes up, nothing unjudged comes down. */

import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, test } from 'node:test';

import type { Miniflare } from 'miniflare';

import { chunk, DONE, event, last, StubUpstream } from './edge-upstream.ts';
import { type Bundle, fakeBundle, serve } from './edge-worker.ts';
import { eventsOf } from './support/events.ts';

let bundle: Bundle;
let worker: Miniflare;
let upstream: StubUpstream;
let address: string;

before(async () => {
  bundle = await fakeBundle();
});
beforeEach(async () => {
  upstream = new StubUpstream();
  address = await upstream.listen();
});
afterEach(async () => {
  await worker.dispose();
  await upstream.close();
});

const start = (bindings: Record<string, string | number> = {}) => {
  worker = serve(bundle, { UPSTREAM_URL: address, ...bindings }, () => new Response('{}'));
};

const user = (content: unknown) => ({ role: 'user', content });
const FINE = [user('how do I bake bread?')];

function ask(body: object, headers: Record<string, string> = {}, signal?: AbortSignal) {
  const full = JSON.stringify({ model: 'stub', messages: FINE, ...body });
  return worker.dispatchFetch('http://edge/v1/chat/completions', {
    method: 'POST',
    body: full,
    headers,
    ...(signal ? { signal: signal as never } : {}),
  });
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

interface Told {
  chunks: any[];
  /** The text of each choice. */
  texts: string[];
  reasons: (string | null)[];
  raw: string;
}

async function told(response: {
  status: number;
  headers: { get(name: string): string | null };
  text(): Promise<string>;
}): Promise<Told> {
  const raw = await response.text();
  assert.equal(response.status, 200, raw);
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  const data = (await eventsOf([raw])).map((event) => event.data);
  assert.equal(data.pop(), '[DONE]', 'a stream ends with [DONE]');
  const chunks = data.map((text) => JSON.parse(text));
  const texts: string[] = [];
  const reasons: (string | null)[] = [];
  for (const choice of chunks.flatMap((chunk) => chunk.choices ?? [])) {
    texts[choice.index] = (texts[choice.index] ?? '') + (choice.delta.content ?? '');
    reasons[choice.index] = choice.finish_reason ?? reasons[choice.index] ?? null;
  }
  return { chunks, texts, reasons, raw };
}

const words = (text: string) => text.split(/(?<= )/);
const speech = (text: string, index = 0) => words(text).map((content) => chunk({ content }, {}, index));

describe('the prompt', () => {
  test('a harmless prompt goes up as it was judged, and the answer comes back whole', async () => {
    start();
    upstream.says('Flour, water, salt.');
    const body = await answer(await ask({ temperature: 0.5, tools: [{ type: 'function' }] }));
    assert.equal(body.choices[0].message.content, 'Flour, water, salt.');
    assert.equal(body.system_fingerprint, 'fp', 'fields that nobody knows are kept');
    assert.equal(body.rsafe, undefined);
    assert.deepEqual(upstream.asked[0]?.body, {
      model: 'stub',
      messages: FINE,
      temperature: 0.5,
      tools: [{ type: 'function' }],
    });
  });

  test('a harmful prompt never reaches the upstream, and is answered like a filtered completion', async () => {
    start();
    const body = await answer(await ask({ messages: [user('how to pick a lock')] }));
    assert.equal(body.object, 'chat.completion');
    assert.deepEqual(body.choices, [
      {
        index: 0,
        message: { role: 'assistant', content: '', refusal: null },
        logprobs: null,
        finish_reason: 'content_filter',
      },
    ]);
    const { target, decision, tier, rule } = body.rsafe;
    assert.deepEqual([target, decision, tier, rule], ['prompt', 'block', 'block', 'house-7']);
    assert.equal(upstream.asked.length, 0);
  });

  test('a harmful prompt is answered with a filtered stream where a stream was asked for', async () => {
    start();
    const { chunks, texts, reasons } = await told(await ask({ stream: true, messages: [user('how to pick a lock')] }));
    assert.deepEqual(texts, ['']);
    assert.deepEqual(reasons, ['content_filter']);
    assert.equal(chunks.at(-1).rsafe.decision, 'block');
    assert.equal(upstream.asked.length, 0);
  });

  test('a decision to review withholds, too: nobody is there to review', async () => {
    start();
    const body = await answer(await ask({ messages: [user('look me over')] }));
    assert.equal(body.choices[0].finish_reason, 'content_filter');
    assert.equal(upstream.asked.length, 0);
  });

  test("the user's last message is judged, also when tools have spoken since", async () => {
    start();
    const call = { role: 'assistant', content: null, tool_calls: [{ id: 't', type: 'function' }] };
    const tool = { role: 'tool', tool_call_id: 't', content: 'a result' };
    const body = await answer(await ask({ messages: [user('how to pick a lock'), call, tool] }));
    assert.equal(body.choices[0].finish_reason, 'content_filter');
  });

  test('a key given twice cannot show the guard one prompt and the upstream another', async () => {
    start();
    upstream.says('Bread.');
    const twice = `{"messages":[{"role":"user","content":"how to pick a lock"}],"messages":${JSON.stringify(FINE)}}`;
    await answer(await worker.dispatchFetch('http://edge/v1/chat/completions', { method: 'POST', body: twice }));
    assert.deepEqual(upstream.asked[0]?.body, { messages: FINE });
  });

  test('what cannot be judged is refused before anything is sent', async () => {
    start();
    const picture = user([{ type: 'image_url', image_url: { url: 'https://x.example/a.png' } }]);
    const sound = user([{ type: 'input_audio', input_audio: {} }]);
    const spoken = { role: 'assistant', content: null, audio: { id: 'a' } };
    for (const messages of [
      [picture],
      [sound],
      [spoken, ...FINE],
      [{ role: 'system', content: 'be kind' }],
      undefined,
    ]) {
      await refused(await ask({ messages }), 400, 'bad_input');
    }
    for (const more of [{ modalities: ['text', 'audio'] }, { audio: {} }, { n: 99 }, { n: 0 }, { stream: 'yes' }]) {
      await refused(await ask(more), 400, 'bad_input');
    }
    assert.equal(upstream.asked.length, 0);
  });

  test('a guard that fails lets nothing up', async () => {
    start({ CHECK_MS: 300 });
    for (const stream of [false, true]) {
      await refused(await ask({ stream, messages: [user('crash now')] }), 503, 'crashed');
      await refused(await ask({ stream, messages: [user('hang politely')] }), 504, 'timeout');
      await refused(await ask({ stream, messages: [user('too long')] }), 400, 'context_length');
    }
    assert.equal(upstream.asked.length, 0);
  });
});

describe('keys', () => {
  test("the caller's authorization is passed on, and other headers are not", async () => {
    start();
    upstream.says('Bread.');
    await answer(await ask({}, { authorization: 'Bearer caller', 'openai-project': 'p', cookie: 'c=1' }));
    const headers = upstream.asked[0]?.headers;
    assert.equal(headers?.authorization, 'Bearer caller');
    assert.equal(headers?.['openai-project'], 'p');
    assert.equal(headers?.cookie, undefined);
  });

  test("the owner's upstream key is used only for callers who show the worker's key", async () => {
    start({ UPSTREAM_KEY: 'owner', API_KEY: 'sesame' });
    upstream.says('Bread.');
    await refused(await ask({}, { authorization: 'Bearer caller' }), 401, 'unauthorized');
    assert.equal(upstream.asked.length, 0);
    await answer(await ask({}, { authorization: 'Bearer sesame' }));
    assert.equal(upstream.asked[0]?.headers.authorization, 'Bearer owner');
  });
});

describe('a whole answer', () => {
  test('a harmful choice is withheld with all that belongs to it, and the others stay', async () => {
    start();
    upstream.answersJson({
      id: 'c1',
      object: 'chat.completion',
      choices: [
        { index: 0, message: { role: 'assistant', content: 'Bread.' }, finish_reason: 'stop' },
        {
          index: 1,
          message: { role: 'assistant', content: 'First, pick a lock.', tool_calls: [{ id: 't' }] },
          logprobs: { content: [{ token: 'pick a lock' }] },
          finish_reason: 'tool_calls',
        },
      ],
      usage: { total_tokens: 9 },
    });
    const body = await answer(await ask({ n: 2 }));
    assert.equal(body.choices[0].message.content, 'Bread.');
    assert.deepEqual(body.choices[1].message, { role: 'assistant', content: '', refusal: null });
    assert.equal(body.choices[1].finish_reason, 'content_filter');
    assert.deepEqual([body.rsafe.target, body.rsafe.choice, body.rsafe.decision], ['response', 1, 'block']);
    assert.deepEqual(body.usage, { total_tokens: 9 });
    assert.doesNotMatch(JSON.stringify(body), /pick a lock/, 'not in the evidence either');
  });

  test('every text of a message is judged, not its content alone', async () => {
    start();
    for (const message of [
      { refusal: 'pick a lock' },
      { reasoning_content: 'pick a lock' },
      { content: [{ type: 'text', text: 'pick a lock' }] },
    ]) {
      upstream.answersJson({
        choices: [{ index: 0, message: { role: 'assistant', content: 'Fine.', ...message }, finish_reason: 'stop' }],
      });
      const body = await answer(await ask({}));
      assert.equal(body.choices[0].finish_reason, 'content_filter');
      assert.doesNotMatch(JSON.stringify(body), /pick a lock/);
    }
  });

  test('an answer that cannot be judged is not told', async () => {
    start({ CHECK_MS: 300 });
    for (const [text, status, code] of [
      ['crash now', 503, 'crashed'],
      ['too long', 503, 'context_length'],
      ['hang politely', 504, 'timeout'],
    ] as const) {
      upstream.says(text);
      await refused(await ask({}), status, code);
    }
    for (const body of [
      { choices: [{ message: { audio: { data: 'AA' } } }] },
      { choices: [{ text: 'pick a lock' }] },
      { choices: 'x' },
      [1],
    ]) {
      upstream.answersJson(body);
      await refused(await ask({}), 502, 'upstream');
    }
  });
});

describe('the upstream', () => {
  test('an upstream that hangs gives 504 and nothing else', async () => {
    start({ UPSTREAM_MS: 400 });
    upstream.answer = () => undefined;
    for (const stream of [false, true]) await refused(await ask({ stream }), 504, 'timeout');
    upstream.streams([], true);
    await refused(await ask({ stream: true }), 504, 'timeout');
    upstream.answer = (response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"choices": [');
    };
    await refused(await ask({}), 504, 'timeout');
  });

  test('an upstream that cannot be reached, or says nonsense, gives 502', async () => {
    start();
    upstream.answer = (response) => response.destroy();
    await refused(await ask({}), 502, 'upstream');
    upstream.answer = (response) => response.end('<html>');
    await refused(await ask({}), 502, 'upstream');
    upstream.answer = (response) => response.writeHead(302, { location: 'https://x.example/' }).end();
    await refused(await ask({}), 502, 'upstream');
  });

  test("the upstream's refusals keep their status, its failures become 502", async () => {
    start();
    upstream.answer = (response) => {
      response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '7' });
      response.end('{"error":{"message":"slow down, please"}}');
    };
    const response = await ask({});
    assert.equal(response.headers.get('retry-after'), '7');
    assert.match(await refused(response, 429, 'upstream'), /slow down, please/);
    upstream.answersJson({ error: 'no' }, 500);
    await refused(await ask({}), 502, 'upstream');
  });

  test('an answer without end does not fill the memory', async () => {
    start({ MAX_ANSWER_BYTES: 1000 });
    upstream.says('x'.repeat(2000));
    await refused(await ask({}), 502, 'upstream');
    upstream.streams([chunk({ content: 'Bread. '.repeat(400) }), DONE]);
    const { texts, chunks } = await told(await ask({ stream: true }));
    assert.deepEqual(texts, []);
    assert.equal(chunks.at(-1).error.code, 'upstream');
  });

  test('more chats at once than there are places get 429', async () => {
    start({ MAX_CHATS: 1, UPSTREAM_MS: 2000 });
    upstream.streams([...speech('Flour, water, salt and a lot of time. ')], true);
    const first = await ask({ stream: true });
    await refused(await ask({ stream: true }), 429, 'busy');
    await first.body?.cancel();
    upstream.says('Bread.');
    await eventually(async () => {
      const response = await ask({});
      await response.arrayBuffer();
      return response.status === 200;
    });
  });
});

async function eventually(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail('it never came true');
}

describe('a streamed answer', () => {
  const TEXT = 'Mix flour, water and salt, and wait until it has risen twice.';
  const usage = { id: 'c1', choices: [], usage: { total_tokens: 9 } };

  test('a harmless answer comes through whole, in its own chunks', async () => {
    start();
    const chunks = [chunk({ role: 'assistant', content: '' }), ...speech(TEXT), last()];
    upstream.streams([...chunks, event(usage), DONE]);
    const got = await told(await ask({ stream: true }));
    const sent = [...chunks, event(usage)].map((text) => JSON.parse(text.slice(6)));
    assert.deepEqual(got.chunks, sent);
  });

  test('it is the same however the bytes are cut, and with any line breaks', async () => {
    start();
    const text = [...speech('Größe 🙂 counts. '), last(), DONE].join('').replaceAll('\n', '\r\n');
    const bytes = new TextEncoder().encode(text);
    upstream.streams(Array.from({ length: Math.ceil(bytes.length / 7) }, (_, at) => bytes.slice(at * 7, at * 7 + 7)));
    assert.deepEqual((await told(await ask({ stream: true }))).texts, ['Größe 🙂 counts. ']);
  });

  test('a character that is cut between two chunks comes through whole', async () => {
    start();
    const halves = ['Fine \ud83d', '\ude42 and well.'].map((content) => chunk({ content }));
    upstream.streams([...halves, last(), DONE]);
    assert.deepEqual((await told(await ask({ stream: true }))).texts, ['Fine 🙂 and well.']);
  });

  test('a streamed answer that turns harmful is cut before the harmful words', async () => {
    start();
    upstream.streams([...speech(`${TEXT} Then pick a lock and open the door.`), last(), event(usage), DONE], true);
    const { chunks, texts, reasons, raw } = await told(await ask({ stream: true }));
    assert.ok(TEXT.startsWith(texts[0]!.slice(0, TEXT.length)), texts[0]);
    assert.ok(texts[0]!.length > 20, 'what was harmless had been told');
    assert.doesNotMatch(raw, /pick|door/);
    assert.deepEqual(reasons, ['content_filter']);
    const final = chunks.at(-1);
    assert.equal(final.id, 'c1');
    assert.deepEqual(final.choices[0].delta, {});
    assert.deepEqual(
      [final.rsafe.target, final.rsafe.choice, final.rsafe.decision, final.rsafe.rule],
      ['response', 0, 'block', 'house-7'],
    );
    assert.equal(final.rsafe.evidence, undefined);
    await upstream.closed;
  });

  test('words that are split over many chunks are found', async () => {
    start();
    upstream.streams([...[...'First, pick a lock.'].map((content) => chunk({ content })), last(), DONE]);
    const { texts, reasons } = await told(await ask({ stream: true }));
    assert.doesNotMatch(texts[0]!, /pick/);
    assert.deepEqual(reasons, ['content_filter']);
  });

  test('of a chunk that is half released, that half is told when the answer is cut', async () => {
    start();
    upstream.streams([chunk({ role: 'assistant', content: TEXT }), chunk({ content: ' pick a lock' }), last(), DONE]);
    const { texts, chunks } = await told(await ask({ stream: true }));
    assert.equal(texts[0], TEXT.slice(0, -12));
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  });

  test('the end is judged, too', async () => {
    start();
    upstream.streams([chunk({ content: 'pick a l' }), chunk({ content: 'ock' }, { finish_reason: 'stop' }), DONE]);
    const { texts, reasons } = await told(await ask({ stream: true }));
    assert.deepEqual([texts, reasons], [[''], ['content_filter']]);
  });

  test('each of several choices is judged for itself', async () => {
    start();
    const good = speech(TEXT, 0);
    const bad = speech('You should pick a lock, and then another one of them.', 1);
    const mixed = good.flatMap((piece, at) => [piece, bad[at] ?? '']);
    upstream.streams([...mixed, last('stop', 0), last('stop', 1), DONE]);
    const { texts, reasons, chunks, raw } = await told(await ask({ stream: true, n: 2 }));
    assert.equal(texts[0], TEXT);
    assert.deepEqual(reasons, ['stop', 'content_filter']);
    assert.doesNotMatch(raw, /pick a/);
    assert.equal(chunks.find((chunk) => chunk.rsafe).rsafe.choice, 1);
  });

  test('choices in one chunk are judged for themselves, too', async () => {
    start();
    const choices = ['Bread.', 'pick a lock'].map((content, index) => ({
      index,
      delta: { content },
      finish_reason: 'stop',
    }));
    upstream.streams([event({ id: 'c1', choices }), DONE]);
    const { texts, reasons } = await told(await ask({ stream: true, n: 2 }));
    assert.deepEqual(
      [texts, reasons],
      [
        ['Bread.', ''],
        ['stop', 'content_filter'],
      ],
    );
  });

  test('reasoning, refusals and fields that nobody knows are judged like the text', async () => {
    start();
    for (const field of ['reasoning_content', 'refusal', 'aside']) {
      const pieces = words('I could pick a lock or not').map((text) => chunk({ [field]: text }));
      upstream.streams([...pieces, chunk({ content: 'Bread.' }), last(), DONE]);
      const { texts, reasons, raw } = await told(await ask({ stream: true }));
      assert.doesNotMatch(raw, /pick|Bread/);
      assert.deepEqual([texts, reasons], [[''], ['content_filter']]);
    }
  });

  test('reasoning does not hold back the answer behind it', async () => {
    start({ UPSTREAM_MS: 2000 });
    upstream.streams([chunk({ reasoning_content: 'Hm.' }), ...speech(TEXT)], true);
    const response = await ask({ stream: true });
    await readUntil(response, /flour/);
  });

  test('harm that is spread over an interrupted text is found', async () => {
    start();
    const pieces = [
      chunk({ content: 'You pick ' }),
      chunk({ reasoning_content: 'Hm.' }),
      chunk({ content: 'a lock.' }),
    ];
    upstream.streams([...pieces, last(), DONE]);
    const { texts, reasons } = await told(await ask({ stream: true }));
    assert.deepEqual([texts, reasons], [['You pick '], ['content_filter']]);
  });

  test('tool calls wait for the text before them, and do not come without it', async () => {
    start();
    const call = chunk({ tool_calls: [{ index: 0, id: 't', function: { name: 'oven', arguments: '{}' } }] });
    upstream.streams([...speech('Heating.'), call, last('tool_calls'), DONE]);
    const fine = await told(await ask({ stream: true }));
    assert.equal(fine.texts[0], 'Heating.');
    assert.deepEqual(
      fine.chunks.map(({ choices }) => Object.keys(choices[0].delta)[0]),
      ['content', 'tool_calls', undefined],
    );
    upstream.streams([...speech('pick a lock'), call, last('tool_calls'), DONE]);
    const bad = await told(await ask({ stream: true }));
    assert.doesNotMatch(bad.raw, /oven|pick/);
    assert.deepEqual(bad.reasons, ['content_filter']);
  });

  test('the call of a tool comes when all of it has passed, its name first, or not at all', async () => {
    start();
    const named = (name: string) =>
      chunk({ tool_calls: [{ index: 0, id: 't', type: 'function', function: { name, arguments: '' } }] });
    const given = (text: string) =>
      text.split(/(?<= )/).map((piece) => chunk({ tool_calls: [{ index: 0, function: { arguments: piece } }] }));
    const note = 'Mix flour, water and salt. Wait until it has risen. '.repeat(8);
    for (const [name, text, passes] of [
      ['oven', `{"note":"${note}"}`, true],
      ['oven', `{"note":"${note}pick \\u0061 lock"}`, false],
      ['pick', 'a lock', false],
    ] as const) {
      const calls = [named(name), ...given(text)];
      upstream.streams([...calls, last('tool_calls'), DONE]);
      const { raw, chunks, reasons } = await told(await ask({ stream: true }));
      assert.deepEqual(reasons, [passes ? 'tool_calls' : 'content_filter'], raw);
      assert.equal(chunks.length, passes ? calls.length + 1 : 1, raw);
      if (!passes) assert.doesNotMatch(raw, /tool_calls|flour|pick|oven|a lock/);
    }
    // Half of a call is none.
    upstream.streams([...speech('Let me see.'), named('oven'), ...given('{"note":"Mix ')]);
    const broken = await told(await ask({ stream: true }));
    assert.deepEqual([broken.texts, broken.chunks.at(-1).error.code], [['Let me see.'], 'upstream']);
    assert.doesNotMatch(broken.raw, /tool_calls|oven|Mix/);
  });

  test('a call in a whole answer is judged with its name, as its reader reads it', async () => {
    start();
    for (const called of [
      { name: 'pick', arguments: 'a lock' },
      { arguments: 'a lock', name: 'pick' },
      { name: 'oven', arguments: '{"note":"pick \\u0061 lock"}' },
    ]) {
      const message = {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 't', type: 'function', function: called }],
      };
      upstream.answersJson({ id: 'c1', model: 'stub', choices: [{ index: 0, message, finish_reason: 'tool_calls' }] });
      const { choices } = await answer(await ask({}));
      assert.equal(choices[0].finish_reason, 'content_filter');
      assert.doesNotMatch(JSON.stringify(choices), /oven|lock/);
    }
  });

  test('token probabilities do not tell what the text does not', async () => {
    start();
    const probable = (content: string) => chunk({ content }, { logprobs: { content: [{ token: content }] } });
    upstream.streams([...words('You should pick a lock.').map(probable), last(), DONE]);
    assert.doesNotMatch((await told(await ask({ stream: true }))).raw, /pick/);
  });

  test('a guard that fails ends the stream, with the error and no more text', async () => {
    start({ CHECK_MS: 300 });
    for (const [text, code] of [
      ['crash now', 'crashed'],
      ['hang politely', 'timeout'],
      ['too long', 'context_length'],
    ]) {
      upstream.streams([...speech(`${TEXT} ${text} and go on`), last(), DONE]);
      const { texts, reasons, chunks } = await told(await ask({ stream: true }));
      assert.ok(texts[0]!.length < TEXT.length + 8);
      assert.deepEqual(reasons, ['content_filter']);
      assert.equal(chunks.at(-1).rsafe.error.code, code);
    }
  });

  test('an upstream that breaks off, hangs or errs midway is told, after what was harmless', async () => {
    start({ UPSTREAM_MS: 1000 });
    for (const [pieces, open, code] of [
      [speech(TEXT), false, 'upstream'],
      [speech(TEXT), true, 'timeout'],
      [[...speech(TEXT), event({ error: { message: 'overloaded' } })], true, 'upstream'],
      [[...speech(TEXT), 'data: {oops\n\n'], true, 'upstream'],
    ] as const) {
      upstream.streams([...pieces], open);
      const { texts, reasons, chunks } = await told(await ask({ stream: true }));
      assert.deepEqual([texts, reasons], [[TEXT], [null]]);
      assert.equal(chunks.at(-1).error.code, code);
      await upstream.closed;
    }
  });

  test('a stream that breaks off in harmful words does not tell them', async () => {
    start();
    upstream.streams(speech('You should pick a lock'));
    const { reasons, raw } = await told(await ask({ stream: true }));
    assert.doesNotMatch(raw, /pick/);
    assert.deepEqual(reasons, ['content_filter']);
  });

  test('a choice that nobody asked for, or text in a place for none, is not told', async () => {
    start();
    for (const odd of [
      chunk({ content: 'pick a lock' }, {}, 3),
      event({ choices: [{ index: 0, text: 'pick a lock' }] }),
      chunk({ audio: { data: 'AA' } }),
    ]) {
      upstream.streams([odd, last(), DONE]);
      assert.doesNotMatch((await told(await ask({ stream: true }))).raw, /pick|AA/);
    }
  });

  test('text after the end of a choice is not told', async () => {
    start();
    upstream.streams([...speech('Bread.'), last(), ...speech('pick a lock'), DONE]);
    assert.deepEqual((await told(await ask({ stream: true }))).texts, ['Bread.']);
  });

  test('a whole answer where a stream was asked for is judged whole', async () => {
    start();
    upstream.says('pick a lock');
    assert.equal((await answer(await ask({ stream: true }))).choices[0].finish_reason, 'content_filter');
  });

  test('a reader who leaves ends the upstream', async () => {
    start();
    upstream.streams(speech(TEXT), true);
    const response = await ask({ stream: true });
    await readUntil(response, /flour/);
    await upstream.closed;
  });
});

/** Reads until the text has come, then leaves. */
async function readUntil(response: { body: unknown }, pattern: RegExp): Promise<void> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = '';
  while (!pattern.test(text)) {
    const { done, value } = await reader.read();
    assert.ok(!done, `the stream ended before ${pattern}: ${text}`);
    text += decoder.decode(value, { stream: true });
  }
  await reader.cancel();
}
