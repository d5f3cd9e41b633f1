/** The chat APIs as a test speaks them: what is asked, what a model answers, what a caller reads of it. */

const words = (text: string) => text.split(/(?<= )/);
const sse = (json: object, event?: string) => `${event ? `event: ${event}\n` : ''}data: ${JSON.stringify(json)}\n\n`;
const named = (json: { type: string }) => sse(json, json.type);
const line = (json: object) => `${JSON.stringify(json)}\n`;

export interface Api {
  path: string;
  type: string;
  ask(text: string, stream: boolean): object;
  /** An answer, whole. */
  whole(text: string): object;
  /** Its events, one for each piece. */
  stream(pieces: string[]): string[];
  /** A call of a tool, whole and in events. */
  call?(name: string, args: string): { whole: object; stream: string[] };
  /** A request with the result of a tool. */
  result?(text: string): object;
  /** What a reader sees of a whole answer, and of events. */
  read(json: any): string;
  seen(events: any[]): string;
  /** Whether an answer says that it was filtered. */
  isRefusal(json: any): boolean;
  ends(events: any[], raw: string): boolean;
}

const user = (content: string) => ({ role: 'user', content });

const chatChunk = (delta: object, finish_reason: string | null = null) =>
  sse({
    id: 'c1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'm',
    choices: [{ index: 0, delta, logprobs: null, finish_reason }],
  });
const chatWhole = (message: object, finish_reason: string) => ({
  id: 'c1',
  object: 'chat.completion',
  created: 1,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', ...message }, logprobs: null, finish_reason }],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
});
const DONE = 'data: [DONE]\n\n';

const chat: Api = {
  path: '/v1/chat/completions',
  type: 'text/event-stream',
  ask: (text, stream) => ({ model: 'm', messages: [{ role: 'system', content: 'Be kind.' }, user(text)], stream }),
  whole: (content) => chatWhole({ content, refusal: null }, 'stop'),
  stream: (pieces) => [
    chatChunk({ role: 'assistant', content: '' }),
    ...pieces.map((content) => chatChunk({ content })),
    chatChunk({}, 'stop'),
    DONE,
  ],
  call: (name, args) => ({
    whole: chatWhole(
      { content: null, tool_calls: [{ id: 't1', type: 'function', function: { name, arguments: args } }] },
      'tool_calls',
    ),
    stream: [
      chatChunk({
        role: 'assistant',
        content: null,
        tool_calls: [{ index: 0, id: 't1', type: 'function', function: { name, arguments: '' } }],
      }),
      ...words(args).map((args) => chatChunk({ tool_calls: [{ index: 0, function: { arguments: args } }] })),
      chatChunk({}, 'tool_calls'),
      DONE,
    ],
  }),
  result: (content) => ({
    model: 'm',
    messages: [
      user('Weather?'),
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 't1', type: 'function', function: { name: 'f', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 't1', content },
    ],
  }),
  read: (json) => json.choices[0].message.content,
  seen: (events) => events.map(({ choices }) => choices[0]?.delta.content ?? '').join(''),
  isRefusal: ({ object, choices }) => /^chat\.completion/.test(object) && choices[0].finish_reason === 'content_filter',
  ends: (events, raw) => events.at(-1).choices[0].finish_reason === 'content_filter' && raw.endsWith(DONE),
};

const completionChunk = (text: string, finish_reason: string | null = null) =>
  sse({
    id: 'c1',
    object: 'text_completion',
    created: 1,
    model: 'm',
    choices: [{ index: 0, text, logprobs: null, finish_reason }],
  });
const completion: Api = {
  path: '/v1/completions',
  type: 'text/event-stream',
  ask: (prompt, stream) => ({ model: 'm', prompt, max_tokens: 99, stream }),
  whole: (text) => ({
    id: 'c1',
    object: 'text_completion',
    created: 1,
    model: 'm',
    choices: [{ index: 0, text, logprobs: null, finish_reason: 'stop' }],
  }),
  stream: (pieces) => [...pieces.map((text) => completionChunk(text)), completionChunk('', 'stop'), DONE],
  read: (json) => json.choices[0].text,
  seen: (events) => events.map(({ choices }) => choices[0].text).join(''),
  isRefusal: ({ object, choices }) => object === 'text_completion' && choices[0].finish_reason === 'content_filter',
  ends: (events, raw) => events.at(-1).choices[0].finish_reason === 'content_filter' && raw.endsWith(DONE),
};

const message = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'm',
  stop_sequence: null,
  usage: { input_tokens: 1, output_tokens: 1 },
};
const blockEvents = (content_block: object, deltas: object[], stop_reason: string) => [
  named({ type: 'message_start', ...{ message: { ...message, content: [], stop_reason: null } } }),
  named({ type: 'ping' }),
  named({ type: 'content_block_start', ...{ index: 0, content_block } }),
  ...deltas.map((delta) => named({ type: 'content_block_delta', ...{ index: 0, delta } })),
  named({ type: 'content_block_stop', ...{ index: 0 } }),
  named({ type: 'message_delta', ...{ delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 9 } } }),
  named({ type: 'message_stop' }),
];
const anthropic: Api = {
  path: '/v1/messages',
  type: 'text/event-stream',
  ask: (text, stream) => ({
    model: 'm',
    max_tokens: 99,
    system: 'Be kind.',
    messages: [{ role: 'user', content: [{ type: 'text', text }] }],
    stream,
  }),
  whole: (text) => ({ ...message, content: [{ type: 'text', text }], stop_reason: 'end_turn' }),
  stream: (pieces) =>
    blockEvents(
      { type: 'text', text: '' },
      pieces.map((text) => ({ type: 'text_delta', text })),
      'end_turn',
    ),
  call: (name, args) => ({
    whole: {
      ...message,
      content: [{ type: 'tool_use', id: 'toolu_1', name, input: JSON.parse(args) }],
      stop_reason: 'tool_use',
    },
    stream: blockEvents(
      { type: 'tool_use', id: 'toolu_1', name, input: {} },
      words(args).map((partial_json) => ({ type: 'input_json_delta', partial_json })),
      'tool_use',
    ),
  }),
  result: (text) => ({
    model: 'm',
    max_tokens: 9,
    messages: [
      user('Weather?'),
      { role: 'assistant', content: [{ type: 'tool_use', id: 't1', name: 'f', input: {} }] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text }] }] },
    ],
  }),
  read: (json) => json.content.map(({ text }: any) => text).join(''),
  seen: (events) => events.map(({ delta }) => delta?.text ?? '').join(''),
  isRefusal: ({ type, stop_reason }) => type === 'message' && stop_reason === 'refusal',
  ends: (events) =>
    events[0].type === 'message_start' &&
    events.at(-2).delta.stop_reason === 'refusal' &&
    events.at(-1).type === 'message_stop' &&
    events.filter(({ type }) => type === 'content_block_start').length ===
      events.filter(({ type }) => type === 'content_block_stop').length,
};

const response = {
  id: 'resp_1',
  object: 'response',
  created_at: 1,
  model: 'm',
  error: null,
  incomplete_details: null,
  instructions: 'Be kind.',
  metadata: {},
  parallel_tool_calls: true,
  temperature: 1,
  tool_choice: 'auto',
  tools: [],
  top_p: 1,
};
const numbered = (events: { type: string }[]) =>
  events.map((event, sequence_number) => named({ ...event, ...{ sequence_number } }));
const itemText = (text: string) => ({ type: 'output_text', text, annotations: [] });
const itemOf = (content: object[], status: string) => ({
  id: 'm1',
  type: 'message',
  role: 'assistant',
  status,
  content,
});
const responses: Api = {
  path: '/v1/responses',
  type: 'text/event-stream',
  ask: (input, stream) => ({ model: 'm', instructions: 'Be kind.', input, stream }),
  whole: (text) => ({ ...response, status: 'completed', output: [itemOf([itemText(text)], 'completed')] }),
  stream: (pieces) => {
    const at = { item_id: 'm1', output_index: 0, content_index: 0 };
    const text = pieces.join('');
    return numbered([
      { type: 'response.created', ...{ response: { ...response, status: 'in_progress', output: [] } } },
      { type: 'response.output_item.added', ...{ output_index: 0, item: itemOf([], 'in_progress') } },
      { type: 'response.content_part.added', ...{ ...at, part: itemText('') } },
      ...pieces.map((delta) => ({ type: 'response.output_text.delta', ...{ ...at, delta } })),
      { type: 'response.output_text.done', ...{ ...at, text } },
      { type: 'response.content_part.done', ...{ ...at, part: itemText(text) } },
      { type: 'response.output_item.done', ...{ output_index: 0, item: itemOf([itemText(text)], 'completed') } },
      {
        type: 'response.completed',
        ...{ response: { ...response, status: 'completed', output: [itemOf([itemText(text)], 'completed')] } },
      },
    ]);
  },
  call: (name, args) => {
    const item = (args: string, status: string) => ({
      id: 'f1',
      type: 'function_call',
      call_id: 't1',
      name,
      arguments: args,
      status,
    });
    const at = { item_id: 'f1', output_index: 0 };
    const whole = { ...response, status: 'completed', output: [item(args, 'completed')] };
    return {
      whole,
      stream: numbered([
        { type: 'response.created', ...{ response: { ...response, status: 'in_progress', output: [] } } },
        { type: 'response.output_item.added', ...{ output_index: 0, item: item('', 'in_progress') } },
        ...words(args).map((delta) => ({ type: 'response.function_call_arguments.delta', ...{ ...at, delta } })),
        { type: 'response.function_call_arguments.done', ...{ ...at, arguments: args } },
        { type: 'response.output_item.done', ...{ output_index: 0, item: item(args, 'completed') } },
        { type: 'response.completed', ...{ response: whole } },
      ]),
    };
  },
  result: (output) => ({
    model: 'm',
    input: [
      user('Weather?'),
      { type: 'function_call', call_id: 't1', name: 'f', arguments: '{}' },
      { type: 'function_call_output', call_id: 't1', output },
    ],
  }),
  read: ({ output }) =>
    output
      .flatMap(({ content }: any) => content ?? [])
      .map(({ text }: any) => text)
      .join(''),
  seen: (events) => events.map(({ type, delta }) => (type === 'response.output_text.delta' ? delta : '')).join(''),
  isRefusal: ({ object, status, incomplete_details }) =>
    object === 'response' && status === 'incomplete' && incomplete_details.reason === 'content_filter',
  ends: (events) => {
    const { type, response: last } = events.at(-1);
    const shown = last.output
      .flatMap(({ content }: any) => content ?? [])
      .map(({ text }: any) => text)
      .join('');
    const numbers = events.map(({ sequence_number }, at) => sequence_number === at);
    return (
      events[0].type === 'response.created' &&
      type === 'response.incomplete' &&
      responses.isRefusal(last) &&
      shown === responses.seen(events) &&
      !numbers.includes(false)
    );
  },
};

const ollama = (
  path: string,
  spoken: (text: string) => object,
  body: (text: string) => object,
  said: (json: any) => string,
): Api => {
  const of = (text: string, more: object) => ({
    model: 'm',
    created_at: '2026-01-01T00:00:00Z',
    ...spoken(text),
    ...more,
  });
  return {
    path,
    type: 'application/x-ndjson',
    ask: (text, stream) => ({ model: 'm', ...body(text), ...(stream ? {} : { stream: false }) }),
    whole: (text) => of(text, { done: true, done_reason: 'stop', eval_count: 3 }),
    stream: (pieces) => [
      ...pieces.map((text) => line(of(text, { done: false }))),
      line(of('', { done: true, done_reason: 'stop', eval_count: 3 })),
    ],
    read: said,
    seen: (lines) => lines.map(said).join(''),
    isRefusal: ({ done, done_reason }) => done === true && done_reason === 'content_filter',
    ends: (lines) => lines.at(-1).done === true && lines.at(-1).done_reason === 'content_filter',
  };
};
const spokenInChat = (content: string) => ({ message: { role: 'assistant', content } });
const ollamaChat: Api = {
  ...ollama(
    '/api/chat',
    spokenInChat,
    (text) => ({ messages: [user(text)] }),
    ({ message }) => message.content,
  ),
  call: (name, args) => {
    const call = { role: 'assistant', content: '', tool_calls: [{ function: { name, arguments: JSON.parse(args) } }] };
    const of = (message: object, done: boolean) => ({
      model: 'm',
      created_at: '2026-01-01T00:00:00Z',
      message,
      done,
      ...(done ? { done_reason: 'stop' } : {}),
    });
    return {
      whole: of(call, true),
      stream: [line(of(call, false)), line(of({ role: 'assistant', content: '' }, true))],
    };
  },
  result: (content) => ({
    model: 'm',
    stream: false,
    messages: [
      user('Weather?'),
      { role: 'assistant', content: '', tool_calls: [{ function: { name: 'f', arguments: {} } }] },
      { role: 'tool', tool_name: 'f', content },
    ],
  }),
};
const ollamaGenerate = ollama(
  '/api/generate',
  (response) => ({ response }),
  (prompt) => ({ prompt }),
  ({ response }) => response,
);

export const APIS: Record<string, Api> = {
  'chat completions': chat,
  'legacy completions': completion,
  Responses: responses,
  "Anthropic's messages": anthropic,
  "Ollama's chat": ollamaChat,
  "Ollama's generate": ollamaGenerate,
};

/** The JSON of a stream's events. */
export function eventsIn(raw: string): any[] {
  const data = raw.startsWith('{')
    ? raw.split('\n')
    : raw.split('\n').flatMap((line) => (line.startsWith('data: ') ? [line.slice(6)] : []));
  return data.filter((text) => text !== '' && text !== '[DONE]').map((text) => JSON.parse(text));
}
