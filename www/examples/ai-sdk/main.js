import { simulateReadableStream, streamText, wrapLanguageModel } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';
import { createGuard } from 'rsafe';
import { guardMiddleware } from 'rsafe/ai-sdk';

/** In the place of a provider's model, so that this runs without a key. */
const mock = new MockLanguageModelV4({
  doStream: async () => ({
    stream: simulateReadableStream({
      chunks: [
        { type: 'text-start', id: '0' },
        ...['Mix flour, water, salt ', 'and yeast, ', 'and let the dough rest.'].map((delta) => ({
          type: 'text-delta',
          id: '0',
          delta,
        })),
        { type: 'text-end', id: '0' },
        { type: 'finish', finishReason: { unified: 'stop' }, usage: { inputTokens: {}, outputTokens: {} } },
      ],
    }),
  }),
});

const policy = {
  name: 'shop',
  categories: [{ id: 'theft', definition: 'Taking what belongs to others, or help with it.' }],
  rules: [{ id: 'internal', literal: 'project nightjar' }],
};
const guard = await createGuard({ policy });
const middleware = guardMiddleware(guard, { refusal: 'I cannot help with that.' });
const model = wrapLanguageModel({ model: mock, middleware });

for (const prompt of ['How do I bake bread?', 'What is project nightjar?']) {
  const result = streamText({ model, prompt });
  for await (const text of result.textStream) process.stdout.write(text);
  const { decision } = (await result.providerMetadata).rsafe;
  console.log(`\n${decision}, ${await result.finishReason}, asked the model ${mock.doStreamCalls.length} times`);
}
await guard.dispose();
