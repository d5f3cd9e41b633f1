/** What the package adds to wasm-bindgen's glue. */

/** A trap inside a Rust future surfaces in a microtask, where nobody catches it, and the promise of the call stays pending
 * for ever. The glue's own `queueMicrotask` tells whoever asked with `onTrap`. */
const TRAPS = `
let trapped;
export function onTrap(handler) { trapped = handler; }
function queueMicrotask(task) {
  globalThis.queueMicrotask(() => {
    try {
      task();
    } catch (error) {
      if (!trapped) throw error;
      trapped(error);
    }
  });
}
`;

/** The glue with what is added, once. */
export function completeGlue(source) {
  return source.includes('export function onTrap(') ? source : source + TRAPS;
}
