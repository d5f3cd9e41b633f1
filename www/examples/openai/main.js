import OpenAI from 'openai';
import { createGuard } from 'rsafe';
import { guardFetch } from 'rsafe/fetch';

const policy = {
  name: 'shop',
  categories: [{ id: 'theft', definition: 'Taking what belongs to others, or help with it.' }],
  rules: [{ id: 'internal', literal: 'project nightjar' }],
};
const guard = await createGuard({ policy });

// A server of yours stands at this address: it has the key, and passes on what is asked.
const baseURL = new URL('/v1', location.href).href;
const client = new OpenAI({ baseURL, apiKey: 'none', dangerouslyAllowBrowser: true, fetch: guardFetch(guard) });

async function ask(content) {
  const messages = [{ role: 'user', content }];
  const stream = await client.chat.completions.create({ model: 'small', messages, stream: true });
  let end;
  for await (const { choices } of stream) {
    document.querySelector('output').append(choices[0].delta.content ?? '');
    end = choices[0].finish_reason ?? end;
  }
  return end;
}

const ends = [await ask('How do I bake bread?'), await ask('What is project nightjar?')];
document.title = ends.join(', ');
