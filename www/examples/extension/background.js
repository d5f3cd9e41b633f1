import { createGuard } from 'rsafe/workerd';

const file = (path) => chrome.runtime.getURL(path);
const load = async () =>
  createGuard({ wasm: await WebAssembly.compileStreaming(fetch(file('cpu.wasm'))), model: file('model/') });

// The browser stops an idle worker; the next message starts it again, and the guard is loaded anew.
let guard;
const loaded = () => (guard ??= load().catch((error) => ((guard = undefined), Promise.reject(error))));

chrome.runtime.onMessage.addListener(({ text }, _, answer) => {
  loaded()
    .then((guard) => guard.check(text))
    .then(
      ({ decision, score }) => answer({ decision, score }),
      // What could not be judged is not allowed.
      ({ code, message }) => answer({ decision: 'block', code, message }),
    );
  return true; // It answers later.
});
