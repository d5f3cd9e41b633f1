/** What the caller of a guarded `fetch` gets. */

/** An answer like another one, with another body. */
export function answered(body: BodyInit, type: string, like?: Response): Response {
  const headers = new Headers(like?.headers);
  headers.set('content-type', type);
  // Those of the bytes as they were sent: `fetch` has unpacked them, and some may be held back.
  for (const name of ['content-length', 'content-encoding']) headers.delete(name);
  return new Response(body, { headers, status: like?.status ?? 200, statusText: like?.statusText ?? 'OK' });
}

/** A body of these texts, at its reader's pace. `leave` is called at whichever end; `told` throws what a failure is
 * told as. */
export function bodyOf(
  texts: AsyncGenerator<string, void, undefined>,
  leave: (reason?: unknown) => Promise<void>,
  told: (error: unknown) => never,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await texts.next().catch(told);
          if (!done) return controller.enqueue(encoder.encode(value));
          controller.close();
          await leave();
        } catch (error) {
          void leave(error);
          throw error;
        }
      },
      cancel: leave,
    },
    // Nothing lies ready that an error would drop.
    { highWaterMark: 0 },
  );
}
