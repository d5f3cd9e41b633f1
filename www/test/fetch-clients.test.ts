/** The clients that people use, with a guarded `fetch`, in front of a stub of the API: what each makes of an answer that
 * passes, of a prompt and of an answer that do not. */

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import { ChatOpenAI } from '@langchain/openai';
import { Ollama } from 'ollama';
import OpenAI from 'openai';

import { guardFetch } from '../src/fetch.ts';
import { StubUpstream } from './edge-upstream.ts';
import { type Api, APIS } from './fetch-apis.ts';
import { fakeGuard } from './fetch-guard.ts';

const P = 'pick a lock';
const TEXT = 'Mix flour, water and salt, and wait until it has risen twice.';
const BAD = `${TEXT} Then ${P} and open the door.`;
const upstream = new StubUpstream();
let origin: string;
let fetch: typeof globalThis.fetch;

before(async () => {
  origin = (await upstream.listen()).replace(/\/v1$/, '');
  fetch = guardFetch(await fakeGuard());
});
after(() => upstream.close());
beforeEach(() => {
  upstream.asked = [];
});

/** What a client makes of a chat: the text, and the reason why it ended. */
interface Client {
  api: Api;
  filtered: string;
  whole(prompt: string): Promise<{ text: string; reason: unknown }>;
  streamed(prompt: string): Promise<{ text: string; reason: unknown }>;
}

async function collected<T>(
  events: AsyncIterable<T>,
  read: (event: T) => { text?: string | null | undefined; reason?: unknown },
) {
  const all = { text: '', reason: undefined as unknown };
  for await (const event of events) {
    const { text, reason } = read(event);
    all.text += text ?? '';
    all.reason = reason ?? all.reason;
  }
  return all;
}

const user = (content: string) => [{ role: 'user' as const, content }];
const openai = () => new OpenAI({ apiKey: 'k', baseURL: `${origin}/v1`, fetch, maxRetries: 0 });
const anthropic = () => new Anthropic({ apiKey: 'k', baseURL: origin, fetch, maxRetries: 0 });
const ollama = () => new Ollama({ host: origin, fetch });
const langchain = () =>
  new ChatOpenAI({ apiKey: 'k', model: 'm', maxRetries: 0, configuration: { baseURL: `${origin}/v1`, fetch } });

const CLIENTS: Record<string, Client> = {
  'openai, chat completions': {
    api: APIS['chat completions']!,
    filtered: 'content_filter',
    whole: async (prompt) => {
      const { choices } = await openai().chat.completions.create({ model: 'm', messages: user(prompt) });
      return { text: choices[0]!.message.content ?? '', reason: choices[0]!.finish_reason };
    },
    streamed: async (prompt) =>
      collected(
        await openai().chat.completions.create({ model: 'm', messages: user(prompt), stream: true }),
        ({ choices }) => {
          return { text: choices[0]!.delta.content, reason: choices[0]!.finish_reason };
        },
      ),
  },
  'openai, Responses': {
    api: APIS['Responses']!,
    filtered: 'content_filter',
    whole: async (prompt) => {
      const { output_text, incomplete_details } = await openai().responses.create({ model: 'm', input: prompt });
      return { text: output_text, reason: incomplete_details?.reason };
    },
    streamed: async (prompt) => {
      const stream = openai().responses.stream({ model: 'm', input: prompt });
      const { text } = await collected(stream, (event) => ({
        text: event.type === 'response.output_text.delta' ? event.delta : '',
      }));
      const last = await stream.finalResponse();
      assert.equal(last.output_text, text);
      return { text, reason: last.incomplete_details?.reason };
    },
  },
  'openai, legacy completions': {
    api: APIS['legacy completions']!,
    filtered: 'content_filter',
    whole: async (prompt) => {
      const { choices } = await openai().completions.create({ model: 'm', prompt });
      return { text: choices[0]!.text, reason: choices[0]!.finish_reason };
    },
    streamed: async (prompt) =>
      collected(await openai().completions.create({ model: 'm', prompt, stream: true }), ({ choices }) => {
        return { text: choices[0]!.text, reason: choices[0]!.finish_reason };
      }),
  },
  '@anthropic-ai/sdk': {
    api: APIS["Anthropic's messages"]!,
    filtered: 'refusal',
    whole: async (prompt) => {
      const { content, stop_reason } = await anthropic().messages.create({
        model: 'm',
        max_tokens: 99,
        messages: user(prompt),
      });
      return { text: content.map((block) => (block.type === 'text' ? block.text : '')).join(''), reason: stop_reason };
    },
    streamed: async (prompt) => {
      const stream = anthropic().messages.stream({ model: 'm', max_tokens: 99, messages: user(prompt) });
      let text = '';
      stream.on('text', (piece) => (text += piece));
      return { reason: (await stream.finalMessage()).stop_reason, text };
    },
  },
  'ollama, chat': {
    api: APIS["Ollama's chat"]!,
    filtered: 'content_filter',
    whole: async (prompt) => {
      const { message, done_reason } = await ollama().chat({ model: 'm', messages: user(prompt) });
      return { text: message.content, reason: done_reason };
    },
    streamed: async (prompt) =>
      collected(
        await ollama().chat({ model: 'm', messages: user(prompt), stream: true }),
        ({ message, done_reason }) => {
          return { text: message.content, reason: done_reason };
        },
      ),
  },
  'ollama, generate': {
    api: APIS["Ollama's generate"]!,
    filtered: 'content_filter',
    whole: async (prompt) => {
      const { response, done_reason } = await ollama().generate({ model: 'm', prompt });
      return { text: response ?? '', reason: done_reason };
    },
    streamed: async (prompt) =>
      collected(await ollama().generate({ model: 'm', prompt, stream: true }), ({ response, done_reason }) => {
        return { text: response, reason: done_reason };
      }),
  },
  '@langchain/openai': {
    api: APIS['chat completions']!,
    filtered: 'content_filter',
    whole: async (prompt) => {
      const { text, response_metadata } = await langchain().invoke(prompt);
      return { text, reason: response_metadata['finish_reason'] };
    },
    streamed: async (prompt) =>
      collected(await langchain().stream(prompt), ({ text, response_metadata }) => ({
        text,
        reason: response_metadata['finish_reason'],
      })),
  },
};

for (const [name, { api, filtered, whole, streamed }] of Object.entries(CLIENTS)) {
  describe(name, () => {
    test('an answer that passes is the one that was given', async () => {
      upstream.answersJson(api.whole(TEXT));
      const told = await whole('Bread?');
      assert.equal(told.text, TEXT);
      upstream.streams(api.stream(TEXT.split(/(?<= )/)), false, api.type);
      assert.equal((await streamed('Bread?')).text, TEXT);
      assert.equal(upstream.asked.length, 2);
    });
    test('a blocked prompt is an answer that was filtered, and goes nowhere', async () => {
      for (const ask of [whole, streamed])
        assert.deepEqual(await ask(`How do I ${P}?`), { text: '', reason: filtered });
      assert.equal(upstream.asked.length, 0);
    });
    test('a blocked answer ends as filtered before the words', async () => {
      upstream.answersJson(api.whole(BAD));
      assert.deepEqual(await whole('Bread?'), { text: '', reason: filtered });
      upstream.streams(api.stream(BAD.split(/(?<= )/)), false, api.type);
      const { text, reason } = await streamed('Bread?');
      assert.equal(reason, filtered);
      assert.ok(`${TEXT} Then `.startsWith(text) && text.length > 20, text);
    });
    test('an API that breaks off is an error of the client', async () => {
      upstream.streams(api.stream(BAD.split(/(?<= )/)).slice(0, 9), false, api.type);
      await assert.rejects(streamed('Bread?'), (error: Error) =>
        /broke off/.test(`${error.message} ${String(error.cause)}`),
      );
    });
  });
}

describe('tools', () => {
  const call = (args: string) => APIS['chat completions']!.call!('search', args).stream;
  test("the call of a tool reaches openai's client whole, or not at all", async () => {
    for (const [args, reason] of [
      ['{"q": "bread"}', 'tool_calls'],
      [`{"q": "${P}"}`, 'content_filter'],
    ] as const) {
      upstream.streams(call(args));
      const stream = openai().chat.completions.stream({ model: 'm', messages: user('Bread?') });
      const { choices } = await stream.finalChatCompletion().catch((error: Error) => {
        // The client's own helper calls such an end an error.
        assert.match(error.constructor.name, /ContentFilter/);
        return { choices: [{ finish_reason: 'content_filter', message: { tool_calls: undefined } }] };
      });
      assert.equal(choices[0]!.finish_reason, reason);
      const calls = (choices[0]!.message.tool_calls ?? []) as { function: { arguments: string } }[];
      assert.deepEqual(
        calls.map((call) => call.function.arguments),
        reason === 'tool_calls' ? [args] : [],
      );
    }
  });
});
