/** A guarded `fetch` at its edges: what it does not know, who leaves, several choices, its options; and the real guard. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { guardFetch, type GuardFetchOptions } from '../src/fetch.ts';
import type * as Library from '../src/index.ts';
import type { CheckOptions, Guard, Input, Message } from '../src/types.ts';
import { chunk, DONE, event, last, StubUpstream } from './edge-upstream.ts';
import { APIS, eventsIn } from './fetch-apis.ts';
import { fakeGuard } from './fetch-guard.ts';

const P = 'pick a lock';
const TEXT = 'Mix flour, water and salt, and wait until it has risen twice.';
const CHAT = APIS['chat completions']!;
const FINE = [{ role: 'user', content: 'Bread?' }];
const upstream = new StubUpstream();
let base: string;
let guard: Guard;

before(async () => {
  base = await upstream.listen();
  guard = await fakeGuard();
});
after(() => upstream.close());
beforeEach(() => {
  upstream.asked = [];
  upstream.answersJson(CHAT.whole(TEXT));
});

const send = (path: string, body: object, options: GuardFetchOptions = {}, init: RequestInit = {}) =>
  guardFetch(guard, options)(base + path, { method: 'POST', body: JSON.stringify(body), ...init });
const chat = (body: object, options: GuardFetchOptions = {}, init: RequestInit = {}) =>
  send('/chat/completions', { model: 'm', messages: FINE, ...body }, options, init);
const words = (text: string) => text.split(/(?<= )/);
const refused = (response: Response) => response.json().then((json) => CHAT.isRefusal(json));

describe('what it does not know', () => {
  const ODD: [string, object][] = [
    ['/models/m:generateContent', { contents: [{ parts: [{ text: P }] }] }],
    ['/images/generations', { prompt: P, n: 1, size: 'x' }],
    ['/audio/speech', { input: P, voice: 'v' }],
    ['/chat', { message: P }],
    ['/batches', { requests: [{ messages: [] }] }],
    ['/chat/completions', { messages: P }],
  ];
  test('is refused before anything is sent, or goes through unjudged where that is asked for', async () => {
    for (const [path, body] of ODD) {
      await assert.rejects(
        send(path, body),
        { name: 'GuardError', code: 'bad_input', message: /unknown: 'pass'/ },
        path,
      );
      assert.equal(upstream.asked.length, 0);
      await send(path, body, { unknown: 'pass' });
      assert.deepEqual(upstream.asked.pop()?.body, body);
    }
  });

  test('requests that ask no model to write go through untouched', async () => {
    const plain: [string, object][] = [
      ['/embeddings', { model: 'm', input: P }],
      ['/moderations?x=1', { input: P }],
      ['/messages/count_tokens', { messages: [{ role: 'user', content: P }] }],
      ['/files', { purpose: P }],
    ];
    for (const [path, body] of plain) {
      await send(path, body);
      assert.deepEqual(upstream.asked.pop()?.body, body, path);
    }
    await guardFetch(guard)(`${base}/models`);
    assert.deepEqual([upstream.asked[0]?.method, upstream.asked[0]?.path], ['GET', '/v1/models']);
  });

  test('a known shape is known at any address', async () => {
    assert.ok(await refused(await send('/somewhere', { messages: [{ role: 'user', content: P }] })));
    const anthropic = await (
      await send('/somewhere', { system: 'x', messages: [{ role: 'user', content: P }] })
    ).json();
    assert.equal(anthropic.stop_reason, 'refusal');
    const generated = await (await send('/somewhere', { prompt: P, options: {}, stream: false })).json();
    assert.equal(generated.done_reason, 'content_filter');
  });

  test('pictures, sounds and files are refused, or pass with the text beside them judged', async () => {
    const parts = (text: string) => [
      { type: 'text', text },
      { type: 'image_url', image_url: { url: 'https://x.example/a.png' } },
    ];
    const image = { type: 'image', source: { type: 'base64', data: 'AA' } };
    const bodies: [string, object][] = [
      ['/chat/completions', { messages: [{ role: 'user', content: parts('Bread?') }] }],
      ['/messages', { messages: [{ role: 'user', content: [image] }] }],
      ['/messages', { messages: [{ role: 'user', content: [{ type: 'tool_result', content: [image] }] }] }],
      ['/responses', { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'f' }] }] }],
      ['/api/chat', { messages: [{ role: 'user', content: 'x', images: ['AA'] }] }],
      ['/api/generate', { prompt: 'x', context: [1, 2] }],
      ['/responses', { input: 'x', background: true }],
      ['/completions', { prompt: [1, 2, 3] }],
    ];
    for (const [path, body] of bodies)
      await assert.rejects(send(path, body), { code: 'bad_input', message: /cannot be judged/ }, JSON.stringify(body));
    assert.equal(upstream.asked.length, 0);
    assert.equal(
      (await chat({ messages: [{ role: 'user', content: parts('Bread?') }] }, { unknown: 'pass' })).status,
      200,
    );
    assert.equal(upstream.asked.length, 1);
    assert.ok(await refused(await chat({ messages: [{ role: 'user', content: parts(P) }] }, { unknown: 'pass' })));
  });

  test('an answer with a picture is refused, or its picture passes and its text is judged', async () => {
    const answer = (content: string, more: object) => {
      const choices = [{ index: 0, message: { role: 'assistant', content, ...more }, finish_reason: 'stop' }];
      upstream.answersJson({ object: 'chat.completion', choices });
    };
    const pictures = { images: [{ image_url: { url: 'data:image/png;base64,AA' } }] };
    answer('Fine.', pictures);
    await assert.rejects(chat({}), { code: 'bad_input', message: /images/ });
    assert.equal(CHAT.read(await (await chat({}, { unknown: 'pass' })).json()), 'Fine.');
    for (const more of [pictures, { audio: { data: 'AA' } }, { aside: [1, 2] }]) {
      answer(P, more);
      assert.ok(await refused(await chat({}, { unknown: 'pass' })));
    }
  });

  test('a packed body is refused', async () => {
    await assert.rejects(chat({}, {}, { headers: { 'content-encoding': 'gzip' } }), { code: 'bad_input' });
  });

  test('an error of the API comes as it is', async () => {
    upstream.answersJson({ error: { message: 'slow down' } }, 429);
    const response = await chat({});
    assert.deepEqual([response.status, await response.json()], [429, { error: { message: 'slow down' } }]);
  });
});

describe('what is judged of a request', () => {
  const judged = async (messages: object[]) => {
    const seen: { input: Input; options: CheckOptions | undefined }[] = [];
    const watching = {
      transform: guard.transform,
      check: (input: Input, options?: CheckOptions) => (seen.push({ input, options }), guard.check(input, options)),
    };
    await guardFetch(watching as unknown as Guard)(`${base}/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ messages }),
    });
    return seen
      .slice(0, -1)
      .map(({ input, options }) => [(input as Message[]).map(({ content }) => content), options?.target]);
  };
  const user = (content: unknown) => ({ role: 'user', content });
  const bread = { role: 'assistant', content: 'Flour.' };

  test("the user's last turn, in the light of what was said before", async () => {
    assert.deepEqual(
      await judged([
        { role: 'system', content: 'S' },
        user('one'),
        bread,
        user('two'),
        user([{ type: 'text', text: 'three' }]),
      ]),
      [
        [['S', 'one', 'Flour.', 'two'], 'prompt'],
        [['S', 'one', 'Flour.', 'two', 'three'], 'prompt'],
      ],
    );
  });
  test('what tools have said since, each for itself; and an answer to go on with', async () => {
    const call = {
      role: 'assistant',
      content: null,
      tool_calls: [{ id: 't', function: { name: 'f', arguments: '{}' } }],
    };
    assert.deepEqual(
      await judged([
        user('one'),
        call,
        { role: 'tool', content: 'sun' },
        call,
        { role: 'tool', content: 'rain' },
        bread,
      ]),
      [
        [['one'], 'prompt'],
        // By the owner's policy, and as an attack.
        [['sun'], 'prompt'],
        [['sun'], 'prompt'],
        [['rain'], 'prompt'],
        [['rain'], 'prompt'],
        [['one', 'f {}', 'sun', 'f {}', 'rain', 'Flour.'], 'response'],
      ],
    );
  });
  test('the application, where nobody else speaks; and whoever has a role of no API', async () => {
    assert.deepEqual(await judged([{ role: 'system', content: 'S' }]), [[['S'], 'prompt']]);
    assert.deepEqual(await judged([{ role: 'wizard', content: 'W' }]), [[['W'], 'prompt']]);
  });
  test('what is sent is what was judged, whatever a body says twice', async () => {
    const body = `{"messages":[{"role":"user","content":"${P}"}],"messages":${JSON.stringify(FINE)}}`;
    for (const given of [body, new TextEncoder().encode(body), new Blob([body])]) {
      await guardFetch(guard)(`${base}/chat/completions`, { method: 'POST', body: given });
      assert.equal(upstream.asked.pop()?.text, JSON.stringify({ messages: FINE }));
    }
    await guardFetch(guard)(new Request(`${base}/chat/completions`, { method: 'POST', body }));
    assert.equal(upstream.asked.pop()?.text, JSON.stringify({ messages: FINE }));
    const asking = new Request(`${base}/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ messages: [{ role: 'user', content: P }] }),
    });
    assert.ok(await refused(await guardFetch(guard)(asking)));
    assert.equal(upstream.asked.length, 0);
  });
});

describe('several choices', () => {
  const bad = `You should ${P}, and then another one of them.`;
  test('are judged each for itself, whole', async () => {
    const choice = (content: string, index: number) => ({
      index,
      message: { role: 'assistant', content },
      finish_reason: 'stop',
    });
    upstream.answersJson({ choices: [choice(bad, 0), choice(TEXT, 1)] });
    const { choices } = await (await chat({ n: 2 })).json();
    assert.deepEqual(
      choices.map(({ message }: any) => message.content),
      ['', TEXT],
    );
    assert.deepEqual(
      choices.map(({ finish_reason }: any) => finish_reason),
      ['content_filter', 'stop'],
    );
  });
  test('and streamed, also where one comes late, and where they share a chunk', async () => {
    const speech = (text: string, index: number) => [
      ...words(text).map((content) => chunk({ content }, {}, index)),
      last('stop', index),
    ];
    const shared = [
      { index: 0, delta: { content: bad }, finish_reason: null },
      { index: 1, delta: { content: 'Bread. ' }, finish_reason: null },
    ];
    for (const pieces of [
      [...speech(bad, 0), ...speech(`Bread. ${TEXT}`, 1)],
      [event({ id: 'c1', choices: shared }), last('stop', 0), ...speech(TEXT, 1)],
    ]) {
      upstream.streams([...pieces, event({ id: 'c1', choices: [], usage: { total_tokens: 9 } }), DONE]);
      const raw = await (await chat({ n: 2, stream: true })).text();
      const choices = eventsIn(raw).flatMap(({ choices }) => choices);
      const told = (index: number) => choices.filter((choice) => choice.index === index);
      assert.ok(!raw.includes('pick'), raw);
      assert.equal(
        told(1)
          .map(({ delta }) => delta.content ?? '')
          .join(''),
        `Bread. ${TEXT}`,
      );
      assert.deepEqual(
        [0, 1].map((index) => told(index).at(-1).finish_reason),
        ['content_filter', 'stop'],
      );
      assert.ok(raw.endsWith(DONE));
    }
  });
});

describe('a stream', () => {
  test('reasoning, refusals and fields of vendors are judged like the text, and do not hold it up', async () => {
    for (const field of ['reasoning_content', 'reasoning', 'refusal', 'thinking']) {
      upstream.streams([
        ...words(`I could ${P} or not`).map((text) => chunk({ [field]: text })),
        chunk({ content: 'Bread.' }),
        last(),
        DONE,
      ]);
      const raw = await (await chat({ stream: true })).text();
      assert.ok(!/pick|Bread/.test(raw) && CHAT.ends(eventsIn(raw), raw), raw);
    }
    upstream.streams([chunk({ reasoning: 'Hm.' }), ...words(TEXT).map((content) => chunk({ content }))], true);
    const reader = (await chat({ stream: true })).body!.getReader();
    for (let raw = ''; !raw.includes('flour'); ) raw += new TextDecoder().decode((await reader.read()).value);
    await reader.cancel();
    await upstream.closed;
  });
  test("Anthropic's thinking is judged, and its marks pass", async () => {
    const api = APIS["Anthropic's messages"]!;
    const thinking = (text: string) =>
      api.stream(['Fine.']).flatMap((piece) => {
        if (!piece.includes('content_block_start')) return [piece.replaceAll('"index":0', '"index":1')];
        const named = (json: any) => `event: ${json.type}\ndata: ${JSON.stringify(json)}\n\n`;
        const delta = (delta: object) => named({ type: 'content_block_delta', index: 0, delta });
        const block = { type: 'thinking', thinking: '', signature: '' };
        const deltas = [
          ...words(text).map((thinking) => delta({ type: 'thinking_delta', thinking })),
          delta({ type: 'signature_delta', signature: 'Ab+/'.repeat(60) }),
        ];
        return [
          named({ type: 'content_block_start', index: 0, content_block: block }),
          ...deltas,
          named({ type: 'content_block_stop', index: 0 }),
          piece.replace('"index":0', '"index":1'),
        ];
      });
    upstream.streams(thinking('They want bread.'));
    assert.equal(
      await (await send('/messages', api.ask('Bread?', true))).text(),
      thinking('They want bread.').join(''),
    );
    upstream.streams(thinking(`They want to ${P} today.`));
    const raw = await (await send('/messages', api.ask('Bread?', true))).text();
    assert.ok(!/pick|Fine/.test(raw) && api.ends(eventsIn(raw), raw), raw);
  });
  test('a text that Responses tells only whole, or otherwise than before, is judged', async () => {
    const api = APIS['Responses']!;
    for (const event of [
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]) {
      const events = api
        .stream(words(TEXT))
        .map((piece) => (piece.startsWith(`event: ${event}\n`) ? piece.replace(TEXT, P) : piece));
      upstream.streams(events);
      const raw = await (await send('/responses', api.ask('Bread?', true))).text();
      assert.ok(!raw.includes('pick') && raw.includes('"content_filter"'), `${event}: ${raw}`);
    }
  });
  test('what stands between two pieces of a text is judged for itself, and holds nothing up', async () => {
    const annotation = (title: string) => {
      const json = {
        type: 'response.output_text.annotation.added',
        sequence_number: 9,
        item_id: 'm1',
        output_index: 0,
        content_index: 0,
        annotation_index: 0,
        annotation: { type: 'url_citation', title },
      };
      return `event: ${json.type}\ndata: ${JSON.stringify(json)}\n\n`;
    };
    const citation = (cited_text: string) => {
      const json = {
        type: 'content_block_delta',
        index: 0,
        delta: { type: 'citations_delta', citation: { type: 'char_location', cited_text, document_index: 0 } },
      };
      return `event: ${json.type}\ndata: ${JSON.stringify(json)}\n\n`;
    };
    for (const [name, path, note] of [
      ['Responses', '/responses', annotation],
      ["Anthropic's messages", '/messages', citation],
    ] as const) {
      const api = APIS[name]!;
      const between = (text: string) =>
        api.stream(words(TEXT)).flatMap((piece) => (piece.includes('"water ') ? [piece, note(text)] : [piece]));
      for (const text of ['A book of bread', `How to ${P}`]) {
        upstream.streams(between(text));
        const raw = await (await send(path, api.ask('Bread?', true))).text();
        if (text !== `How to ${P}`) assert.equal(raw, between(text).join(''));
        else assert.ok(!raw.includes(P) && api.ends(eventsIn(raw), raw), raw);
      }
      upstream.streams(between('A book of bread').slice(0, -6), true);
      const reader = (await send(path, api.ask('Bread?', true))).body!.getReader();
      for (let raw = ''; !raw.includes('salt'); ) raw += new TextDecoder().decode((await reader.read()).value);
      await reader.cancel();
      await upstream.closed;
    }
  });
  test('an error that the API tells midway is told, after what was harmless', async () => {
    upstream.streams([
      ...words(TEXT).map((content) => chunk({ content })),
      event({ error: { message: 'overloaded' } }),
    ]);
    await assert.rejects((await chat({ stream: true })).text(), { code: 'network', message: /overloaded/ });
  });
  test('a whole answer where a stream was asked for is judged whole', async () => {
    upstream.answersJson(CHAT.whole(P));
    assert.ok(await refused(await chat({ stream: true })));
  });
  test('an event without end does not fill the memory', async () => {
    const most = 'x'.repeat(1 << 22);
    upstream.streams(['data: {"a":"', most, most, most, most, most]);
    await assert.rejects((await chat({ stream: true })).text(), {
      code: 'bad_input',
      message: /more than 16777216 characters/,
    });
  });
});

describe('who leaves', () => {
  test('an abort while the prompt is judged, before and while the API answers, ends it as in any fetch', async () => {
    const slow = [{ role: 'user', content: 'hang politely' }];
    await assert.rejects(chat({ messages: slow }, {}, { signal: AbortSignal.timeout(30) }), { name: 'TimeoutError' });
    await assert.rejects(chat({}, {}, { signal: AbortSignal.abort() }), { name: 'AbortError' });
    assert.equal(upstream.asked.length, 0);
    upstream.answer = () => undefined;
    await assert.rejects(chat({}, {}, { signal: AbortSignal.timeout(60) }), { name: 'TimeoutError' });
    await upstream.closed;
    upstream.streams(
      words(TEXT).map((content) => chunk({ content })),
      true,
    );
    const leaving = new AbortController();
    const reader = (await chat({ stream: true }, {}, { signal: leaving.signal })).body!.getReader();
    await reader.read();
    leaving.abort();
    await assert.rejects(
      async () => {
        while (!(await reader.read()).done);
      },
      { name: 'AbortError' },
    );
    await upstream.closed;
  });
});

describe('options', () => {
  test('each verdict is told, with what it is about', async () => {
    const told: unknown[] = [];
    const onVerdict: GuardFetchOptions['onVerdict'] = ({ decision }, where) =>
      told.push([decision, where.what, where.at]);
    await chat({}, { onVerdict });
    await chat({ messages: [{ role: 'user', content: P }] }, { onVerdict });
    assert.deepEqual(told, [
      ['allow', 'user', 'message 0'],
      ['allow', 'answer', 'message.content'],
      ['block', 'user', 'message 0'],
    ]);
  });
  test('what asks for review is withheld, unless it may pass', async () => {
    const messages = [{ role: 'user', content: 'look me over' }];
    assert.ok(await refused(await chat({ messages })));
    upstream.answersJson(CHAT.whole('look me over'));
    assert.ok(await refused(await chat({})));
    assert.ok(!(await refused(await chat({ messages }, { releaseOnReview: true }))));
  });
  test('a verdict with a failure passes nothing', async () => {
    const failing = {
      transform: () => null,
      check: async () => ({ decision: 'review', flagged: true, score: 0, failure: 'x' }),
    } as unknown as Guard;
    const response = await guardFetch(failing, { releaseOnReview: true })(`${base}/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ messages: FINE }),
    });
    assert.ok(await refused(response));
  });
  test('that make no sense are named', () => {
    for (const options of [
      { onBlocked: 'x' },
      { unknown: 1 },
      { toolCalls: true },
      { releaseOnReview: 'x' },
      { onVerdict: 1 },
      { fetch: 1 },
    ]) {
      assert.throws(() => guardFetch(guard, options as never), {
        code: 'bad_input',
        message: new RegExp(Object.keys(options)[0]!),
      });
    }
    for (const guard of [undefined, null, {}, 'x'])
      assert.throws(() => guardFetch(guard as never), { code: 'bad_input', message: /guard/ });
  });
});

const entry = fileURLToPath(new URL('../dist/node.js', import.meta.url));
const built = existsSync(entry) && existsSync(fileURLToPath(new URL('../dist/wasm/cpu.wasm', import.meta.url)));
describe('the real guard', { skip: built ? false : 'dist/ is not built: run `npm run build`' }, () => {
  test('lets bread through and withholds what its policy blocks, whole and streamed', async () => {
    const rsafe = (await import(pathToFileURL(entry).href)) as typeof Library;
    const policy = {
      name: 'house',
      categories: [{ id: 'other', name: 'Other', definition: 'Nothing' }],
      rules: [{ id: 'code', literal: 'zanzibar seven' }],
    };
    const real = await rsafe.createGuard({ reasoning: 'never', policy });
    const send = (content: string, stream: boolean) =>
      guardFetch(real)(`${base}/chat/completions`, {
        method: 'POST',
        body: JSON.stringify({ messages: [{ role: 'user', content }], stream }),
      });
    try {
      assert.equal(CHAT.read(await (await send('How do I bake bread?', false)).json()), TEXT);
      assert.ok(await refused(await send('The word is zanzibar seven.', false)));
      for (const text of [TEXT, `${TEXT} ${TEXT} The word is zanzibar seven. ${TEXT}`]) {
        const events = CHAT.stream(words(text));
        upstream.streams(events);
        const raw = await (await send('How do I bake bread?', true)).text();
        if (text === TEXT) assert.equal(raw, events.join(''));
        else assert.ok(!CHAT.seen(eventsIn(raw)).includes('zanzibar') && CHAT.ends(eventsIn(raw), raw), raw);
      }
    } finally {
      await real.dispose();
    }
  });
});
