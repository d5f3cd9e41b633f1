/** Conversations in the shapes of chat APIs and their clients, typed as those type them, read into rsafe's messages. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ModelMessage, UIMessage } from 'ai';
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions';
import type { ResponseInput } from 'openai/resources/responses/responses';
import { plainMessages } from '../src/conversation.ts';
import type { Conversation } from '../src/types.ts';

/** Each message as its role and its text, as the core joins it. */
const read = (messages: Conversation) =>
  plainMessages(messages).map(({ role, content }) => [
    role,
    Array.isArray(content) ? content.map(({ text }: { text?: string }) => text).join('\n') : content,
  ]);

test('OpenAI’s chat completions are read, calls and refusals among them', () => {
  const call = { id: '1', type: 'function', function: { name: 'bake', arguments: '{"what":"bread"}' } } as const;
  const messages: ChatCompletionMessageParam[] = [
    { role: 'developer', content: 'Be kind.' },
    { role: 'user', content: [{ type: 'text', text: 'Bread?' }] },
    { role: 'assistant', tool_calls: [call] },
    { role: 'tool', tool_call_id: '1', content: 'Done.' },
    { role: 'assistant', content: 'So:', refusal: 'No.' },
  ];
  assert.deepEqual(read(messages), [
    ['developer', 'Be kind.'],
    ['user', 'Bread?'],
    ['assistant', 'bake {"what":"bread"}'],
    ['tool', 'Done.'],
    ['assistant', 'So:\nNo.'],
  ]);
});

test('the AI SDK’s messages are read: texts, reasoning, tools and what they gave, sources and data', () => {
  const messages: UIMessage[] = [
    { id: '1', role: 'user', parts: [{ type: 'text', text: 'Bread?' }] },
    {
      id: '2',
      role: 'assistant',
      parts: [
        { type: 'step-start' },
        { type: 'reasoning', text: 'Flour.' },
        { type: 'tool-oven', toolCallId: '3', state: 'output-available', input: { heat: 230 }, output: 'Hot.' },
        { type: 'source-url', sourceId: '4', url: 'https://bread.example/', title: 'Bread' },
        { type: 'data-note', data: { rest: true } },
        { type: 'text', text: 'Bake.' },
      ],
    },
  ];
  assert.deepEqual(read(messages), [
    ['user', 'Bread?'],
    ['assistant', '\nFlour.\noven {"heat":230} Hot.\nBread\nhttps://bread.example/\n{"rest":true}\nBake.'],
  ]);
  const model: ModelMessage[] = [
    { role: 'assistant', content: [{ type: 'tool-call', toolCallId: '1', toolName: 'oven', input: { heat: 230 } }] },
    {
      role: 'tool',
      content: [{ type: 'tool-result', toolCallId: '1', toolName: 'oven', output: { type: 'text', value: 'Hot.' } }],
    },
  ];
  assert.deepEqual(read(model), [
    ['assistant', 'oven {"heat":230}'],
    ['tool', 'oven {"type":"text","value":"Hot."}'],
  ]);
});

test('items of the Responses API are read, one message for each, so that a quote has its item’s index', () => {
  const input: ResponseInput = [
    { role: 'user', content: [{ type: 'input_text', text: 'Bread?' }] },
    { type: 'reasoning', id: 'r', summary: [] },
    { type: 'function_call', call_id: '1', name: 'bake', arguments: '{}' },
    { type: 'function_call_output', call_id: '1', output: 'Done.' },
    { type: 'message', role: 'user', content: 'Thanks.' },
  ];
  assert.deepEqual(read(input), [
    ['user', 'Bread?'],
    ['assistant', null],
    ['assistant', 'bake {}'],
    ['tool', 'Done.'],
    ['user', 'Thanks.'],
  ]);
});

test('what is no text is refused in every shape, with its place', () => {
  const image = { type: 'image_url', image_url: { url: 'https://bread.example/a.png' } } as const;
  const file = { type: 'file', mediaType: 'image/png', url: 'https://bread.example/a.png' } as const;
  const media = { type: 'file', mediaType: 'image/png', data: { type: 'url', url: new URL(file.url) } } as const;
  for (const [messages, place] of [
    [[{ role: 'user', content: [image] }] satisfies ChatCompletionMessageParam[], /messages\[0\]\.content\[0\]/],
    [[{ role: 'assistant', audio: { id: 'a' } }] satisfies ChatCompletionMessageParam[], /messages\[0\]\.audio/],
    [[{ id: '1', role: 'user', parts: [file] }] satisfies UIMessage[], /messages\[0\]\.content\[0\]/],
    [[{ role: 'user', content: [{ type: 'tool-x', output: { type: 'content', value: [media] } }] }], /output/],
    [[{ type: 'computer_call_output', output: { type: 'computer_screenshot' } }], /messages\[0\]\.output/],
  ] as [Conversation, RegExp][]) {
    assert.throws(() => plainMessages(messages), { code: 'bad_input', message: place });
  }
});
