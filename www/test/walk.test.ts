/** The walk: what is text in a value, and what may pass unread. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { asRead, byPlace, type Run, runsOf, Unreadable, walk } from '../src/walk.ts';
import { randomly } from './support/random.ts';

const PHRASE = 'pick a lock';
const texts = (value: unknown) => walk(value).map(({ text }) => text);

describe('the walk', () => {
  test('every string of a random value is found, wherever it stands and as a name too', () => {
    for (let seed = 1; seed <= 500; seed++) {
      const random = randomly(seed);
      const { value } = random.planted(PHRASE, 6);
      assert.ok(texts(value).includes(PHRASE), `seed ${seed}: ${JSON.stringify(value)}`);
    }
  });

  test('ids, model names and words of the known sets pass; a sentence in their place does not', () => {
    const fine = {
      id: 'chatcmpl-9aBcD0',
      model: 'meta-llama/Llama-3.3-70B-Instruct',
      role: 'assistant',
      object: 'chat.completion',
      finish_reason: 'tool_calls',
      system_fingerprint: 'fp_44709d6fcb',
      service_tier: 'default',
      type: 'function',
      tool_call_id: 'call_1f3a',
      created: 1,
      usage: { prompt_tokens: 3, prompt_tokens_details: { cached_tokens: 0 } },
      logit_bias: { 50256: -100 },
      refusal: null,
      annotations: [],
      strict: true,
    };
    assert.deepEqual(texts(fine), []);
    for (const field of Object.keys(fine)) {
      assert.ok(texts({ [field]: PHRASE }).includes(PHRASE), field);
      assert.ok(texts({ [field]: { [PHRASE]: 1 } }).includes(PHRASE), field);
    }
  });

  test('a name that nobody knows is text, and is not told in the place', () => {
    const [name, value] = walk({ message: { 'my secret': 'said' } });
    assert.deepEqual([name?.place, name?.text, name?.named], ['message.*{}', 'my secret', true]);
    assert.deepEqual([value?.place, value?.path], ['message.*', 'message.my secret']);
  });

  test('items of a list, and values under names of the sender’s own, are parts of one text', () => {
    const pieces = walk({ content: [{ text: 'pick' }, { text: 'a' }, { text: 'lock' }] });
    assert.deepEqual(byPlace(pieces), new Map([['content[].text', ['pick', 'a', 'lock']]]));
    assert.equal(
      byPlace(walk({ a1: 'pick', a2: 'a', a3: 'lock' }))
        .get('*')
        ?.join(' '),
      PHRASE,
    );
  });

  test('what is not text is refused by its place', () => {
    for (const [value, place] of [
      [{ message: { audio: { data: 'AA' } } }, 'message.audio'],
      [{ content: [{ image_url: { url: 'x' } }] }, 'content[].image_url'],
      [{ content: 'data:image/png;base64,AA' }, 'content'],
      [{ prompt: [112, 105] }, 'prompt'],
      [{ x: [[1, 'a']] }, '*[]'],
    ] as const) {
      assert.throws(
        () => walk(value),
        (error) => error instanceof Unreadable && error.place === place,
        place,
      );
    }
    let deep: unknown = PHRASE;
    for (let depth = 0; depth < 10_000; depth++) deep = [deep];
    assert.throws(() => walk(deep), Unreadable);
    assert.throws(() => walk(Array.from({ length: 10_000 }, () => 'a')), Unreadable);
  });

  test('fields that the owner lets pass are not looked at, at any depth', () => {
    const pass = new Set(['trace']);
    assert.deepEqual(walk({ trace: PHRASE, message: { trace: { [PHRASE]: [PHRASE] } } }, { pass }), []);
  });
});

describe('pieces side by side', () => {
  test('are read with and without a break where they would run into one word', () => {
    assert.equal(asRead(['Hello there.', 'And you?']), 'Hello there. And you?');
    assert.equal(asRead(['pick ', 'a lock']), 'pick a lock');
    assert.equal(asRead(['pick', 'a', 'lock']), 'pick a lock\npickalock');
    assert.equal(
      asRead([...PHRASE])
        .split('\n')
        .at(-1),
      PHRASE,
    );
    assert.equal(asRead([]), '');
  });
});

describe('runs', () => {
  const said = ({ before, pieces }: Run) => asRead([...before, ...pieces]);
  const user = (text: string) => ({ role: 'user', pieces: [text] });
  const answer = (text: string) => ({ role: 'assistant', pieces: [text] });
  const LONG = 'Flour and water. '.repeat(60);

  test('messages between two answers are one, each answer stands for itself', () => {
    const runs = runsOf([
      { role: 'system', pieces: ['Be kind.'] },
      user('Hi.'),
      answer(LONG),
      user('One.'),
      user('Two.'),
    ]);
    assert.deepEqual(
      runs.map(({ side, at }) => [side, at]),
      [
        ['prompt', 0],
        ['response', 2],
        ['prompt', 3],
      ],
    );
    assert.equal(said(runs[0]!), 'Be kind. Hi.');
    assert.equal(said(runs[2]!), 'Be kind. Hi. One. Two.');
  });

  test('words that are spread over turns, short answers among them, meet in one run', () => {
    const letters = [...PHRASE].map((letter, at) => (at % 2 ? answer(letter) : user(letter)));
    const last = runsOf([...letters, user('?')])
      .filter(({ side }) => side === 'prompt')
      .at(-1)!;
    assert.ok(said(last).includes(PHRASE));
  });

  test('a beginning that the model shall go on with is judged as an answer and as a wish', () => {
    const runs = runsOf([user('Go on.'), answer(PHRASE)]);
    assert.ok(runs.some((run) => run.side === 'response' && said(run) === PHRASE));
    assert.ok(runs.some((run) => run.side === 'prompt' && said(run).includes(PHRASE)));
  });

  test('what a tool gave is a run of its own, whole, and read with what is said around it', () => {
    const runs = runsOf([
      user('One.'),
      { role: 'tool', pieces: [`${PHRASE}.`, LONG] },
      { role: 'function', pieces: ['Two.'] },
    ]);
    assert.deepEqual(
      runs.filter(({ side }) => side === 'tool').map((run) => [run.at, said(run)]),
      [
        [1, `${PHRASE}. ${LONG}`],
        [2, 'Two.'],
      ],
    );
    const prompt = runs.filter(({ side }) => side === 'prompt').map(said);
    assert.ok(prompt.length === 1 && /^One\. .*Two\.$/s.test(prompt[0]!), prompt.join('|'));
  });

  test('a chat that grows keeps the runs that it had', () => {
    const turns = [user('One.'), answer('A.'), user(LONG), answer(LONG), user('Three.'), answer('C.'), user('Four.')];
    const seen = (count: number) => runsOf(turns.slice(0, count)).map((run) => `${run.side} ${said(run)}`);
    for (let count = 3; count <= turns.length; count += 2) {
      const before = seen(count - 2);
      assert.deepEqual(
        before.filter((run) => !seen(count).includes(run)),
        [],
      );
    }
  });

  test('the middle of a long piece is judged, too', () => {
    const runs = runsOf([user(`${LONG}${PHRASE}${LONG}`)]);
    assert.ok(runs.some((run) => said(run).includes(PHRASE)));
  });
});
