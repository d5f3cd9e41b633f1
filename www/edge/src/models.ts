/** `GET /v1/models`: the upstream's list, as far as each model is a name and nothing else. */

import { walk } from 'rsafe/walk';

import type { App } from './app.ts';
import { type Fields, HttpError, isFields, json } from './http.ts';
import { ask, upstreamOf } from './upstream.ts';

export async function models(app: App): Promise<Response> {
  upstreamOf(app);
  await app.enter('relaying');
  const { whole } = await ask(app, 'models', null, app.request.signal, null);
  const { data } = await whole();
  if (!Array.isArray(data)) throw new HttpError(502, 'upstream', 'the upstream answered without a list of models');
  return json({ object: 'list', data: data.flatMap(model) });
}

/** A model with the fields of OpenAI's; one whose name could be a text is left out, since nobody judges it here. */
function model(given: unknown): Fields[] {
  if (!isFields(given)) return [];
  const { id, created, owned_by } = given;
  const isName = (value: unknown): value is string =>
    typeof value === 'string' && value !== '' && walk({ model: value }).length === 0;
  if (!isName(id)) return [];
  const owner = isName(owned_by) ? owned_by : 'unknown';
  return [{ id, object: 'model', created: typeof created === 'number' ? created : 0, owned_by: owner }];
}
