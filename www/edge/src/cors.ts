/** What pages of other origins may do, where the owner lets them (Fetch, 3.3 CORS protocol). */

/** What clients of OpenAI's API send from a browser. */
const HEADERS = /^(?:accept|authorization|content-type|idempotency-key|openai-[a-z-]+|x-stainless-[a-z-]+)$/;

/** Whether this asks what a page may do. */
export const isPreflight = ({ method, headers }: Request): boolean =>
  method === 'OPTIONS' && headers.has('access-control-request-method');

/** The answer to that, for a route that takes `method`. */
export function preflight({ headers }: Request, method: string): Response {
  const asked = (headers.get('access-control-request-headers') ?? '').toLowerCase().split(/[\s,]+/);
  return new Response(null, {
    status: 204,
    headers: {
      'access-control-allow-methods': method,
      'access-control-allow-headers': asked.filter((name) => HEADERS.test(name)).join(', '),
      'access-control-max-age': '600',
    },
  });
}

/** The response, for pages of the origin that is allowed, or of all (`*`). */
export function sharedWith(origin: string, response: Response): Response {
  response.headers.set('access-control-allow-origin', origin);
  response.headers.set('access-control-expose-headers', 'retry-after');
  return response;
}
