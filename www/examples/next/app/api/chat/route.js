import { convertToModelMessages, simulateReadableStream, streamText, wrapLanguageModel } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';
import { createGuard } from 'rsafe';
import { guardMiddleware } from 'rsafe/ai-sdk';

/** In the place of a provider's model, so that this runs without a key. */
const mock = new MockLanguageModelV4({
  doStream: async () => ({
    stream: simulateReadableStream({
      chunks: [
        { type: 'text-start', id: '0' },
        { type: 'text-delta', id: '0', delta: 'Mix flour, water, salt and yeast.' },
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
let model;

export async function POST(request) {
  const { messages } = await request.json();
  model ??= wrapLanguageModel({
    model: mock,
    middleware: guardMiddleware(await createGuard({ policy }), { refusal: 'I cannot help with that.' }),
  });
  return streamText({ model, messages: await convertToModelMessages(messages) }).toUIMessageStreamResponse();
}
