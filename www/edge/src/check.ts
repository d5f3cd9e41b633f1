/** `POST /v1/check`: a conversation in, our verdict out, whole or with its reasoning as it is written. */

import { asRead, sideBySide } from 'rsafe/walk';
import type { CheckOptions, Guard, Message, PolicyObject, Reasoning, Target } from 'rsafe/workerd';

import type { App } from './app.ts';
import type { Config } from './config.ts';
import { allowPolicy } from './guard.ts';
import { badInput, errorBody, type Fields, isFields, json, readBody } from './http.ts';
import { piecesOf, readMessages, readText, refuseUnknown } from './messages.ts';
import { writeEvent } from './sse.ts';

export async function check(app: App): Promise<Response> {
  const { config, holder, request } = app;
  const body = await readBody(request, config.maxBodyBytes);
  refuseUnknown(body, KNOWN);
  const messages = conversation(body, config.passFields);
  const options = readOptions(body, config);
  const guard = await app.guard();
  const accepts = request.headers.get('accept') ?? '';
  if (body.stream === true || (body.stream === undefined && accepts.includes('text/event-stream'))) {
    const gone = new AbortController();
    return app.stream(events(app, guard, messages, options, gone), gone);
  }
  return json(await holder.check(guard, messages, { ...options, signal: request.signal }));
}

async function* events(
  app: App,
  guard: Guard,
  messages: Message[],
  options: CheckOptions,
  gone: AbortController,
): AsyncGenerator<string, void, undefined> {
  const send = (event: string, data: unknown) => writeEvent({ event, data: JSON.stringify(data) });
  try {
    for await (const event of app.holder.stream(guard, messages, { ...options, signal: gone.signal })) {
      yield event.type === 'verdict' ? send('verdict', event.verdict) : send('reasoning', { text: event.text });
    }
  } catch (error) {
    yield send('error', errorBody(error).error);
  } finally {
    // A check that failed or was left goes no further.
    gone.abort();
  }
  yield send('done', {});
}

/** A request's fields; any other might be text that nobody judges. */
const KNOWN = ['messages', 'prompt', 'response', 'target', 'policy', 'reasoning', 'strictness', 'stream', 'model'];

function conversation(body: Fields, pass: ReadonlySet<string>): Message[] {
  const { messages, prompt, response } = body;
  if (messages !== undefined) {
    if (prompt !== undefined || response !== undefined)
      throw badInput('send messages, or prompt and response, not both');
    return readMessages(messages).map((message, index) => whole(message, (messages as unknown[])[index], index, pass));
  }
  if (prompt === undefined) throw badInput('send messages, or a prompt, or a prompt and its response');
  const asked: Message = { role: 'user', content: readText(prompt, 'prompt') };
  return response === undefined ? [asked] : [asked, { role: 'assistant', content: readText(response, 'response') }];
}

/** The message with the text of its other fields behind its content: a name, the arguments of a tool call. */
function whole(message: Message, given: unknown, index: number, pass: ReadonlySet<string>): Message {
  const { content: _, ...others } = given as Fields;
  const beside = asRead(sideBySide(piecesOf(others, `messages[${index}]`, pass)));
  return beside === '' ? message : { ...message, content: asRead([String(message.content), beside]) };
}

function readOptions({ target, policy, reasoning, strictness, stream }: Fields, config: Config): CheckOptions {
  if (stream !== undefined && typeof stream !== 'boolean') throw badInput('stream must be true or false');
  const options: CheckOptions = {};
  if (target !== undefined) options.target = oneOf<Target>('target', target, ['prompt', 'response']);
  if (reasoning !== undefined)
    options.reasoning = oneOf<Reasoning>('reasoning', reasoning, ['never', 'auto', 'always']);
  if (strictness !== undefined) {
    if (typeof strictness !== 'number') throw badInput('strictness must be a number from 0 to 1');
    options.strictness = strictness;
  }
  if (policy !== undefined) {
    if (typeof policy !== 'string' && !isFields(policy))
      throw badInput('policy must be an object or the text of a policy');
    const source = policy as string | (PolicyObject & Fields);
    allowPolicy(config, source);
    options.policy = source;
    options.policyLimits = 'caller';
  }
  return options;
}

function oneOf<T extends string>(name: string, value: unknown, words: readonly T[]): T {
  const word = words.find((word) => word === value);
  if (word === undefined) throw badInput(`${name} must be ${words.join(' or ')}, not ${JSON.stringify(value)}`);
  return word;
}
