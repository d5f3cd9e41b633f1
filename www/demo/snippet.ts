/** The code that does what the guarded chat does, as a visitor copies it. */

import { byId } from './dom.ts';
import { CHECK_EVERY } from './samples.ts';

const COPIED_MS = 2000;

export const snippet = `import { createGuard, type Message } from 'rsafe';

const guard = await createGuard();
const chat = document.body;
const messages: Message[] = [{ role: 'user', content: 'How do I bake bread?' }];

const answer = await fetch('/chat', { method: 'POST', body: JSON.stringify(messages) });
const guarded = answer.body!.pipeThrough(new TextDecoderStream()).pipeThrough(
  guard.transform({
    messages,
    checkEvery: ${CHECK_EVERY},
    onCheck: (seen, { score }) => console.log(seen, score), // the curve
  }),
);
try {
  await guarded.pipeTo(new WritableStream({ write: (text) => chat.append(String(text)) }));
} catch (error) {
  // What is held back never comes out. Code \`blocked\`: the verdict says why.
  chat.append(' [cut]');
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
