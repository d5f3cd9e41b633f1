/** Errors as the page shows them: the code, what happened, and what to do about it. */

import type { GuardError } from '../src/index.ts';
import { button, byId, make, withCode } from './dom.ts';

/** What a visitor can do, by the error's code. */
const ADVICE: Readonly<Record<string, string>> = {
  unsupported: 'Choose another device, or use a current Chrome, Edge, Firefox or Safari.',
  network: 'Check the connection and try again.',
  integrity: 'The files that arrived are not the ones expected. Try again, or clear what is stored and reload.',
  quota: 'The browser has no room left to keep the model. Free some, or clear what is stored here.',
  bad_model: 'These files are not a complete bundle. Choose the whole folder that rsafe convert wrote.',
  bad_policy: 'Mend the policy. The messages below it name the lines.',
  bad_input: 'Type a message to check.',
  out_of_memory: 'Close other tabs, or use a smaller model.',
  device_lost: 'The graphics device went away. Try again, or choose the CPU.',
  self_test: 'The model computes wrongly on this device. Choose the CPU.',
  context_length: 'The text is longer than the model can read. Shorten it.',
  disposed: 'The model was unloaded. Load it again.',
  crashed: 'The model stopped working. Load it again.',
};

export interface Trouble {
  code: string;
  message: string;
  advice: string;
}

/** Whatever was thrown, in one shape. */
export function troubleOf(error: unknown): Trouble {
  const { code, message } = (error ?? {}) as Partial<GuardError>;
  const known = typeof code === 'string' ? code : 'unexpected';
  return {
    code: known,
    message: message ?? String(error),
    advice: ADVICE[known] ?? 'Try again. If it happens again, reload the page.',
  };
}

/** Whether somebody stopped it, which is no trouble. */
export function isAbort(error: unknown): boolean {
  return (
    (error as { code?: unknown } | null)?.code === 'aborted' ||
    (error as { name?: unknown } | null)?.name === 'AbortError'
  );
}

/** Shows an error above the page's rooms until it is dismissed, retried or cleared. One at a time. `note` follows the
 * advice. */
export function showError(
  error: unknown,
  { retry, note = '' }: { retry?: { text: string; run: () => void }; note?: string } = {},
): void {
  const { code, message, advice } = troubleOf(error);
  const actions = make('div', 'actions');
  if (retry) {
    actions.append(
      button(retry.text, 'small', () => {
        clearError();
        retry.run();
      }),
    );
  }
  actions.append(button('Dismiss', 'small quiet', clearError));
  byId('alerts').replaceChildren(
    make(
      'div',
      'alert',
      make('p', '', make('code', 'code', code), ' ', ...withCode(message)),
      make('p', 'advice', `${advice} ${note}`.trim()),
      actions,
    ),
  );
}

export function clearError(): void {
  byId('alerts').replaceChildren();
}
