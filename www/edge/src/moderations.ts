/** `POST /v1/moderations`: texts in, OpenAI's results out, with our decision beside them. */

import { toOpenAI } from 'rsafe/workerd';

import type { App } from './app.ts';
import { badInput, isFields, json, readBody } from './http.ts';
import { readText, refuseUnknown } from './messages.ts';

export async function moderations(app: App): Promise<Response> {
  const { config, holder, request } = app;
  const body = await readBody(request, config.maxBodyBytes);
  refuseUnknown(body, ['input', 'model']);
  const texts = readInputs(body.input, config.maxInputs);
  const guard = await app.guard();
  const verdicts = [];
  for (const text of texts) {
    verdicts.push(await holder.check(guard, text, { target: 'prompt', signal: request.signal }));
  }
  return json(toOpenAI(verdicts, { id: `modr-${crypto.randomUUID()}`, model: guard.info.model }));
}

/** A string, strings, or the text parts of one input, as OpenAI reads them. */
function readInputs(input: unknown, most: number): string[] {
  if (typeof input === 'string') return [input];
  if (!Array.isArray(input) || input.length === 0) {
    throw badInput('input must be a string, an array of strings, or an array of text parts');
  }
  if (input.length > most) throw badInput(`input has ${input.length} entries; at most ${most} are judged at once`);
  if (input.every((entry) => typeof entry === 'string')) return input;
  if (input.every(isFields)) return [readText(input, 'input')];
  throw badInput('input must hold strings only or text parts only');
}
