/** Lines of JSON, as Ollama streams them. */

/** The lines of a body that are not blank, whose bytes `next` gives, null at the end.
 * @param limit characters of one line, above which `tooLarge` is thrown */
export async function* readLines(
  next: () => Promise<Uint8Array | null>,
  limit: number,
  tooLarge: () => Error,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  for (let piece = await next(); piece !== null; piece = await next()) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if ([...lines, rest].some((line) => line.length > limit)) throw tooLarge();
    yield* lines.filter((line) => line.trim() !== '');
  }
  rest += decoder.decode();
  if (rest.trim() !== '') yield rest;
}
