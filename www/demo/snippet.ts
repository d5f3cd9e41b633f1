/** The code that does what the guarded chat does, as a visitor copies it. */

import { byId } from './dom.ts';
import { CHECK_EVERY } from './samples.ts';

const COPIED_MS = 2000;

export const snippet = `import { createGuard } from 'rsafe';

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
`;

/** Shows it and wires the button that copies it. */
export function startSnippet(): void {
  byId('snippet').textContent = snippet;
  const copy = byId<HTMLButtonElement>('copy-snippet');
  copy.addEventListener('click', async () => {
    const copied = await navigator.clipboard.writeText(snippet).then(
      () => true,
      () => false,
    );
    // Without the permission, the text is marked for the keys that copy.
    if (!copied) getSelection()?.selectAllChildren(byId('snippet'));
    copy.textContent = copied ? 'Copied' : 'Press Ctrl+C';
    setTimeout(() => (copy.textContent = 'Copy'), COPIED_MS);
  });
}
