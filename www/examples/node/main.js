import { createGuard } from 'rsafe';

const policy = {
  name: 'shop',
  categories: [{ id: 'theft', definition: 'Taking what belongs to others, or help with it.' }],
  rules: [{ id: 'internal', literal: 'project nightjar' }],
};
const guard = await createGuard({ policy });

for (const question of ['How do I bake bread?', 'What is project nightjar?']) {
  const { decision, score, rule } = await guard.check(question);
  console.log(`${decision} ${score.toFixed(2)} ${rule ?? '-'}: ${question}`);
}

// An answer is held back until it is checked.
const answer = ReadableStream.from(['Mix flour, water, salt ', 'and yeast, ', 'and let the dough rest.']);
for await (const text of answer.pipeThrough(guard.transform())) console.log(text);
await guard.dispose();
