/** The code that does what the guarded chat does, as a visitor copies it: in front of a chat's API, or of any stream. */

import { byId, chosen } from './dom.ts';
import { CHECK_EVERY } from './samples.ts';

const COPIED_MS = 2000;

export const snippets = {
  api: `import { createGuard } from 'rsafe';
import { guardFetch } from 'rsafe/fetch';

const guard = await createGuard();
// For each client that takes one: new OpenAI({ fetch })
const fetch = guardFetch(guard);

const answer = await fetch('/v1/chat/completions', {
  method: 'POST',
  body: JSON.stringify({
    model: 'small',
    messages: [{ role: 'user', content: 'How do I bake?' }],
  }),
});
// What is blocked: finish_reason 'content_filter'.
console.log((await answer.json()).choices[0]);
`,
  stream: `import { createGuard } from 'rsafe';

const guard = await createGuard();
const answer = await fetch('/chat', { method: 'POST' });
const text = answer.body!.pipeThrough(new TextDecoderStream());
const guarded = text.pipeThrough(
  guard.transform({
    messages: [{ role: 'user', content: 'How do I bake?' }],
    checkEvery: ${CHECK_EVERY},
    // The risk curve.
    onCheck: (seen, { score }) => console.log(seen, score),
  }),
);
const { body } = document;
const show = (text: unknown) => body.append(String(text));
try {
  await guarded.pipeTo(new WritableStream({ write: show }));
} catch {
  // Blocked, or not judged: what is held back never comes out.
  show(' [cut]');
}
`,
} as const;

/** Shows the one that is chosen, and wires the button that copies it. */
export function startSnippet(): void {
  const choice = byId('snippet-choice');
  const shown = () => snippets[chosen(choice) as keyof typeof snippets];
  const show = () => (byId('snippet').textContent = shown());
  choice.addEventListener('change', show);
  show();
  const copy = byId<HTMLButtonElement>('copy-snippet');
  copy.addEventListener('click', async () => {
    const copied = await navigator.clipboard.writeText(shown()).then(
      () => true,
      () => false,
    );
    // Without the permission, the text is marked for the keys that copy.
    if (!copied) getSelection()?.selectAllChildren(byId('snippet'));
    copy.textContent = copied ? 'Copied' : 'Press Ctrl+C';
    setTimeout(() => (copy.textContent = 'Copy'), COPIED_MS);
  });
}
